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

    def submit(self, work, then):
        self.todo.append((work, then))
        if self.is_prompt:
            self.finish()

    def submit_last(self, work):
        self.submit(work, lambda outcome: None)

    def step(self):
        """Do one piece of work and what follows from it."""
        work, then = self.todo.popleft()
        self.steps += 1
        failure = self.failures.popleft() if self.failures else None
        try:
            if failure is not None:
                raise failure
            outcome = work()
        except OverpaintError as error:
            outcome = error
        except (OSError, sqlite3.Error) as error:
            outcome = explain(error, "the disk of the test")
        then(outcome)

    def finish(self):
        """Do all of it."""
        while self.todo:
            self.step()


def _pixels(payload):
    return Pixels(frames=tuple(len(frame) for frame in payload), checksums=tuple(0 for _ in payload))
