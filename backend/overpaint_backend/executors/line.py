"""The line between daemon and worker: messages both ways, by a pair of sockets where the system keeps packets apart (Linux).

Through libzmq a word passes a thread on either side, each of which has to be woken for it: there and back that takes four times as
long. What is too large for a packet goes through libzmq all the same, and a packet says when its turn has come.
"""

from __future__ import annotations

import socket as sockets
import struct
import sys
from collections.abc import Sequence

import zmq

from overpaint_backend.sockets import is_readable, receive_frames, send_frames
from overpaint_protocol.errors import ProtocolError
from overpaint_protocol.pixels import Bytes

__all__ = ["Line", "Watched", "pair"]

_MOST_BYTES = 32 << 10
"""Of one packet. Several have room, so that neither side waits for the other to read."""
_ELSEWHERE = b"\0"

Watched = zmq.Socket[bytes] | int
"""A socket of libzmq or the descriptor of another: what a poller takes, and names what is ready by."""


class Line:
    """One side of it.

    Args:
        link: libzmq's socket.
        packets: this side's half of a ``pair``, owned by the line from here on; None where there is none.
    """

    def __init__(self, link: zmq.Socket[bytes], packets: sockets.socket | None) -> None:
        self._link = link
        self._packets = packets
        self._has_spoken = False
        self._is_elsewhere = False

    @property
    def watched(self) -> tuple[Watched, ...]:
        """What is readable when there may be something to receive.

        Packets behind a message that is on its way through libzmq have to wait for it, and wake nobody meanwhile.
        """
        if self._packets is None or self._is_elsewhere:
            return (self._link,)
        return self._packets.fileno(), self._link

    def send(self, frames: Sequence[Bytes]) -> None:
        """Say something. Large frames are not copied.

        Raises:
            zmq.Again, OSError: the other side is not there, or does not listen any more.
        """
        if self._packets is None:
            send_frames(self._link, frames)
            return
        lengths = [memoryview(frame).nbytes for frame in frames]
        # The first message shows that libzmq's sockets have found each other.
        if self._has_spoken and sum(lengths) <= _MOST_BYTES and len(lengths) < 256:
            head = struct.pack(f"<B{len(lengths)}I", len(lengths), *lengths)
            self._packets.send(b"".join((head, *frames)))
            return
        self._has_spoken = True
        send_frames(self._link, frames)
        self._packets.send(_ELSEWHERE)

    def receive(self) -> list[Bytes] | None:
        """The next message, None if it has not come yet.

        Raises:
            ProtocolError: there is something else.
        """
        if self._packets is not None and not self._is_elsewhere:
            try:
                packet = self._packets.recv(2 * _MOST_BYTES, sockets.MSG_DONTWAIT)
            except OSError:  # nothing there, or nobody
                return None
            if packet != _ELSEWHERE:
                return _frames(packet)
            self._is_elsewhere = True
        if not is_readable(self._link):
            return None
        self._is_elsewhere = False
        return [frame.buffer for frame in receive_frames(self._link)]

    def wait(self, timeout_s: float, also: sockets.socket | None = None) -> None:
        """Wait until there may be something to receive, or ``also`` is readable, up to ``timeout_s``."""
        poller = zmq.Poller()
        for socket in (self._link if self._is_elsewhere or self._packets is None else self._packets, also):
            if socket is not None:
                poller.register(socket, zmq.POLLIN)
        poller.poll(round(timeout_s * 1000))

    def close(self) -> None:
        """Hang up. libzmq's socket stays with its owner."""
        if self._packets is not None:
            self._packets.close()


def pair() -> tuple[sockets.socket, sockets.socket] | None:
    """Two sockets, the daemon's and the worker's, or None where there are no such. Only the worker waits for room in its own.

    Raises:
        OSError: no more descriptors.
    """
    if sys.platform != "linux":
        return None
    ours, theirs = sockets.socketpair(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def _frames(packet: bytes) -> list[Bytes] | None:
    """What was packed together; None of the nothing that is read once the other side has ended."""
    if not packet:
        return None
    view, start = memoryview(packet), 1 + 4 * packet[0]
    frames: list[Bytes] = []
    try:
        lengths = struct.unpack_from(f"<{packet[0]}I", packet, 1)
    except struct.error as error:
        raise ProtocolError("A packet between daemon and worker is cut short.") from error
    for length in lengths:
        frames.append(view[start : start + length])
        start += length
    if start != len(packet):
        raise ProtocolError("A packet between daemon and worker is not as long as it says.")
    return frames
