"""The worker process: the suite of executors, and what only a process has."""

from __future__ import annotations

import os
import sys
import time

import numpy as np
import pytest
from tests.backend.executor_contract import PIXELS, ExecutorContract, events_until, hear, run_job

from overpaint_backend.executors.base import (
    EnginesChanged,
    Ready,
    RunOver,
    RunProgress,
    RunVariant,
    WorkerGone,
    pack,
    unpack,
)
from overpaint_backend.executors.process import ProcessExecutor
from overpaint_protocol.errors import ProtocolError
from overpaint_protocol.messages import EngineInfo

PROGRAM = """
import sys
sys.path[:0] = {path!r}
from overpaint_backend.executors.worker import main
from tests.backend import worker_scripts
main(worker_scripts.{serve})
"""


class TestProcessExecutor(ExecutorContract):
    def make(self, context, authorize, serve, **options):
        command = [sys.executable, "-c", PROGRAM.format(path=sys.path, serve=serve)]
        return ProcessExecutor(context, authorize, command=command, **options)

    def test_a_killed_worker_is_replaced_under_a_new_token(self, start):
        tokens = []
        executor = start("echo")
        allow = executor._authorize
        executor._authorize = lambda domain, token: (tokens.append((domain, token)), allow(domain, token))
        hear(executor, Ready)
        first = executor.pid
        executor.kill()
        events_until(executor, WorkerGone)
        hear(executor, Ready)
        assert executor.pid not in (None, first)
        assert {domain for domain, _ in tokens} == {"worker"}
        assert len({token for _, token in tokens}) == 2

    def test_a_worker_gets_the_variables_of_its_device(self, start):
        executor = start("tells_its_settings", environ={"TOLD": "GPU-1"})
        assert hear(executor, RunOver)[-1][0].error.message.split()[:2] == ["600.0", "GPU-1"]

    def test_a_worker_that_names_a_place_that_there_is_not_is_replaced(self, start):
        assert isinstance(events_until(start("misplaces_its_results"), WorkerGone)[-1], WorkerGone)

    def test_a_variant_counts_once_its_pixels_are_there(self, start):
        executor = start("ends_before_the_pixels")
        hear(executor, Ready)
        executor.run(run_job(), PIXELS)
        assert not any(isinstance(event, RunVariant) for event in events_until(executor, WorkerGone))

    def test_a_worker_whose_pixels_belong_to_nothing_is_replaced(self, start):
        heard = events_until(start("sends_pixels_of_another_run"), WorkerGone)
        assert not any(isinstance(event, RunVariant) for event in heard)

    @pytest.mark.skipif(
        sys.platform != "linux", reason="other systems have no memory that nobody can shorten"
    )
    @pytest.mark.parametrize(
        ("can_share", "length"),
        [(True, length) for length in (1000, 1 << 20, 16 << 20, 40 << 20, 150 << 20)]
        + [(False, 1000), (False, 16 << 20)],
    )
    def test_pixels_lie_in_shared_memory_if_they_are_worth_it_and_fit(
        self, start, monkeypatch, can_share, length
    ):
        if not can_share:
            monkeypatch.setattr("overpaint_backend.executors.process._shared", lambda: None)
        executor = start("echo")
        hear(executor, Ready)
        fitting = (64 << 20) // length if length >= 1 << 17 else 0
        shared = [can_share and index < fitting for index in range(3)]
        for run in range(1, 4):
            pixels = (bytes([run]) * length, bytes([run, 7]))
            executor.run(run_job(run, variants=3), pixels)
            made = [payload for event, payload in hear(executor, RunOver) if isinstance(event, RunVariant)]
            assert [tuple(map(bytes, payload)) for payload in made] == [pixels] * 3
            assert [isinstance(payload[0].obj, np.ndarray) for payload in made] == shared
            del made

    @pytest.mark.skipif(
        sys.platform != "linux", reason="other systems have no memory that nobody can shorten"
    )
    def test_memory_that_only_large_jobs_need_is_given_back_at_rest(self, start):
        executor = start("echo")
        hear(executor, Ready)
        large = (bytes(20 << 20),)

        def memory():
            return os.fstat(executor._worker.shared.descriptor).st_blocks * 512

        executor.run(run_job(1, prompt="wait"), large)
        hear(executor, RunProgress)
        executor.poll(time.monotonic() + 3600)
        assert memory() >= len(large[0]), "the worker may still read it"
        executor.cancel(1)
        hear(executor, RunOver)
        executor.run(run_job(2), large)
        hear(executor, RunOver)
        ended_at = time.monotonic()
        executor.poll(ended_at + 9)
        assert memory() >= 2 * len(large[0]), "the job and its result"
        executor.poll(ended_at + 11)
        assert memory() < 2 * len(large[0])
        executor.run(run_job(3), large)
        made = [payload for event, payload in hear(executor, RunOver) if isinstance(event, RunVariant)]
        assert [tuple(map(bytes, payload)) for payload in made] == [large]

    @pytest.mark.skipif(
        sys.platform != "linux", reason="other systems have no memory that nobody can shorten"
    )
    def test_a_worker_that_is_killed_while_a_job_is_laid_down_is_replaced(self, start):
        executor = start("echo")
        hear(executor, Ready)
        large = (bytes(120 << 20),)
        executor.run(run_job(1), large)
        executor.kill()
        events_until(executor, WorkerGone)
        hear(executor, Ready)
        executor.run(run_job(2), large)
        heard = hear(executor, RunOver)
        assert [event.run for event, _ in heard if isinstance(event, RunOver)] == [2]

    def test_the_reason_names_the_code_it_ended_with(self, start):
        assert "code 3" in events_until(start("fails_at_once"), WorkerGone)[-1].reason

    def test_a_command_that_does_not_exist_is_reported_and_tried_again(self, start):
        executor = start("echo")
        executor._command = ["/no/such/program"]
        ((gone, _),) = executor.poll(0.0)
        assert "cannot be started" in gone.reason
        assert executor.poll(0.4) == []
        assert len(executor.poll(0.6)) == 1


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
        run_job(),
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
