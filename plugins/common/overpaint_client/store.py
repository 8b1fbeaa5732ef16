"""What an editor remembers of its unfinished jobs, so that a restart loses no result.

Each running client holds one session file under ``<state>/clients/<editor>/``, locked for as long as it lives. A file
that nobody holds and that still names jobs is what a crashed or closed editor left: the next client adopts it, session
id and all, and the daemon gives it the results.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from overpaint_protocol import codec
from overpaint_protocol.errors import OverpaintError
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import JobId, Operation, SessionId

from .jobs import Content

__all__ = ["PendingJob", "SessionStore"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingJob:
    """What is needed to offer a result again: which document it was for, and what was asked.

    The pixels that were sent are not kept: the daemon has the results, and their notes with them.
    profile_digest, content: as ``Job`` has them.

    document_id: as it was; only an editor that has run ever since still has a document of that id.

    The prompt is kept (in a file only its owner can read) because it names the layer.
    """

    job_id: JobId
    title: str
    path: str
    canvas: Size
    operation: Operation
    variants: int
    document_id: str = ""
    profile_digest: str = ""
    content: Content | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SessionFile:
    session_id: SessionId
    jobs: tuple[PendingJob, ...]
    acks: tuple[JobId, ...] = ()


class SessionStore:
    """The session file of this client.

    Args:
        folder: ``<state>/clients/<editor>``; made if missing, for the user alone.

    Raises:
        OverpaintError: the folder cannot be made or written; the sentence names it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[JobId, PendingJob] = {}
        self._acks: dict[JobId, None] = {}
        self._lock: IO[bytes] | None = None
        self.session_id = SessionId("")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in sorted(folder.glob("*.json")):
                if self._adopt(file):
                    return
            self.session_id = SessionId(uuid.uuid4().hex)
            self._lock = _take_lock(self._path(".lock"))
        except OSError as error:
            raise self._unusable(error) from error

    @property
    def jobs(self) -> tuple[PendingJob, ...]:
        """Jobs whose results are not yet safe in a document, oldest first."""
        return tuple(self._jobs.values())

    @property
    def acks(self) -> tuple[JobId, ...]:
        """Jobs that are over here and of which the daemon has not confirmed that it may forget them."""
        return tuple(self._acks)

    def add(self, job: PendingJob) -> None:
        """Remember a job; call before it is sent.

        Raises:
            OverpaintError: the file cannot be written; the sentence says where.
        """
        self._jobs[job.job_id] = job
        try:
            self._write()
        except OSError as error:
            del self._jobs[job.job_id]
            raise self._unusable(error) from error

    def remove(self, job_id: JobId) -> None:
        """A job is over and is being acknowledged."""
        if self._jobs.pop(job_id, None) is not None:
            self._acks[job_id] = None
            self._write_if_possible()

    def confirm(self, job_id: JobId) -> None:
        """The daemon has forgotten a job."""
        if job_id in self._acks:
            del self._acks[job_id]
            self._write_if_possible()

    def close(self) -> None:
        """Let go of the file; it stays only if the daemon still keeps something for it."""
        if self._lock is None:
            return
        if not self._jobs and not self._acks:
            with suppress(OSError):  # Windows cannot remove the open lock; the next client does
                self._path(".json").unlink(missing_ok=True)
                self._path(".lock").unlink(missing_ok=True)
        lock, self._lock = self._lock, None
        lock.close()

    def _unusable(self, error: OSError) -> OverpaintError:
        return OverpaintError(
            f"Overpaint cannot keep its files in {self._folder}: {error.strerror or error}. Make room there or change "
            "its permissions.",
            detail=repr(error),
        )

    def _path(self, suffix: str) -> Path:
        return self._folder / f"{self.session_id}{suffix}"

    def _adopt(self, file: Path) -> bool:
        lock = _take_lock(file.with_suffix(".lock"))
        if lock is None:
            return False
        try:
            kept = codec.from_plain(json.loads(file.read_text(encoding="utf-8")), _SessionFile)
        except (OSError, ValueError, OverpaintError):
            kept = None
        if kept is None or not (kept.jobs or kept.acks) or kept.session_id != file.stem:
            with suppress(OSError):
                file.unlink(missing_ok=True)
                file.with_suffix(".lock").unlink(missing_ok=True)
            lock.close()
            return False
        self.session_id = kept.session_id
        self._lock = lock
        self._jobs = {job.job_id: job for job in kept.jobs}
        self._acks = dict.fromkeys(kept.acks)
        return True

    def _write_if_possible(self) -> None:
        try:
            self._write()
        except OSError:
            # no reason to fail a job that is over: at worst the next run asks the daemon for it in vain
            _log.warning("the session file in %s could not be written", self._folder, exc_info=True)

    def _write(self) -> None:
        kept = _SessionFile(session_id=self.session_id, jobs=self.jobs, acks=self.acks)
        fresh = self._path(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as out:  # noqa: PTH123  # keeps the descriptor's mode
            json.dump(codec.to_plain(kept), out)
        fresh.replace(self._path(".json"))


def _take_lock(path: Path) -> IO[bytes] | None:
    """Lock ``path`` for as long as the returned file is open; None if another process holds it."""
    file = path.open("ab")
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
