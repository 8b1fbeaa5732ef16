"""Which job runs next: a pure state machine for one worker.

Events go in, instructions come out, and time is an argument in seconds. Whose turn it is stands in ``lineup``: clients
share the device by time, so a long queue of one never keeps another waiting for more than its share. Invariants:

* every submitted job gets exactly one EndJob, or is left to the next daemon;
* at most one run is under way, and a run belongs to one start of the worker;
* a cancelled job ends at once; its run gets a grace period to stop before the worker is replaced.

A job whose worker dies under it runs once more, first in line, and fails if that worker dies as well. A daemon that dies
counts like its worker; one that is stopped leaves its jobs to the next as if the one that runs had not begun.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from enum import StrEnum

from overpaint_protocol.errors import EngineLost, OverpaintError, ShuttingDown
from overpaint_protocol.messages import JobState

from .lineup import LineUp
from .model import JobKey
from .shares import Waiting

__all__ = [
    "CancelRun",
    "EndJob",
    "Event",
    "Instruction",
    "JobCancelRequested",
    "JobSubmitted",
    "KillWorker",
    "LeaveJob",
    "MoveJob",
    "RunEnded",
    "RunId",
    "Scheduler",
    "StartRun",
    "Stopping",
    "Tick",
    "WorkerLost",
    "WorkerReady",
    "WorkerState",
]

RunId = int
"""One attempt at a job. Words about a run that is over are ignored."""

_MAX_ATTEMPTS = 2
_MAX_FAILED_STARTS = 3
"""Starts of the worker in a row that come to nothing before waiting jobs are told."""


class WorkerState(StrEnum):
    """How the worker is, as ``daemon.report`` tells it. ``down``: it keeps failing to start."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DOWN = "down"


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """A job waits for its turn: a new one, or one that an earlier daemon began and did not finish."""

    job: Waiting


@dataclass(frozen=True, slots=True)
class JobCancelRequested:
    """A job is not wanted any more; without effect on one that has ended."""

    key: JobKey


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """The worker has started and loaded its engines."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The worker's process has ended, whether it was ready or not. Another one is being started."""


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The worker is through with a run. error: why it failed, or None if it did what was asked or was told to stop."""

    run: RunId
    error: OverpaintError | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The daemon ends: no job will run any more in this one."""


Event = JobSubmitted | JobCancelRequested | WorkerReady | WorkerLost | RunEnded | Tick | Stopping


# ---------------------------------------------------------------- instructions


@dataclass(frozen=True, slots=True)
class StartRun:
    """Hand the job to the worker. attempt counts from 1."""

    run: RunId
    key: JobKey
    attempt: int


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Tell the worker to stop the run."""

    run: RunId


@dataclass(frozen=True, slots=True)
class KillWorker:
    """The worker does not stop: end its process. WorkerLost follows."""


@dataclass(frozen=True, slots=True)
class MoveJob:
    """A waiting job now has ``position`` jobs ahead of it."""

    key: JobKey
    position: int


@dataclass(frozen=True, slots=True)
class LeaveJob:
    """Leave the job to the next daemon, as one that was begun ``attempts`` times."""

    key: JobKey
    attempts: int


@dataclass(frozen=True, slots=True)
class EndJob:
    """The job is over, in a final state; error is given if it failed."""

    key: JobKey
    state: JobState
    error: OverpaintError | None = None


Instruction = StartRun | CancelRun | KillWorker | MoveJob | LeaveJob | EndJob


# ---------------------------------------------------------------- the machine


@dataclass(slots=True)
class _Run:
    """key is None once the job was cancelled; then ``deadline`` is when the worker's patience is over."""

    id: RunId
    key: JobKey | None
    job: Waiting
    deadline: float | None = None

    @property
    def attempt(self) -> int:
        return self.job.attempts + 1


