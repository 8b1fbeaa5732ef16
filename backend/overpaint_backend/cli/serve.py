"""``overpaint serve``."""

from __future__ import annotations

__all__ = ["run_serve"]


def run_serve(idle_exit_s: float | None) -> int:
    """Run the daemon until it is told to stop; returns its exit code."""
    from overpaint_backend.config import DaemonSettings
    from overpaint_backend.daemon import run_daemon

    return run_daemon(DaemonSettings.from_environment(idle_exit_s=idle_exit_s))
