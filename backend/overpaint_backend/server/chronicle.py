"""What the stories of jobs are told: the scheduler's decisions with their causes, the worker's remarks, the clients' steps.

All of it is counted as well, for ``daemon.report`` and the metrics.

Everything is written by the disk's slow thread, many notes at a time and when it has nothing else to do: nobody waits for a story.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from overpaint_backend.durability.archive import DiskWork
from overpaint_backend.durability.stories import Cause, Entry, Fact, Note, StoryBook, What
from overpaint_backend.executors.base import Remark, RunRemark
from overpaint_backend.jobs.model import Job
from overpaint_backend.jobs.scheduler import (
    EndJob,
    Event,
    Instruction,
    JobCancelRequested,
    JobSubmitted,
    LeaveJob,
    MoveJob,
    RunEnded,
    StartRun,
    Stopping,
    WorkerLost,
    WorkerReady,
    WorkerState,
)
from overpaint_protocol.messages import FailureReport, JobState, SessionId

from .tally import Tally

__all__ = ["Chronicle"]

_CAUSES: dict[type, Cause] = {
    JobSubmitted: Cause.SUBMITTED,
    JobCancelRequested: Cause.CANCEL,
    WorkerReady: Cause.WORKER_READY,
    WorkerLost: Cause.WORKER_LOST,
    RunEnded: Cause.RUN_ENDED,
    Stopping: Cause.STOPPING,
}
_ENDS = {JobState.DONE: What.DONE, JobState.CANCELLED: What.CANCELLED, JobState.FAILED: What.FAILED}
_REMARKS = {
    Remark.LOADING: What.LOADING,
    Remark.LOADED: What.LOADED,
    Remark.UNLOADED_OTHERS: What.UNLOADED_OTHERS,
    Remark.SAVED_MEMORY: What.SAVED_MEMORY,
}


class Chronicle:
    """Writes the stories. Nothing here waits or raises.

    Args:
        book: where they are written; None to write none.
        disk: whose thread does it.
        wall: the clock on the wall, in seconds.
    """

    def __init__(
        self, book: StoryBook | None, disk: DiskWork | None, wall: Callable[[], float] = time.time
    ) -> None:
        self._book = book
        self._disk = disk
        self._wall = wall
        self._unwritten: deque[Note] = deque()
        self.tally = Tally()
        """What was counted since the daemon's start."""

    @property
    def failures(self) -> tuple[FailureReport, ...]:
        """The last jobs that failed, the newest first."""
        now = self._wall()
        return tuple(failure.report(now) for failure in self.tally.failures)

    def note(self, job: Job, what: What, **facts: Fact) -> None:
        """Add to a job's story. facts: see What; never text of a client's."""
        book, disk = self._book, self._disk
        if book is None or disk is None:
            return
        # An id is only unique inside its session, and a session's inside its principal.
        session_id, job_id = SessionId(f"{job.principal}/{job.session_id}"), job.request.job_id
        entry = Entry(self._wall(), what, facts)
        self._unwritten.append((session_id, job_id, entry))
        if len(self._unwritten) == 1:  # else whoever writes the one before writes this one as well
            disk.submit_last(self._write)

    def _write(self) -> None:
        """All notes that wait, on the disk's slow thread."""
        notes: list[Note] = []
        while self._unwritten:
            notes.append(self._unwritten.popleft())
        if notes and self._book is not None:
            self._book.note(notes)

    def submitted(self, job: Job, editor: str) -> None:
        """A client has asked for a job."""
        self.tally.submitted[job.request.operation.type] += 1
        size = job.request.context.size
        self.note(
            job,
            What.SUBMITTED,
            editor=editor,
            operation=job.request.operation.type,
            variants=job.request.variants,
            width_px=size.width,
            height_px=size.height,
            engine=job.engine,
        )

    def made(self, job: Job, variant: int) -> None:
        """The worker has painted a variant; the index counts from 0."""
        self.tally.variants += 1
        self.note(job, What.MADE, variant=variant + 1)

    def worked(self, job: Job, timings_ms: Mapping[str, float]) -> None:
        """The worker is through with a run, which took so long."""
        self.tally.engine_s[job.engine] += sum(timings_ms.values()) / 1000

    def decided(
        self, event: Event, instruction: Instruction, job: Job, others: Iterable[Job], worker: WorkerState
    ) -> None:
        """The scheduler's decision about ``job``, before it is carried out, and the event that it follows from."""
        because = _CAUSES.get(type(event), Cause.TIME)
        match instruction:
            case MoveJob() if job.stage != "waiting":  # it only just began to wait
                ahead = sum(_is_ahead(other, job, instruction.position) for other in others)
                self.note(
                    job, What.WAITS, position=instruction.position, own=ahead, worker=worker, because=because
                )
            case StartRun():
                self.note(
                    job,
                    What.STARTED,
                    attempt=instruction.attempt,
                    worker=instruction.worker + 1,
                    engine=job.engine,
                    because=because,
                )
            case LeaveJob():
                self.note(job, What.LEFT, attempts=instruction.attempts)
            case EndJob():
                code = "" if instruction.error is None else instruction.error.code
                operation = job.request.operation.type
                self.tally.end(operation, job.engine, instruction.state, code, self._wall())
                facts: dict[str, Fact] = {"code": code} if code else {}
                if job.replaced_by is not None:
                    facts["replaced"] = 1
                self.note(job, _ENDS[instruction.state], because=because, **facts)
            case _:
                pass

    def remarked(self, job: Job, remark: RunRemark) -> None:
        """The worker's remark on the run of ``job``."""
        facts: dict[str, Fact] = {}
        if remark.device:
            facts["device"] = remark.device
        if remark.took_ms is not None:
            facts["took_ms"] = remark.took_ms
        if remark.count is not None:
            facts["count"] = remark.count
        if remark.saving:
            facts["saving"] = remark.saving
        self.note(job, _REMARKS[remark.remark], **facts)


def _is_ahead(other: Job, job: Job, position: int) -> bool:
    """Whether ``other`` is of the same client, and before a job at ``position``."""
    if (
        other is job
        or (other.principal, other.session_id) != (job.principal, job.session_id)
        or other.state.is_final
    ):
        return False
    return other.state is JobState.RUNNING or other.position < position
