"""Loop: what the controller needs of an event loop, so that Qt, GLib and a plain selector can all drive it."""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Handle", "Loop", "SelectorLoop", "Watch"]

_LONGEST_WAIT_S = 0.5


class Handle(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Forget it; does nothing once it has run."""
        ...


class Watch(Protocol):
    """Attention to a socket."""

    def want_write(self, wanted: bool) -> None:
        """Call back also when the socket takes bytes, or no longer."""
        ...

    def close(self) -> None:
        """Stop watching. The socket is closed by its owner, afterwards."""
        ...


class Loop(Protocol):
    """Calls back on the thread that runs it, one callback at a time."""

    def now(self) -> float:
        """Seconds on a clock that never jumps."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Handle:
        """Call once, ``delay_s`` or more from now; with 0, after the loop has handled what is waiting."""
        ...

    def watch(self, fd: int, on_readable: Callable[[], None], on_writable: Callable[[], None]) -> Watch:
        """Call back whenever the socket ``fd`` has bytes, and if asked whenever it takes some.

        The callbacks are level-triggered: whoever does not read everything is called again.
        """
        ...


class _Timer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class _SelectorWatch:
    def __init__(
        self, selector: selectors.BaseSelector, fd: int, callbacks: tuple[Callable[[], None], ...]
    ) -> None:
        self._selector = selector
        self._fd = fd
        self._callbacks = callbacks
        self._wants_write = False
        self.is_open = True
        selector.register(fd, selectors.EVENT_READ, self)

    def want_write(self, wanted: bool) -> None:
        if self.is_open and wanted != self._wants_write:
            self._wants_write = wanted
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            self._selector.modify(self._fd, events, self)

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._selector.unregister(self._fd)

    def fire(self, events: int) -> None:
        on_readable, on_writable = self._callbacks
        if self.is_open and events & selectors.EVENT_READ:
            on_readable()
        if self.is_open and events & selectors.EVENT_WRITE:
            on_writable()


class SelectorLoop:
    """A Loop of the standard library, for the command line and for tests."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Seconds of ``time.monotonic``."""
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        """See Loop."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self.now() + delay_s, next(self._order), timer))
        return timer

    def watch(
        self, fd: int, on_readable: Callable[[], None], on_writable: Callable[[], None]
    ) -> _SelectorWatch:
        """See Loop."""
        return _SelectorWatch(self._selector, fd, (on_readable, on_writable))

    def run_until(self, is_done: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Turn until ``is_done`` says so, or the time is over; returns what it said last."""
        deadline = None if timeout_s is None else self.now() + timeout_s
        while not is_done():
            if deadline is not None and self.now() >= deadline:
                return False
            self._turn(deadline)
        return True

    def close(self) -> None:
        """Forget all timers and watches."""
        self._timers.clear()
        self._selector.close()

    def _turn(self, deadline: float | None) -> None:
        until = [self.now() + _LONGEST_WAIT_S]
        if deadline is not None:
            until.append(deadline)
        if self._timers:
            until.append(self._timers[0][0])
        for key, events in self._selector.select(max(0.0, min(until) - self.now())):
            key.data.fire(events)
        due = self.now()
        ready = []
        while self._timers and self._timers[0][0] <= due:
            ready.append(heapq.heappop(self._timers)[2])
        for timer in ready:
            if timer.callback is not None:
                callback, timer.callback = timer.callback, None
                callback()
