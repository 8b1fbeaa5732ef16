"""The wire's other parts: others' pings and jobs beside a large upload, cancels, many connections, the first pong.

See ``wire``; each function measures in a folder of its own and returns its targets.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter

import psutil
from tests.bench.echo_worker import MAIN as ECHO
from tests.bench.editor_client import EditorClient, Picture, Wire
from tests.bench.process_costs import rss_bytes
from tests.bench.raw_zmq import RawEcho
from tests.bench.wire_targets import Verdict
from tests.integration.daemon_process import ROOT, DaemonProcess, wait_until

from overpaint_client.loop import SelectorLoop
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    JobProgress,
    JobState,
    Ping,
    Pong,
)
from overpaint_protocol.pixels import PixelFormat

Say = Callable[[str], None]

IDLE = 1000
ACTIVE = 8
_STEP_S = 0.05
_SOURCES = os.pathsep.join(map(str, [ROOT, *(ROOT / n for n in ("protocol", "backend", "plugins/common"))]))


def p99(values: list[float]) -> float:
    """The value that one in a hundred exceeds."""
    return statistics.quantiles(values, n=100)[98]


@contextmanager
def started(folder: Path, state: Path | None = None, **how: object) -> Iterator[DaemonProcess]:
    """A daemon. state: its state folder, if not below ``folder``."""
    folder.mkdir()
    environ = {"PYTHONPATH": _SOURCES}
    if state is not None:
        environ["OVERPAINT_STATE_DIR"] = str(state)
    running = DaemonProcess.spawn(folder, environ=environ, **how)
    try:
        wait_until(running.is_listening, "the daemon listens")
        wait_until(lambda: psutil.Process(running.process.pid).children(), "there is a worker")
        yield running
    finally:
        running.close()


def machine_note(folder: Path) -> str:
    """What a ping between two bare ZeroMQ sockets takes here and now: the part of every answer that is the machine's."""
    echo = RawEcho("ipc", folder / "control")
    took = [echo.ping_ms() for _ in range(500)]
    echo.close()
    return f"a bare ZeroMQ ping here: p50 {statistics.median(took):.2f}, p99 {p99(took):.2f} ms"


# ---------------------------------------------------------------- beside an upload of 500 MB


def upload(connection_path: str, pipe) -> None:
    """In another process: send one job of 512 MiB and a mask of 64 MiB whenever told, and say when it was under way."""
    client = EditorClient(ConnectionInfo.read(Path(connection_path)))
    picture = Picture.random(8192, PixelFormat.RGBA16)
    pipe.send("ready")
    while pipe.recv():
        times = client.fill(picture)
        pipe.send((times.begun_at, times.begun_at + times.done_ms / 1000, times.accepted_ms / 1000))
        del times
    client.close()


def measure_uploads(folder: Path, rounds: int, say: Say) -> list[Verdict]:
    """P12 and P16: another client's pings, and its small jobs, while a message of 576 MiB goes up and comes down."""
    note = machine_note(folder)
    say(f"  {note}")
    context = multiprocessing.get_context("spawn")
    pings: list[float] = []
    small: list[float] = []
    small_done: list[float] = []
    with ExitStack() as stack:
        running = stack.enter_context(started(folder / "daemon", main=ECHO))
        ours, theirs = context.Pipe()
        uploader = context.Process(target=upload, args=(str(running.connection_path), theirs), daemon=True)
        uploader.start()
        wire, client, picture = Wire(running.info), EditorClient(running.info), Picture.random(512)
        wire.greet()
        ours.recv()
        quiet_pings = [wire.ping_ms() for _ in range(1000)]
        quiet = [client.fill(picture) for _ in range(30)]
        for turn in range(max(2, rounds)):
            ours.send(True)
            while not ours.poll():
                if turn % 2:
                    times = client.fill(picture)
                    small.append(times.pixels_ms)
                    small_done.append(times.done_ms)
                else:
                    pings.append(wire.ping_ms())
                    time.sleep(0.001)
            begun, done, accepted_s = ours.recv()
            say(
                f"  upload {turn + 1}: on the disk after {accepted_s:.2f} s, all back after {done - begun:.2f} s"
            )
        ours.send(False)
        uploader.join(30)
        wire.close()
        client.close()
    quiet_ms = statistics.median(t.pixels_ms for t in quiet)
    quiet_done_ms = statistics.median(t.done_ms for t in quiet)
    say(
        f"  quiet: ping p50 {statistics.median(quiet_pings):.2f} p99 {p99(quiet_pings):.2f} ms; "
        f"512²: pixels {quiet_ms:.1f}, done {quiet_done_ms:.1f} ms; "
        f"beside an upload: {len(small)} small jobs, done p50 {statistics.median(small_done):.1f}, "
        f"the last after {max(small_done):.1f} ms"
    )
    return [
        Verdict("P12", "ping p50 beside an upload of 576 MiB", statistics.median(pings), "ms", 2.0, 1.0),
        Verdict("P12", "ping p99 beside it", p99(pings), "ms", 20.0, 10.0, note),
        Verdict(
            "P16", "512² beside it: later by, p50", statistics.median(small) - quiet_ms, "ms", 50.0, 20.0
        ),
    ]


