"""Where editors on this machine come in, to a daemon or to a relay: the sockets, the token and the connection file."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Container
from pathlib import Path

import zmq

from overpaint_backend.config import DaemonSettings
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.endpoint import MAX_IPC_PATH_BYTES
from overpaint_protocol.version import MAJOR, PRODUCT_VERSION

from .router import CLIENT_DOMAIN, Curve, Router
from .zap import Authenticator

__all__ = ["Entrance"]

_SHORTER_ELSEWHERE_BYTES = 4
"""macOS and the BSDs have this much less room for a socket's path than Linux."""

_log = logging.getLogger(__name__)


class Entrance:
    """Closed until ``open``. The caller holds the lock of the state folder, see ``hosting``.

    Args:
        context, settings, admitted: as for Router.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        settings: DaemonSettings,
        admitted: Container[str] = (),
    ) -> None:
        self._settings = settings
        self.gate = Authenticator(context)
        self.router = Router(context, settings, admitted)
        # Two daemons with one runtime folder and two state folders must not take each other's sockets.
        self.prefix = hashlib.sha256(os.fsencode(settings.state_dir.resolve())).hexdigest()[:8]
        """Begins the names of all its sockets."""
        self.socket_dir: Path | None = settings.runtime_dir if self._can_use_ipc() else None
        """Where Unix sockets may be made; None if they cannot be used."""

    def open(self, *, remote: str = "", curve: Curve | None = None, relay_to: str = "") -> None:
        """Listen on this machine, with a new token and identity, and say so in the connection file.

        remote, relay_to: as in ConnectionInfo. curve: the key for ``remote``, whose domain has its list by now.

        Raises:
            zmq.ZMQError, OSError: a socket or the file cannot be made.
        """
        self._remove_sockets()
        token, identity = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self.gate.allow(CLIENT_DOMAIN, token)
        self.router.bind(
            None if self.socket_dir is None else self.socket_dir / f"{self.prefix}.sock", identity
        )
        if curve is not None:
            self.router.bind_remote(remote, curve)
        ConnectionInfo(
            endpoints=self.router.endpoints,
            token=token,
            pid=os.getpid(),
            started_at=time.time(),
            product_version=PRODUCT_VERSION,
            major=MAJOR,
            identity=identity,
            remote=remote,
            relay_to=relay_to,
        ).write(self._settings.connection_path)
        where = (*self.router.endpoints, *filter(None, [remote]))
        _log.info("version %s, process %d, at %s", PRODUCT_VERSION, os.getpid(), where)

    def hide(self) -> None:
        """Be found by nobody new; who is connected stays so."""
        self._settings.connection_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing behind."""
        self.hide()
        self.router.close()
        self.gate.close()
        self._remove_sockets()

    def _can_use_ipc(self) -> bool:
        longest = self._settings.runtime_dir / f"{self.prefix}-worker99-{10**6}.sock"
        limit = (
            MAX_IPC_PATH_BYTES if sys.platform == "linux" else MAX_IPC_PATH_BYTES - _SHORTER_ELSEWHERE_BYTES
        )
        if self._settings.use_ipc and len(os.fsencode(longest)) > limit:
            _log.warning("no Unix sockets: %s is too long a path", self._settings.runtime_dir)
            return False
        return self._settings.use_ipc

    def _remove_sockets(self) -> None:
        """Sockets of a daemon that was killed stay behind; the lock says that none of them is in use."""
        for path in self._settings.runtime_dir.glob(f"{self.prefix}*.sock"):
            path.unlink(missing_ok=True)
