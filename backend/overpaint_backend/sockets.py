"""What is asked of libzmq's sockets with every message."""

from __future__ import annotations

import zmq

__all__ = ["is_readable"]

_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)  # as plain numbers: they are used that often


def is_readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits. Asking costs a fraction of the exception that says that there is none."""
    return bool(int(socket.getsockopt(_EVENTS)) & _POLLIN)
