"""The worker process: started, replaced, given up; with small programs in the worker's place."""

from __future__ import annotations

import sys
import time

import pytest
import zmq

from overpaint_backend.executors.base import (
    EnginesChanged,
    Ready,
    RunJob,
    RunOver,
    RunProgress,
    WorkerGone,
    WorkerSettings,
    pack,
    unpack,
)
from overpaint_backend.executors.process import ProcessExecutor
from overpaint_backend.server.zap import Authenticator
from overpaint_protocol.errors import ProtocolError
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import EngineInfo, Fill, SubmitJob
from overpaint_protocol.pixels import ImageHeader, PixelFormat

WAIT_S = 30
SIZE = Size(2, 2)
RUN = RunJob(
    run=1,
    engine="e",
    seed=2**32 - 1,
    first_variant=0,
    preview_bytes=0,
    request=SubmitJob(
        job_id="j",
        document_id="d",
        operation=Fill(prompt="p"),
        canvas=SIZE,
        context=Rect.from_size(SIZE),
        image=ImageHeader(size=SIZE, format=PixelFormat.RGBA8, frames=(0,)),
        mask=ImageHeader(size=SIZE, format=PixelFormat.GRAY8, frames=(1,)),
    ),
)

READY_AND_WAIT = f"""
import sys
sys.path[:0] = {sys.path!r}
import json, zmq
from overpaint_backend.executors.base import Ready, pack
connection = json.loads(sys.stdin.readline())
socket = zmq.Context().socket(zmq.DEALER)
socket.plain_username, socket.plain_password = b"worker", connection["token"].encode()
socket.connect(connection["endpoint"])
socket.send_multipart(pack(Ready(engines=(), broken_engines=())))
"""


@pytest.fixture
def start(tmp_path):
    context = zmq.Context()
    gate = Authenticator(context)
    executors = []

    def start(program, **options):
        options = {"runtime_dir": tmp_path, **options}
        executor = ProcessExecutor(context, gate.allow, command=[sys.executable, "-c", program], **options)
        executors.append(executor)
        executor.gate = gate
        return executor

    yield start
    for executor in executors:
        executor.stop(5)
    gate.close()
    context.term()


def events_until(executor, kind, now=None):
    """Poll until an event of ``kind`` comes; returns all. now: a time that stands still, or the real one."""
    events = []
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        executor.gate.answer()
        events += [event for event, _ in executor.poll(time.monotonic() if now is None else now)]
        if events and isinstance(events[-1], kind):
            return events
        time.sleep(0.005)
    raise AssertionError(f"no {kind.__name__} came, only {events}")


@pytest.mark.parametrize("is_ipc", [True, False], ids=["ipc", "tcp"])
def test_a_worker_gets_ready_and_ends_with_its_input(start, tmp_path, is_ipc):
    executor = start(READY_AND_WAIT + "sys.stdin.read()", runtime_dir=tmp_path if is_ipc else None)
    assert events_until(executor, Ready) == [Ready(engines=(), broken_engines=())]
    assert executor.restarts == 0
    executor.stop(WAIT_S)
    assert executor.socket is None
    assert executor.poll(1e9) == []
    assert list(tmp_path.glob("*.sock")) == []


def test_a_killed_worker_is_replaced_at_once_under_a_new_token(start):
    tokens = []
    executor = start(READY_AND_WAIT + "sys.stdin.read()")
    executor._authorize = lambda domain, token: (
        tokens.append((domain, token)),
        executor.gate.allow(domain, token),
    )
    events_until(executor, Ready)
    first = executor.pid
    executor.kill()
    now = time.monotonic()
    events_until(executor, WorkerGone, now)
    assert executor.poll(now) == []
    assert executor.pid not in (None, first)
    events_until(executor, Ready)
    assert executor.restarts == 1
    assert {domain for domain, _ in tokens} == {"worker"}
    assert len({token for _, token in tokens}) == 2


