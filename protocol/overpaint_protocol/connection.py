"""The connection file: how a client finds the daemon and proves that it may talk to it (spec §1).

The daemon writes it when it listens and removes it when it ends::

    {"endpoints": ["ipc:///run/user/1000/overpaint/….sock", "tcp://127.0.0.1:40123"],
     "token": "…", "identity": "…", "pid": 4242, "started_at": 1790000000.0, "product_version": "0.1.0", "major": 1,
     "remote": "", "relay_to": ""}

Who can read the token can use the daemon, and who can read the identity can pass for it, so the file is for its owner alone, and
one that is not is refused. Both are new with each daemon: what a client shows to another program, in the place of a daemon that
crashed, opens nothing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .endpoint import Endpoint
from .errors import DaemonNotRunning, DaemonStopped, LinkError, OverpaintError
from .private_files import NotPrivate, read_private, write_private

__all__ = [
    "CONNECTION_FILE",
    "CONNECTION_VARIABLE",
    "STATE_DIR_VARIABLE",
    "STOPPED_FILE",
    "ConnectionInfo",
    "candidates",
    "find",
    "mark_stopped",
    "state_dir",
]

CONNECTION_FILE = "daemon.json"
STOPPED_FILE = "stopped"
"""Lies beside where the connection file was while the user wants no daemon; the next one removes it."""
CONNECTION_VARIABLE = "OVERPAINT_CONNECTION"
"""Environment variable with the path of the connection file; if it is set, no other place is looked at."""
STATE_DIR_VARIABLE = "OVERPAINT_STATE_DIR"
"""Environment variable with the folder the daemon keeps its files in, instead of the platform's."""

