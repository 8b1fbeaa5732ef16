"""GLibLoop: the client's Loop on GLib's main loop, which also drives GTK."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

from gi.repository import GLib

__all__ = ["GLibLoop"]

_log = logging.getLogger(__name__)


class _Timer:
    def __init__(self, loop: GLibLoop, delay_s: float, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        if delay_s <= 0:
            # below GTK's drawing (120) and the sockets (0): reading a large picture keeps the dialog alive
            self._source = GLib.idle_add(self._fire, priority=GLib.PRIORITY_DEFAULT_IDLE)
        else:
            # rounded up, a timer must not come early
            self._source = GLib.timeout_add(-int(-delay_s * 1000 // 1), self._fire)

    def cancel(self) -> None:
        source, self._source = self._source, 0
        if source:
            GLib.source_remove(source)

    def _fire(self) -> bool:
        self._source = 0
        self._loop.guard(self._callback)
        return GLib.SOURCE_REMOVE


class _Watch:
    def __init__(
        self, loop: GLibLoop, fd: int, on_readable: Callable[[], None], on_writable: Callable[[], None]
    ) -> None:
        self._loop = loop
        # a socket's number is no file descriptor on Windows
        self._channel = (
            GLib.IOChannel.win32_new_socket(fd) if os.name == "nt" else GLib.IOChannel.unix_new(fd)
        )
        self._on_readable = on_readable
        self._on_writable = on_writable
        self._writing = 0
        self._reading = self._add(GLib.IO_IN | GLib.IO_HUP | GLib.IO_ERR, self._read)

    def want_write(self, wanted: bool) -> None:
        if wanted and not self._writing and self._reading:
            self._writing = self._add(GLib.IO_OUT, self._write)
        elif not wanted and self._writing:
            source, self._writing = self._writing, 0
            GLib.source_remove(source)

    def close(self) -> None:
        self.want_write(False)
        source, self._reading = self._reading, 0
        if source:
            GLib.source_remove(source)

    def _add(self, condition: int, callback: Callable[..., bool]) -> int:
        return GLib.io_add_watch(self._channel, GLib.PRIORITY_DEFAULT, condition, callback)

    def _read(self, *_: object) -> bool:
        self._loop.guard(self._on_readable)
        return bool(self._reading)

    def _write(self, *_: object) -> bool:
        self._loop.guard(self._on_writable)
        return bool(self._writing)


class GLibLoop:
    """A Loop on the default main context.

    It turns in ``run_until`` or in any other main loop, such as that of a dialog. What a callback raises is logged
    and raised again by ``run_until``: GLib would swallow it, and the caller would wait for ever.
    """

    def __init__(self) -> None:
        self.failure: Exception | None = None

    def now(self) -> float:
        """Seconds of ``time.monotonic``."""
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        """See Loop."""
        return _Timer(self, delay_s, callback)

    def watch(self, fd: int, on_readable: Callable[[], None], on_writable: Callable[[], None]) -> _Watch:
        """See Loop."""
        return _Watch(self, fd, on_readable, on_writable)

    def run_until(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Turn until ``is_done`` says so, or the time is over; returns what it said last.

        Raises:
            Exception: what a callback raised since the last call.
        """
        context = GLib.MainContext.default()
        is_over = False

        def end() -> None:
            nonlocal is_over
            is_over = True

        timer = self.call_later(timeout_s, end) if timeout_s is not None else None
        try:
            while not is_done():
                if is_over:
                    return False
                context.iteration(True)
                if self.failure is not None:
                    failure, self.failure = self.failure, None
                    raise failure
            return True
        finally:
            if timer is not None:
                timer.cancel()

    def guard(self, callback: Callable[[], None]) -> None:
        """Call, and keep what is raised for ``run_until``."""
        try:
            callback()
        except Exception as error:
            # the boundary to C: an exception cannot pass through GLib's main loop
            _log.exception("a callback of the main loop failed")
            self.failure = self.failure or error
