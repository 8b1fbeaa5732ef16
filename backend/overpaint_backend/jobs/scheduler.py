"""Which job runs next: a pure state machine for one worker.

Events go in, instructions come out, and time is an argument in seconds. Sessions take turns, so a long queue of one
client never keeps another waiting for more than one job. Invariants:

* every submitted job gets exactly one EndJob, or is left to the next daemon;
* at most one run is under way, and a run belongs to one start of the worker;
* a cancelled job ends at once; its run gets a grace period to stop before the worker is replaced.

A job whose worker dies under it runs once more, first in line, and fails if that worker dies as well. A daemon that dies
counts like its worker; one that is stopped leaves its jobs to the next as if the one that runs had not begun.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from overpaint_protocol.errors import EngineLost, OverpaintError, ShuttingDown
from overpaint_protocol.messages import JobState, SessionId

from .model import JobKey

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
    """A job waits for its turn: a new one, or one that an earlier daemon began ``attempts`` times and did not finish."""

    key: JobKey
    session_id: SessionId
    attempts: int = 0


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
class _Waiting:
    session_id: SessionId
    attempts: int = 0
    position: int = -1


@dataclass(slots=True)
class _Run:
    """key is None once the job was cancelled; then ``deadline`` is when the worker's patience is over."""

    id: RunId
    key: JobKey | None
    session_id: SessionId
    attempt: int
    deadline: float | None = None


class Scheduler:
    """Decides for one worker. Not thread-safe.

    Args:
        cancel_grace_s: seconds a cancelled run may take to stop.
    """

    def __init__(self, cancel_grace_s: float) -> None:
        self._grace_s = cancel_grace_s
        self._waiting: dict[JobKey, _Waiting] = {}
        self._queues: dict[SessionId, deque[JobKey]] = {}
        self._turns: deque[SessionId] = deque()
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

    def current(self, run: RunId) -> JobKey | None:
        """The job ``run`` works for, or None if the run is over or its job was cancelled."""
        return self._run.key if self._run is not None and self._run.id == run else None

    def position_for(self, session_id: SessionId) -> int:
        """How many jobs would be ahead of a new one of that session."""
        mine = len(self._queues.get(session_id, ()))
        turns = list(self._turns)
        place = turns.index(session_id) if session_id in turns else len(turns)
        others = sum(
            min(len(self._queues[other]), mine + (index < place))
            for index, other in enumerate(turns)
            if other != session_id
        )
        return mine + others + (self._run is not None)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take note of ``event`` and say what is to be done, in order."""
        match event:
            case JobSubmitted():
                done = self._submitted(event)
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

    def _submitted(self, event: JobSubmitted) -> list[Instruction]:
        if self._is_stopping:
            return [EndJob(event.key, JobState.FAILED, _shutting_down())]
        if self._is_failing:
            return [EndJob(event.key, JobState.FAILED, _cannot_start())]
        if event.attempts >= _MAX_ATTEMPTS:
            return [EndJob(event.key, JobState.FAILED, _lost_twice())]
        self._enqueue(event.key, _Waiting(event.session_id, event.attempts))
        return []

    def _cancelled(self, key: JobKey, now: float) -> list[Instruction]:
        if key in self._waiting:
            self._dequeue(key)
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
        run, self._run = self._run, None
        if run is not None and run.key is not None:
            if run.attempt >= _MAX_ATTEMPTS:
                return [EndJob(run.key, JobState.FAILED, _lost_twice())]
            self._enqueue(run.key, _Waiting(run.session_id, attempts=run.attempt), first=True)
        return self._fail_waiting(_cannot_start()) if self._is_failing else []

    def _ended(self, event: RunEnded) -> list[Instruction]:
        run = self._run
        if run is None or run.id != event.run:
            return []
        self._run = None
        if run.key is None:
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

    def _enqueue(self, key: JobKey, waiting: _Waiting, *, first: bool = False) -> None:
        session_id = waiting.session_id
        self._waiting[key] = waiting
        queue = self._queues.setdefault(session_id, deque())
        if first:
            queue.appendleft(key)
            if session_id in self._turns:
                self._turns.remove(session_id)
            self._turns.appendleft(session_id)
        else:
            queue.append(key)
            if session_id not in self._turns:
                self._turns.append(session_id)

    def _dequeue(self, key: JobKey) -> _Waiting:
        waiting = self._waiting.pop(key)
        queue = self._queues[waiting.session_id]
        queue.remove(key)
        if not queue:
            del self._queues[waiting.session_id]
            self._turns.remove(waiting.session_id)
        return waiting

    def _fail_waiting(self, error: OverpaintError) -> list[Instruction]:
        keys = self._order()
        self._waiting.clear()
        self._queues.clear()
        self._turns.clear()
        return [EndJob(key, JobState.FAILED, error) for key in keys]

    def _order(self) -> list[JobKey]:
        """The waiting jobs in the order they would run if nothing else came."""
        rounds = itertools.zip_longest(*(self._queues[session_id] for session_id in self._turns))
        return [key for one_round in rounds for key in one_round if key is not None]

    def _start_next(self) -> list[Instruction]:
        if not self._is_ready or self._run is not None or not self._turns or self._is_stopping:
            return []
        session_id = self._turns[0]
        key = self._queues[session_id][0]
        waiting = self._dequeue(key)
        if session_id in self._queues:
            self._turns.rotate(-1)
        attempt = waiting.attempts + 1
        self._run = _Run(next(self._run_ids), key, session_id, attempt)
        return [StartRun(self._run.id, key, attempt)]

    def _move(self) -> list[Instruction]:
        moved: list[Instruction] = []
        for position, key in enumerate(self._order(), start=0 if self._run is None else 1):
            if self._waiting[key].position != position:
                self._waiting[key].position = position
                moved.append(MoveJob(key, position))
        return moved


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
