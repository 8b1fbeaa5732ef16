"""ZMTP 3.1 without I/O: the connecting DEALER side of one connection.

Follows RFC 37/ZMTP with the NULL mechanism and RFC 24/ZMTP-PLAIN as the client. Scope is frozen: DEALER,
connecting, NULL or PLAIN. Everything else of ZeroMQ (binding, routing, reconnecting, CURVE) is the daemon's
business or the session's.

Bytes go in, events come out, and bytes to send are kept until the caller says they are sent::

    client = ZmtpClient(username="overpaint", password=token)
    for view in client.data_to_send():           # the greeting
        client.data_sent(sock.send(view))
    n = sock.recv_into(client.receive_buffer())  # or: client.receive_data(sock.recv(65536))
    client.buffer_filled(n)
    for event in client.events(): ...

Invariants:
    * The events depend on the bytes received, never on how they were cut into pieces.
    * Whatever bytes arrive, the receiving methods raise nothing but ``ProtocolError``. After that, after
      ``Refused`` and after ``Closed`` the connection is dead: nothing more is sent or reported.
    * Memory held is bounded by ``max_message_bytes``, and a body is allocated only after its size was checked.
    * A body larger than ``SMALL_FRAME_BYTES`` is written once into a buffer of its final size.
    * No clock: the caller bounds how long a handshake or a silence may last.

Where libzmq 4.3 and the RFC differ, this accepts what libzmq sends: commands between the frames of one
message (its heartbeat timer can fire there), an as-server octet of 0 from a PLAIN server, and that server's
misspelt ERROR.
"""

from __future__ import annotations

import enum
import hmac
import mmap
import sys
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

from .errors import LinkError, ProtocolError, TooLarge, UnsupportedVersion
from .zmtp_events import Closed, Connected, Event, Frame, MessageReceived, PingReceived, PongReceived, Refused
from .zmtp_frames import (
    COMMAND,
    LONG,
    METADATA,
    MORE,
    RESERVED,
    encode_command,
    encode_header,
    encode_hello,
    parse_command,
    parse_metadata,
)

__all__ = [
    "DEFAULT_MAX_FRAME_BYTES",
    "DEFAULT_MAX_MESSAGE_BYTES",
    "DEFAULT_MAX_MESSAGE_FRAMES",
    "MAX_COMMAND_BYTES",
    "MAX_PING_TTL_MS",
    "SMALL_FRAME_BYTES",
    "Closed",
    "Connected",
    "Event",
    "Frame",
    "MessageReceived",
    "PingReceived",
    "PongReceived",
    "Refused",
    "ZmtpClient",
]

DEFAULT_MAX_FRAME_BYTES = 8 << 20
DEFAULT_MAX_MESSAGE_FRAMES = 512
DEFAULT_MAX_MESSAGE_BYTES = 1 << 30

SMALL_FRAME_BYTES = 64 << 10
"""Frames received up to this size are ``bytes``, larger ones a ``bytearray`` or a ``memoryview``."""

MAX_COMMAND_BYTES = 64 << 10
"""Largest command accepted; libzmq's own are under 300 bytes, application metadata can make READY longer."""

MAX_PING_TTL_MS = 65_500
"""Longest TTL of a PING. The RFC allows 6553.5 s, but libzmq 4.3 counts the milliseconds in 16 bits, so a
longer one would make it hang up after a random shorter time."""

_MAX_PING_CONTEXT_BYTES = 16
_MAX_PENDING_PONGS = 16
_MAX_UNANSWERED_PINGS = 4
_COALESCE_BYTES = 16 << 10  # below this, copying is cheaper than a system call of its own

_AT_HAND_BYTES = 16 << 20
"""So much of a message most likely has room in memory that was freed after the one before."""
_LARGE_PAGE_BYTES = 2 << 20

