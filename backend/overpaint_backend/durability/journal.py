"""The journal: one SQLite file with the parts of every kept job.

Write-ahead log with ``synchronous=NORMAL``: what was put or forgotten before a ``commit`` is safe from the death of the daemon when
it returns, all of it or nothing, without a wait for the disk. A ``flush`` makes all commits before it outlive a power cut, as
``synchronous=FULL`` would with each; after a power cut the journal is what it was after some later commit. SQLite notices a damaged page and
not a changed byte inside a value, so every row carries a digest of its key and body. Paths, prompts and ids stand only
inside bodies.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from overpaint_backend.jobs.model import JobKey
from overpaint_protocol import codec
from overpaint_protocol.errors import OverpaintError
from overpaint_protocol.messages import JobId, SessionId

from .orders import Attempts, Ended, KeptTimeNote, Made, Order, Part, Taken

__all__ = ["Journal", "JournalDamaged"]

_FORMAT = 1
"""SQLite's ``user_version``: how the tables below are laid out."""

_TABLES = f"""
CREATE TABLE part (job INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, digest BLOB NOT NULL,
                   PRIMARY KEY (job, name)) WITHOUT ROWID;
CREATE TABLE taken (principal TEXT NOT NULL, session TEXT NOT NULL, job TEXT NOT NULL, at_s REAL NOT NULL,
                    PRIMARY KEY (principal, session, job)) WITHOUT ROWID;
CREATE TABLE time (id INTEGER PRIMARY KEY CHECK (id = 1), elapsed_s REAL NOT NULL, wall_s REAL NOT NULL);
PRAGMA user_version = {_FORMAT};
"""

_ROOM_BYTES = 1 << 20
_FOLD_COMMITS = 64
"""After so many commits the log is folded into the file: they have room in what ``_make_room`` has left of it."""
_LONGEST_PAGES = 4096
"""A log that has grown to this, since no moment was without a change, is folded while changes wait."""
_FOLDING_S = 1.0
"""For which changes wait at most: somebody who reads the file may keep it from being folded."""
_BUSY_S = 60.0

_CLASSES: dict[str, type] = {"order": Order, "attempts": Attempts, "made": Made, "ended": Ended}

_log = logging.getLogger(__name__)


class JournalDamaged(Exception):
    """The file is not a journal of this version, or its pages are not in order."""


