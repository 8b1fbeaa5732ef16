"""The worker's connection to the daemon, on a thread of its own.

The main thread is an engine's and may be deep inside a library for minutes; this one keeps listening meanwhile, so
that a cancel is known as soon as the engine looks up.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import zmq

from overpaint_protocol.pixels import Bytes

from .base import PixelsAt, RunJob, StopRun, pack, unpack

if TYPE_CHECKING:
    from .shared import SharedByWorker

__all__ = ["WorkerLink", "exit_with"]

_INSIDE = "inproc://to-daemon"


class WorkerLink:
    """Receives jobs and cancels, sends what the runs have to say.

    Args:
        endpoint, token: the daemon's socket for this worker.
        shared: the descriptor of the memory it shares with the daemon, if there is any.
    """

    def __init__(self, endpoint: str, token: str, shared: int | None = None) -> None:
        self._shared = _shared(shared)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._jobs: queue.SimpleQueue[tuple[PixelsAt | None, RunJob, tuple[Bytes, ...]]] = queue.SimpleQueue()
        self._stop_requests: set[int] = set()
        self._outside = self._context.socket(zmq.DEALER)
        self._outside.setsockopt(zmq.LINGER, 0)
        self._outside.setsockopt(zmq.SNDHWM, 0)
        self._outside.setsockopt_string(zmq.PLAIN_USERNAME, "worker")
        self._outside.setsockopt_string(zmq.PLAIN_PASSWORD, token)
        self._outside.connect(endpoint)
        # Sockets belong to one thread each, so an engine's words cross over by a pair of their own.
        self._inside = self._context.socket(zmq.PULL)
        self._inside.setsockopt(zmq.RCVHWM, 0)
        self._inside.bind(_INSIDE)
        self._sender = self._context.socket(zmq.PUSH)
        self._sender.setsockopt(zmq.SNDHWM, 0)
        self._sender.connect(_INSIDE)
        threading.Thread(target=self._carry, name="worker-link", daemon=True).start()

    def send(self, message: object, payload: Sequence[Bytes] = ()) -> None:
        """Say something to the daemon. For one thread and no other."""
        placed = None if self._shared is None or not payload else self._shared.place(payload)
        if placed is not None:
            self._sender.send_multipart(pack(placed))
            payload = ()
        self._sender.send_multipart(pack(message, payload), copy=False)

    def next_job(self, timeout_s: float) -> tuple[RunJob, tuple[Bytes, ...]] | None:
        """Wait for a job and its pixels, up to ``timeout_s``; None if none came. For the main thread."""
        try:
            pixels, job, payload = self._jobs.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if self._shared is not None:
            payload = self._shared.begin(pixels) or payload
        return job, payload

    def is_stopped(self, run: int) -> bool:
        """Whether the daemon does not want ``run`` any more."""
        return run in self._stop_requests

    def _carry(self) -> None:
        poller = zmq.Poller()
        poller.register(self._outside, zmq.POLLIN)
        poller.register(self._inside, zmq.POLLIN)
        pixels: PixelsAt | None = None
        while True:
            ready = dict(poller.poll())
            if self._inside in ready:
                self._outside.send_multipart(self._inside.recv_multipart(copy=False), copy=False)
            if self._outside in ready:
                frames = self._outside.recv_multipart(copy=False)
                message, payload = unpack([frame.buffer for frame in frames])
                if isinstance(message, PixelsAt):
                    pixels = message
                elif isinstance(message, RunJob):
                    self._jobs.put((pixels, message, payload))
                    pixels = None
                elif isinstance(message, StopRun):
                    self._stop_requests.add(message.run)


def _shared(descriptor: int | None) -> SharedByWorker | None:
    if sys.platform != "linux" or descriptor is None:
        return None
    from .shared import SharedByWorker  # needs a module that other systems lack

    return SharedByWorker(descriptor)


def exit_with(stream: IO[bytes]) -> None:
    """End this process when ``stream`` ends: the daemon, which holds its other end, is gone."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while stream.read(1024):
                pass
        # Not sys.exit: an engine in the middle of a library call would never hear of it.
        os._exit(0)

    threading.Thread(target=wait, name="daemon-watch", daemon=True).start()