_MAX_FILE_BYTES = 64 * 1024
_MAX_TOKEN_BYTES = 255
_MAX_ENDPOINTS = 8
_RESTART = "Restart the daemon with “overpaint stop” and “overpaint serve”."


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionInfo:
    """What the connection file says.

    endpoints: where the daemon listens, best first: ipc where the platform has it, then loopback TCP.
    token: password of ZMTP's PLAIN, 1 to 255 bytes.
    pid: the daemon's process. started_at: its start in seconds since 1970.
    product_version: the daemon's. major: the major protocol version it speaks.
    identity: what the daemon's socket proves to be by, up to 255 bytes, never sent by a client; empty if it does not say.
    remote: where it listens for other machines, such as ``tcp://192.168.1.5:5577``; empty if it does not.
    relay_to: the address of the daemon on another machine it passes everything on to; empty if it does the work itself.
    """

    endpoints: tuple[str, ...]
    token: str
    pid: int
    started_at: float
    product_version: str
    major: int
    identity: str = ""
    remote: str = ""
    relay_to: str = ""

    def __repr__(self) -> str:
        """Leaves the secrets out, since reprs end up in logs."""
        return f"ConnectionInfo(endpoints={self.endpoints!r}, pid={self.pid})"

    def write(self, path: Path) -> None:
        """Put the file in place in one step, readable by its owner only; missing folders are made.

        Raises:
            OSError: the folder cannot be written.
        """
        write_private(path, json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> ConnectionInfo:
        """Read the file at ``path``.

        Raises:
            DaemonNotRunning: there is none.
            LinkError: it belongs to somebody else, others can read it, or it is damaged.
        """
        try:
            data = read_private(path, _MAX_FILE_BYTES, "the daemon's connection file")
        except FileNotFoundError:
            raise DaemonNotRunning(
                "Overpaint's daemon does not run. Start it with “overpaint serve”.", detail=str(path)
            ) from None
        except OSError as error:
            raise LinkError(
                f"The daemon's connection file cannot be opened. {_RESTART}", detail=f"{path}: {error}"
            ) from error
        except NotPrivate as reason:
            remedy = (
                _RESTART
                if reason.owner is None
                else f"Delete {path} and start the daemon with “overpaint serve”."
            )
            raise LinkError(f"{reason}, so it is not used. {remedy}", detail=str(path)) from reason
        if len(data) > _MAX_FILE_BYTES:
            raise _damaged(path, "too large")
        try:
            plain = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _damaged(path, str(error)) from error
        return cls._from_plain(plain, path)

    @classmethod
    def _from_plain(cls, plain: Any, path: Path) -> ConnectionInfo:
        if not isinstance(plain, dict):
            raise _damaged(path, "not an object")

        def take(name: str, *kinds: type) -> Any:
            value = plain.get(name)
            if type(value) not in kinds:
                raise _damaged(path, name)
            return value

        endpoints = take("endpoints", list)
        token = take("token", str)
        if not 0 < len(endpoints) <= _MAX_ENDPOINTS or not all(isinstance(text, str) for text in endpoints):
            raise _damaged(path, "endpoints")
        if not 0 < len(token.encode("utf-8", "replace")) <= _MAX_TOKEN_BYTES:
            raise _damaged(path, "token")
        try:
            for text in endpoints:
                Endpoint.parse(text)
        except OverpaintError as error:
            raise _damaged(path, error.detail) from error
        return cls(
            endpoints=tuple(endpoints),
            token=token,
            pid=take("pid", int),
            started_at=float(take("started_at", int, float)),
            product_version=take("product_version", str),
            major=take("major", int),
            identity=_text(plain, "identity"),
            remote=_text(plain, "remote"),
            relay_to=_text(plain, "relay_to"),
        )


def state_dir(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    r"""The folder of the daemon's files: the connection file, the lock and the log.

    ``$OVERPAINT_STATE_DIR``, else ``~/.local/state/overpaint`` (or below ``$XDG_STATE_HOME``), on macOS
    ``~/Library/Application Support/Overpaint``, on Windows ``%LOCALAPPDATA%\Overpaint``.
    """
    chosen = environ.get(STATE_DIR_VARIABLE)
    if chosen:
        return Path(chosen)
    home = _home(environ)
    if platform == "darwin":
        return home / "Library" / "Application Support" / "Overpaint"
    if platform == "win32":
        local = environ.get("LOCALAPPDATA")
        return (Path(local) if local else home / "AppData" / "Local") / "Overpaint"
    state_home = environ.get("XDG_STATE_HOME")
    # The XDG specification says to ignore a relative path.
    has_state_home = state_home is not None and Path(state_home).is_absolute()
    return (Path(state_home) if has_state_home and state_home else home / ".local" / "state") / "overpaint"


def candidates(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> list[Path]:
    """Where the connection file may be, in the order to look.

    Inside Flatpak and Snap the usual variables point into the sandbox, while the daemon runs outside: there the
    places of the real home come next.
    """
    chosen = environ.get(CONNECTION_VARIABLE)
    if chosen:
        return [Path(chosen)]
    paths = [state_dir(environ, platform) / CONNECTION_FILE]
    if environ.get(STATE_DIR_VARIABLE):
        return paths
    if platform not in ("darwin", "win32"):
        homes = [_home(environ)]
        if environ.get("SNAP_REAL_HOME"):
            homes.append(Path(environ["SNAP_REAL_HOME"]))
        paths += [home / ".local" / "state" / "overpaint" / CONNECTION_FILE for home in homes]
        if environ.get("SNAP_USER_COMMON"):
            paths.append(Path(environ["SNAP_USER_COMMON"]) / "overpaint" / CONNECTION_FILE)
    return list(dict.fromkeys(paths))


def find(paths: Sequence[Path] | None = None) -> ConnectionInfo:
    """Read the first usable connection file of ``paths``, by default of ``candidates()``.

    Raises:
        DaemonNotRunning: there is none anywhere.
        DaemonStopped: neither, and the user wants it so.
        LinkError: none is usable, and why the first of them is not.
    """
    first_error: LinkError | None = None
    missing = DaemonNotRunning("Overpaint's daemon does not run. Start it with “overpaint serve”.")
    for path in candidates() if paths is None else paths:
        try:
            return ConnectionInfo.read(path)
        except DaemonNotRunning as absent:
            if path.with_name(STOPPED_FILE).exists():
                missing = DaemonStopped(
                    "Overpaint's daemon was stopped. Ask for something, or start it with “overpaint serve”.",
                    detail=str(path),
                )
            elif not isinstance(missing, DaemonStopped):
                missing = absent
        except LinkError as error:
            first_error = first_error or error
    raise first_error or missing


def mark_stopped(folder: Path) -> None:
    """Note in the state folder that the user wants no daemon for now.

    Raises:
        OSError: it cannot be written.
    """
    (folder / STOPPED_FILE).touch(mode=0o600)


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    return Path(home) if home else Path.home()


def _text(plain: dict[str, Any], name: str) -> str:
    """A text that daemons of before did not write."""
    value = plain.get(name, "")
    return value if isinstance(value, str) else ""


def _damaged(path: Path, detail: str) -> LinkError:
    return LinkError(f"The daemon's connection file is damaged. {_RESTART}", detail=f"{path}: {detail}")