# ---------------------------------------------------------------- cancel


def measure_cancel(folder: Path, rounds: int, say: Say) -> list[Verdict]:
    """P13: until a cancel is confirmed, and until the engine has stopped and the next job runs.

    A confirmation is in the journal before it is sent, and waits for no flush; beside it stands a daemon whose state folder is in
    memory, which shows the daemon's own share.
    """
    note = machine_note(folder)
    say(f"  {note}")
    verdicts = []
    for where in ("on the disk", "in memory"):
        state = Path(tempfile.mkdtemp(prefix="ow-", dir="/dev/shm")) if where == "in memory" else None
        try:
            with started(folder / where.split()[-1], state) as running:
                acks, stops = _cancels(running.info, 10 * rounds)
        finally:
            if state is not None:
                shutil.rmtree(state, ignore_errors=True)
        say(f"  state {where}: confirmed p50 {statistics.median(acks):.2f} p99 {p99(acks):.2f} ms, "
            f"next job begun p50 {statistics.median(stops):.1f} p99 {p99(stops):.1f} ms")  # fmt: skip
        limit = f"an fsync of 4 KiB: p50 {_fsync_ms(folder):.1f} ms" if state is None else note
        verdicts.append(
            Verdict("P13", f"cancel confirmed p99, state {where}", p99(acks), "ms", 5.0, 1.0, limit)
        )
        if state is None:
            over = p99(stops) - _STEP_S * 1000
            verdicts.append(
                Verdict("P13", "engine stopped and next job begun, beyond a step, p99", over, "ms", 20.0, 6.0)
            )
    return verdicts


def _cancels(info: ConnectionInfo, count: int) -> tuple[list[float], list[float]]:
    wire, picture = Wire(info), Picture.random(64)
    wire.greet()
    acks, stops = [], []
    for _ in range(count):
        jobs = [picture.job(f"steps=400 delay={_STEP_S}") for _ in range(2)]
        for job in jobs:
            wire.send(job, picture.payload)
        wire.wait(lambda envelope, job=jobs[0]: _is_painting(envelope.message, job.job_id))
        time.sleep(0.03)
        begun_at = perf_counter()
        message_id = wire.send(CancelJob(job_id=jobs[0].job_id))
        found: dict[str, float] = {}

        def note(envelope, found=found, message_id=message_id, job=jobs[1]) -> None:
            if envelope.header.re == message_id:
                found["ack"] = perf_counter()
            word = envelope.message
            if isinstance(word, JobProgress) and word.job_id == job.job_id and word.state is JobState.RUNNING:
                found.setdefault("next", perf_counter())

        wire.on_message = note
        assert wire.loop.run_until(lambda found=found: len(found) == 2, 30)
        wire.on_message = wire._note
        acks.append((found["ack"] - begun_at) * 1000)
        stops.append((found["next"] - begun_at) * 1000)
        for job in jobs:
            wire.ask(AckJob(job_id=job.job_id))
        wire.heard.clear()
    wire.close()
    return acks, stops


def _is_painting(word: object, job_id: str) -> bool:
    return (
        isinstance(word, JobProgress)
        and word.job_id == job_id
        and word.state is JobState.RUNNING
        and word.fraction is not None
    )


