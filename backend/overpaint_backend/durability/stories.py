"""Stories: what happened to each job and why, kept so that ``overpaint doctor --story`` can tell it.

A story is read when something went wrong, so it outlives the daemon, but nothing depends on it: it is not flushed, and a
file that cannot be used is begun anew. It holds numbers, ids and words of closed sets only, so neither prompts nor pixels,
nor names of files. Stories go ``keep_s`` after their last entry, as results do, and the oldest beyond ``MAX_STORIES``.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from overpaint_protocol.messages import JobId, SessionId

__all__ = [
    "MAX_ENTRIES",
    "MAX_STORIES",
    "Cause",
    "Entry",
    "Fact",
    "Note",
    "Story",
    "StoryBook",
    "What",
    "read_stories",
]

MAX_STORIES = 1000
MAX_ENTRIES = 100
"""Of one story; beyond it the oldest but the first go."""

_TABLES = """
CREATE TABLE IF NOT EXISTS story (id INTEGER PRIMARY KEY, session TEXT NOT NULL, job TEXT NOT NULL, at_s REAL NOT NULL,
                                  UNIQUE (session, job));
CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, story INTEGER NOT NULL REFERENCES story ON DELETE CASCADE,
                                  at_s REAL NOT NULL, what TEXT NOT NULL, facts TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entry_story ON entry (story);
"""

_log = logging.getLogger(__name__)

Fact = str | int | float


class What(StrEnum):
    """What happened; behind each its facts.

    Every number of a variant, an attempt or a worker counts from 1. ``because`` is a Cause.
    """

    SUBMITTED = "submitted"
    """editor, operation, variants, width_px, height_px (of the context), engine (empty for any)"""
    ACCEPTED = "accepted"
    REFUSED = "refused"
    """code"""
    WAITS = "waits"
    """position, own (jobs of the same client ahead of it), worker (its state), because"""
    STARTED = "started"
    """attempt, worker, engine, because"""
    LOADING = "loading"
    LOADED = "loaded"
    """device, took_ms"""
    UNLOADED_OTHERS = "unloaded_others"
    """count: models that left to make room"""
    SAVED_MEMORY = "saved_memory"
    """saving: an ``engines.base.Saving``"""
    MADE = "made"
    """variant"""
    SENT = "sent"
    """variant"""
    LEFT = "left"
    """attempts: finished or lost before the daemon was stopped"""
    RESUMED = "resumed"
    """attempts, state"""
    DONE = "done"
    CANCELLED = "cancelled"
    """because; replaced (1) if a newer job took its place"""
    FAILED = "failed"
    """code, because"""
    ACKNOWLEDGED = "acknowledged"
    EXPIRED = "expired"


class Cause(StrEnum):
    """What the scheduler was told when it decided."""

    SUBMITTED = "submitted"
    CANCEL = "cancel"
    WORKER_READY = "worker_ready"
    WORKER_LOST = "worker_lost"
    RUN_ENDED = "run_ended"
    STOPPING = "stopping"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. at_s: in seconds since 1970, by the clock on the wall. facts: see What."""

    at_s: float
    what: str
    facts: Mapping[str, Fact]


Note = tuple[SessionId, JobId, Entry]
"""Whose story an entry is added to: an id is only unique inside its session."""


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of one job, oldest first."""

    job_id: JobId
    entries: tuple[Entry, ...]


class StoryBook:
    """The file with all stories, for writing. One thread at a time may use it. Nothing here raises.

    Args:
        path: the file; made if it is missing. Its folder exists and is ours alone.
        keep_s: how long a story is kept after its last entry, in seconds.
    """

    def __init__(self, path: Path, keep_s: float) -> None:
        self._path = path
        self._keep_s = keep_s
        self._has_complained = False
        self._database: sqlite3.Connection | None = None
        try:
            try:
                self._database = _open(path)
            except sqlite3.DatabaseError:
                _log.warning("the stories of jobs were damaged and begin anew")
                for part in ("", "-wal", "-shm"):
                    path.with_name(path.name + part).unlink(missing_ok=True)
                self._database = _open(path)
        except (OSError, sqlite3.Error) as error:
            self._complain(error)

    def note(self, notes: Sequence[Note]) -> None:
        """Add to stories, the oldest note first."""
        database = self._database
        if database is None:
            return
        stories: dict[tuple[SessionId, JobId], list[Entry]] = {}
        for session_id, job_id, entry in notes:
            stories.setdefault((session_id, job_id), []).append(entry)
        try:
            with database:
                for (session_id, job_id), entries in stories.items():
                    self._add(database, session_id, job_id, entries)
        except sqlite3.Error as error:
            self._complain(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _add(
        self, database: sqlite3.Connection, session_id: SessionId, job_id: JobId, entries: list[Entry]
    ) -> None:
        at_s = entries[-1].at_s
        (story,) = database.execute(
            "INSERT INTO story (session, job, at_s) VALUES (?, ?, ?) "
            "ON CONFLICT (session, job) DO UPDATE SET at_s = excluded.at_s RETURNING id",
            (session_id, job_id, at_s),
        ).fetchone()
        database.executemany(
            "INSERT INTO entry (story, at_s, what, facts) VALUES (?, ?, ?, ?)",
            [(story, entry.at_s, entry.what, json.dumps(dict(entry.facts))) for entry in entries],
        )
        database.execute(
            "DELETE FROM entry WHERE story = ?1 AND id != (SELECT min(id) FROM entry WHERE story = ?1) AND id NOT IN "
            "(SELECT id FROM entry WHERE story = ?1 ORDER BY id DESC LIMIT ?2)",
            (story, MAX_ENTRIES - 1),
        )
        if any(entry.what == What.SUBMITTED for entry in entries):
            database.execute(
                "DELETE FROM story WHERE at_s < ? OR id NOT IN (SELECT id FROM story ORDER BY id DESC LIMIT ?)",
                (at_s - self._keep_s, MAX_STORIES),
            )

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            _log.warning("the stories of jobs have gaps: %s", error)


def read_stories(path: Path) -> list[Story]:
    """The stories in a StoryBook's file, the newest first; also while a daemon writes there.

    Raises:
        OSError, sqlite3.Error: the file cannot be read.
    """
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        entries: dict[int, list[Entry]] = {}
        for story, at_s, what, facts in database.execute(
            "SELECT story, at_s, what, facts FROM entry ORDER BY id"
        ):
            entries.setdefault(story, []).append(Entry(at_s, what, json.loads(facts)))
        stories = database.execute("SELECT id, job FROM story ORDER BY id DESC").fetchall()
    return [Story(JobId(job), tuple(entries[story])) for story, job in stories if story in entries]


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL").close()
        database.execute("PRAGMA synchronous = NORMAL").close()
        database.execute("PRAGMA foreign_keys = ON").close()
        database.executescript(_TABLES)
        for table in ("story", "entry"):
            database.execute(f"SELECT * FROM {table} LIMIT 1").close()  # noqa: S608 - names from the line above
        path.chmod(0o600)
    except BaseException:
        database.close()
        raise
    return database
