"""The socket clients connect to: frames in, frames out, and who has left.

Nothing here blocks. A message a client has no room for is handed back, never dropped, and a client that is gone is
told apart from one that is slow: libzmq's defaults would lose both silently.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket as sockets
import stat
import sys
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import zmq

from overpaint_backend.config import DaemonSettings
from overpaint_backend.jobs.model import LOCAL
from overpaint_backend.sockets import is_readable, monitor_events, receive_frames, send_frames
from overpaint_protocol.errors import DaemonError
from overpaint_protocol.pixels import Bytes

from .half_messages import HalfMessages, received_bytes
from .zap import TURNED_AWAY

__all__ = ["CLIENT_DOMAIN", "REMOTE_DOMAIN", "Curve", "Incoming", "Router", "Sent", "private_dir"]

CLIENT_DOMAIN = "overpaint.clients"
"""ZAP domain of what clients on this machine connect to."""
REMOTE_DOMAIN = "overpaint.remote"
"""ZAP domain of what other machines connect to."""

_MAX_MESSAGES_A_TURN = 16
_MAX_BYTES_A_TURN = 8 * 1024 * 1024
_MAX_UNREAD_MESSAGES = 2
"""Of a client, in libzmq: beside them lies one that it can queue no more and one that is looked at, and no limit counts any of
the four. With 16, a client that floods costs 40 to 65 MiB over the limit."""
_REMOTE_IDENTITY = "overpaint"
"""The one for this machine is no business of others, who know the daemon by its key. There has to be one."""
_LAST_LINGER_MS = 500
_HANDSHAKE_MS = 10_000
_REFUSALS = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_BETWEEN_LINES_S = 1.0

_log = logging.getLogger(__name__)


Curve = Callable[["zmq.Socket[bytes]"], None]
"""Makes what a socket binds next a CURVE server with some key."""


class Sent(Enum):
    """What became of a message. ``blocked``: the client does not read, try again; ``gone``: it has left."""

    DONE = "done"
    BLOCKED = "blocked"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message. peer: libzmq's name for the connection, never used twice. principal: who it has proved to come from."""

    peer: bytes
    principal: str
    frames: tuple[memoryview, ...]


