"""Transport over a Unix socket or loopback TCP, with nothing but the standard library."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.errors import LinkError, LinkRefused, LinkTimeout, ProtocolError
from overpaint_protocol.framing import MAX_FRAMES
from overpaint_protocol.private_files import NotPrivate, check_private_folder
from overpaint_protocol.zmtp import ZmtpClient
from overpaint_protocol.zmtp_events import Closed, Event, Frame, Refused

__all__ = ["DEFAULT_READ_BYTES", "DEFAULT_WRITE_BYTES", "SocketTransport"]

DEFAULT_READ_BYTES = 4 << 20
DEFAULT_WRITE_BYTES = 1 << 20

_MAX_EVENTS_PER_READ = 1024  # a flood of tiny messages must not fill memory with event objects
_SEND_BUFFER_BYTES = 1 << 20
_UNDER_WAY = (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN)  # EWOULDBLOCK is what Windows says

_NOTHING_LISTENS = "Overpaint's daemon does not answer. Start it with 'overpaint serve', then try again."
_NOT_ALLOWED = (
    "Overpaint's daemon belongs to another user, or this editor's sandbox does not let it through. "
    "Run 'overpaint doctor' to see which."
)
_LOST = "The connection to the daemon was lost. Check with 'overpaint status' that it runs, then try again."
_TIMED_OUT = "The daemon did not answer in time. Check with 'overpaint status' that it runs, then try again."
_NO_UNIX_SOCKETS = "This system has no Unix sockets. Use the daemon's tcp:// address."
_NEW_FOLDER = (
    "Restart the daemon with 'overpaint stop' and 'overpaint serve': it makes the folder private or says how."
)
_NOT_LOOPBACK = "An editor only talks to a daemon on its own machine. Run 'overpaint serve' on this machine."


class SocketTransport:
    """A ``Transport`` on a nonblocking socket.

    Args:
        sock: nonblocking, connected or connecting; owned by the transport from here on.
        client: the protocol side, fresh.
        max_read_bytes: most bytes taken in per ``handle_readable``; at least one read is made.
        max_write_bytes: most bytes handed to the system per ``handle_writable``.
    """

    def __init__(
        self,
        sock: socket.socket,
        client: ZmtpClient,
        *,
        max_read_bytes: int = DEFAULT_READ_BYTES,
        max_write_bytes: int = DEFAULT_WRITE_BYTES,
    ) -> None:
        self._socket = sock
        self._client = client
        self._max_read_bytes = max_read_bytes
        self._max_write_bytes = max_write_bytes
        self._is_connecting = True
        self._is_over = False
        self._send_error: LinkError | None = None

    @classmethod
    def open(
        cls,
        endpoint: Endpoint,
        username: str | None = None,
        password: str | None = None,
        server_identity: str = "",
    ) -> SocketTransport:
        """Start to connect; returns at once, ``Connected`` comes as an event.

        A refusal that the system reports only later (TCP on most systems) arrives as ``Closed(LinkRefused)``.

        Args:
            endpoint: where the daemon listens; on this machine.
            username: for PLAIN; ``None`` for no authentication.
            password: for PLAIN; given exactly if ``username`` is.
            server_identity: what has to answer there; empty for anything.

        Raises:
            LinkRefused: nothing listens there, it may not be reached, it is not on this machine, or its folder is not ours alone.
            LinkError: the system could not connect for another reason.
            ValueError: credentials too long, or only one of the two.
        """
        client = ZmtpClient(
            username=username,
            password=password,
            server_identity=server_identity,
            max_message_frames=MAX_FRAMES,
        )
        if not endpoint.is_loopback:
            # PLAIN sends the token in clear text.
            raise LinkRefused(_NOT_LOOPBACK, detail=str(endpoint))
        family, address = _socket_address(endpoint)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            _tune(sock, family)
            code = sock.connect_ex(address)
        except OSError as fault:
            sock.close()
            raise _link_error(fault, str(endpoint)) from fault
        # A Unix socket connects at once or not at all: EAGAIN means that the listener's queue is full.
        is_under_way = code in _UNDER_WAY and endpoint.kind == "tcp"
        if code and not is_under_way:
            sock.close()
            raise _link_error(OSError(code, os.strerror(code)), str(endpoint))
        return cls(sock, client)

    def fileno(self) -> int:
        """The descriptor to watch; -1 once closed."""
        return self._socket.fileno()

    def wants_write(self) -> bool:
        """Whether bytes are queued (the greeting is, while the connection is being made) and can be sent."""
        return not self._is_over and self._send_error is None and self._client.pending_bytes > 0

    def pending_bytes(self) -> int:
        """Bytes that are queued and not yet handed to the system."""
        return self._client.pending_bytes

    def send(self, frames: Iterable[Frame]) -> None:
        """See Transport."""
        self._client.send_message(frames)

    def ping(self) -> bool:
        """See Transport."""
        return self._client.send_ping()

    def handle_readable(self) -> list[Event]:
        """See Transport."""
        events: list[Event] = []
        left_bytes = self._max_read_bytes
        while not self._is_over and left_bytes > 0 and len(events) < _MAX_EVENTS_PER_READ:
            try:
                size_bytes = self._socket.recv_into(self._client.receive_buffer()[:left_bytes])
            except (BlockingIOError, InterruptedError):
                if self._send_error is not None:
                    self._finish(events, self._send_error)
                break
            except OSError as fault:
                if self._is_connecting and fault.errno == errno.ENOTCONN:
                    break  # BSD and Windows say so while connecting
                self._finish(events, self._send_error or self._describe(fault))
                break
            self._is_connecting = False
            left_bytes -= size_bytes
            self._take_in(size_bytes, events)
        return events

    def handle_writable(self) -> list[Event]:
        """See Transport."""
        if not self.wants_write():
            return []
        if self._is_connecting:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                return self._finish([], self._describe(OSError(code, os.strerror(code))))
        try:
            for view in self._client.data_to_send(self._max_write_bytes):
                size_bytes = self._socket.send(view)
                self._is_connecting = False
                self._client.data_sent(size_bytes)
                if size_bytes < len(view):
                    break
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as fault:
            if self._is_connecting and fault.errno == errno.ENOTCONN:
                return []
            # What the peer said before it hung up (results, or ERROR) may still wait to be read.
            self._send_error = self._describe(fault)
            return self.handle_readable()
        return []

    def close(self) -> None:
        """See Transport."""
        self._is_over = True
        self._socket.close()

    def _take_in(self, size_bytes: int, events: list[Event]) -> None:
        """Parse the bytes just received (0: the peer closed) and append what happened to ``events``."""
        error: ProtocolError | None = None
        try:
            if size_bytes:
                self._client.buffer_filled(size_bytes)
            else:
                self._client.receive_eof()
        except ProtocolError as fault:
            error = fault
        news = self._client.events()
        events += news
        if news and isinstance(news[-1], Closed):
            self._is_over = True
            if self._send_error is not None:
                events[-1] = Closed(self._send_error)
        elif error is not None or (news and isinstance(news[-1], Refused)):
            self._finish(events, error)

    def _finish(self, events: list[Event], error: ProtocolError | LinkError | None) -> list[Event]:
        self._is_over = True
        events.append(Closed(error))
        return events

    def _describe(self, fault: OSError) -> LinkError:
        return _link_error(fault, "while connecting" if self._is_connecting else "while connected")


def _socket_address(endpoint: Endpoint) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    if endpoint.kind == "tcp":
        host = "127.0.0.1" if endpoint.host == "localhost" else endpoint.host
        return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, endpoint.port)
    if not hasattr(socket, "AF_UNIX"):
        raise LinkRefused(_NO_UNIX_SOCKETS, detail=str(endpoint))
    try:
        check_private_folder(Path(endpoint.path).parent, "the folder of the daemon's socket")
    except NotPrivate as reason:
        raise LinkRefused(f"{reason}, so it is not used. {_NEW_FOLDER}", detail=str(endpoint)) from reason
    except OSError as fault:
        raise _link_error(fault, str(endpoint)) from fault
    return socket.AF_UNIX, endpoint.path


def _tune(sock: socket.socket, family: socket.AddressFamily) -> None:
    sock.setblocking(False)
    if family in (socket.AF_INET, socket.AF_INET6):
        # Without it a small message waits for the acknowledgment of the one before. The send buffer is left
        # alone: setting it switches off the growing that Linux does by itself, up to more than we may ask for.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)


def _link_error(fault: OSError, place: str) -> LinkError:
    detail = f"{place}: {fault}"
    if isinstance(fault, (ConnectionRefusedError, FileNotFoundError)) or fault.errno == errno.EAGAIN:
        return LinkRefused(_NOTHING_LISTENS, detail=detail)
    if isinstance(fault, PermissionError):
        return LinkRefused(_NOT_ALLOWED, detail=detail)
    if isinstance(fault, TimeoutError):
        return LinkTimeout(_TIMED_OUT, detail=detail)
    return LinkError(_LOST, detail=detail)
