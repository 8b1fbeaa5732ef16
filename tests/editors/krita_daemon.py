"""A daemon of its own for a test in Krita, as a user would start it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.editors.krita_install import PROJECT

__all__ = ["STATE_DIR", "running_daemon"]

STATE_DIR = "OVERPAINT_STATE_DIR"

_START_S = 30.0
_STOP_S = 15.0


@contextmanager
def running_daemon(state: Path) -> Iterator[None]:
    """Run a daemon, with the test engines, that keeps its files and sockets in ``state`` (a short path)."""
    parts = ("protocol", "plugins/common", "backend")
    environment = {
        **os.environ,
        STATE_DIR: str(state),
        "OVERPAINT_RUNTIME_DIR": str(state / "run"),
        "OVERPAINT_TEST_ENGINES": "1",
        "PYTHONPATH": os.pathsep.join(str(PROJECT / part) for part in parts),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "overpaint_backend", "serve"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_S
        while not (state / "daemon.json").exists():
            assert process.poll() is None, f"the daemon ended:\n{_log(state)}"
            assert time.monotonic() < deadline, f"the daemon did not start:\n{_log(state)}"
            time.sleep(0.05)
        yield
        assert process.poll() is None, f"the daemon ended:\n{_log(state)}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _log(state: Path) -> str:
    path = state / "daemon.log"
    return path.read_text(errors="replace")[-3000:] if path.exists() else ""
