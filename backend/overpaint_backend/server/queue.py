"""The jobs under way: what the scheduler decides about them and what the workers say of them.

Every turn in a job's life is handed on to ``keeping``, which writes it down, and to ``tell``, which the client hears.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence

from overpaint_backend.executors.base import (
    Executor,
    RunJob,
    RunOver,
    RunPreview,
    RunProgress,
    RunRemark,
    RunVariant,
)
from overpaint_backend.jobs.model import Job, JobKey, Result
from overpaint_backend.jobs.scheduler import (
    CancelRun,
    EndJob,
    Event,
    Instruction,
    JobCancelRequested,
    JobSubmitted,
    KillWorker,
    LeaveJob,
    MoveJob,
    RunEnded,
    RunId,
    Scheduler,
    StartRun,
    Tick,
    WorkerId,
    WorkerState,
)
from overpaint_backend.jobs.shares import Client, Waiting
from overpaint_protocol.messages import JobPreview, JobState, JobVariant, operation_name
from overpaint_protocol.pixels import Bytes

from .chronicle import Chronicle
from .forecast import Forecast, done_in_s
from .keeping import Keeping

__all__ = ["JobQueue", "RunEvent", "Tell"]

RunEvent = RunProgress | RunPreview | RunRemark | RunVariant | RunOver

Tell = Callable[[Job, object, tuple[Bytes, ...]], None]
"""Sends a message about a job to its client, if it is there."""

_TELL_S = 2.0
"""How often those who wait are told how long it will take."""
_TELLING_S = 1.0
"""A change of that time that is worth a message."""

_log = logging.getLogger(__name__)


class JobQueue:
    """All jobs of the daemon, and the workers they wait for.

    Args:
        cancel_grace_s: as for Scheduler.
        executors: where jobs run, one for each worker.
        keeping: where they are written down.
        tell: where their clients hear of them.
        chronicle: where their stories are written.
    """

    def __init__(
        self,
        cancel_grace_s: float,
        executors: Sequence[Executor],
        keeping: Keeping,
        tell: Tell,
        chronicle: Chronicle,
    ) -> None:
        self._scheduler = Scheduler(cancel_grace_s, len(executors))
        self._executors = executors
        self._keeping = keeping
        self._tell = tell
        self._chronicle = chronicle
        self._jobs: dict[JobKey, Job] = {}
        self._keys = itertools.count(1)
        self._complete: list[RunId] = []
        self._forecast = Forecast()
        self._began: dict[JobKey, tuple[float, int]] = {}
        """When the last run of a job began, and with which variant."""
        self._told_at = 0.0

    @property
    def worker_state(self) -> WorkerState:
        """How the workers are together."""
        return self._scheduler.worker_state

    @property
    def worker_states(self) -> tuple[WorkerState, ...]:
        """How each worker is."""
        return self._scheduler.worker_states

    @property
    def worker_restarts(self) -> tuple[int, ...]:
        """How often each worker had to be replaced."""
        return tuple(executor.restarts for executor in self._executors)

    def next_key(self) -> JobKey:
        """A number for a new job."""
        return next(self._keys)

    def add(self, job: Job) -> None:
        """Take note of a job; ``schedule`` queues it."""
        self._jobs[job.key] = job

    def restore(self, job: Job, attempts: int, now: float) -> None:
        """Take over a job of an earlier daemon, which began it ``attempts`` times, and queue it if it is not over."""
        self._keys = itertools.count(max(job.key + 1, next(self._keys)))
        self._jobs[job.key] = job
        if not job.state.is_final:
            self.handle(JobSubmitted(self._waiting(job, attempts)), now)

    def schedule(self, job: Job, now: float) -> None:
        """Queue a new job."""
        self.handle(JobSubmitted(self._waiting(job)), now)

    def position(self, job: Job) -> int:
        """Jobs ahead of ``job``, which is not queued yet."""
        if not self._scheduler.waiting:
            return len(self._scheduler.running)
        return self._scheduler.position_for(self._waiting(job))

    def cancel(self, job: Job, now: float) -> None:
        """End the job unless it has ended."""
        self.handle(JobCancelRequested(job.key), now)

    def replace(self, older: Job, newer: Job, now: float) -> None:
        """End ``older``, which still waits, for the sake of ``newer``."""
        older.replaced_by = newer.request.job_id
        self.cancel(older, now)

    def forget(self, job: Job) -> None:
        """Drop an ended job."""
        self._jobs.pop(job.key, None)
        self._began.pop(job.key, None)

    # ------------------------------------------------------------ what the scheduler decides

    def handle(self, event: Event, now: float) -> None:
        """Let the scheduler know, and do what it says."""
        instructions = self._scheduler.handle(event, now)
        for instruction in instructions:
            if isinstance(instruction, StartRun):
                self._run(instruction)  # everything else while the worker is at it
        moved = [self._jobs[move.key] for move in instructions if isinstance(move, MoveJob)]
        for instruction in instructions:
            if not isinstance(instruction, (CancelRun, KillWorker)):
                job = self._jobs[instruction.key]
                self._chronicle.decided(event, instruction, job, self._jobs.values(), self.worker_state)
            self._perform(instruction, now)
        if moved:
            self._estimate(now)
        for job in moved:
            self._tell(job, job.progress, ())
        self._say(event, instructions)
        while self._complete:
            self.handle(RunEnded(self._complete.pop()), now)

    def _perform(self, instruction: Instruction, now: float) -> None:
        match instruction:
            case StartRun():
                self._start(instruction, now)
            case CancelRun():
                self._executors[instruction.worker].cancel(instruction.run)
            case KillWorker():
                _log.warning(
                    "worker %d does not stop a cancelled job and gets replaced", instruction.worker + 1
                )
                self._executors[instruction.worker].kill()
            case MoveJob():
                job = self._jobs[instruction.key]
                job.state, job.position, job.stage = JobState.QUEUED, instruction.position, "waiting"
                job.fraction = job.time_left_s = None
            case LeaveJob():
                self._keeping.note_attempts(self._jobs[instruction.key], instruction.attempts)
            case EndJob():
                self._end(instruction, now)

    def _run(self, start: StartRun) -> None:
        """Hand the worker what it is to do."""
        job = self._jobs[start.key]
        if job.is_made:
            return
        run = RunJob(
            run=start.run,
            engine=job.engine,
            seed=job.seed,
            first_variant=len(job.results),
            preview_bytes=job.preview_bytes,
            request=job.request,
        )
        self._executors[start.worker].run(run, job.payload)

    def _start(self, start: StartRun, now: float) -> None:
        job = self._jobs[start.key]
        if job.is_made:
            self._complete.append(start.run)  # only the last word of its worker was lost
            return
        job.state, job.position, job.stage, job.time_left_s = JobState.RUNNING, 0, "starting", None
        self._began[job.key] = now, len(job.results)
        self._keeping.note_attempts(job, start.attempt)
        self._tell(job, job.progress, ())

    def _say(self, event: Event, instructions: Sequence[Instruction]) -> None:
        """Tell the log what was decided."""
        if isinstance(event, JobSubmitted):
            job = self._jobs[event.job.key]
            if job.is_accepted:
                _log.info("job %d goes on: begun %d times before", job.key, event.job.attempts)
            else:
                engine = job.engine or "any engine"
                _log.info("job %d queued: %s by %s", job.key, operation_name(job.request.operation), engine)
        for start in instructions:
            if isinstance(start, StartRun) and not self._jobs[start.key].is_made:
                worker = start.worker + 1
                _log.info("job %d starts, attempt %d, with worker %d", start.key, start.attempt, worker)

    def _end(self, end: EndJob, now: float) -> None:
        job = self._jobs[end.key]
        job.end(end.state, end.error)
        _log.info("job %d %s%s", job.key, end.state.value, f" ({end.error.code})" if end.error else "")

        def kept() -> None:
            # A cancel is answered by its handler, to the message that asked for it.
            if end.state is not JobState.CANCELLED or job.replaced_by is not None:
                self._tell(job, job.end_message(), ())

        self._keeping.ended(job, now, kept)

    # ------------------------------------------------------------ how long it will take

    def tick(self, now: float) -> None:
        """Time has passed: those who wait hear now and then how much longer it will take."""
        self.handle(Tick(), now)
        if now - self._told_at < _TELL_S:
            return
        self._told_at = now
        before = {key: self._jobs[key].time_left_s for key in self._scheduler.waiting}
        self._estimate(now)
        for key, told_s in before.items():
            job = self._jobs[key]
            is_news = (told_s is None) != (job.time_left_s is None)
            if told_s is not None and job.time_left_s is not None:
                is_news = abs(told_s - job.time_left_s) >= _TELLING_S
            if is_news:
                self._tell(job, job.progress, ())

    def _estimate(self, now: float) -> None:
        """Judge when each of those that wait will be done."""
        waiting = [self._jobs[key] for key in self._scheduler.waiting]
        free_in_s = (self._free_in_s(worker, now) for worker in self._scheduler.crew)
        takes_s = (self._forecast.expected_s(job) for job in waiting)
        for job, left_s in zip(waiting, done_in_s(free_in_s, takes_s), strict=True):
            job.time_left_s = left_s

    def _free_in_s(self, worker: WorkerId, now: float) -> float | None:
        """When the worker is through with what it does, None if nothing is known of that."""
        key = self._scheduler.running.get(worker)
        if key is None:
            return 0.0
        job = self._jobs[key]
        if job.time_left_s is not None:
            return job.time_left_s
        takes_s = self._forecast.expected_s(job)
        return None if takes_s is None else max(0.0, takes_s - (now - self._began[key][0]))

    def _waiting(self, job: Job, attempts: int = 0) -> Waiting:
        return Waiting(
            key=job.key,
            client=Client(job.principal, job.session_id),
            attempts=attempts,
            is_batch=job.request.is_batch,
            engine=job.engine,
            expected_s=self._forecast.expected_s(job),
        )

    # ------------------------------------------------------------ what the workers say

    def on_run(self, event: RunEvent, payload: tuple[Bytes, ...], now: float) -> None:
        """A worker has news of a run."""
        match event:
            case RunProgress():
                self._progressed(event)
            case RunPreview():
                self._glimpsed(event, payload)
            case RunRemark():
                self._remarked(event)
            case RunVariant():
                self._made(event, payload)
            case RunOver():
                self._run_over(event, now)

    def _job_of(self, run: RunId) -> Job | None:
        key = self._scheduler.current(run)
        return None if key is None else self._jobs[key]

    def _progressed(self, event: RunProgress) -> None:
        job = self._job_of(event.run)
        if job is not None:
            job.stage, job.fraction, job.time_left_s = event.stage, event.fraction, event.time_left_s
            self._tell(job, job.progress, ())

    def _glimpsed(self, event: RunPreview, payload: tuple[Bytes, ...]) -> None:
        job = self._job_of(event.run)
        if job is not None:
            preview = JobPreview(job_id=job.request.job_id, variant=event.variant, image=event.image)
            self._tell(job, preview, payload)

    def _remarked(self, event: RunRemark) -> None:
        job = self._job_of(event.run)
        if job is not None:
            self._chronicle.remarked(job, event)

    def _made(self, event: RunVariant, payload: tuple[Bytes, ...]) -> None:
        job = self._job_of(event.run)
        if job is None:
            return
        variant = JobVariant(
            job_id=job.request.job_id,
            variant=event.variant,
            seed=event.seed,
            engine=event.engine,
            target=event.target,
            image=event.image,
        )
        job.engine = event.engine
        result = Result(variant, payload, sum(len(frame) for frame in payload))
        job.results.append(result)
        self._chronicle.made(job, event.variant)
        self._tell(job, variant, payload)
        self._keeping.add(job, result)

    def _run_over(self, event: RunOver, now: float) -> None:
        job = self._job_of(event.run)
        if job is not None:
            job.timings_ms, job.notes = event.timings_ms, event.notes
            if event.error is None and not job.state.is_final:
                began_at, first_variant = self._began[job.key]
                load_s = event.timings_ms.get("load", 0.0) / 1000
                self._forecast.learn(job, first_variant, now - began_at, load_s)
            self._chronicle.worked(job, event.timings_ms)
        error = None if event.error is None else event.error.to_exception()
        if error is not None and error.detail:
            _log.warning("run %d: %s %s", event.run, error.code, error.detail)
        self.handle(RunEnded(event.run, error), now)