_GREETING_BYTES = 64
_PEER_SOCKET_TYPES = ("ROUTER", "DEALER", "REP")  # RFC 37: what a DEALER may talk to

# How a PLAIN server of libzmq up to 4.3.5 spells "\x05ERROR": src/plain_common.hpp writes it as one C string, in
# which the hexadecimal escape swallows the E.
_LIBZMQ_PLAIN_ERROR = b"^RROR"

_MALFORMED = (
    "What answered at the daemon's address does not speak Overpaint's protocol. "
    "Restart the daemon with 'overpaint stop' and 'overpaint serve'."
)
_STRANGER = (
    "Another program answers at the daemon's address, so it was sent nothing. "
    "Start the daemon with 'overpaint serve', then try again."
)
_UNSUPPORTED_VERSION = (
    "The daemon speaks another version of the protocol. "
    "Install the same version of Overpaint for the daemon and the plug-in."
)
_TOO_LARGE = "The message is larger than Overpaint can send or receive. Select a smaller area and try again."
_NO_FRAME = "The plug-in tried to send an empty message. Please report this as a defect of Overpaint."
_NOT_OPEN = (
    "The connection to the daemon is not open. Check with 'overpaint status' that it runs, then try again."
)


class _State(enum.Enum):
    GREETING = enum.auto()
    WELCOME = enum.auto()
    READY = enum.auto()
    TRAFFIC = enum.auto()
    REFUSED = enum.auto()
    CLOSED = enum.auto()
    FAILED = enum.auto()


_HANDSHAKE = (_State.WELCOME, _State.READY)
_DEAD = (_State.REFUSED, _State.CLOSED, _State.FAILED)


