"""The keeper: what is on the disk of every job, and in which order it gets there.

A job's pixels are written before the row that names them, and its rows are deleted before its pixels: whatever instant the
daemon dies at, what the journal names is there. Nobody is told of a row before the journal is flushed, and what waits meanwhile shares
the next flush. Files it does not name are swept away at the next start. The invariants of
a job, also over restarts, follow from that:

* who was told ``accepted`` has the job on the disk; who was told ``done`` has its results there;
* an end is written once, so that no job ends in two ways;
* what was acknowledged never comes back.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from overpaint_backend.jobs.model import JobKey
from overpaint_protocol.errors import CapacityError, ImageError, OverpaintError
from overpaint_protocol.messages import JobId, JobVariant, SessionId
from overpaint_protocol.pixels import Bytes

from .archive import DiskWork, Then, explain
from .journal import Journal, JournalDamaged
from .orders import Attempts, Ended, KeptTimeNote, Made, Order, Pixels, Taken
from .retention import KeptTime
from .spool import Spool, sync_folder

__all__ = ["MAX_TAKEN", "Keeper", "KeptJob", "Payload", "set_aside"]

MAX_TAKEN = 10_000
"""Acknowledged jobs remembered, so that a late copy of a ``job.submit`` is not done again."""

_DAMAGED = "damaged-"
_JOURNAL = "journal.sqlite"
_SPOOL = "pixels"

Payload = tuple[Bytes, ...]

_T = TypeVar("_T")
_Written = TypeVar("_Written", Order, Made)

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

    Every method but ``open``, ``load`` and ``close`` returns at once; ``then`` follows, in the order of the calls, with what
    was kept or why the disk did not take it.

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
        self._journal: Journal | None = None
        # Files that the journal names once it is flushed, those that it names no more then, and those it has ceased to name.
        self._unnamed: list[str] = []
        self._doomed: list[str] = []
        self._free: list[str] = []
        self._time = KeptTime(None, wall(), 0.0)
        self._taken: dict[tuple[str, SessionId, JobId], None] = {}

    # ------------------------------------------------------------ at the start and the end

    def open(self, now: float) -> list[KeptJob]:
        """Find what earlier daemons left, in the order it was asked for.

        A journal that cannot be trusted is set aside with all its files. If the folder cannot be used at all, ``problem`` says
        why, and nothing will be kept.
        """
        try:
            journal = self._open_journal()
            self._journal = journal
            self._time = KeptTime(journal.time, self._wall(), now)
            self._taken = {
                (taken.principal, taken.session_id, taken.job_id): None for taken in journal.taken()
            }
            jobs = _assemble(journal)
            stray = self._spool.sweep({name for job in jobs for name in _files(job)})
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
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    # ------------------------------------------------------------ a job's life

    def accept(
        self, key: JobKey, order: Callable[[Pixels], Order], payload: Payload, then: Then[Order]
    ) -> None:
        """Keep a new job. order: makes it, once its pixels are written."""
        self._put(key, payload, None, order, then)

    def add(self, key: JobKey, variant: JobVariant, payload: Payload, then: Then[Made]) -> None:
        """Keep a variant; ``then`` is given what the journal has of it."""

        def made(pixels: Pixels) -> Made:
            return Made(variant=variant, pixels=pixels)

        self._put(key, payload, variant.variant, made, then)

    def note_attempts(self, key: JobKey, count: int) -> None:
        """Keep how often a job was begun."""
        self._do(lambda journal: journal.put(key, Attempts(count=count)))

    def end(self, key: JobKey, ended: Ended, then: Then[None]) -> None:
        """Keep how a job ended; its pictures are not needed any more."""
        self._do_and_remove(lambda journal: journal.put(key, ended), [_file(key, None)], then)

    def forget(self, key: JobKey, variants: int, taken: Taken | None, then: Then[None]) -> None:
        """Drop a job with ``variants`` variants; ``taken`` if its client has acknowledged it."""
        if taken is not None:
            self._remember(taken)
        files = [_file(key, None), *(_file(key, index) for index in range(variants))]
        self._do_and_remove(lambda journal: journal.forget(key, taken), files, then)

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
        """Have ``then`` follow after everything that was asked for so far."""
        self._disk.submit(lambda: None, lambda _: then())

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

    def _open_journal(self) -> Journal:
        try:
            return self._begin()
        except JournalDamaged as damage:
            aside = self._set_aside()
            _log.error("the journal of jobs is damaged (%s). It was set aside: %s", damage, aside)
            return self._begin()

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

    def _put(
        self,
        key: JobKey,
        payload: Payload,
        variant: int | None,
        part: Callable[[Pixels], _Written],
        then: Then[_Written],
    ) -> None:
        file = _file(key, variant)

        def work(journal: Journal) -> _Written:
            written = part(self._spool.write(file, payload))
            self._unnamed.append(file)
            journal.put(key, written)
            return written

        self._do(work, then, is_long=True)

    def _do(
        self, work: Callable[[Journal], _T], then: Then[_T] | None = None, *, is_long: bool = False
    ) -> None:
        def at_the_disk() -> _T:
            if self._journal is None:
                raise self.problem or CapacityError("The daemon has closed its files. Start it again.")
            return work(self._journal)

        self._disk.submit(at_the_disk, then, self._flush, is_long=is_long)

    def _flush(self) -> None:
        unnamed, self._unnamed = self._unnamed, []
        doomed, self._doomed = self._doomed, []
        try:
            if self._journal is not None:
                self._journal.flush()
        except sqlite3.Error:
            self._spool.remove(unnamed)
            raise
        self._free += doomed

    def _do_and_remove(self, work: Callable[[Journal], None], files: list[str], then: Then[None]) -> None:
        """Have ``then`` follow upon ``work`` and not upon the removal of ``files``, which takes long for large ones."""

        def at_the_disk(journal: Journal) -> None:
            work(journal)
            self._doomed += files

        self._do(at_the_disk, then)
        self._disk.submit_last(self._remove_free)

    def _remove_free(self) -> None:
        free, self._free = self._free, []
        self._spool.remove(free)

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
    journal.flush()
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


def _files(job: KeptJob) -> list[str]:
    order = [_file(job.key, None)] if job.ended is None else []
    return [*order, *(_file(job.key, made.variant.variant) for made in job.made)]
