"""What of the jobs is on the disk: between the daemon's records of them and the keeper's.

Nothing here waits. A client hears ``accepted``, ``cancelled``, ``acked`` and how a job ended once that is kept, and nothing but pixels
before ``accepted``; pixels are sent at once, and leave the memory when the job has ended and all of them are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from overpaint_backend.config import DaemonSettings
from overpaint_backend.durability.keeper import Keeper, KeptJob
from overpaint_backend.durability.orders import Ended, Made, Order, Pixels, Taken
from overpaint_backend.durability.retention import Kept, expired
from overpaint_backend.jobs.model import Job, JobKey, Result
from overpaint_protocol.errors import ImageError, OverpaintError
from overpaint_protocol.messages import JobId, JobState
from overpaint_protocol.pixels import Bytes

from .sessions import Session

__all__ = ["Keeping", "Replay"]

_LOOK_S = 10.0
_NOTE_S = 600.0

Replay = Sequence[tuple[object, tuple[Bytes, ...]]]
"""Messages with their payloads."""

_log = logging.getLogger(__name__)


class Keeping:
    """The jobs' side of the disk.

    Args:
        keeper: opened by ``restore``.
        settings: how long what is kept.
        now: as for the service.
    """

    def __init__(self, keeper: Keeper, settings: DaemonSettings, now: float) -> None:
        self._keeper = keeper
        self._settings = settings
        self._made: dict[JobKey, dict[int, Made]] = {}
        self._after_acceptance: dict[JobKey, list[Callable[[], None]]] = {}
        """What waits for a job to be kept, by jobs that are not yet."""
        self._looked_at = self._noted_at = now

    # ------------------------------------------------------------ a daemon begins

    def restore(self, now: float) -> list[tuple[Job, KeptJob]]:
        """The jobs that earlier daemons left, in the order they were submitted."""
        return [(self._job(kept, now), kept) for kept in self._keeper.open(now)]

    def _job(self, kept: KeptJob, now: float) -> Job:
        order = kept.order
        job = Job(
            key=kept.key,
            principal=order.principal,
            session_id=order.session_id,
            request=order.request,
            payload=(),
            engine=kept.made[-1].variant.engine if kept.made else order.engine,
            seed=order.seed,
            preview_bytes=order.preview_bytes,
            is_accepted=True,
            results=[Result(made.variant, None, made.pixels.byte_length) for made in kept.made],
        )
        if kept.ended is not None:
            self._restore_end(job, kept.ended)
        else:
            self._load(job, order, kept.made)
            if job.is_made and not job.state.is_final:
                job.end(JobState.DONE)  # all was made, only the word of it was lost
        self._made[job.key] = {made.variant.variant: made for made in kept.made[: len(job.results)]}
        if job.state.is_final and kept.ended is None:
            self.ended(job, now, lambda: None)
        return job

    def _restore_end(self, job: Job, ended: Ended) -> None:
        job.end(ended.state, None if ended.error is None else ended.error.to_exception())
        job.engine, job.timings_ms, job.notes = ended.engine, ended.timings_ms, ended.notes
        job.ended_at_s, job.replaced_by = ended.at_s, ended.replaced_by
        if job.state is JobState.DONE and len(job.results) < job.request.variants:
            job.end(JobState.FAILED, _damaged_result())

    def _load(self, job: Job, order: Order, made: Iterable[Made]) -> None:
        """Have what a run needs in memory again. Variants that are damaged are made again."""
        try:
            job.payload = self._keeper.load(job.key, order.pixels)
        except ImageError as damage:
            _log.warning("job %d cannot go on: %s", job.key, damage.detail)
            job.end(JobState.FAILED, damage)
            return
        for index, one in enumerate(made):
            try:
                job.results[index].payload = self._keeper.load(job.key, one.pixels, one.variant.variant)
            except ImageError as damage:
                _log.warning("job %d makes variant %d again: %s", job.key, index + 1, damage.detail)
                del job.results[index:]
                break

    # ------------------------------------------------------------ a job's life

    def accept(self, job: Job, editor: str, then: Callable[[OverpaintError | None], None]) -> None:
        """Keep a new job; ``then`` is told why that failed, or None."""

        def order(pixels: Pixels) -> Order:
            return Order(
                session_id=job.session_id,
                principal=job.principal,
                editor=editor,
                request=job.request,
                engine=job.engine,
                seed=job.seed,
                preview_bytes=job.preview_bytes,
                pixels=pixels,
            )

        def kept(outcome: Order | OverpaintError) -> None:
            then(outcome if isinstance(outcome, OverpaintError) else None)
            for follow in self._after_acceptance.pop(job.key):
                follow()

        self._after_acceptance[job.key] = []
        self._keeper.accept(job.key, order, job.payload, kept)

    def note_attempts(self, job: Job, count: int) -> None:
        """Keep how often the job was begun."""
        self._keeper.note_attempts(job.key, count)

    def add(self, job: Job, result: Result) -> None:
        """Keep a variant."""
        assert result.payload is not None  # noqa: S101 - it was made a moment ago
        variant = result.message

        def kept(outcome: Made | OverpaintError) -> None:
            if isinstance(outcome, Made):
                self._made.setdefault(job.key, {})[variant.variant] = outcome

        self._keeper.add(job.key, variant, result.payload, kept)

    def ended(self, job: Job, now: float, then: Callable[[], None]) -> None:
        """Keep how the job ended; ``then`` the client may know, for what the disk does not take is true as well."""
        job.ended_at_s = self._keeper.time_s(now)
        ended = Ended(
            state=job.state,
            engine=job.engine,
            at_s=job.ended_at_s,
            error=job.error,
            timings_ms=job.timings_ms,
            notes=job.notes,
            replaced_by=job.replaced_by,
        )

        def kept(outcome: OverpaintError | None) -> None:
            then()
            if outcome is None:
                made = self._made.get(job.key, {})
                for result in job.results:
                    if result.message.variant in made:
                        result.payload = None

        def kept_in_turn(outcome: OverpaintError | None) -> None:
            self._when_accepted(job, lambda: kept(outcome))

        self._keeper.end(job.key, ended, len(job.results), now, kept_in_turn)

    def acknowledge(self, job: Job, now: float, then: Callable[[OverpaintError | None], None]) -> None:
        """Drop a job whose client has taken or refused its results; it will not be done again."""
        taken = Taken(job.principal, job.session_id, job.request.job_id, self._keeper.time_s(now))
        self._when_accepted(job, lambda: self._keeper.forget(job.key, job.request.variants, taken, then))

    def _when_accepted(self, job: Job, then: Callable[[], None]) -> None:
        """Have ``then`` follow; if the job's order is not yet kept, after that, and after its client has been told.

        So no end is told before the acceptance, and nothing is forgotten before it is there.
        """
        waiting = self._after_acceptance.get(job.key)
        if waiting is None:
            then()
        else:
            waiting.append(then)

    def drop(self, job: Job) -> None:
        """Drop a job that nobody will ask for."""
        forget = partial(self._keeper.forget, job.key, job.request.variants, None, lambda _: None)
        self._when_accepted(job, forget)

    def was_taken(self, session: Session, job_id: JobId) -> bool:
        """Whether that job was acknowledged before."""
        return self._keeper.was_taken(session.principal, session.session_id, job_id)

    def acknowledge_unknown(self, session: Session, job_id: JobId) -> None:
        """A job was acknowledged that is not here, and is not to be done should it still come."""
        self._keeper.remember_unknown(session.principal, session.session_id, job_id)

    def forgotten(self, job: Job) -> None:
        """The daemon has no record of the job any more."""
        self._made.pop(job.key, None)

    def sync(self, then: Callable[[], None]) -> None:
        """Have ``then`` follow once all that is known now is kept, and told if somebody waits for that."""
        self._keeper.sync(lambda: self._keeper.sync_orders(then))

    def sync_job(self, job: Job, then: Callable[[], None]) -> None:
        """Have ``then`` follow once all that is known now of the job is kept, and told if somebody waits for that."""
        self._keeper.sync(lambda: self._when_accepted(job, then))

    def replay(self, job: Job, now: float, then: Callable[[Replay], None]) -> None:
        """All that is known of the job, once it is kept: as ``Job.replay``, with the pixels read again."""

        def look() -> None:
            made = self._made.get(job.key, {})
            absent = [
                result for result in job.results if result.payload is None and result.message.variant in made
            ]
            if not absent:
                then(job.replay())
                return

            def read(outcome: list[tuple[Bytes, ...] | None] | OverpaintError) -> None:
                payloads = [None] * len(absent) if isinstance(outcome, OverpaintError) else outcome
                is_kept = job.key in self._made  # and was not acknowledged while it was read
                if None in payloads and job.state is JobState.DONE and is_kept:
                    job.end(JobState.FAILED, _damaged_result())
                    self.ended(job, now, lambda: None)
                for result, payload in zip(absent, payloads, strict=True):
                    result.payload = payload
                then(job.replay())
                for result in absent:
                    result.payload = None

            self._keeper.read(job.key, [made[result.message.variant] for result in absent], read)

        self.sync_job(job, look)

    # ------------------------------------------------------------ time

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._keeper.settle(now)

    def expired(self, sessions: Iterable[Session], now: float) -> list[Job]:
        """The jobs whose time is over; looks at them every few seconds only."""
        if now - self._noted_at >= _NOTE_S:
            self.note_time(now)
        if now - self._looked_at < _LOOK_S:
            return []
        self._looked_at = now
        jobs = {job.key: (job, session) for session in sessions for job in session.jobs.values()}
        kept = [
            Kept(
                key=job.key,
                ended_at_s=job.ended_at_s,
                byte_length=job.byte_length,
                is_away=session.lost_at is not None and now - session.lost_at >= self._settings.away_after_s,
            )
            for job, session in jobs.values()
            if job.state.is_final
        ]
        settings = self._settings
        gone = expired(kept, self._keeper.time_s(now), settings.keep_s, settings.keep_away_bytes)
        return [jobs[key][0] for key in gone]

    def note_time(self, now: float) -> None:
        """Let the next daemon know how much time has passed."""
        self._noted_at = now
        self._keeper.note_time(now, self._settings.keep_s)


def _damaged_result() -> ImageError:
    return ImageError(
        "A result that was kept for you was damaged on the disk. Ask for it again, and check the disk."
    )
