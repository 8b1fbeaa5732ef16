"""What every executor promises: subclasses say how one is made, with the workers of ``worker_scripts``."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
import zmq
from tests.backend import worker_scripts

from overpaint_backend.executors.base import (
    Ready,
    RunJob,
    RunOver,
    RunProgress,
    RunVariant,
    WorkerGone,
    WorkerSettings,
)
from overpaint_backend.server.zap import Authenticator
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Fill, SubmitJob
from overpaint_protocol.pixels import ImageHeader, PixelFormat

WAIT_S = 120
"""A failure then, never a measure of speed."""
SIZE = Size(2, 2)
PIXELS = (bytes(range(16)), bytes(4))


def run_job(run=1, prompt="", variants=1):
    return RunJob(
        run=run,
        engine="e",
        seed=2**32 - 1,
        first_variant=0,
        preview_bytes=0,
        request=SubmitJob(
            job_id="j",
            document_id="d",
            operation=Fill(prompt=prompt),
            canvas=SIZE,
            context=Rect.from_size(SIZE),
            image=ImageHeader(size=SIZE, format=PixelFormat.RGBA8, frames=(0,)),
            mask=ImageHeader(size=SIZE, format=PixelFormat.GRAY8, frames=(1,)),
            variants=variants,
        ),
    )


def hear(executor, kind, now=None):
    """Poll until an event of ``kind`` comes; returns all with payloads. now: a time that stands still, or the real one."""
    heard = []
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        executor.gate.answer()
        heard += executor.poll(time.monotonic() if now is None else now)
        if any(isinstance(event, kind) for event, _ in heard):
            return heard
        time.sleep(0.005)
    raise AssertionError(f"no {kind.__name__} came, only {heard}")


def events_until(executor, kind, now=None):
    return [event for event, _ in hear(executor, kind, now)]


class ExecutorContract:
    """The suite. All waits are for events, and where the time matters it is an argument."""

    failing_starts = 8
    """How many of a worker that never gets ready are watched."""
    ages_and_pauses = ((1.0, 0.5), (9.5, 1.0), (10.5, 0.0), (0.0, 0.5))
    """How long workers live, one after the other, and how long after its end the next is started, in seconds."""

    def make(self, context, authorize, serve, *, runtime_dir, **options):
        """An executor whose workers do as the function named ``serve`` of ``worker_scripts`` does."""
        raise NotImplementedError

    @pytest.fixture
    def start(self, tmp_path):
        context = zmq.Context()
        gate = Authenticator(context)
        executors = []

        def start(serve, **options):
            assert hasattr(worker_scripts, serve)
            executor = self.make(context, gate.allow, serve, **{"runtime_dir": tmp_path, **options})
            executor.gate = gate
            executors.append(executor)
            return executor

        yield start
        for executor in executors:
            executor.stop(5)
        gate.close()
        context.term()

    @pytest.mark.parametrize("is_ipc", [True, False], ids=["ipc", "tcp"])
    def test_a_worker_gets_ready_and_ends_for_good(self, start, tmp_path, is_ipc):
        executor = start("echo", runtime_dir=tmp_path if is_ipc else None)
        assert executor.watched == ()
        assert events_until(executor, Ready) == [worker_scripts.READY]
        assert executor.watched != ()
        assert executor.restarts == 0
        executor.stop(WAIT_S)
        assert executor.watched == ()
        assert executor.poll(1e9) == []
        assert list(tmp_path.glob("*.sock")) == []

    def test_jobs_are_done_one_after_another_and_their_pixels_come_back(self, start):
        executor = start("echo")
        hear(executor, Ready)
        large = (os.urandom(3_000_000), os.urandom(5))
        with_nothing = (os.urandom(3_000_000), b"", os.urandom(5))
        for run, payload in ((1, PIXELS), (2, large), (3, with_nothing), (4, large[::-1])):
            executor.run(run_job(run, variants=2), payload)
            (progress, *made, over), payloads = zip(*hear(executor, RunOver), strict=True)
            assert (progress.run, over) == (run, RunOver(run=run))
            assert [(type(event), event.variant, event.seed) for event in made] == [
                (RunVariant, 0, 2**32 - 1),
                (RunVariant, 1, 2**32 - 1),
            ]
            for got in payloads[1:-1]:
                assert [bytes(frame) for frame in got] == list(payload)

    def test_a_run_is_stopped_and_no_other(self, start):
        executor = start("echo")
        hear(executor, Ready)
        executor.cancel(1)  # before it begins: a word may overtake another
        executor.run(run_job(1, "wait"), PIXELS)
        assert hear(executor, RunOver)[-1][0].run == 1
        executor.run(run_job(2, "wait"), PIXELS)
        hear(executor, RunProgress)
        executor.cancel(2)
        assert [event for event, _ in hear(executor, RunOver)] == [RunOver(run=2)]

    def test_a_worker_that_hears_nothing_is_killed_and_replaced_at_once(self, start):
        executor = start("echo")
        hear(executor, Ready)
        executor.run(run_job(1, "hang"), PIXELS)
        worker = self.worker_of(executor)
        executor.kill()
        now = time.monotonic()
        assert isinstance(events_until(executor, WorkerGone, now)[-1], WorkerGone)
        worker.wait(WAIT_S)
        assert executor.poll(now) == [] and executor.watched != ()
        hear(executor, Ready)
        assert executor.restarts == 1
        executor.run(run_job(2), PIXELS)
        assert hear(executor, RunOver)[-1][0] == RunOver(run=2)

    def test_the_death_of_a_worker_in_the_middle_of_a_job_is_noticed(self, start):
        executor = start("echo")
        hear(executor, Ready)
        executor.run(run_job(1, "hang"), PIXELS)
        self.worker_of(executor).send_signal(signal.SIGKILL)
        assert isinstance(events_until(executor, WorkerGone)[-1], WorkerGone)
        assert executor.watched == ()
        hear(executor, Ready)

    def test_a_worker_that_never_gets_ready_is_tried_again_ever_more_rarely(self, start):
        executor = start("fails_at_once")
        now, pauses = 0.0, []
        events: list = []
        for _ in range(self.failing_starts):
            (gone,) = events or events_until(executor, WorkerGone, now)
            assert isinstance(gone, WorkerGone) and gone.reason
            failed_at = now
            while True:
                # on a busy machine a start and its end can be seen in one look
                events = [event for event, _ in executor.poll(now)]
                if events or executor.watched != ():
                    break
                now += 0.25
            pauses.append(now - failed_at)
        assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30][: self.failing_starts]

    def test_a_worker_that_dies_young_is_tried_again_later_and_an_old_one_at_once(self, start):
        executor = start("ends_with_its_first_job")
        now = 0.0
        for age, pause in self.ages_and_pauses:
            assert executor.poll(now) == []
            events_until(executor, Ready, now)
            now += age
            executor.run(run_job(), PIXELS)
            events_until(executor, WorkerGone, now)
            if pause:
                assert executor.poll(now + pause - 0.1) == []
                assert executor.watched == ()
            now += pause

    def test_a_worker_is_told_its_settings(self, start):
        executor = start("tells_its_settings", worker_settings=WorkerSettings(idle_unload_s=7.5))
        told = hear(executor, RunOver)[-1][0].error.message
        assert told.startswith("7.5")
        assert told.endswith(f"threads={os.environ.get('OMP_NUM_THREADS')}"), (
            "as many as it would take itself"
        )

    def test_a_worker_that_hangs_while_starting_is_replaced(self, start):
        executor = start("hangs", start_timeout_s=5)
        executor.poll(0.0)
        assert executor.poll(4.9) == []
        events_until(executor, WorkerGone, now=5.1)

    def test_a_worker_that_talks_nonsense_is_replaced(self, start):
        executor = start("talks_nonsense")
        assert isinstance(events_until(executor, WorkerGone)[-1], WorkerGone)

    def test_a_worker_that_does_not_hear_of_its_end_ends(self, start):
        executor = start("echo")
        hear(executor, Ready)
        executor.run(run_job(1, "hang"), PIXELS)
        worker = self.worker_of(executor)
        executor.stop(0.1)
        worker.wait(WAIT_S)
        assert not worker.is_running()

    @staticmethod
    def worker_of(executor):
        """The process that does the job just given to a worker that echoes."""
        return psutil.Process(int(hear(executor, RunProgress)[-1][0].stage))
