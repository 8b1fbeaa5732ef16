"""What a ZMTP connection reports (see ``zmtp``)."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LinkError, ProtocolError

__all__ = [
    "Closed",
    "Connected",
    "Event",
    "Frame",
    "MessageReceived",
    "PingReceived",
    "PongReceived",
    "Refused",
]

Frame = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Connected:
    """The handshake is over; messages may be sent.

    Attributes:
        socket_type: the peer's, one of ``ROUTER``, ``DEALER``, ``REP``.
        version: the peer's ZMTP version (major, minor).
    """

    socket_type: str
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A whole message; ``frames`` has at least one and belongs to the receiver."""

    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class PingReceived:
    """The peer asked for a sign of life; the PONG is queued already.

    Attributes:
        ttl_ms: the peer asks to be taken for dead after this silence; 0 means it does not say.
    """

    ttl_ms: int


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The peer answered a PING that carried ``context``."""

    context: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer sent ERROR: do not come back with the same credentials.

    Attributes:
        reason: at most 255 printable ASCII characters; ``"400"`` is libzmq's word for a wrong token.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The last event of a connection.

    Attributes:
        error: why, where it was not simply closed by the peer between two messages; ``None`` after ``Refused``.
    """

    error: ProtocolError | LinkError | None = None


Event = Connected | MessageReceived | PingReceived | PongReceived | Refused | Closed
