"""Tests that need a card are neither run nor passed over in silence where there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_tests_that_need_a_card_are_counted_aloud_where_there_is_none():
    # Other plug-ins of pytest take what xdist told this process for their own.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    told = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--collect-only",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            HERE,
        ],
        env={**environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "[cpu]" in told
    assert "[cuda" not in told
    counted = re.search(r"^(\d+) gpu tests not run: no CUDA here$", told, re.MULTILINE)
    assert counted is not None
    assert f"({counted[1]} deselected)" in told
