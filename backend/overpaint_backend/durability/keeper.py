"""The keeper: what is on the disk of every job, and in which order it gets there.

A job's pixels are written before the row that names them, and its rows are deleted before its pixels: whatever instant the
daemon dies at, what the journal names is there. Nobody is told of a row before it is committed. Files that the journal does not name
are swept away at the next start. The invariants of a job, also over restarts, follow from that:

* who was told ``accepted`` has the job kept, and who was told ``done`` its results;
* an end is written once, so that no job ends in two ways;
* what was acknowledged never comes back.

Orders outlive a power cut as well: nobody is told ``accepted`` before the disk has them. All else follows from an order and
can be made again, the same picture from the same seed. So nobody waits for the disk to have that. Results that lie there for
a moment are made to last, and only then the order goes. A power cut before that is a step back: a job that was cancelled or
acknowledged within the last second or two may be there again.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from overpaint_backend.jobs.model import JobKey
from overpaint_protocol.errors import CapacityError, ImageError, OverpaintError
from overpaint_protocol.messages import JobId, JobState, JobVariant, SessionId
from overpaint_protocol.pixels import Bytes

from .archive import DiskWork, Then, explain
from .journal import Journal, JournalDamaged
from .orders import Attempts, Ended, KeptTimeNote, Made, Order, Pixels, Taken
from .retention import KeptTime
from .spool import Spool, sync_folder

__all__ = ["MAX_TAKEN", "Keeper", "KeptJob", "Payload", "set_aside"]

MAX_TAKEN = 10_000
"""Acknowledged jobs remembered, so that a late copy of a ``job.submit`` is not done again."""

_LONG_BYTES = 1 << 20
"""Whoever waits for a commit or a flush does not wait for more pixels than that of somebody else's."""
_HUGE_BYTES = 32 << 20
"""Nobody waits for the disk to have more pixels than that of somebody else's order."""
_TRAVEL_BYTES_S = 512 << 20
_LONGEST_PAUSE_S = 0.05
"""A result is on its way to the editor when it comes here, which takes two processors. Kept after that, it arrives a tenth sooner
where there are no more than these."""
_SETTLE_S = 1.0
"""Results that nobody has taken for so long are made to last. Most are taken sooner, and cost the disk nothing."""

_DAMAGED = "damaged-"
_JOURNAL = "journal.sqlite"
_SPOOL = "pixels"

Payload = tuple[Bytes, ...]

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class KeptJob:
    """What an earlier daemon left of a job. made: its variants from index 0 on, without a gap."""

    key: JobKey
    order: Order
    attempts: int = 0
    made: list[Made] = field(default_factory=list)
    ended: Ended | None = None