def _fsync_ms(folder: Path) -> float:
    took = []
    with (folder / "probe").open("wb", buffering=0) as out:
        for _ in range(20):
            begun_at = perf_counter()
            out.write(bytes(4096))
            os.fsync(out.fileno())
            took.append((perf_counter() - begun_at) * 1000)
    return statistics.median(took)


# ---------------------------------------------------------------- connections


def measure_connections(folder: Path, rounds: int, say: Say) -> list[Verdict]:
    """P14: 1000 editors that do nothing and 8 that ping without a pause."""
    note = machine_note(folder)
    say(f"  {note}")
    most = IDLE + 100
    with started(folder / "daemon", main=ECHO, max_sessions=most, max_principal_sessions=most) as running:
        loop, pid = SelectorLoop(), running.process.pid
        first = Wire(running.info, loop=loop)
        first.greet()
        before = rss_bytes([pid])
        begun_at = perf_counter()
        idle = []
        for _ in range(IDLE):
            idle.append(Wire(running.info, loop=loop))
            idle[-1].greet()
        took_s = perf_counter() - begun_at
        each = (rss_bytes([pid]) - before) / IDLE / 1024
        active = [Wire(running.info, loop=loop) for _ in range(ACTIVE)]
        for wire in active:
            wire.greet()
        took = _ping_all(loop, active, 1000 * max(2, rounds))
        say(
            f"  {IDLE} connections in {took_s:.1f} s; {ACTIVE} pinging at once: p50 {statistics.median(took):.2f}, "
            f"p99 {p99(took):.2f} ms"
        )
        for wire in (first, *idle, *active):
            wire.close()
    return [
        Verdict("P14", f"ping p99, {IDLE} idle and {ACTIVE} active", p99(took), "ms", 5.0, 3.0, note),
        Verdict("P14", "the daemon's memory for a connection", each, "KiB", 64.0, 32.0),
    ]


def _ping_all(loop: SelectorLoop, wires: list[Wire], count: int) -> list[float]:
    """Each of ``wires`` pings as soon as it has its pong, ``count`` times in all."""
    took: list[float] = []

    def begin(wire: Wire) -> None:
        sent_at = perf_counter()

        def heard(envelope) -> None:
            if not isinstance(envelope.message, Pong):
                return  # what can be asked for has changed, which every session is told
            took.append((perf_counter() - sent_at) * 1000)
            begin(wire)

        wire.on_message = heard
        wire.send(Ping(nonce=1))

    for wire in wires:
        begin(wire)
    assert loop.run_until(lambda: len(took) >= count, 120)
    return took


# ---------------------------------------------------------------- the first pong

_FIRST_PONG = """
import time
begun_at = time.perf_counter()
from pathlib import Path
import sys
from overpaint_client import controller, request
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.messages import Ping
imported_at = time.perf_counter()
pong = request.ask(Ping(nonce=1), info=ConnectionInfo.read(Path(sys.argv[1])))
print((imported_at - begun_at) * 1000, (time.perf_counter() - begun_at) * 1000)
"""


def measure_start(folder: Path, rounds: int, say: Say) -> list[Verdict]:
    """P15: a fresh interpreter imports the plug-ins' common part, connects, says hello and gets a pong.

    As in an editor, which keeps the modules' bytecode: the first start after an installation compiles them and stands apart.
    """
    imports, pongs = [], []
    environ = {**os.environ, "PYTHONPATH": _SOURCES, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with started(folder / "daemon") as running:
        for _ in range(1 + max(3, 2 * rounds)):
            printed = subprocess.run(
                [sys.executable, "-c", _FIRST_PONG, str(running.connection_path)],
                env=environ,
                capture_output=True,
                check=True,
                text=True,
            ).stdout.split()
            imports.append(float(printed[0]))
            pongs.append(float(printed[1]))
    first_ms = pongs.pop(0)
    del imports[0]
    say(
        f"  import p50 {statistics.median(imports):.0f} ms of {statistics.median(pongs):.0f} ms; "
        f"the very first start {first_ms:.0f} ms"
    )
    return [Verdict("P15", "import to first pong", statistics.median(pongs), "ms", 250.0, 150.0)]


PARTS = {
    "uploads": measure_uploads,
    "cancel": measure_cancel,
    "connections": measure_connections,
    "start": measure_start,
}
