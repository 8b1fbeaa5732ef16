"""``overpaint service``: have the daemon started with the user's session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from overpaint_backend.startup import Startup, where
from overpaint_protocol import connection
from overpaint_protocol.errors import DaemonError, OverpaintError

from .outcome import FAILED, OK, print_json, say

__all__ = ["run_service_install", "run_service_status", "run_service_uninstall"]

_TIMEOUT_S = 30.0


def run_service_install(*, as_json: bool) -> int:
    """Write what starts the daemon, and start it unless one runs.

    Raises:
        DaemonError: it cannot be written.
    """
    startup = _startup()
    try:
        startup.file.parent.mkdir(parents=True, exist_ok=True)
        startup.file.write_bytes(startup.content)
    except OSError as error:
        raise DaemonError(f"{startup.file} cannot be written: {error.strerror}.") from error
    is_enabled = _run_all(startup, startup.enable)
    is_running = _daemon_runs()
    is_started = is_enabled and not is_running and bool(startup.start) and _run_all(startup, startup.start)
    if as_json:
        print_json({"ok": True, "file": str(startup.file), "enabled": is_enabled, "started": is_started})
        return OK
    say(f"{startup.file} is written.")
    if not is_enabled:
        commands = "; ".join(" ".join(command) for command in (*startup.enable, *startup.start))
        say(f"{startup.manager} did not take it. In a session where it runs: {commands}")
    elif is_started:
        say("The daemon runs, and starts with every session of yours.")
    else:
        running = "One runs already; after that, the" if is_running else "The"
        say(f"{running} daemon starts with every session of yours, from the next one on.")
    return OK


def run_service_uninstall(*, as_json: bool) -> int:
    """Take it away again; a daemon that runs goes on."""
    startup = _startup()
    was_installed = startup.file.exists()
    if was_installed:
        _run_all(startup, startup.disable)
        try:
            startup.file.unlink()
        except OSError as error:
            raise DaemonError(f"{startup.file} cannot be removed: {error.strerror}.") from error
        _run_all(startup, startup.enable[:1])  # have the manager look again
    if as_json:
        print_json({"ok": True, "was_installed": was_installed})
    elif was_installed:
        say(f"{startup.file} is removed. The daemon starts when an editor needs it.")
    else:
        say("Nothing was installed.")
    return OK


def run_service_status(*, as_json: bool) -> int:
    """Say whether it is installed; 0 if so and up to date, else 1."""
    startup = _startup()
    try:
        is_current = startup.file.read_bytes() == startup.content
        is_installed = True
    except OSError:
        is_current = is_installed = False
    state = _answer(startup.state).partition("\n")[0] if is_installed and startup.state else ""
    if as_json:
        print_json(
            {
                "ok": True,
                "file": str(startup.file),
                "installed": is_installed,
                "current": is_current,
                "state": state,
            }
        )
    elif not is_installed:
        say("The daemon does not start with your session. To have that: overpaint service install")
    elif not is_current:
        say(f"{startup.file} is of another installation. To renew it: overpaint service install")
    else:
        told = f" {startup.manager} says: {state}." if state else ""
        say(f"The daemon starts with your session, by {startup.file}.{told}")
    return OK if is_current else FAILED


def _startup() -> Startup:
    user_id = os.getuid() if sys.platform != "win32" else None
    return where(sys.platform, Path.home(), os.environ, sys.executable, user_id)


def _run_all(startup: Startup, commands: Sequence[Sequence[str]]) -> bool:
    """Run the manager's commands as far as they succeed; whether all did."""
    if commands and shutil.which(startup.manager) is None:
        return False
    return all(_run(command).returncode == 0 for command in commands)


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(list(command), FAILED, "", str(error))


def _answer(command: Sequence[str]) -> str:
    return _run(command).stdout.strip() if shutil.which(command[0]) else ""


def _daemon_runs() -> bool:
    try:
        connection.find()
    except OverpaintError:
        return False
    return True