class ZmtpClient:
    """One ZMTP connection, seen from a connecting DEALER.

    Args:
        username: for PLAIN, at most 255 bytes in UTF-8; ``None`` chooses the NULL mechanism.
        password: for PLAIN, at most 255 bytes in UTF-8; given exactly if ``username`` is.
        server_identity: what the server has to tell as ``Identity`` in its READY; any if empty.
        max_frame_bytes: largest body of one frame, sent or received.
        max_message_frames: most frames in one message, sent or received.
        max_message_bytes: largest sum of the bodies of one message, sent or received.

    Raises:
        ValueError: credentials too long, or only one of the two.
    """

    def __init__(
        self,
        *,
        username: str | None = None,
        password: str | None = None,
        server_identity: str = "",
        max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
        max_message_frames: int = DEFAULT_MAX_MESSAGE_FRAMES,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    ) -> None:
        self._hello = encode_hello(username, password)
        self._mechanism = (b"PLAIN" if self._hello else b"NULL").ljust(20, b"\0")
        self._server_identity = server_identity.encode()
        self._max_frame_bytes = max_frame_bytes
        self._max_message_frames = max_message_frames
        self._max_message_bytes = max_message_bytes

        self._state = _State.GREETING
        self._error: ProtocolError | None = None
        self._version: tuple[int, int] = (3, 0)
        self._events: list[Event] = []

        # Headers and small frames are parsed out of the stage; a frame that is not all there yet gets a body
        # of its own, which the caller then fills directly. While there is a body the stage is empty.
        self._stage = memoryview(bytearray(SMALL_FRAME_BYTES))
        self._stage_end = 0
        self._body: bytearray | memoryview | None = None
        self._body_end = 0
        self._body_flags = 0
        self._frames: list[Frame] = []
        self._message_bytes = 0

        self._output: deque[memoryview] = deque()
        self._output_bytes = 0
        self._pongs: deque[bytes] = deque(maxlen=_MAX_PENDING_PONGS)
        self._unanswered_pings = 0
        # The whole greeting at once: this client cannot speak anything older, so it need not wait (RFC 37,
        # "Version Negotiation", second case). Signature, 3.1, mechanism, as-server = 0, filler.
        self._queue(b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + self._mechanism + bytes(32))

    @property
    def is_connected(self) -> bool:
        """Whether messages can be sent now."""
        return self._state is _State.TRAFFIC

    @property
    def buffered_bytes(self) -> int:
        """Bytes allocated for a message that is not complete yet; at most ``max_message_bytes``."""
        return self._message_bytes

    @property
    def pending_bytes(self) -> int:
        """Bytes queued and not yet reported by ``data_sent``."""
        return self._output_bytes + sum(map(len, self._pongs))

    # Receiving

    def receive_buffer(self) -> memoryview:
        """Where the next bytes from the peer go: writable, never empty, at most ``max_frame_bytes``.

        The caller writes to its beginning and calls ``buffer_filled`` before anything else of this object.
        """
        if self._body is not None:
            return memoryview(self._body)[self._body_end :]
        return self._stage[self._stage_end :]

    def buffer_filled(self, size_bytes: int) -> None:
        """Take in the first ``size_bytes`` bytes of what ``receive_buffer`` returned.

        Raises:
            ProtocolError: the peer broke the protocol or a limit, now or before. Events that came before the
                offending bytes are still there.
            ValueError: ``size_bytes`` is more than the buffer had.
        """
        if self._error is not None:
            raise self._error
        if self._state in _DEAD:
            return
        if self._body is None:
            if not 0 <= size_bytes <= len(self._stage) - self._stage_end:
                raise ValueError(f"{size_bytes} bytes do not fit the receive buffer")
            self._stage_end += size_bytes
            self._parse_stage()
            return
        if not 0 <= size_bytes <= len(self._body) - self._body_end:
            raise ValueError(f"{size_bytes} bytes do not fit the receive buffer")
        self._body_end += size_bytes
        if self._body_end == len(self._body):
            body, self._body = self._body, None
            # A copy of at most 64 KiB, so that the type of a frame depends on its size alone.
            self._finish_frame(self._body_flags, bytes(body) if len(body) <= SMALL_FRAME_BYTES else body)

    def receive_data(self, data: Frame) -> None:
        """Take in bytes from the peer, copying them once.

        Many tiny messages in one call make many events: feed at most some 100 KiB at a time and take the
        events out in between, as ``receive_buffer`` does by its size.

        Raises:
            ProtocolError: as for ``buffer_filled``.
        """
        view = memoryview(data)
        while len(view) > 0:
            buffer = self.receive_buffer()
            size_bytes = min(len(buffer), len(view))
            buffer[:size_bytes] = view[:size_bytes]
            self.buffer_filled(size_bytes)
            view = view[size_bytes:]

    def receive_eof(self) -> None:
        """Take note that the peer closed the connection; adds ``Closed`` once."""
        if self._state in (_State.CLOSED, _State.FAILED):
            return
        error: LinkError | None = None
        if self._state is _State.GREETING and self._stage_end == 0:
            error = _lost("the peer closed before its greeting")
        elif self._state in (_State.GREETING, *_HANDSHAKE):
            error = _lost("the peer closed during the handshake")
        elif self._frames or self._body is not None or self._stage_end:
            error = _lost("the peer closed in the middle of a message")
        self._kill(_State.CLOSED)
        self._events.append(Closed(error))

    def events(self) -> list[Event]:
        """Return what happened since the last call, oldest first."""
        events, self._events = self._events, []
        return events

    # Sending

    def send_message(self, frames: Iterable[Frame]) -> None:
        """Queue one message, all of it or nothing.

        Bodies of 16 KiB and more are not copied: their buffers must stay unchanged until they are sent.

        Raises:
            LinkError: not connected (before ``Connected``, or after the end).
            ProtocolError: no frame at all.
            TooLarge: over one of the limits.
            TypeError: a frame is no contiguous buffer.
        """
        if not self.is_connected:
            raise LinkError(_NOT_OPEN, detail=f"state {self._state.name.lower()}")
        bodies = [_flat_view(frame) for frame in frames]
        self._check_outgoing(bodies)
        self._flush_pongs()
        joined = bytearray()
        for index, body in enumerate(bodies):
            joined += encode_header(MORE if index < len(bodies) - 1 else 0, len(body))
            if len(body) < _COALESCE_BYTES:
                joined += body
                continue
            self._queue(joined)
            self._queue(body)
            joined = bytearray()
        self._queue(joined)

    def send_ping(self, *, ttl_ms: int = 0, context: bytes = b"") -> bool:
        """Queue a PING; the peer answers with ``PongReceived(context)``.

        Args:
            ttl_ms: the peer may hang up after this silence, 0 to ``MAX_PING_TTL_MS``; 0 asks for nothing.
                Rounded up to 100 ms.
            context: at most 16 bytes.

        Returns:
            False, and nothing is queued, where the peer is ZMTP 3.0, which has no PING, or has left four
            PINGs unanswered.

        Raises:
            LinkError: not connected.
            ValueError: ``ttl_ms`` or ``context`` out of range.
        """
        if not 0 <= ttl_ms <= MAX_PING_TTL_MS:
            raise ValueError(f"ttl_ms is {ttl_ms}, allowed are 0 to {MAX_PING_TTL_MS}")
        if len(context) > _MAX_PING_CONTEXT_BYTES:
            raise ValueError(f"context has {len(context)} bytes, at most {_MAX_PING_CONTEXT_BYTES}")
        if not self.is_connected:
            raise LinkError(_NOT_OPEN, detail=f"state {self._state.name.lower()}")
        if self._version < (3, 1) or self._unanswered_pings >= _MAX_UNANSWERED_PINGS:
            return False
        self._unanswered_pings += 1
        self._queue(encode_command(b"PING", ((ttl_ms + 99) // 100).to_bytes(2, "big") + context))
        return True

    def data_to_send(self, max_bytes: int = 1 << 20) -> list[memoryview]:
        """Return the next bytes for the peer, at most ``max_bytes``, without copying or removing them.

        Header runs and small frames are joined; each large body is a view of the caller's own buffer.
        """
        if not self._output:
            self._flush_pongs()
        views: list[memoryview] = []
        for view in self._output:
            if max_bytes <= 0:
                break
            views.append(view[:max_bytes])
            max_bytes -= len(views[-1])
        return views

    def data_sent(self, size_bytes: int) -> None:
        """Drop ``size_bytes`` bytes from the front of what ``data_to_send`` returns.

        Raises:
            ValueError: fewer bytes are queued.
        """
        if not 0 <= size_bytes <= self._output_bytes:
            raise ValueError(f"{size_bytes} bytes sent, {self._output_bytes} were queued")
        self._output_bytes -= size_bytes
        while size_bytes:
            view = self._output[0]
            if size_bytes < len(view):
                self._output[0] = view[size_bytes:]
                return
            self._output.popleft()
            size_bytes -= len(view)

    # Parsing

    def _parse_stage(self) -> None:
        stage, end, start = self._stage, self._stage_end, 0
        if self._state is _State.GREETING:
            start = self._parse_greeting(bytes(stage[: min(end, _GREETING_BYTES)]))
            if start == 0:
                return
        while end - start >= 2 and self._state not in _DEAD:
            flags = stage[start]
            header_bytes = 9 if flags & LONG else 2
            if end - start < header_bytes:
                break
            size = int.from_bytes(stage[start + 1 : start + header_bytes], "big")
            self._check_header(flags, size)
            start += header_bytes
            available = min(end - start, size)
            body = stage[start : start + available]
            start += available
            if available < size:
                is_at_hand = self._message_bytes <= _AT_HAND_BYTES
                self._body = bytearray(size) if is_at_hand else _fresh_memory(size)
                self._body[:available] = body
                self._body_end = available
                self._body_flags = flags
            else:
                self._finish_frame(flags, bytes(body))
        if self._state in _DEAD:
            return
        stage[: end - start] = stage[start:end]
        self._stage_end = end - start

    def _parse_greeting(self, greeting: bytes) -> int:
        """Return the bytes used: 0 while the greeting is incomplete. A wrong start is refused at once."""
        if greeting[:1] not in (b"", b"\xff") or greeting[9:10] not in (b"", b"\x7f"):
            self._fail(f"no ZMTP signature: {greeting[:16]!r}")
        if len(greeting) >= 11 and greeting[10] < 3:
            self._fail(f"ZMTP revision {greeting[10]}, needed 3", UnsupportedVersion, _UNSUPPORTED_VERSION)
        if len(greeting) < _GREETING_BYTES:
            return 0
        # The as-server octet (32) is not checked: libzmq leaves it 0 in a PLAIN server. Nor is the filler.
        if greeting[12:32] != self._mechanism:
            self._fail(f"mechanism {greeting[12:32]!r}, expected {self._mechanism!r}")
        self._version = (greeting[10], greeting[11])
        if self._hello:
            self._state = _State.WELCOME
            self._queue(self._hello)
        else:
            self._state = _State.READY
            self._queue(encode_command(b"READY", METADATA))
        return _GREETING_BYTES

    def _check_header(self, flags: int, size: int) -> None:
        if flags & RESERVED:
            self._fail(f"reserved bits in frame flags {flags:#04x}")
        if flags & COMMAND:
            if flags & MORE:
                self._fail("a command with MORE")
            if size > MAX_COMMAND_BYTES:
                self._fail(f"command of {size} bytes, at most {MAX_COMMAND_BYTES}", TooLarge, _TOO_LARGE)
            return
        if self._state is not _State.TRAFFIC:
            self._fail("a message before the handshake was over")
        excess = self._excess(len(self._frames) + 1, size, self._message_bytes + size)
        if excess:
            self._fail(excess, TooLarge, _TOO_LARGE)
        self._message_bytes += size

    def _excess(self, frames: int, frame_bytes: int, message_bytes: int) -> str:
        """Return which limit is exceeded, with both numbers, or an empty string."""
        if frames > self._max_message_frames:
            return f"message of {frames} frames or more, at most {self._max_message_frames}"
        if frame_bytes > self._max_frame_bytes:
            return f"frame of {frame_bytes} bytes, at most {self._max_frame_bytes}"
        if message_bytes > self._max_message_bytes:
            return f"message of {message_bytes} bytes or more, at most {self._max_message_bytes}"
        return ""

    def _finish_frame(self, flags: int, body: Frame) -> None:
        if flags & COMMAND:
            self._handle_command(bytes(body))
            return
        self._frames.append(body)
        if not flags & MORE:
            self._events.append(MessageReceived(tuple(self._frames)))
            self._frames.clear()
            self._message_bytes = 0

    def _handle_command(self, body: bytes) -> None:
        if self._hello and self._state in _HANDSHAKE and body.startswith(_LIBZMQ_PLAIN_ERROR):
            self._handle_error(body[len(_LIBZMQ_PLAIN_ERROR) :])
            return
        try:
            name, data = parse_command(body)
        except ValueError as fault:
            self._fail(str(fault))
        if name == b"ERROR":
            self._handle_error(data)
        elif self._state is _State.TRAFFIC:
            self._handle_traffic_command(name, data)
        elif self._state is _State.WELCOME and name == b"WELCOME" and not data:
            self._state = _State.READY
            self._queue(encode_command(b"INITIATE", METADATA))
        elif self._state is _State.READY and name == b"READY":
            self._handle_ready(data)
        else:
            self._fail(f"unexpected command {name[:32]!r} with {len(data)} bytes of data")

    def _handle_ready(self, data: bytes) -> None:
        try:
            properties = parse_metadata(data)
        except ValueError as fault:
            self._fail(str(fault))
        socket_type = properties.get(b"socket-type", b"").decode("ascii", "replace")
        if socket_type not in _PEER_SOCKET_TYPES:
            self._fail(f"peer is a {socket_type[:32]!r}, expected one of {_PEER_SOCKET_TYPES}")
        if self._server_identity and not hmac.compare_digest(
            properties.get(b"identity", b""), self._server_identity
        ):
            self._fail("READY with another identity", message=_STRANGER, action="start_daemon")
        self._state = _State.TRAFFIC
        self._events.append(Connected(socket_type, self._version))

    def _handle_error(self, data: bytes) -> None:
        if not data or len(data) < 1 + data[0]:
            self._fail("malformed ERROR command")
        # Replace what is not printable: the reason goes into logs and on a label.
        reason = "".join(chr(octet) if 32 <= octet < 127 else "?" for octet in data[1 : 1 + data[0]])
        self._kill(_State.REFUSED)
        self._events.append(Refused(reason))

    def _handle_traffic_command(self, name: bytes, data: bytes) -> None:
        if name == b"PING":
            if not 2 <= len(data) <= 2 + _MAX_PING_CONTEXT_BYTES:
                self._fail(f"PING with {len(data)} bytes of data")
            # Bounded: of a flood of PINGs only the newest are answered, as libzmq does.
            self._pongs.append(encode_command(b"PONG", data[2:]))
            self._events.append(PingReceived(int.from_bytes(data[:2], "big") * 100))
        elif name == b"PONG":
            if len(data) > _MAX_PING_CONTEXT_BYTES:
                self._fail(f"PONG with {len(data)} bytes of data")
            self._unanswered_pings = 0
            self._events.append(PongReceived(data))
        # Other commands (SUBSCRIBE, JOIN, a later version's) mean nothing to a DEALER; libzmq skips them too.

    # Output queue and death

    def _check_outgoing(self, bodies: list[memoryview]) -> None:
        if not bodies:
            raise ProtocolError(_NO_FRAME, detail="send_message without frames")
        largest = max(map(len, bodies))
        excess = self._excess(len(bodies), largest, sum(map(len, bodies)))
        if excess:
            raise TooLarge(_TOO_LARGE, detail=excess)

    def _queue(self, data: Frame) -> None:
        if len(data) > 0:
            self._output.append(memoryview(data))
            self._output_bytes += len(data)

    def _flush_pongs(self) -> None:
        self._queue(b"".join(self._pongs))
        self._pongs.clear()

    def _fail(
        self,
        detail: str,
        error: type[ProtocolError] = ProtocolError,
        message: str = _MALFORMED,
        action: str | None = None,
    ) -> NoReturn:
        self._error = error(message, detail=detail, action=action)
        self._kill(_State.FAILED)
        raise self._error

    def _kill(self, state: _State) -> None:
        self._state = state
        self._body = None
        self._stage_end = 0
        self._frames.clear()
        self._message_bytes = 0
        self._output.clear()
        self._output_bytes = 0
        self._pongs.clear()


def _fresh_memory(size_bytes: int) -> bytearray | memoryview:
    """Room for a body that the process has no memory for yet, in large pages where the system has them.

    To be given a page of 4 KiB takes longer than to fill it, several times as long in a virtual machine.
    """
    if size_bytes >= _LARGE_PAGE_BYTES and sys.platform == "linux":
        with suppress(OSError):
            memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
            return memoryview(memory)
    return bytearray(size_bytes)


def _flat_view(frame: Frame) -> memoryview:
    view = memoryview(frame)
    if view.nbytes == 0:
        return memoryview(b"")  # cast() refuses shapes with a zero in them
    return view.cast("B")


def _lost(detail: str) -> LinkError:
    return LinkError(
        "The connection to the daemon was lost. Check with 'overpaint status' that it runs, then try again.",
        detail=detail,
    )
