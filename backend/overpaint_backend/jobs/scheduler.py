"""Which job runs next, and where: a pure state machine for one worker or several.

Events go in, instructions come out, and time is an argument in seconds. Whose turn it is stands in ``lineup``: clients
share the devices by time, so a long queue of one never keeps another waiting for more than its share. Invariants:

* every submitted job gets exactly one EndJob, or is left to the next daemon;
* a worker has at most one run under way, a job has at most one, and a run belongs to one start of its worker;
* no ready worker is without a run while a job waits;
* a cancelled job ends at once; its run gets a grace period to stop before its worker is replaced.

A job whose worker dies under it runs once more, first in line and on whichever worker is free, and fails if that worker dies as
well. A daemon that dies counts like its worker; one that is stopped leaves its jobs to the next as if those that run had not
begun. Jobs are told that no worker starts when not one of them does.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from enum import StrEnum

from overpaint_protocol.errors import EngineLost, OverpaintError, ShuttingDown
from overpaint_protocol.messages import JobState

from .lineup import LineUp, WorkerId
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
    "WorkerId",
    "WorkerLost",
    "WorkerReady",
    "WorkerState",
]

RunId = int
"""One attempt at a job. Words about a run that is over are ignored."""

_MAX_ATTEMPTS = 2
_MAX_FAILED_STARTS = 3
"""Starts of a worker in a row that come to nothing before it counts as down."""


class WorkerState(StrEnum):
    """How a worker is, as ``daemon.report`` tells it. ``down``: it keeps failing to start."""

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
    """A worker has started and loaded its engines."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker's process has ended, whether it was ready or not. Another one is being started in its place."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A worker is through with a run. error: why it failed, or None if it did what was asked or was told to stop."""

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

    worker: WorkerId
    run: RunId
    key: JobKey
    attempt: int


@dataclass(frozen=True, slots=True)
class CancelRun:
    """Tell the worker to stop the run."""

    worker: WorkerId
    run: RunId


@dataclass(frozen=True, slots=True)
class KillWorker:
    """The worker does not stop: end its process. WorkerLost follows."""

    worker: WorkerId


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


@dataclass(slots=True)
class _Worker:
    """run: what it does. failed_starts: in a row."""

    run: _Run | None = None
    is_ready: bool = False
    failed_starts: int = 0

    @property
    def is_failing(self) -> bool:
        return self.failed_starts >= _MAX_FAILED_STARTS

    @property
    def state(self) -> WorkerState:
        if self.is_ready:
            return WorkerState.IDLE if self.run is None else WorkerState.BUSY
        return WorkerState.DOWN if self.is_failing else WorkerState.STARTING


class Scheduler:
    """Decides for the workers. Not thread-safe.

    Args:
        cancel_grace_s: seconds a cancelled run may take to stop.
        workers: how many there are, at least 1.
    """

    def __init__(self, cancel_grace_s: float, workers: int = 1) -> None:
        self._grace_s = cancel_grace_s
        self._line_up = LineUp()
        self._positions: dict[JobKey, int] = {}
        self._has_moved = False
        self._seen_at = 0.0
        self._workers = [_Worker() for _ in range(workers)]
        self._run_ids = itertools.count(1)
        self._is_stopping = False

    @property
    def worker_states(self) -> tuple[WorkerState, ...]:
        """How each worker is."""
        return tuple(worker.state for worker in self._workers)

    @property
    def worker_state(self) -> WorkerState:
        """How they are together: the best that one of them is, so ``busy`` if none is idle."""
        states = set(self.worker_states)
        ranked = (WorkerState.IDLE, WorkerState.BUSY, WorkerState.STARTING, WorkerState.DOWN)
        return next(state for state in ranked if state in states)

    @property
    def crew(self) -> list[WorkerId]:
        """Those that waiting jobs can count on: the ready ones, or all while none is."""
        ready = [index for index, worker in enumerate(self._workers) if worker.is_ready]
        return ready or list(range(len(self._workers)))

    @property
    def running(self) -> dict[WorkerId, JobKey | None]:
        """The jobs being worked on; None where the job was cancelled and its run not yet stopped."""
        return {index: worker.run.key for index, worker in enumerate(self._workers) if worker.run is not None}

    @property
    def waiting(self) -> list[JobKey]:
        """The jobs that wait, in the order in which they would run."""
        return list(self._positions)

    def current(self, run: RunId) -> JobKey | None:
        """The job ``run`` works for, or None if the run is over or its job was cancelled."""
        _, found = self._find(run)
        return None if found is None else found.key

    def position_for(self, job: Waiting) -> int:
        """How many jobs would be ahead of a new one."""
        return self._line_up.place_for(job, self.crew) + len(self.running)

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
                worker = self._workers[event.worker]
                worker.is_ready, worker.failed_starts = True, 0
                self._has_moved = True  # others wait for fewer, or behind others
                done = []
            case WorkerLost():
                done = self._lost(event.worker)
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
        for index, worker in enumerate(self._workers):
            run = worker.run
            if run is not None and run.key == key:
                run.key, run.deadline = None, now + self._grace_s
                return [CancelRun(index, run.id), EndJob(key, JobState.CANCELLED)]
        return []

    def _lost(self, index: WorkerId) -> list[Instruction]:
        worker = self._workers[index]
        if not worker.is_ready:
            worker.failed_starts += 1
        worker.is_ready = False
        run = self._end_run(index)
        self._line_up.forget(index)
        if run is not None and run.key is not None:
            if run.attempt >= _MAX_ATTEMPTS:
                return [EndJob(run.key, JobState.FAILED, _lost_twice())]
            self._line_up.add(replace(run.job, attempts=run.attempt), is_interrupted=True)
        return self._fail_waiting(_cannot_start()) if self._is_failing else []

    def _ended(self, event: RunEnded) -> list[Instruction]:
        index, run = self._find(event.run)
        if run is None:
            return []
        self._end_run(index)
        if run.key is None:
            return []
        if event.error is not None:
            return [EndJob(run.key, JobState.FAILED, event.error)]
        return [EndJob(run.key, JobState.DONE)]

    def _expired(self, now: float) -> list[Instruction]:
        kills: list[Instruction] = []
        for index, worker in enumerate(self._workers):
            run = worker.run
            if run is not None and run.deadline is not None and now >= run.deadline:
                run.deadline = None
                kills.append(KillWorker(index))
        return kills

    def _stopping(self) -> list[Instruction]:
        self._is_stopping = True
        left: list[Instruction] = []
        for worker in self._workers:
            run = worker.run
            if run is not None and run.key is not None:
                left.append(LeaveJob(run.key, run.attempt - 1))
                run.key = None
        return left

    # ------------------------------------------------------------ queues

    @property
    def _is_failing(self) -> bool:
        return all(worker.is_failing for worker in self._workers)

    def _find(self, run: RunId) -> tuple[WorkerId, _Run | None]:
        """A run under way and its worker; no run if it is over."""
        for index, worker in enumerate(self._workers):
            if worker.run is not None and worker.run.id == run:
                return index, worker.run
        return -1, None

    def _fail_waiting(self, error: OverpaintError) -> list[Instruction]:
        keys = self._line_up.order(self.crew)
        self._line_up.clear()
        self._has_moved = True
        return [EndJob(key, JobState.FAILED, error) for key in keys]

    def _end_run(self, index: WorkerId) -> _Run | None:
        worker = self._workers[index]
        run, worker.run = worker.run, None
        self._line_up.end(index)
        self._has_moved = True
        return run

    def _start_next(self) -> list[Instruction]:
        if self._is_stopping:
            return []
        free = [index for index, worker in enumerate(self._workers) if worker.is_ready and worker.run is None]
        starts: list[Instruction] = []
        while (turn := self._line_up.next(free)) is not None:
            index, job = turn
            free.remove(index)
            self._line_up.start(job, index)
            self._has_moved = True
            run = self._workers[index].run = _Run(next(self._run_ids), job.key, job)
            starts.append(StartRun(index, run.id, job.key, run.attempt))
        return starts

    def _move(self) -> list[Instruction]:
        if not self._has_moved:
            return []
        self._has_moved = False
        order = self._line_up.order(self.crew)
        positions = {key: place for place, key in enumerate(order, start=len(self.running))}
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
