"""What is done to libzmq's sockets with every message, without what pyzmq does beside it: a third of the time."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import zmq

from overpaint_protocol.pixels import Bytes

__all__ = ["MonitorEvent", "is_readable", "monitor_events", "receive_frames", "send_frames"]

# As plain numbers: to ask an enumeration takes longer than libzmq does.
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)
_NOW, _MORE = int(zmq.NOBLOCK), int(zmq.SNDMORE)


class MonitorEvent(NamedTuple):
    """What libzmq says of one connection. event: of zmq.Event. value: a descriptor, an error or a status, as the event has it."""

    event: int
    value: int
    endpoint: bytes


def monitor_events(monitor: zmq.Socket[bytes]) -> Iterator[MonitorEvent]:
    """What a socket's monitor has to tell, in the frames of zmq_socket_monitor(3). pyzmq's reader of them imports asyncio."""
    while is_readable(monitor):
        head, endpoint = monitor.recv_multipart(_NOW)
        yield MonitorEvent(*struct.unpack("=Hi", head), endpoint)


def is_readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits. Asking costs a fraction of the exception that says that there is none."""
    return bool(int(socket.getsockopt(_EVENTS)) & _POLLIN)


def receive_frames(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """Take a message that waits, without copying it.

    Raises:
        zmq.Again: there is none.
    """
    frames = [socket.recv(_NOW, copy=False)]
    while frames[-1].more:
        frames.append(socket.recv(_NOW, copy=False))
    return frames


def send_frames(socket: zmq.Socket[bytes], frames: Sequence[Bytes]) -> None:
    """Hand over a message, which libzmq keeps without copying large frames.

    Raises:
        zmq.Again: there is no room for it.
        zmq.ZMQError: its receiver is gone, for a ROUTER.
    """
    for frame in frames[:-1]:
        socket.send(frame, _NOW | _MORE, copy=False)
    socket.send(frames[-1], _NOW, copy=False)
