"""The thread that waits for the disk, so that the daemon's loop does not have to.

Work is done in the order it was given, and what follows from it is done in the same order on the loop's thread.
"""

from __future__ import annotations

import errno
import itertools
import logging
import queue
import secrets
import socket
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Protocol, TypeVar

from overpaint_protocol.errors import CapacityError, DaemonError, OverpaintError

__all__ = ["Archive", "DiskWork", "Then", "explain"]

_T = TypeVar("_T")
Then = Callable[[_T | OverpaintError], None]
"""What follows: given what the work returned, or why it failed."""

_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)

_log = logging.getLogger(__name__)


class _Turn(IntEnum):
    """Which work comes before other work that waits."""

    NEXT = 0
    LAST = 1
    END = 2


_Item = tuple[_Turn, int, Callable[[], object], Callable[[object], None]]
"""The serial number keeps work of the same turn in its order."""


class DiskWork(Protocol):
    """Where work with the disk is done."""

    def submit(self, work: Callable[[], _T], then: Then[_T]) -> None:
        """Do ``work`` after all that was submitted before, then ``then``. Neither may raise OverpaintErrors of its own."""
        ...

    def submit_last(self, work: Callable[[], object]) -> None:
        """Do ``work`` when there is nothing else to do; nobody waits for it."""
        ...


class Archive:
    """One thread that works, and a socket that tells the loop when there is something to hear of it.

    Args:
        place: where the disk's files lie, for sentences.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._todo: queue.PriorityQueue[_Item] = queue.PriorityQueue()
        self._serials = itertools.count()
        self._done: deque[Callable[[], None]] = deque()
        self.socket, self._bell = socket.socketpair()
        for end in (self.socket, self._bell):
            end.setblocking(False)
        self._thread = threading.Thread(target=self._work, name="archive", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], _T], then: Then[_T]) -> None:
        """Do ``work`` on the thread, after all that was submitted before; ``then`` follows in ``poll``."""
        self._put(_Turn.NEXT, work, then)  # pyright: ignore[reportArgumentType] - what work returns is what then takes

    def submit_last(self, work: Callable[[], object]) -> None:
        """Do ``work`` on the thread when nothing that was submitted waits."""
        self._put(_Turn.LAST, work, lambda _: None)

    def poll(self) -> None:
        """Do what follows from the work that is done; call it when ``socket`` is readable."""
        with suppress(OSError):  # heard all of it, or closed
            while self.socket.recv(4096):
                pass
        while self._done:
            self._done.popleft()()

    def close(self, timeout_s: float) -> bool:
        """Finish the work that was submitted, and what follows from it; returns whether all of it was done in time."""
        if self._thread.is_alive():
            self._put(_Turn.END, lambda: None, lambda _: None)
            self._thread.join(timeout_s)
        self.poll()
        is_done = not self._thread.is_alive()
        if is_done:
            self.socket.close()
            self._bell.close()
        return is_done

    def _put(self, turn: _Turn, work: Callable[[], object], then: Callable[[object], None]) -> None:
        self._todo.put((turn, next(self._serials), work, then))

    def _work(self) -> None:
        while (item := self._todo.get())[0] is not _Turn.END:
            *_, work, then = item
            outcome = self._outcome(work)
            self._done.append(lambda then=then, outcome=outcome: then(outcome))
            del item, work, then, outcome  # no pixels are held while there is nothing to do
            with suppress(OSError):  # full: the loop has not heard the bells before this one
                self._bell.send(b"\0")

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
