"""What ``python -m tests.bench.workers`` measures with, in short, and that a missed bar is told."""

from __future__ import annotations

import pytest
from tests.bench.workers import EXECUTORS, Kill, Measured, kill_one, measure, started


@pytest.mark.timeout(300)
@pytest.mark.parametrize("executor", EXECUTORS)
def test_nothing_is_lost_when_a_worker_is_killed_in_the_middle_of_a_job(tmp_path, executor):
    with started(tmp_path / "two", executor, 2) as daemon:
        assert kill_one(daemon.client(), jobs=4).lost == 0


@pytest.mark.timeout(300)
def test_one_worker_is_measured_and_two_are(tmp_path):
    measured = measure("process", tmp_path, jobs=4, rounds=1)
    assert measured.one > 0 and measured.two > 0


@pytest.mark.parametrize(
    ("two", "kill", "kept"),
    [
        (185.0, Kill(0, 5.0, 9.0), [True, True, True]),
        (184.0, Kill(0, 0.1, 9.0), [False, True, True]),
        (200.0, Kill(1, 0.1, 9.0), [True, False, True]),
        (200.0, Kill(0, 5.1, 9.0), [True, True, False]),
    ],
)
def test_a_missed_bar_is_told(two, kill, kept):
    assert [is_kept for is_kept, _ in Measured("ray", 100.0, two, kill).verdicts] == kept