class Journal:
    """An open journal. One thread at a time may use it; another has one of its own.

    Args:
        path: the file; made if it is missing.
        beside: one that is open already, which has found the file in order. It is closed after this one.

    Raises:
        JournalDamaged: it cannot be trusted.
        sqlite3.Error, OSError: it cannot be opened, for want of room or permission.
    """

    def __init__(self, path: Path, beside: Journal | None = None) -> None:
        self._path = path
        self._beside = beside
        self._database = sqlite3.connect(path, _BUSY_S, check_same_thread=False, isolation_level=None)
        self._is_changed = False
        self._commits = 0
        self._folded_commits = 0
        self._log: int | None = None
        try:
            self._set_up()
            if beside is None:
                self._open()
        except BaseException:
            self._database.close()
            raise

    def put(self, key: JobKey, part: Part) -> None:
        """Keep a part of a job, in the place of an earlier one of its name, from the next ``commit`` on.

        Raises:
            sqlite3.Error: it is not kept, nor is anything else since the last ``commit``.
        """
        name, body = _name(part), codec.pack(part)
        self._change("REPLACE INTO part VALUES (?, ?, ?, ?)", (key, name, body, _digest(key, name, body)))

    def reopen(self, key: JobKey) -> None:
        """Drop how a job ended, from the next ``commit`` on.

        Raises:
            sqlite3.Error: as for ``put``.
        """
        self._change("DELETE FROM part WHERE job = ? AND name = 'ended'", (key,))

    def forget(self, key: JobKey, taken: Taken | None) -> None:
        """Drop all parts of a job and remember that it was taken if it was, both from the next ``commit`` on.

        Raises:
            sqlite3.Error: as for ``put``.
        """
        if taken is not None:
            self._change(
                "REPLACE INTO taken VALUES (?, ?, ?, ?)",
                (taken.principal, taken.session_id, taken.job_id, taken.at_s),
            )
        self._change("DELETE FROM part WHERE job = ?", (key,))

    def commit(self) -> None:
        """Keep all changes since the last call, whatever becomes of the daemon.

        Raises:
            sqlite3.Error: none of them is.
        """
        if not self._is_changed:
            return
        self._is_changed = False
        if not self._database.in_transaction:
            raise _taken_back()
        try:
            self._run("COMMIT")
        except sqlite3.Error:
            self._take_back()
            raise
        self._commits += 1

    def flush(self) -> None:
        """Have all that was committed on the disk, here and beside.

        SQLite can do so as part of a commit only, which keeps other changes waiting meanwhile. What it does there is to flush the log.

        Raises:
            OSError: it may not be there.
        """
        if self._log is None:
            self._log = os.open(self._path.with_name(f"{self._path.name}-wal"), os.O_RDWR)
        os.fsync(self._log)

    def fold(self) -> None:
        """Begin the log anew, if it is time.

        Raises:
            sqlite3.Error: it goes on growing; nothing is lost.
        """
        commits = self._commits + (0 if self._beside is None else self._beside._commits)
        if commits - self._folded_commits < _FOLD_COMMITS:
            return
        self._folded_commits = commits
        _, pages, _ = self._run("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages > _LONGEST_PAGES:
            self._run(f"PRAGMA busy_timeout = {round(_FOLDING_S * 1000)}").close()
            try:
                self._run("PRAGMA wal_checkpoint(FULL)").close()
            finally:
                self._run(f"PRAGMA busy_timeout = {round(_BUSY_S * 1000)}").close()

    def parts(self) -> Iterator[tuple[JobKey, Part | None]]:
        """Every part by job, with None for one that is damaged."""
        with closing(self._run("SELECT job, name, body, digest FROM part ORDER BY job, name")) as rows:
            for key, name, body, digest in rows:
                cls = _CLASSES.get(str(name).partition("-")[0])
                try:
                    if cls is None or digest != _digest(key, name, body):
                        raise JournalDamaged
                    yield key, codec.unpack(body, cls)
                except (JournalDamaged, OverpaintError):
                    _log.warning("a part of job %s in the journal is damaged", key)
                    yield key, None

    def taken(self) -> list[Taken]:
        """The jobs that were taken, oldest first."""
        with closing(self._run("SELECT principal, session, job, at_s FROM taken ORDER BY at_s")) as rows:
            return [Taken(whose, SessionId(session), JobId(job), at_s) for whose, session, job, at_s in rows]

    def forget_taken(self, before_s: float, most: int) -> None:
        """Drop the memory of what was taken before ``before_s``, and of all but the newest ``most``."""
        self._change("DELETE FROM taken WHERE at_s < ?", (before_s,))
        self._change(
            "DELETE FROM taken WHERE (principal, session, job) NOT IN "
            "(SELECT principal, session, job FROM taken ORDER BY at_s DESC LIMIT ?)",
            (most,),
        )

    @property
    def time(self) -> KeptTimeNote | None:
        """The last ``note_time``, if there was one."""
        row = self._run("SELECT elapsed_s, wall_s FROM time").fetchone()
        return None if row is None else KeptTimeNote(*row)

    def note_time(self, note: KeptTimeNote) -> None:
        """Keep the time for the next daemon."""
        self._change("REPLACE INTO time VALUES (1, ?, ?)", (note.elapsed_s, note.wall_s))

    def close(self) -> None:
        """Fold the log into the file and let go of it."""
        if self._log is not None:
            os.close(self._log)
            self._log = None
        self._database.close()

    # ------------------------------------------------------------ inside

    def _set_up(self) -> None:
        try:
            self._run("PRAGMA journal_mode = WAL").close()
            self._run("PRAGMA synchronous = NORMAL").close()
            self._run(
                "PRAGMA wal_autocheckpoint = 0"
            ).close()  # which would have changes wait for the disk; ``fold`` does it
            self._run("PRAGMA secure_delete = ON").close()  # what was taken leaves no prompt behind
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise JournalDamaged(str(error)) from error

    def _open(self) -> None:
        try:
            if self._run("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise JournalDamaged("its pages are not in order")
            (version,) = self._run("PRAGMA user_version").fetchone()
            if version == 0 and not self._run("SELECT 1 FROM sqlite_schema").fetchone():
                self._run_all(_TABLES)
            elif version != _FORMAT:
                raise JournalDamaged(f"its format is {version}, not {_FORMAT}")
            for table in ("part", "taken", "time"):
                self._run(f"SELECT * FROM {table} LIMIT 1").close()  # noqa: S608 - names from the line above
            self._make_room()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # no such table, a schema that is no SQL
                raise JournalDamaged(str(error)) from error
            raise
        except sqlite3.DatabaseError as error:
            raise JournalDamaged(str(error)) from error

    def _make_room(self) -> None:
        """Let the log grow now: a flush takes two to four times as long whenever a file becomes longer by it."""
        try:
            self._run("CREATE TABLE IF NOT EXISTS room (filler BLOB)")
            self._run("INSERT INTO room VALUES (zeroblob(?))", (_ROOM_BYTES,))
            self._run("DROP TABLE room")
            self._run("PRAGMA wal_checkpoint(RESTART)").close()
        except sqlite3.OperationalError as error:  # a full disk, above all
            _log.info("no room is made for the journal's log: %s", error)

    def _run_all(self, statements: str) -> None:
        for statement in filter(str.strip, statements.split(";")):
            self._change(statement)
        self.commit()

    def _change(self, statement: str, values: tuple[object, ...] = ()) -> None:
        if not self._is_changed:
            self._run("BEGIN IMMEDIATE")
            self._is_changed = True
        elif not self._database.in_transaction:
            raise _taken_back()
        try:
            self._run(statement, values)
        except sqlite3.Error:
            self._take_back()
            raise

    def _take_back(self) -> None:
        if self._database.in_transaction:  # after some errors SQLite has done so itself
            self._run("ROLLBACK")

    def _run(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        return self._database.execute(statement, values)


def _taken_back() -> sqlite3.Error:
    return sqlite3.OperationalError("a change before this one failed, and all with it")


def _name(part: Part) -> str:
    match part:
        case Order():
            return "order"
        case Attempts():
            return "attempts"
        case Made():
            return f"made-{part.variant.variant}"
        case Ended():
            return "ended"


def _digest(key: JobKey, name: str, body: bytes) -> bytes:
    return hashlib.blake2b(f"{key} {name} ".encode() + body, digest_size=16).digest()