class Keeper:
    """The jobs on the disk.

    Every method but ``open``, ``load`` and ``close`` returns at once; ``then`` follows with what was kept or why the disk did not take
    it: for orders in the order of the calls, save that huge ones keep no others waiting, and for all else, which does not wait for orders.

    Args:
        folder: where everything lies; made if it is missing. Its parent exists and is ours alone.
        disk: what does the work.
        wall: the clock on the wall, in seconds.
    """

    def __init__(self, folder: Path, disk: DiskWork, wall: Callable[[], float] = time.time) -> None:
        self.problem: OverpaintError | None = None
        """Why nothing can be kept, if so."""
        self._folder = folder
        self._disk = disk
        self._wall = wall
        self._spool = Spool(folder / _SPOOL)
        self._huge_spool = Spool(folder / _SPOOL)
        """Of the thread for huge work."""
        self._journal: Journal | None = None
        self._slow_journal: Journal | None = None
        # Files that the journal names once it is committed, those that it names no more then, and those it has ceased to name.
        self._unnamed: list[str] = []
        self._doomed: list[str] = []
        self._free: deque[str] = deque()
        self._new_orders: list[tuple[JobKey, Order]] = []
        """On the disk, but not in the journal."""
        self._huge: set[JobKey] = set()
        """Whose orders are being written apart from the others."""
        self._unsettled: dict[JobKey, tuple[float, int]] = {}
        """Ended jobs whose results may not outlive a power cut: since when, and how many there are."""
        self._time = KeptTime(None, wall(), 0.0)
        self._taken: dict[tuple[str, SessionId, JobId], None] = {}

    # ------------------------------------------------------------ at the start and the end

    def open(self, now: float) -> list[KeptJob]:
        """Find what earlier daemons left, in the order it was asked for.

        A journal that cannot be trusted is set aside with all its files. If the folder cannot be used at all, ``problem`` says
        why, and nothing will be kept.
        """
        try:
            journal = self._find_journal()
            self._journal = journal
            self._time = KeptTime(journal.time, self._wall(), now)
            self._taken = {
                (taken.principal, taken.session_id, taken.job_id): None for taken in journal.taken()
            }
            jobs = _assemble(journal)
            self._slow_journal = Journal(self._folder / _JOURNAL, beside=journal)
            self._step_back(journal, jobs, now)
            stray = self._spool.sweep({name for job in jobs for name in _files(job, self._unsettled)})
        except (OSError, sqlite3.Error) as error:
            self.problem = explain(error, str(self._folder))
            _log.error("no jobs can be kept: %s", self.problem.message)
            return []
        if stray:
            _log.info("%d files that no job names were removed", stray)
        return jobs

    def load(self, key: JobKey, pixels: Pixels, variant: int | None = None) -> Payload:
        """The pixels of a job's order, or of a variant, at once.

        Raises:
            ImageError: they are damaged.
        """
        return self._spool.read(_file(key, variant), pixels)

    def close(self) -> None:
        """Let go of the journal, when the disk's work is done."""
        for journal in (self._slow_journal, self._journal):
            if journal is not None:
                journal.close()
        self._journal = self._slow_journal = None

    # ------------------------------------------------------------ a job's life

    def accept(
        self, key: JobKey, order: Callable[[Pixels], Order], payload: Payload, then: Then[Order]
    ) -> None:
        """Keep a new job. order: makes it, once its pixels are written. ``then`` follows when it outlives a power cut."""
        file, is_huge = _file(key, None), _byte_length(payload) > _HUGE_BYTES
        spool = self._huge_spool if is_huge else self._spool

        def write() -> Order:
            if self._slow_journal is None:
                raise self._closed()
            return order(spool.write_through(file, payload))

        def note(written: Order) -> Order:
            self._new_orders.append((key, written))
            return written

        def go_on(outcome: Order | OverpaintError) -> None:
            self._huge.discard(key)
            if isinstance(outcome, OverpaintError):
                then(outcome)
            else:
                self._disk.submit_slow(lambda: note(outcome), then, self._keep_orders)

        if is_huge:
            self._huge.add(key)
            self._disk.submit_huge(write, go_on)
        else:
            self._disk.submit_slow(lambda: note(write()), then, self._keep_orders, is_long=_is_long(payload))

    def add(self, key: JobKey, variant: JobVariant, payload: Payload, then: Then[Made]) -> None:
        """Keep a variant; ``then`` is given what the journal has of it."""
        file = _file(key, variant.variant)

        def work(journal: Journal) -> Made:
            made = Made(variant=variant, pixels=self._spool.write(file, payload))
            self._unnamed.append(file)
            journal.put(key, made)
            return made

        pause_s = min(_byte_length(payload) / _TRAVEL_BYTES_S, _LONGEST_PAUSE_S)
        self._do(work, then, is_long=_is_long(payload), pause_s=pause_s)

    def note_attempts(self, key: JobKey, count: int) -> None:
        """Keep how often a job was begun."""
        self._do(lambda journal: journal.put(key, Attempts(count=count)))

    def end(self, key: JobKey, ended: Ended, variants: int, now: float, then: Then[None]) -> None:
        """Keep how a job with ``variants`` variants ended."""
        self._unsettled[key] = now, variants
        self._do(lambda journal: journal.put(key, ended), then)

    def forget(self, key: JobKey, variants: int, taken: Taken | None, then: Then[None]) -> None:
        """Drop a job with ``variants`` variants; ``taken`` if its client has acknowledged it."""
        if taken is not None:
            self._remember(taken)
        self._unsettled.pop(key, None)
        files = [_file(key, None), *_result_files(key, variants)]

        def work(journal: Journal) -> None:
            journal.forget(key, taken)
            self._doomed += files

        self._do(work, then)
        self._disk.submit_last(self._remove_free)

    def settle(self, now: float) -> None:
        """Make last what has not been taken for a moment; call it every second or so."""
        for key, (ended_at, variants) in list(self._unsettled.items()):
            if now - ended_at >= _SETTLE_S and key not in self._huge:
                del self._unsettled[key]
                self._disk.submit_last(partial(self._settle, key, variants))

    def read(self, key: JobKey, made: Sequence[Made], then: Then[list[Payload | None]]) -> None:
        """Read variants; ``then`` is given their pixels, None for those that are damaged."""

        def look(one: Made) -> Payload | None:
            try:
                return self.load(key, one.pixels, one.variant.variant)
            except ImageError as error:
                _log.warning("a kept result is damaged: %s", error.detail)
                return None

        self._disk.submit(lambda: [look(one) for one in made], then)

    def sync(self, then: Callable[[], None]) -> None:
        """Have ``then`` follow after everything that was asked for so far, but for orders that are not yet kept."""
        self._disk.submit(lambda: None, lambda _: then())

    def sync_orders(self, then: Callable[[], None]) -> None:
        """Have ``then`` follow after all orders that were to be kept so far."""
        self._disk.submit_huge(lambda: None, lambda _: self._disk.submit_slow(lambda: None, lambda _: then()))

    # ------------------------------------------------------------ time, and what was taken

    def time_s(self, now: float) -> float:
        """The keeper's own time, in seconds."""
        return self._time.at(now)

    def note_time(self, now: float, keep_s: float) -> None:
        """Keep the time for the next daemon, and forget what was taken more than ``keep_s`` ago."""
        note = KeptTimeNote(self._time.at(now), self._wall())

        def work(journal: Journal) -> None:
            journal.note_time(note)
            journal.forget_taken(note.elapsed_s - keep_s, MAX_TAKEN)

        if self._journal is not None:
            self._do(work)

    def was_taken(self, principal: str, session_id: SessionId, job_id: JobId) -> bool:
        """Whether that job was acknowledged before."""
        return (principal, session_id, job_id) in self._taken

    def remember_unknown(self, principal: str, session_id: SessionId, job_id: JobId) -> None:
        """A job was acknowledged that is not known (yet): a submit that comes late is not to be done. Not kept on the disk."""
        self._remember(Taken(principal, session_id, job_id, 0.0))

    # ------------------------------------------------------------ inside

    def _find_journal(self) -> Journal:
        try:
            return self._begin()
        except JournalDamaged as damage:
            aside = self._set_aside()
            _log.error("the journal of jobs is damaged (%s). It was set aside: %s", damage, aside)
            return self._begin()

    def _step_back(self, journal: Journal, jobs: Sequence[KeptJob], now: float) -> None:
        """Undo the end of jobs whose results a power cut has taken. Until they were made to last, their orders have stayed."""
        for job in jobs:
            if job.ended is None or not self._spool.has(_file(job.key, None)):
                continue
            self._unsettled[job.key] = now, len(job.made)
            if job.ended.state is not JobState.DONE:
                continue
            whole = [one for one in job.made if self._is_whole(job.key, one)]
            if len(whole) < job.order.request.variants:
                _log.warning("job %d is done again: its results did not reach the disk", job.key)
                del self._unsettled[job.key]
                job.ended = None
                journal.reopen(job.key)
        journal.commit()

    def _is_whole(self, key: JobKey, made: Made) -> bool:
        try:
            self.load(key, made.pixels, made.variant.variant)
        except ImageError:
            return False
        return True

    def _begin(self) -> Journal:
        for folder in (self._folder, self._folder / _SPOOL):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        journal = Journal(self._folder / _JOURNAL)
        for file in self._folder.glob(f"{_JOURNAL}*"):
            file.chmod(0o600)
        for folder in (self._folder, self._folder.parent):
            sync_folder(folder)
        return journal

    def _set_aside(self) -> Path:
        name = f"{_DAMAGED}{self._folder.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        names = (f"{name}-{count}" if count else name for count in itertools.count())
        aside = next(path for name in names if not (path := self._folder.with_name(name)).exists())
        return self._folder.rename(aside)

    def _do(
        self,
        work: Callable[[Journal], _T],
        then: Then[_T] | None = None,
        *,
        is_long: bool = False,
        pause_s: float = 0.0,
    ) -> None:
        def at_the_disk() -> _T:
            if self._journal is None:
                raise self._closed()
            return work(self._journal)

        self._disk.submit(at_the_disk, then, self._commit, is_long=is_long, pause_s=pause_s)

    def _closed(self) -> OverpaintError:
        return self.problem or CapacityError("The daemon has closed its files. Start it again.")

    def _commit(self) -> None:
        unnamed, self._unnamed = self._unnamed, []
        doomed, self._doomed = self._doomed, []
        try:
            if self._journal is not None:
                self._journal.commit()
        except sqlite3.Error:
            self._spool.remove(unnamed)
            raise
        self._free += doomed

    # What follows is done on the thread on which nobody waits but for the disk.

    def _keep_orders(self) -> None:
        orders, self._new_orders = self._new_orders, []
        try:
            self._flush(orders)
        except (OSError, sqlite3.Error):
            self._spool.remove([_file(key, None) for key, _ in orders])
            raise

    def _flush(self, orders: Sequence[tuple[JobKey, Order]] = ()) -> None:
        """Have all that is known outlive a power cut, and ``orders`` known."""
        if self._slow_journal is None:
            raise self._closed()
        self._spool.flush_names()
        for key, order in orders:
            self._slow_journal.put(key, order)
        self._slow_journal.commit()
        self._slow_journal.flush()

    def _settle(self, key: JobKey, variants: int) -> None:
        """Have the results of an ended job outlive a power cut. From then on its order is not needed."""
        try:
            for file in _result_files(key, variants):
                self._spool.flush(file)
        except FileNotFoundError:
            return  # was taken meanwhile, or never found room
        self._flush()
        self._spool.remove([_file(key, None)])
        self._fold()

    def _remove_free(self) -> None:
        """Remove what the journal names no more: if a power cut could still take that back, the files have to stay."""
        free = [self._free.popleft() for _ in range(len(self._free))]
        if free and self._slow_journal is not None:
            self._slow_journal.flush()
            self._spool.remove(free)
            self._fold()

    def _fold(self) -> None:
        if self._slow_journal is not None:
            self._slow_journal.fold()

    def _remember(self, taken: Taken) -> None:
        self._taken[taken.principal, taken.session_id, taken.job_id] = None
        while len(self._taken) > MAX_TAKEN:
            del self._taken[next(iter(self._taken))]


