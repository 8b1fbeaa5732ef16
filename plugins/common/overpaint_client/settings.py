"""What a client can be told from outside: where its files lie and how the daemon is found and started."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from overpaint_protocol import connection
from overpaint_protocol.connection import ConnectionInfo

from .context import ContextHints
from .launcher import bundled_daemon_command

__all__ = ["ClientSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Settings of one client.

    clients_dir: holds the session files of all clients of this editor.
    find_daemon: reads the connection file; raises LinkError if there is none.
    daemon_command: starts the daemon, or () if that is not possible from here.
    hints: how much surrounding a job sends.
    preview_bytes: largest preview asked for, 0 for none.
    link_patience_s: how long a job waits for a daemon that should come up, in seconds.
    outwaits_stop: whether jobs wait for as long as the user wants no daemon, rather than fail.
    """

    clients_dir: Path
    find_daemon: Callable[[], ConnectionInfo]
    daemon_command: tuple[str, ...] = ()
    hints: ContextHints = field(default_factory=ContextHints)
    preview_bytes: int = 32 * 1024
    link_patience_s: float = 60.0
    outwaits_stop: bool = True

    @classmethod
    def for_editor(
        cls,
        editor: str,
        environ: Mapping[str, str] = os.environ,
        daemon_command: tuple[str, ...] | None = None,
    ) -> ClientSettings:
        """The usual settings of ``editor``, a short name such as ``krita``."""
        return cls(
            clients_dir=connection.state_dir(environ) / "clients" / editor,
            find_daemon=lambda: connection.find(connection.candidates(environ)),
            daemon_command=bundled_daemon_command() if daemon_command is None else daemon_command,
        )
