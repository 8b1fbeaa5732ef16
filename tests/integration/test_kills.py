"""Twenty kills of the two hundred: ``python -m tests.bench.kills`` is the whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from tests.bench.kills import ChaosRun


@pytest.mark.timeout(900)  # its own waits end before; how long it takes is the machine's affair
def test_kills_at_random_instants_lose_double_and_misdirect_nothing():
    folder = Path(tempfile.mkdtemp(prefix="ov-"))  # short: a Unix socket's path has little room
    report = ChaosRun(folder, seed=20).run(20)
    assert report.violations == [], f"journal, logs and notes: {folder}"
    assert sum(report.kills.values()) == 20
    assert report.ends["done"] > 0
    assert report.offered_again > 0
    shutil.rmtree(folder)
