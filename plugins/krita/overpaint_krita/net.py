"""QtLoop: the controller's Loop on Krita's own event loop."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from .qt import QObject, QSocketNotifier, Qt, QTimer

__all__ = ["QtLoop"]

_log = logging.getLogger(__name__)


class QtLoop(QObject):
    """Timers and socket watches on the thread that made it.

    Krita turns its event loop inside some calls (adding a layer, resizing the image), so a timer or a socket can
    fire while a callback is still at work. Callbacks must run one at a time, so such a one is put off until the
    running one has returned.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._is_running = False
        self._postponed: deque[Callable[[], None]] = deque()

    def now(self) -> float:
        """Seconds of ``time.monotonic``."""
        return time.monotonic()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        """See Loop."""
        return _Timer(self, delay_s, callback)

    def watch(self, fd: int, on_readable: Callable[[], None], on_writable: Callable[[], None]) -> _Watch:
        """See Loop."""
        return _Watch(self, fd, on_readable, on_writable)

    def run_or_postpone(self, callback: Callable[[], None]) -> None:
        """Call now, or as soon as the callback that is running has returned."""
        if self._is_running:
            self._postponed.append(callback)
            return
        self._is_running = True
        try:
            callback()
        except Exception:
            # The border to Qt: an exception that gets out of a slot ends Krita, or opens its modal error dialog.
            _log.exception("a callback of the event loop failed")
        finally:
            self._is_running = False
        if self._postponed:
            QTimer.singleShot(0, self._run_postponed)

    def _run_postponed(self) -> None:
        if self._postponed and not self._is_running:
            self.run_or_postpone(self._postponed.popleft())


class _Timer:
    def __init__(self, loop: QtLoop, delay_s: float, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback: Callable[[], None] | None = callback
        self._timer = QTimer(loop)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        # a lambda, because PyQt keeps a connected method's object alive only if it is a QObject
        self._timer.timeout.connect(lambda: self._fire())
        self._timer.start(max(0, round(delay_s * 1000)))

    def cancel(self) -> None:
        if self._callback is not None:
            self._callback = None
            self._timer.stop()
            self._timer.deleteLater()

    def _fire(self) -> None:
        self._timer.deleteLater()
        self._loop.run_or_postpone(self._call)

    def _call(self) -> None:
        if self._callback is not None:
            callback, self._callback = self._callback, None
            callback()


class _Watch:
    def __init__(
        self, loop: QtLoop, fd: int, on_readable: Callable[[], None], on_writable: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._wants_write = False
        self._is_open = True
        # Ignored because PyQt 6's stubs want its own voidptr; a plain int does in both
        self._read = QSocketNotifier(fd, QSocketNotifier.Type.Read, loop)  # pyright: ignore[reportArgumentType]
        self._read.activated.connect(lambda *_: self._activated(self._read, on_readable))
        self._write = QSocketNotifier(fd, QSocketNotifier.Type.Write, loop)  # pyright: ignore[reportArgumentType]
        self._write.setEnabled(False)
        self._write.activated.connect(lambda *_: self._activated(self._write, on_writable))

    def want_write(self, wanted: bool) -> None:
        self._wants_write = wanted
        if self._is_open:
            self._write.setEnabled(wanted)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            for notifier in (self._read, self._write):
                notifier.setEnabled(False)
                notifier.deleteLater()

    def _activated(self, notifier: QSocketNotifier, callback: Callable[[], None]) -> None:
        # Off until the callback has run: a loop turned inside another callback would fire it again and again.
        notifier.setEnabled(False)
        self._loop.run_or_postpone(lambda: self._call(notifier, callback))

    def _call(self, notifier: QSocketNotifier, callback: Callable[[], None]) -> None:
        if not self._is_open:
            return
        try:
            callback()
        finally:
            if self._is_open:
                notifier.setEnabled(notifier is self._read or self._wants_write)
