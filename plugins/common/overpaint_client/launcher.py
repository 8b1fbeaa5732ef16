"""Start the daemon from an editor.

The installer leaves ``BUILD.json`` beside ``_vendor`` in the bundle, with the command that runs the daemon of the
environment the plug-in was installed from.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from overpaint_protocol.errors import DaemonNotRunning

__all__ = ["BUILD_FILE", "bundled_daemon_command", "let_go", "start_daemon"]

BUILD_FILE = "BUILD.json"

_HOST_VARIABLES = (
    "PYTHONHOME",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV",
)
"""What an editor's package (AppImage, MSYS2, macOS bundle) sets for its own Python and would break another."""


def bundled_daemon_command(package: Path = Path(__file__).parent) -> tuple[str, ...]:
    """The command in the bundle's BUILD.json, or () outside a bundle or if the file does not say."""
    build = package.parent.parent / BUILD_FILE
    try:
        command = json.loads(build.read_text(encoding="utf-8"))["daemon_command"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    is_command = isinstance(command, list) and command and all(isinstance(word, str) for word in command)
    return tuple(command) if is_command else ()


def start_daemon(
    command: tuple[str, ...], environ: Mapping[str, str] = os.environ
) -> subprocess.Popen[bytes]:
    """Start the daemon in the background; it outlives the editor. Returns at once.

    A daemon that is already running makes the new one end by itself.

    Raises:
        DaemonNotRunning: the command is unknown, missing, or may not be run from here (a sandbox).
    """
    advice = "Start it in a terminal with “overpaint serve”, then try again."
    if not command or Path("/.flatpak-info").exists():  # inside Flatpak, the host's programs are out of reach
        raise DaemonNotRunning(f"Overpaint's daemon does not run. {advice}")
    clean = {name: value for name, value in environ.items() if name not in _HOST_VARIABLES}
    flags = 0
    if sys.platform == "win32":
        flags = (
            subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        )
    try:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=clean,
            start_new_session=True,
            creationflags=flags,
        )
    except OSError as error:
        raise DaemonNotRunning(
            f"Overpaint's daemon could not be started from here. {advice}", detail=str(error)
        ) from error


def let_go(daemon: subprocess.Popen[bytes]) -> None:
    """Stop watching a daemon that was started here; it goes on."""
    if daemon.poll() is None:
        # Popen warns of a child that is still running when it is dropped; this one is meant to.
        daemon.returncode = 0
