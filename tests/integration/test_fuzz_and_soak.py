"""A bounded part of ``python -m tests.bench.fuzz`` and ``python -m tests.bench.soak``."""

from __future__ import annotations

import pytest
from tests.bench.fuzz import fuzz
from tests.bench.soak import soak

FRAMES = 20_000
JOBS = 300


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
def test_frames_that_no_client_would_send_do_no_harm(tmp_path, seed):
    report = fuzz(tmp_path, FRAMES, seed)
    assert report.faults == []
    assert report.frames >= FRAMES
    assert report.connections > 100
    assert report.files_after <= report.files_before + 1, "all of its connections are gone"


@pytest.mark.timeout(600)
def test_of_hundreds_of_jobs_nothing_is_left(tmp_path):
    report = soak(tmp_path, JOBS)
    assert report.faults == []
    assert set(report.ends) == {"JobDone", "JobFailed", "JobCancelled"}
    # So few jobs are still warming up: what a thousand leave is measured by ten thousand. This finds pictures that stay.
    picture_mib = 64 * 64 * 5 / 2**20
    assert all(slope < 1000 * picture_mib for slope in report.slopes.values())
