"""The threads that work with the disk, so that the daemon's loop does not have to wait for it.

What is written is first given to the system, which takes microseconds, and is safe then from the death of the daemon. That
it outlives a power cut as well takes until the disk has it: milliseconds, or tenths of a second when others write. So there
is a quick thread, which gives things to the system, and a slow one, which waits for the disk. What keeps the disk busy for
seconds has a third, so that it keeps no other waiting. Each does its work in the order it was given.

What follows is done on the loop's thread. Pieces of work that wait together and end in the same call, be it a commit or a flush, share one:
it takes as long for many as for one.
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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
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
    """Since when it could be done."""
    work: Callable[[], object]
    then: Callable[[object], None] | None = None
    finish: Callable[[], None] | None = None
    is_long: bool = False
    is_last: bool = False
    is_handing_on: bool = False
    """It does not keep work before it and work behind it from finishing together, and comes after that."""


_Done = tuple[_Item, object]
"""What was done, and what came of it."""


class DiskWork(Protocol):
    """Where work with the disk is done."""

    def submit(
        self,
        work: Callable[[], _T],
        then: Then[_T] | None = None,
        finish: Callable[[], None] | None = None,
        *,
        is_long: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        """Do ``work`` after all that was submitted before, then ``finish``, then ``then``.

        finish: called once for pieces of work that waited one behind the other and have the same; if it fails, all of them have
        failed. is_long: what comes before does not wait for it. pause_s: begin only after so many seconds.
        """
        ...

    def submit_slow(
        self,
        work: Callable[[], _T],
        then: Then[_T] | None = None,
        finish: Callable[[], None] | None = None,
        *,
        is_long: bool = False,
    ) -> None:
        """Do the same with work that waits for the disk, after other work of that kind: no other waits for it."""
        ...

    def submit_huge(self, work: Callable[[], _T], then: Then[_T]) -> None:
        """Do the same with work that keeps the disk busy for seconds, after other work of that kind: no other waits for it."""
        ...

    def submit_last(self, work: Callable[[], object]) -> None:
        """Do ``work`` after all that was submitted before, when there is little else to do; nobody waits for it."""
        ...


class Archive:
    """The threads, and a socket that tells the loop when there is something to hear of them.

    Args:
        place: where the disk's files lie, for sentences.
    """

    def __init__(self, place: str) -> None:
        self._serials = itertools.count()
        self._new: list[_Item] = []
        self._new_slow: list[_Item] = []
        self._new_huge: list[_Item] = []
        self._done: deque[Callable[[], None]] = deque()
        self.socket, self._bell = socket.socketpair()
        for end in (self.socket, self._bell):
            end.setblocking(False)
        self._huge = _Thread("archive-huge", place, self._tell)
        self._slow = _Thread("archive-slow", place, self._tell)
        self._quick = _Thread("archive", place, self._tell)

    def submit(
        self,
        work: Callable[[], _T],
        then: Then[_T] | None = None,
        finish: Callable[[], None] | None = None,
        *,
        is_long: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        """Do ``work`` from the next ``hand_over`` on, see DiskWork; ``then`` follows in ``poll``."""
        self._new.append(self._item(work, then, finish, is_long=is_long, pause_s=pause_s))  # pyright: ignore[reportArgumentType] - what work returns is what then takes

    def submit_slow(
        self,
        work: Callable[[], _T],
        then: Then[_T] | None = None,
        finish: Callable[[], None] | None = None,
        *,
        is_long: bool = False,
    ) -> None:
        """Do ``work`` from the next ``hand_over`` on, see DiskWork; ``then`` follows in ``poll``."""
        self._new_slow.append(self._item(work, then, finish, is_long=is_long))  # pyright: ignore[reportArgumentType] - what work returns is what then takes

    def submit_huge(self, work: Callable[[], _T], then: Then[_T]) -> None:
        """Do ``work`` from the next ``hand_over`` on, see DiskWork; ``then`` follows in ``poll``."""
        self._new_huge.append(self._item(work, then))  # pyright: ignore[reportArgumentType] - what work returns is what then takes

    def submit_last(self, work: Callable[[], object]) -> None:
        """Do ``work`` from the next ``hand_over`` on, see DiskWork."""
        last = self._item(work, is_last=True)
        # The quick thread hands it to the slow one when its turn has come.
        self._new.append(
            replace(last, work=partial(self._slow.take, [last]), is_last=False, is_handing_on=True)
        )

    def hand_over(self) -> None:
        """Let the threads begin with what was submitted.

        Apart from submitting, so that the loop can first send what engines and clients wait for: all threads want Python's
        lock, and what is handed over together can share a commit.
        """
        if self._new_huge:
            self._huge.take(self._new_huge)
            self._new_huge = []
        if self._new_slow:  # first: what the quick thread hands on comes behind it
            self._slow.take(self._new_slow)
            self._new_slow = []
        if self._new:
            self._quick.take(self._new)
            self._new = []

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
        deadline = time.monotonic() + timeout_s
        are_done = [self._quick.end(deadline), self._huge.end(deadline)]
        self.poll()
        self.hand_over()  # what follows from huge work is slow work
        are_done.append(self._slow.end(deadline))
        self.poll()
        is_done = all(are_done)
        if is_done:
            self.socket.close()
            self._bell.close()
        return is_done

    def _item(
        self,
        work: Callable[[], object],
        then: Callable[[object], None] | None = None,
        finish: Callable[[], None] | None = None,
        *,
        is_long: bool = False,
        is_last: bool = False,
        pause_s: float = 0.0,
    ) -> _Item:
        return _Item(
            next(self._serials),
            time.monotonic() + pause_s,
            work,
            then,
            finish,
            is_long=is_long,
            is_last=is_last,
        )

    def _tell(self, done: Sequence[_Done]) -> None:
        """Have the loop go on with what is done."""
        follows = [(item.then, outcome) for item, outcome in done if item.then is not None]
        self._done.extend(partial(then, outcome) for then, outcome in follows)
        if follows:
            with suppress(OSError):  # full: the loop has not heard the bells before this one
                self._bell.send(b"\0")


class _Thread:
    """One of the threads. tell: given what it has done, on the thread itself, in the order it was taken."""

    def __init__(self, name: str, place: str, tell: Callable[[Sequence[_Done]], None]) -> None:
        self._place = place
        self._tell = tell
        self._todo: deque[_Item] = deque()
        self._last: deque[_Item] = deque()
        self._is_quiet = False
        self._is_ending = False
        self._has_come = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def take(self, items: Sequence[_Item]) -> None:
        """Do ``items`` as well."""
        with self._has_come:
            had_last = bool(self._last)
            self._is_quiet = self._is_quiet and had_last
            for item in items:
                (self._last if item.is_last else self._todo).append(item)
            if not (had_last and all(item.is_last for item in items)):
                self._has_come.notify()

    def end(self, deadline: float) -> bool:
        """Finish what was taken; returns whether it was done by ``deadline``, of ``time.monotonic``."""
        with self._has_come:
            self._is_ending = True
            self._has_come.notify()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        return not self._thread.is_alive()

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
                    pause_s = self._todo[0].at_s - time.monotonic()
                    if pause_s <= 0.0 or self._is_ending:
                        return self._todo.popleft()
                    self._has_come.wait(pause_s)
                    continue
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
        """Do ``item`` and what waits behind it and finishes alike."""
        finish = item.finish
        done = [(item, self._outcome(item.work))]
        if finish is not None:
            passed: list[_Item] = []
            while len(done) < _MOST_TOGETHER and (more := self._next_for(finish)) is not None:
                if more.is_handing_on:
                    passed.append(more)
                else:
                    done.append((more, self._outcome(more.work)))
            failure = self._outcome(finish)
            if isinstance(failure, OverpaintError):
                done = [(item, failure) for item, _ in done]
            done += [(item, self._outcome(item.work)) for item in passed]
        self._tell(done)

    def _next_for(self, finish: Callable[[], None]) -> _Item | None:
        with self._has_come:
            following = self._todo[0] if self._todo else None
            if following is None or following.is_long:
                return None
            can_join = following.finish == finish or following.is_handing_on
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
