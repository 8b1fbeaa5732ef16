"""The thread that waits for the disk, so that the daemon's loop does not have to.

Work is done in the order it was given, and what follows from it is done in the same order on the loop's thread. Pieces of
work that wait together and are made to last by the same flush share one: the disk takes as long for many as for one.
"""

from __future__ import annotations

import errno
import itertools
import logging
import secrets
import socket
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from overpaint_protocol.errors import CapacityError, DaemonError, OverpaintError

__all__ = ["Archive", "DiskWork", "Then", "explain"]

_T = TypeVar("_T")
Then = Callable[[_T | OverpaintError], None]
"""What follows: given what the work returned, or why it failed."""

_MOST_TOGETHER = 64
_QUIET_S = 0.02
"""What nobody waits for is done when nothing else has come for so long: whoever is about to ask for something finds the disk free."""
_LONGEST_S = 1.0
"""It does not wait longer than that, however much else there is."""

_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Item:
    serial: int
    at_s: float
    work: Callable[[], object]
    then: Callable[[object], None] | None = None
    flush: Callable[[], None] | None = None
    is_long: bool = False
    is_last: bool = False


class DiskWork(Protocol):
    """Where work with the disk is done."""

    def submit(
        self,
        work: Callable[[], _T],
        then: Then[_T] | None = None,
        flush: Callable[[], None] | None = None,
        *,
        is_long: bool = False,
    ) -> None:
        """Do ``work`` after all that was submitted before, then ``flush``, then ``then``.

        flush: makes what ``work`` did last. Called once for pieces of work that waited one behind the other and have the same;
        if it fails, all of them have failed. is_long: what comes before does not wait for it.
        """
        ...

    def submit_last(self, work: Callable[[], object]) -> None:
        """Do ``work`` after all that was submitted before, when there is little else to do; nobody waits for it."""
        ...


class Archive:
    """One thread that works, and a socket that tells the loop when there is something to hear of it.

    Args:
        place: where the disk's files lie, for sentences.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._serials = itertools.count()
        self._new: list[_Item] = []
        self._todo: deque[_Item] = deque()
        self._last: deque[_Item] = deque()
        self._is_quiet = False
        self._is_ending = False
        self._has_come = threading.Condition()
        self._done: deque[Callable[[], None]] = deque()
        self.socket, self._bell = socket.socketpair()
        for end in (self.socket, self._bell):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._work, name="archive", daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Callable[[], _T],
        then: Then[_T] | None = None,
        flush: Callable[[], None] | None = None,
        *,
        is_long: bool = False,
    ) -> None:
        """Do ``work`` on the thread from the next ``hand_over`` on, see DiskWork; ``then`` follows in ``poll``."""
        self._new.append(_Item(next(self._serials), time.monotonic(), work, then, flush, is_long))  # pyright: ignore[reportArgumentType] - what work returns is what then takes

    def submit_last(self, work: Callable[[], object]) -> None:
        """Do ``work`` on the thread from the next ``hand_over`` on, see DiskWork."""
        self._new.append(_Item(next(self._serials), time.monotonic(), work, is_last=True))

    def hand_over(self) -> None:
        """Let the thread begin with what was submitted.

        Apart from submitting, so that the loop can first send what engines and clients wait for: both threads want Python's
        lock, and what is handed over together can share a flush.
        """
        if not self._new:
            return
        with self._has_come:
            had_last = bool(self._last)
            for item in self._new:
                (self._last if item.is_last else self._todo).append(item)
            if not (had_last and all(item.is_last for item in self._new)):
                self._has_come.notify()
            self._new.clear()

    def poll(self) -> None:
        """Do what follows from the work that is done; call it when ``socket`` is readable."""
        with suppress(OSError):  # heard all of it, or closed
            while len(self.socket.recv(4096)) == 4096:
                pass
        while self._done:
            self._done.popleft()()

    def close(self, timeout_s: float) -> bool:
        """Finish the work that was submitted, and what follows from it; returns whether all of it was done in time."""
        self.hand_over()
        with self._has_come:
            self._is_ending = True
            self._has_come.notify()
        self._thread.join(timeout_s)
        self.poll()
        is_done = not self._thread.is_alive()
        if is_done:
            self.socket.close()
            self._bell.close()
        return is_done

    def _work(self) -> None:
        while (item := self._next()) is not None:
            self._do(item)
            del item  # no pixels are held while there is nothing to do

    def _next(self) -> _Item | None:
        """Wait for work; None at the end of all of it."""
        with self._has_come:
            while True:
                if self._last and self._is_overdue(self._last[0]):
                    return self._last.popleft()
                if self._todo:
                    self._is_quiet = False
                    return self._todo.popleft()
                if self._last and (self._is_quiet or self._is_ending):
                    return self._last.popleft()
                if self._last:
                    self._is_quiet = not self._has_come.wait(_QUIET_S)
                elif self._is_ending:
                    return None
                else:
                    self._has_come.wait()

    def _is_overdue(self, last: _Item) -> bool:
        is_next = not self._todo or self._todo[0].serial > last.serial
        return is_next and time.monotonic() - last.at_s > _LONGEST_S

    def _do(self, item: _Item) -> None:
        """Do ``item`` and what waits behind it for the same flush."""
        done = [(item, self._outcome(item.work))]
        if item.flush is not None:
            while len(done) < _MOST_TOGETHER and (more := self._next_for(item.flush)) is not None:
                done.append((more, self._outcome(more.work)))
            failure = self._outcome(item.flush)
            if isinstance(failure, OverpaintError):
                done = [(item, failure) for item, _ in done]
        for item, outcome in done:
            if item.then is not None:
                self._done.append(lambda then=item.then, outcome=outcome: then(outcome))
        if any(item.then is not None for item, _ in done):
            with suppress(OSError):  # full: the loop has not heard the bells before this one
                self._bell.send(b"\0")

    def _next_for(self, flush: Callable[[], None]) -> _Item | None:
        with self._has_come:
            following = self._todo[0] if self._todo else None
            can_join = following is not None and following.flush == flush and not following.is_long
            return self._todo.popleft() if can_join else None

    def _outcome(self, work: Callable[[], object]) -> object:
        try:
            return work()
        except OverpaintError as error:
            return error
        except (OSError, sqlite3.Error) as error:
            _log.warning("the disk refused: %s", error)
            return explain(error, self._place)
        except Exception:  # the border of the thread, which has to live as long as the daemon
            error_id = secrets.token_hex(4)
            _log.exception("error %s while working with the disk", error_id)
            return DaemonError(
                f"Something went wrong inside the daemon (error {error_id}). Its log has more.",
                detail=error_id,
            )


def explain(error: OSError | sqlite3.Error, place: str) -> CapacityError:
    """Why nothing could be kept, in a sentence that says what to do."""
    if isinstance(error, sqlite3.Error):
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        reason = str(error)
    else:
        is_full = error.errno in _FULL
        reason = error.strerror or str(error)
    if is_full:
        return CapacityError(
            f"The disk with {place} is full, so the job could not be kept safe. Make room there, then ask again.",
            detail=reason,
        )
    return CapacityError(
        f"The job could not be kept safe in {place}: {reason}. Make that folder writable, then ask again.",
        detail=reason,
    )
