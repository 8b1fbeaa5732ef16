"""The daemon's record of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from overpaint_protocol.errors import OverpaintError
from overpaint_protocol.messages import (
    ErrorInfo,
    JobCancelled,
    JobDone,
    JobFailed,
    JobId,
    JobProgress,
    JobState,
    JobSummary,
    JobVariant,
    SessionId,
    SubmitJob,
    operation_name,
)
from overpaint_protocol.pixels import Bytes

__all__ = ["LOCAL", "Job", "JobKey", "Result"]

LOCAL = "local"
"""The principal of the daemon's own user. Those of others are public keys, so never this word."""

JobKey = int
"""The daemon's own number of a job: a ``job_id`` is only unique inside its session, whose id is only unique for its principal."""


@dataclass(slots=True)
class Result:
    """A variant as it is sent. payload: its pixels, None while they are only on the disk. byte_length: of the pixels."""

    message: JobVariant
    payload: tuple[Bytes, ...] | None
    byte_length: int


@dataclass(slots=True, kw_only=True)
class Job:
    """One job from ``job.submit`` to ``job.ack``.

    principal, session_id: whose it is.
    request: as submitted, with what its recipe filled in, so that a retry repeats it. payload: its pixels, dropped at
    the end of the job.
    engine: id of the engine to use. seed: of the first variant; chosen at submission, so that a retry repeats it.
    preview_bytes: the client's budget for a preview, 0 for none.
    is_accepted: on the disk, so that its client may be told of it.
    results: the variants so far, at most one per index. notes: as in ``job.done``.
    ended_at_s: when it ended, in the time of the keeper. replaced_by: the newer job that took its place while it waited.
    """

    key: JobKey
    principal: str
    session_id: SessionId
    request: SubmitJob
    payload: tuple[Bytes, ...]
    engine: str
    seed: int
    preview_bytes: int = 0
    is_accepted: bool = False
    state: JobState = JobState.QUEUED
    stage: str = ""
    fraction: float | None = None
    time_left_s: float | None = None
    position: int = 0
    results: list[Result] = field(default_factory=list)
    error: ErrorInfo | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ended_at_s: float = 0.0
    replaced_by: JobId | None = None

    @property
    def is_made(self) -> bool:
        """True once all its variants are there."""
        return len(self.results) == self.request.variants

    @property
    def byte_length(self) -> int:
        """Bytes that are kept of the job: its pictures until it ends, and its results."""
        return sum(len(frame) for frame in self.payload) + sum(result.byte_length for result in self.results)

    @property
    def held_bytes(self) -> int:
        """Those of them that are in memory."""
        results = (result for result in self.results if result.payload is not None)
        return sum(len(frame) for frame in self.payload) + sum(result.byte_length for result in results)

    @property
    def progress(self) -> JobProgress:
        """Where the job is."""
        return JobProgress(
            job_id=self.request.job_id,
            state=self.state,
            stage=self.stage,
            fraction=self.fraction,
            position=self.position,
            time_left_s=self.time_left_s,
        )

    @property
    def summary(self) -> JobSummary:
        """The job in ``welcome``."""
        return JobSummary(
            job_id=self.request.job_id,
            document_id=self.request.document_id,
            operation=operation_name(self.request.operation),
            state=self.state,
            variants=len(self.results),
        )

    def end(self, state: JobState, error: OverpaintError | None = None) -> None:
        """Enter a final state and let go of the pictures."""
        self.state = state
        self.error = None if error is None else ErrorInfo.of(error)
        self.fraction = 1.0 if state is JobState.DONE else self.fraction
        self.time_left_s = None
        self.position = 0
        self.stage = ""
        self.payload = ()

    def end_message(self) -> JobDone | JobFailed | JobCancelled | None:
        """How the job ended, or None if it has not."""
        job_id = self.request.job_id
        if self.state is JobState.DONE:
            return JobDone(
                job_id=job_id,
                variants=len(self.results),
                engine=self.engine,
                timings_ms=self.timings_ms,
                notes=self.notes,
            )
        if self.state is JobState.FAILED and self.error is not None:
            return JobFailed(job_id=job_id, error=self.error)
        if self.state is JobState.CANCELLED:
            return JobCancelled(job_id=job_id, state=self.state, replaced_by=self.replaced_by)
        return None

    def replay(self) -> Sequence[tuple[object, tuple[Bytes, ...]]]:
        """The messages that tell all of the job: progress, variants that are at hand, the end if it has ended."""
        end = self.end_message()
        return [
            (self.progress, ()),
            *((result.message, result.payload) for result in self.results if result.payload is not None),
            *([(end, ())] if end is not None else []),
        ]