def set_aside(folder: Path) -> list[Path]:
    """What keepers of ``folder`` have set aside because it was damaged, oldest first."""
    return sorted(folder.parent.glob(f"{_DAMAGED}{folder.name}-*"))


def _assemble(journal: Journal) -> list[KeptJob]:
    """The jobs from their parts. Parts without an order belong to nobody and are dropped."""
    jobs: dict[JobKey, KeptJob] = {}
    parts: dict[JobKey, list[Attempts | Made | Ended | None]] = {}
    for key, part in journal.parts():
        if isinstance(part, Order):
            jobs[key] = KeptJob(key, part)
        else:
            parts.setdefault(key, []).append(part)
    for key in parts.keys() - jobs.keys():
        journal.forget(key, None)
    journal.commit()
    for key, job in jobs.items():
        made: dict[int, Made] = {}
        for part in parts.get(key, ()):
            match part:
                case Attempts():
                    job.attempts = part.count
                case Made():
                    made[part.variant.variant] = part
                case Ended():
                    job.ended = part
                case None:
                    pass  # as if it had not been written: what it told is done again, or found missing
        while len(job.made) in made:
            job.made.append(made[len(job.made)])
    return [jobs[key] for key in sorted(jobs)]


def _file(key: JobKey, variant: int | None) -> str:
    return f"{key}-order" if variant is None else f"{key}-{variant}"


def _byte_length(payload: Payload) -> int:
    return sum(map(len, payload))


def _is_long(payload: Payload) -> bool:
    return _byte_length(payload) > _LONG_BYTES


def _result_files(key: JobKey, variants: int) -> list[str]:
    return [_file(key, index) for index in range(variants)]


def _files(job: KeptJob, unsettled: Collection[JobKey]) -> list[str]:
    is_needed = job.ended is None or job.key in unsettled
    order = [_file(job.key, None)] if is_needed else []
    return [*order, *(_file(job.key, made.variant.variant) for made in job.made)]