def test_a_worker_that_never_gets_ready_is_tried_again_ever_more_rarely(start):
    executor = start("raise SystemExit(3)")
    now, pauses = 0.0, []
    events: list = []
    for _ in range(8):
        (gone,) = events or events_until(executor, WorkerGone, now)
        assert "code 3" in gone.reason
        failed_at = now
        while True:
            # on a busy machine a start and its end can be seen in one look
            events = [event for event, _ in executor.poll(now)]
            if events or executor.pid is not None:
                break
            now += 0.25
        pauses.append(now - failed_at)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_worker_that_dies_young_is_tried_again_ever_more_rarely_and_an_old_one_at_once(start):
    executor = start(READY_AND_WAIT + "socket.poll(30000)")
    now = 0.0
    for age, pause in ((1.0, 0.5), (9.5, 1.0), (10.5, 0.0), (0.0, 0.5)):
        assert executor.poll(now) == []
        events_until(executor, Ready, now)
        now += age
        executor.run(RUN, [])  # ends it
        events_until(executor, WorkerGone, now)
        if pause:
            assert executor.poll(now + pause - 0.1) == []
            assert executor.pid is None
        now += pause


def test_a_worker_is_told_its_settings(start):
    told = "settings = connection['settings']; sys.exit(f\"{settings['idle_unload_s']} {settings['pace_path']}\" != '7.5 /p')"
    settings = WorkerSettings(idle_unload_s=7.5, pace_path="/p")
    executor = start(READY_AND_WAIT + told, worker_settings=settings)
    assert "ended with code 0" in events_until(executor, WorkerGone)[-1].reason


def test_a_worker_gets_the_variables_of_its_device(start):
    told = "import os; sys.exit(os.environ['CUDA_VISIBLE_DEVICES'] != 'GPU-1')"
    executor = start(READY_AND_WAIT + told, environ={"CUDA_VISIBLE_DEVICES": "GPU-1"})
    assert "ended with code 0" in events_until(executor, WorkerGone)[-1].reason


def test_a_worker_that_hangs_while_starting_is_replaced(start):
    executor = start("import time; time.sleep(60)", start_timeout_s=5)
    executor.poll(0.0)
    assert executor.poll(4.9) == []
    events_until(executor, WorkerGone, now=5.1)


def test_a_worker_that_talks_nonsense_is_replaced(start):
    executor = start(READY_AND_WAIT + "socket.send_multipart([b'hello', b'you']); sys.stdin.read()")
    assert isinstance(events_until(executor, WorkerGone)[-1], WorkerGone)


def test_a_command_that_does_not_exist_is_reported_and_tried_again(start):
    executor = start("")
    executor._command = ["/no/such/program"]
    ((gone, _),) = executor.poll(0.0)
    assert "cannot be started" in gone.reason
    assert executor.poll(0.4) == []
    assert len(executor.poll(0.6)) == 1


def test_a_worker_that_ignores_its_end_is_killed(start):
    executor = start(READY_AND_WAIT + "import time; time.sleep(600)")
    events_until(executor, Ready)
    executor.stop(0.1)
    assert executor.pid is None


def test_messages_survive_packing():
    engine = EngineInfo(
        id="e",
        name="E",
        operations=("fill",),
        follows_prompt=True,
        follows_negative_prompt=False,
        needs_surroundings=False,
    )
    for message in (
        RUN,
        Ready(engines=(engine,), broken_engines=()),
        EnginesChanged(engines=(engine,), broken_engines=()),
        RunProgress(run=2, stage="painting", fraction=0.5, time_left_s=3.5),
        RunOver(run=3, timings_ms={"engine": 1.5}),
    ):
        assert unpack(pack(message, [b"pixels"])) == (message, (b"pixels",))


@pytest.mark.parametrize("frames", [[], [b"Ready"], [b"Nothing", b"\x80"], [b"Ready", b"\xc1"]], ids=repr)
def test_other_frames_are_no_message(frames):
    with pytest.raises(ProtocolError):
        unpack(frames)
