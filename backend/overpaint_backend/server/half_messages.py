"""Messages that have begun to come and are not whole: how much may come of them, and how long they may stand still.

libzmq gives out whole messages only. What it has of one that has begun it keeps without telling, it has no limit for the number
of frames, and heartbeats are answered in between: a peer could fill the memory with a message that never ends. But what a
connection has received in all the system knows, where it counts: Linux does, for TCP. What was no whole message and no heartbeat of
that is half a message. So the peers that are watched are those of other machines, and those of this one that do not come through the
Unix socket, whose folder is closed to all but the daemon's own user.
"""

from __future__ import annotations

import socket as sockets
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass

from overpaint_backend.config import DaemonSettings

__all__ = ["HalfMessages", "received_bytes"]

_LOOK_S = 0.25
_MOST_BEFORE_HELLO_BYTES = 4 << 20
"""``hello`` comes first, and has two parts of at most 1 MiB."""
_HEARTBEAT_BYTES_PER_S = 256
"""More than PING and PONG take over CURVE, at one a second."""
_FRAME_BYTES = 42
"""What a frame takes beside its bytes, at most: over CURVE, if it is long."""
_STEP_BYTES = 64 << 10
"""A message goes on if so much of it has come."""

_COUNT_AT, _COUNT_BYTES = 128, 8
"""``tcpi_bytes_received`` in ``struct tcp_info`` of linux/tcp.h, there since Linux 4.1."""


@dataclass(slots=True)
class _Stream:
    """What is known of a connection.

    principal: whose it is, empty until its first message. known_bytes: received, and of whole messages or heartbeats.
    half_bytes: received beside that. moved_bytes, moved_at: when a message last went on.
    """

    looked_at: float
    moved_at: float
    principal: str = ""
    known_bytes: float = 0.0
    half_bytes: int = 0
    moved_bytes: int = 0

    def look(self, received: int, now: float) -> None:
        self.known_bytes += (now - self.looked_at) * _HEARTBEAT_BYTES_PER_S
        self.known_bytes = min(self.known_bytes, received)  # so that what was counted generously is no credit
        self.looked_at = now
        self.half_bytes = round(received - self.known_bytes)
        if self.half_bytes == 0 or received - self.moved_bytes >= _STEP_BYTES:
            self.moved_bytes, self.moved_at = received, now


class HalfMessages:
    """Watches connections by their descriptors.

    What is seen in a single look may be a whole message that nobody has taken yet, so nothing follows from it before the next
    look has seen it, too.

    Args:
        settings: the limits.
        count: bytes a descriptor has received, None if nobody counts them.
    """

    def __init__(self, settings: DaemonSettings, count: Callable[[int], int | None]) -> None:
        self._settings = settings
        self._count = count
        self._streams: dict[int, _Stream] = {}
        self._suspects: set[int] = set()
        self._suspect_groups: set[str] = set()
        self._next_look = 0.0

    def began(self, descriptor: int, now: float) -> None:
        """A connection was accepted."""
        self._streams[descriptor] = _Stream(now, now)

    def spoke(self, descriptor: int, principal: str, byte_length: int, frames: int) -> None:
        """A whole message came, of so many bytes in so many frames."""
        stream = self._streams.get(descriptor)
        if stream is not None:
            stream.principal = principal
            stream.known_bytes += byte_length + frames * _FRAME_BYTES

    def ended(self, descriptor: int) -> None:
        """A connection has ended."""
        self._streams.pop(descriptor, None)

    def look(self, now: float) -> dict[int, str]:
        """The connections to end, by descriptor, with the reason for the log. Call often, after what is whole was taken."""
        if now < self._next_look:
            return {}
        self._next_look = now + _LOOK_S
        for descriptor, stream in list(self._streams.items()):
            received = self._count(descriptor)
            if received is None:
                del self._streams[descriptor]
            else:
                stream.look(received, now)
        found = {d: why for d, stream in self._streams.items() if (why := self._fault(stream, now))}
        to_end = {descriptor: why for descriptor, why in found.items() if descriptor in self._suspects}
        self._suspects = found.keys() - to_end.keys()
        to_end |= self._beyond_the_sums(to_end)
        for descriptor in to_end:
            self.ended(descriptor)
        return to_end

    def _fault(self, stream: _Stream, now: float) -> str:
        """What is wrong with a connection by itself, or nothing."""
        settings = self._settings
        if stream.half_bytes > settings.max_message_bytes:
            return "a message without an end"
        if not stream.principal and stream.half_bytes > _MOST_BEFORE_HELLO_BYTES:
            return "a first message that is too long"
        if now - stream.moved_at > settings.upload_pause_s:
            return "a message that stopped in its middle"
        return ""

    def _beyond_the_sums(self, leaving: Collection[int]) -> dict[int, str]:
        """The largest messages of those principals, and of all, whose messages together are too much."""
        settings = self._settings
        halves = {d: s for d, s in self._streams.items() if s.half_bytes and d not in leaving}
        groups: dict[str, tuple[int, list[int]]] = {
            principal: (
                settings.max_principal_held_bytes,
                [d for d, s in halves.items() if s.principal == principal],
            )
            for principal in {stream.principal for stream in halves.values()}
        }
        groups["everybody"] = (settings.max_held_bytes, list(halves))
        to_end: dict[int, str] = {}
        beyond: set[str] = set()
        for group, (most_bytes, descriptors) in groups.items():
            excess = sum(halves[d].half_bytes for d in descriptors) - most_bytes
            if excess > 0:
                beyond.add(group)
            if group not in self._suspect_groups:
                continue
            for descriptor in sorted(descriptors, key=lambda d: -halves[d].half_bytes):
                if excess <= 0:
                    break
                excess -= halves[descriptor].half_bytes
                to_end[descriptor] = "too much of messages that are not whole"
        self._suspect_groups = beyond
        return to_end


def received_bytes(descriptor: int) -> int | None:
    """How much a TCP connection has received, or None where that is not counted."""
    if sys.platform != "linux":
        return None
    try:
        connection = sockets.socket(sockets.AF_INET, sockets.SOCK_STREAM, 0, fileno=descriptor)
    except OSError:
        return None
    try:
        info = connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _COUNT_AT + _COUNT_BYTES)
    except OSError:  # a Unix socket, or it has just ended
        return None
    finally:
        connection.detach()
    return None if len(info) < _COUNT_AT + _COUNT_BYTES else int.from_bytes(info[_COUNT_AT:], sys.byteorder)
