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

    def end(self, key, ended, then):
        then(None)

    def forget(self, key, variants, taken, then):
        if taken is not None:
            self._taken.add((taken.principal, taken.session_id, taken.job_id))
        then(None)

    def read(self, key, made: list[Made], then):
        raise AssertionError("nothing was kept")

    def sync(self, then):
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

    is_prompt: all of it at once. Otherwise ``step`` does the next piece of work, and what is left undone when the daemon dies
    never happens. failures: errors raised by the next pieces of work, None for one that succeeds.
    """

    def __init__(self, is_prompt=True):
        self.is_prompt = is_prompt
        self.failures = deque()
        self.todo = deque()
        self.steps = 0

    def submit(self, work, then=None, flush=None, *, is_long=False):
        self.todo.append((work, then, flush))
        if self.is_prompt:
            self.finish()

    def submit_last(self, work):
        self.submit(work)

    def step(self):
        """Do one piece of work and what follows from it."""
        work, then, flush = self.todo.popleft()
        self.steps += 1
        failure = self.failures.popleft() if self.failures else None
        outcome = self._outcome(work, failure)
        if flush is not None:
            refused = self._outcome(flush, None)
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

    def finish(self):
        """Do all of it."""
        while self.todo:
            self.step()


def _pixels(payload):
    return Pixels(frames=tuple(len(frame) for frame in payload), checksums=tuple(0 for _ in payload))
