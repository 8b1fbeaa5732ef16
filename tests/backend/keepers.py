"""Keepers for tests: one without a disk, and one whose disk does as it is told."""

from __future__ import annotations

import sqlite3
from collections import deque

from overpaint_backend.durability.archive import explain
from overpaint_backend.durability.orders import Made, Pixels
from overpaint_protocol.errors import OverpaintError


class NoDisk:
    """Answers like a Keeper whose disk is infinitely quick, and forgets everything with itself."""

    def __init__(self):
        self.problem = None
        self._taken = set()

    def open(self, now):
        return []

    def accept(self, key, order, payload, then):
        then(order(_pixels(payload)))

    def add(self, key, variant, payload, then):
        pass  # never kept, so that the pixels stay in memory

    def note_attempts(self, key, count):
        pass

    def end(self, key, ended, variants, now, then):
        then(None)

    def settle(self, now):
        pass

    def forget(self, key, variants, taken, then):
        if taken is not None:
            self._taken.add((taken.principal, taken.session_id, taken.job_id))
        then(None)

    def read(self, key, made: list[Made], then):
        raise AssertionError("nothing was kept")

    def sync(self, then):
        then()

    def sync_orders(self, then):
        then()

    def time_s(self, now):
        return now

    def note_time(self, now, keep_s):
        pass

    def was_taken(self, principal, session_id, job_id):
        return (principal, session_id, job_id) in self._taken

    def remember_unknown(self, principal, session_id, job_id):
        self._taken.add((principal, session_id, job_id))


class SteppedDisk:
    """DiskWork that is done when the test says so.

    is_prompt: all of it at once; is_slow: but for slow and huge work. Otherwise ``step`` does the next piece of quick work, ``settle`` all
    that is huge or slow, and what is left undone when the daemon dies never happens. failures: errors raised by the next pieces of work,
    None for one that succeeds.
    """

    def __init__(self, is_prompt=True, is_slow=False):
        self.is_prompt = is_prompt
        self.is_slow = is_slow
        self.failures = deque()
        self.todo = deque()
        self.slow = deque()
        self.huge = deque()
        self._last = deque()

    def submit(self, work, then=None, finish=None, *, is_long=False, pause_s=0.0):
        self._take(self.todo, (work, then, finish))

    def submit_slow(self, work, then=None, finish=None, *, is_long=False):
        self._take(self.slow, (work, then, finish))

    def submit_huge(self, work, then):
        self._take(self.huge, (work, then, None))

    def submit_last(self, work):
        self._take(self.todo, (lambda: None, lambda _: self._last.append(work), None))

    def step(self):
        """Do one piece of quick work and what follows from it."""
        self._do(*self.todo.popleft())

    def step_slow(self):
        """Do one piece of slow work and what follows from it."""
        self._do(*self.slow.popleft())

    def settle(self):
        """Do all huge and slow work, and what nobody waits for."""
        while queue := self.huge or self.slow:
            self._do(*queue.popleft())
        while self._last:
            self._outcome(self._last.popleft(), None)

    def finish(self):
        """Do all of it."""
        while self.huge or self.slow or self.todo or self._last:
            self.settle()
            if self.todo:
                self.step()

    def die(self):
        """Do nothing more."""
        for left in (self.todo, self.slow, self.huge, self._last):
            left.clear()

    def _take(self, queue, item):
        queue.append(item)
        if self.is_prompt and not self.is_slow:
            self.finish()
        while self.is_prompt and self.todo:
            self.step()

    def _do(self, work, then, finish):
        failure = self.failures.popleft() if self.failures else None
        outcome = self._outcome(work, failure)
        refused = None if finish is None else self._outcome(finish, None)
        outcome = refused if isinstance(refused, OverpaintError) else outcome
        if then is not None:
            then(outcome)

    def _outcome(self, work, failure):
        try:
            if failure is not None:
                raise failure
            return work()
        except OverpaintError as error:
            return error
        except (OSError, sqlite3.Error) as error:
            return explain(error, "the disk of the test")


def _pixels(payload):
    return Pixels(frames=tuple(len(frame) for frame in payload), checksums=tuple(0 for _ in payload))
