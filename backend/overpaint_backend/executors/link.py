"""The worker's connection to the daemon, for the one thread that works.

libzmq listens meanwhile: that thread is an engine's and may be deep inside a library for minutes, and a cancel is known as soon
as the engine looks up.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import zmq

from overpaint_protocol.pixels import Bytes

from .base import PixelsAt, RunJob, RunPixels, RunVariant, StopRun, WorkerStart, pack, unpack
from .line import Line

if TYPE_CHECKING:
    from .shared import SharedByWorker

__all__ = ["WorkerLink", "exit_with"]

_PIXELS_S = 1.0


class WorkerLink:
    """Receives jobs and cancels, sends what the runs have to say.

    Args:
        start: what it was told at its start.
    """

    def __init__(self, start: WorkerStart) -> None:
        self._shared = _shared(start.shared)
        self._told: RunJob | None = None
        """A job whose pixels are still to come."""
        self._jobs: deque[tuple[RunJob, PixelsAt | None, tuple[Bytes, ...]]] = deque()
        self._stop_requests: set[int] = set()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt_string(zmq.PLAIN_USERNAME, "worker")
        socket.setsockopt_string(zmq.PLAIN_PASSWORD, start.token)
        socket.connect(start.endpoint)
        self._line = Line(socket, None if start.packets is None else _packets(start.packets))

    def send(self, message: object, payload: Sequence[Bytes] = ()) -> None:
        """Say something to the daemon."""
        if isinstance(message, RunVariant):
            self._line.send(pack(message))
            placed = None if self._shared is None else self._shared.place(payload)
            message, payload = RunPixels(run=message.run, at=placed), () if placed is not None else payload
        self._line.send(pack(message, payload))

    def next_job(self, timeout_s: float) -> tuple[RunJob, tuple[Bytes, ...]] | None:
        """Wait for a job and its pixels, up to ``timeout_s``; None if none came."""
        self.wait(timeout_s)
        self._hear()
        while self._told is not None:  # its pixels are on their way
            self._line.wait(_PIXELS_S)
            self._hear()
        if not self._jobs:
            return None
        job, placed, payload = self._jobs.popleft()
        if self._shared is not None:
            payload = self._shared.begin(placed) or payload
        return job, payload

    def wait(self, timeout_s: float, bell: sockets.socket | None = None) -> None:
        """Wait until the daemon says something, or ``bell`` is readable, up to ``timeout_s``."""
        if not self._jobs:
            self._line.wait(timeout_s, bell)

    def is_stopped(self, run: int) -> bool:
        """Whether the daemon does not want ``run`` any more."""
        self._hear()
        return run in self._stop_requests

    def _hear(self) -> None:
        """Take in what has come."""
        while (frames := self._line.receive()) is not None:
            message, payload = unpack(frames)
            if isinstance(message, RunJob):
                self._told = message
            elif isinstance(message, RunPixels) and self._told is not None:
                self._jobs.append((self._told, message.at, payload))
                self._told = None
            elif isinstance(message, StopRun):
                self._stop_requests.add(message.run)


def _shared(descriptor: int | None) -> SharedByWorker | None:
    if sys.platform != "linux" or descriptor is None:
        return None
    from .shared import SharedByWorker  # needs a module that other systems lack

    return SharedByWorker(descriptor)


def _packets(descriptor: int) -> sockets.socket:
    """What the process was born with, and its own children are not."""
    os.set_inheritable(descriptor, False)
    return sockets.socket(fileno=descriptor)


def exit_with(stream: IO[bytes]) -> None:
    """End this process when ``stream`` ends: the daemon, which holds its other end, is gone."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            # Not stream.read(): an interpreter that ends while a thread holds the stream's lock aborts.
            while os.read(stream.fileno(), 1024):
                pass
        # Not sys.exit: an engine in the middle of a library call would never hear of it.
        os._exit(0)

    threading.Thread(target=wait, name="daemon-watch", daemon=True).start()