class Scheduler:
    """Decides for one worker. Not thread-safe.

    Args:
        cancel_grace_s: seconds a cancelled run may take to stop.
    """

    def __init__(self, cancel_grace_s: float) -> None:
        self._grace_s = cancel_grace_s
        self._line_up = LineUp()
        self._positions: dict[JobKey, int] = {}
        self._has_moved = False
        self._seen_at = 0.0
        self._run: _Run | None = None
        self._run_ids = itertools.count(1)
        self._is_ready = False
        self._failed_starts = 0
        self._is_stopping = False

    @property
    def worker_state(self) -> WorkerState:
        """How the worker is."""
        if self._is_ready:
            return WorkerState.IDLE if self._run is None else WorkerState.BUSY
        return WorkerState.DOWN if self._is_failing else WorkerState.STARTING

    @property
    def running(self) -> JobKey | None:
        """The job being worked on, if any."""
        return None if self._run is None else self._run.key

    @property
    def waiting(self) -> list[JobKey]:
        """The jobs that wait, in the order in which they would run."""
        return list(self._positions)

    def current(self, run: RunId) -> JobKey | None:
        """The job ``run`` works for, or None if the run is over or its job was cancelled."""
        return self._run.key if self._run is not None and self._run.id == run else None

    def position_for(self, job: Waiting) -> int:
        """How many jobs would be ahead of a new one."""
        return self._line_up.place_for(job) + (self._run is not None)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take note of ``event`` and say what is to be done, in order."""
        # What waited for the disk comes with the time at which it was asked for.
        self._line_up.passed(max(0.0, now - self._seen_at))
        self._seen_at = max(now, self._seen_at)
        match event:
            case JobSubmitted():
                done = self._submitted(event.job)
            case JobCancelRequested():
                done = self._cancelled(event.key, now)
            case WorkerReady():
                self._is_ready, self._failed_starts = True, 0
                done = []
            case WorkerLost():
                done = self._lost()
            case RunEnded():
                done = self._ended(event)
            case Tick():
                done = self._expired(now)
            case Stopping():
                done = self._stopping()
        return done + self._start_next() + self._move()

    # ------------------------------------------------------------ one method per event

    def _submitted(self, job: Waiting) -> list[Instruction]:
        if self._is_stopping:
            return [EndJob(job.key, JobState.FAILED, _shutting_down())]
        if self._is_failing:
            return [EndJob(job.key, JobState.FAILED, _cannot_start())]
        if job.attempts >= _MAX_ATTEMPTS:
            return [EndJob(job.key, JobState.FAILED, _lost_twice())]
        self._line_up.add(job)
        self._has_moved = True
        return []

    def _cancelled(self, key: JobKey, now: float) -> list[Instruction]:
        if key in self._line_up:
            self._line_up.remove(key)
            self._has_moved = True
            return [EndJob(key, JobState.CANCELLED)]
        if self._run is not None and self._run.key == key:
            self._run.key = None
            self._run.deadline = now + self._grace_s
            return [CancelRun(self._run.id), EndJob(key, JobState.CANCELLED)]
        return []

    def _lost(self) -> list[Instruction]:
        if not self._is_ready:
            self._failed_starts += 1
        self._is_ready = False
        run = self._end_run()
        if run is not None and run.key is not None:
            if run.attempt >= _MAX_ATTEMPTS:
                return [EndJob(run.key, JobState.FAILED, _lost_twice())]
            self._line_up.add(replace(run.job, attempts=run.attempt), is_interrupted=True)
        return self._fail_waiting(_cannot_start()) if self._is_failing else []

    def _ended(self, event: RunEnded) -> list[Instruction]:
        if self._run is None or self._run.id != event.run:
            return []
        run = self._end_run()
        if run is None or run.key is None:
            return []
        if event.error is not None:
            return [EndJob(run.key, JobState.FAILED, event.error)]
        return [EndJob(run.key, JobState.DONE)]

    def _expired(self, now: float) -> list[Instruction]:
        run = self._run
        if run is None or run.deadline is None or now < run.deadline:
            return []
        run.deadline = None
        return [KillWorker()]

    def _stopping(self) -> list[Instruction]:
        self._is_stopping = True
        run = self._run
        if run is None or run.key is None:
            return []
        key, run.key = run.key, None
        return [LeaveJob(key, run.attempt - 1)]

    # ------------------------------------------------------------ queues

    @property
    def _is_failing(self) -> bool:
        return self._failed_starts >= _MAX_FAILED_STARTS

    def _fail_waiting(self, error: OverpaintError) -> list[Instruction]:
        keys = self._line_up.order()
        self._line_up.clear()
        self._has_moved = True
        return [EndJob(key, JobState.FAILED, error) for key in keys]

    def _end_run(self) -> _Run | None:
        run, self._run = self._run, None
        self._line_up.end()
        self._has_moved = True
        return run

    def _start_next(self) -> list[Instruction]:
        if not self._is_ready or self._run is not None or self._is_stopping:
            return []
        job = self._line_up.next()
        if job is None:
            return []
        self._line_up.start(job)
        self._has_moved = True
        self._run = _Run(next(self._run_ids), job.key, job)
        return [StartRun(self._run.id, job.key, self._run.attempt)]

    def _move(self) -> list[Instruction]:
        if not self._has_moved:
            return []
        self._has_moved = False
        order = self._line_up.order()
        positions = {key: place for place, key in enumerate(order, start=0 if self._run is None else 1)}
        moved = [MoveJob(key, place) for key, place in positions.items() if self._positions.get(key) != place]
        self._positions = positions
        return list[Instruction](moved)


def _lost_twice() -> EngineLost:
    return EngineLost(
        "The engine's process or the daemon ended twice while working on this job, so it was given up. "
        "Try a smaller selection or another engine."
    )


def _cannot_start() -> EngineLost:
    return EngineLost(
        "The engine's process does not start. Run “overpaint doctor” to see why, then restart the daemon."
    )


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("The daemon is stopping and takes no new jobs. Start it again, then ask again.")