class Router:
    """A ROUTER bound to a Unix socket, where the platform has them, to loopback TCP, and to other machines if that is wanted.

    An Authenticator must be in place for the context.

    Args:
        context, settings: of the daemon.
        admitted: the principals beside the daemon's own user that may speak at this moment.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        settings: DaemonSettings,
        admitted: Container[str] = (),
    ) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.endpoints: tuple[str, ...] = ()
        # ROUTER_HANDOVER stays off: nobody can take over a connection by claiming its name.
        heartbeat_ms = round(settings.heartbeat_s * 1000)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.PLAIN_SERVER, 1),
            (zmq.MAXMSGSIZE, settings.max_frame_bytes),
            (zmq.SNDHWM, settings.max_waiting_messages),
            (zmq.RCVHWM, _MAX_UNREAD_MESSAGES),
            (zmq.HANDSHAKE_IVL, _HANDSHAKE_MS),
            (zmq.HEARTBEAT_IVL, heartbeat_ms),
            (zmq.HEARTBEAT_TIMEOUT, 3 * heartbeat_ms),
            (zmq.HEARTBEAT_TTL, 3 * heartbeat_ms),
        ):
            self.socket.setsockopt(option, value)
        self.socket.setsockopt_string(zmq.ZAP_DOMAIN, CLIENT_DOMAIN)
        # The only way to learn that a silent client has left: libzmq tells file descriptors here, and the
        # messages of a connection tell theirs.
        self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | _REFUSALS
        )
        self._settings = settings
        self._admitted = admitted
        self._peers: dict[int, tuple[bytes, str]] = {}
        self._gone: list[bytes] = []
        self._halves = HalfMessages(settings, received_bytes)
        self._refusals = _Refusals()

    def bind(self, ipc_path: Path | None, identity: str) -> None:
        """Listen on ``ipc_path``, if one is given, and on a free port of the loopback.

        identity: proves to clients of this machine, once they are let in, that it is this daemon that answers.

        The caller holds the lock that makes it the only user of the path: binding takes it from a live socket
        without a word.

        Raises:
            zmq.ZMQError: a socket cannot be made.
        """
        self.socket.setsockopt_string(zmq.ROUTING_ID, identity)
        bound: list[str] = []
        for address in (*([f"ipc://{ipc_path}"] if ipc_path is not None else []), "tcp://127.0.0.1:*"):
            self.socket.bind(address)
            bound.append(self.socket.getsockopt_string(zmq.LAST_ENDPOINT))
        self.endpoints = tuple(bound)

    def bind_remote(self, endpoint: str, curve: Curve) -> None:
        """Listen for other machines as well. What is bound before keeps its own rules.

        endpoint: one ``tcp://`` address. curve: the daemon's key.

        Raises:
            zmq.ZMQError: the address cannot be had.
        """
        heartbeat_ms = round(self._settings.remote_heartbeat_s * 1000)
        self.socket.setsockopt_string(zmq.ROUTING_ID, _REMOTE_IDENTITY)
        self.socket.setsockopt(zmq.PLAIN_SERVER, 0)
        curve(self.socket)
        self.socket.setsockopt_string(zmq.ZAP_DOMAIN, REMOTE_DOMAIN)
        self.socket.setsockopt(zmq.IPV6, int("[" in endpoint))
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, round(self._settings.remote_silence_s * 1000))
        self.socket.setsockopt(zmq.HEARTBEAT_TTL, 0)
        self.socket.bind(endpoint)

    def receive(self) -> list[Incoming]:
        """The messages that have come, up to what leaves time for the rest of the loop, and memory for what is let in."""
        incoming: list[Incoming] = []
        byte_length = 0
        while (
            len(incoming) < _MAX_MESSAGES_A_TURN
            and byte_length < _MAX_BYTES_A_TURN
            and is_readable(self.socket)
        ):
            frames = receive_frames(self.socket)
            peer, principal = frames[0].bytes, str(frames[0].get("User-Id"))
            # First hear who left, then note this connection: descriptors are used again, and the word about the
            # old owner was spoken before the new one could send.
            self._hear_monitor()
            descriptor = int(frames[0].get(zmq.SRCFD))
            previous, _ = self._peers.get(descriptor, (peer, ""))
            if previous != peer:
                self._gone.append(previous)
            self._peers[descriptor] = peer, principal
            length = sum(map(len, frames)) - len(peer)
            self._halves.spoke(descriptor, principal, length, len(frames) - 1)
            if self._may_speak(principal):
                incoming.append(Incoming(peer, principal, tuple(frame.buffer for frame in frames[1:])))
                byte_length += length
            else:
                _hang_up(descriptor)
        return incoming

    def take_gone(self) -> list[bytes]:
        """The connections that ended since the last call."""
        self._hear_monitor()
        gone, self._gone = self._gone, []
        return gone

    def end_endless(self, now: float) -> None:
        """End the connections that fill the memory with messages that never get whole. Call often.

        now: in seconds of the monotonic clock.
        """
        for descriptor, why in self._halves.look(now).items():
            _log.warning("a connection was ended: %s", why)
            _hang_up(descriptor)

    def end(self, peer: bytes) -> None:
        """End a connection. ``take_gone`` tells of it as of any other."""
        for descriptor, (name, _) in self._peers.items():
            if name == peer:
                _hang_up(descriptor)

    def end_revoked(self) -> None:
        """End the connections of principals that were admitted and are no more; nothing is sent to them from now on."""
        for descriptor, (peer, principal) in self._peers.items():
            if not self._may_speak(principal):
                self._gone.append(peer)
                _hang_up(descriptor)

    def send(self, peer: bytes, frames: Sequence[Bytes]) -> Sent:
        """Hand a message to libzmq, which keeps the frames without copying large ones."""
        try:
            send_frames(self.socket, [peer, *frames])
        except zmq.Again:
            return Sent.BLOCKED
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return Sent.GONE
        return Sent.DONE

    def close(self) -> None:
        """Close the sockets; messages already handed over get a moment to leave."""
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close(linger=_LAST_LINGER_MS)

    def _hear_monitor(self) -> None:
        for event, value, endpoint in monitor_events(self.monitor):
            if event & _REFUSALS:
                if value != TURNED_AWAY:
                    self._refusals.note()
                continue
            if event == zmq.EVENT_ACCEPTED:
                if endpoint.startswith(b"tcp:"):
                    self._halves.began(value, time.monotonic())
                continue
            self._halves.ended(value)
            peer, _ = self._peers.pop(value, (None, ""))
            if peer is not None:
                self._gone.append(peer)

    def _may_speak(self, principal: str) -> bool:
        return principal == LOCAL or principal in self._admitted


class _Refusals:
    """Says in the log that strangers were refused: ever more rarely, and never twice in a second, whoever keeps trying."""

    def __init__(self) -> None:
        self._count = 0
        self._next_line = 1
        self._said_at = -_BETWEEN_LINES_S

    def note(self) -> None:
        """One was refused."""
        self._count += 1
        now = time.monotonic()
        if self._count >= self._next_line and now - self._said_at >= _BETWEEN_LINES_S:
            self._next_line, self._said_at = 2 * self._count, now
            _log.warning("connections without a right token or key were refused: %d so far", self._count)


def _hang_up(descriptor: int) -> None:
    """Shut a connection down under libzmq, which has no call for it and takes it as if the other side had done so.

    Should the connection have ended a moment ago and its number be in use again, a client loses a connection and makes another.
    """
    try:
        connection = sockets.socket(fileno=descriptor)
    except OSError:
        return
    try:
        connection.shutdown(sockets.SHUT_RDWR)
    except OSError:
        pass  # the other side was quicker
    finally:
        connection.detach()


def private_dir(path: Path) -> Path:
    """Make sure that ``path`` is a folder only we can enter, and make it if it is missing.

    Raises:
        DaemonError: it is a link, or belongs to somebody else.
        OSError: it cannot be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform == "win32":
        return path  # the folder lies in the user's profile, which others cannot enter
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise DaemonError(
            f"The folder {path} belongs to another user or is a link. Delete it, or set OVERPAINT_RUNTIME_DIR "
            "to a folder of your own."
        )
    if status.st_mode & 0o077:
        with contextlib.suppress(OSError):
            path.chmod(0o700)
        if path.stat().st_mode & 0o077:
            raise DaemonError(f"Other users can enter the folder {path}. Run: chmod 700 '{path}'")
    return path
