"""What is written down of a job: the protocol's own messages, with what the daemon decided about them.

A job is kept as *parts*: its order, how often it was begun, each variant it has, and how it ended. A part is never
changed, only replaced as a whole; pixels lie beside it, in a file of the spool.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from overpaint_backend.jobs.model import LOCAL
from overpaint_protocol.messages import ErrorInfo, JobId, JobState, JobVariant, SessionId, SubmitJob

__all__ = ["Attempts", "Ended", "KeptTimeNote", "Made", "Order", "Part", "Pixels", "Taken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """A file of the spool. frames: the length of each payload frame, in bytes. checksums: the CRC-32 of each."""

    frames: tuple[int, ...]
    checksums: tuple[int, ...]

    @property
    def byte_length(self) -> int:
        """Bytes of all frames together."""
        return sum(self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for, with what its recipe filled in. The other fields are those of ``jobs.model.Job``.

    editor: the program it came from, for people to read.
    """

    session_id: SessionId
    principal: str = LOCAL
    editor: str
    request: SubmitJob
    engine: str
    seed: int
    preview_bytes: int
    pixels: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often the job was begun. A start that an ordered end of the daemon cut short does not count."""

    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A variant as it is sent."""

    variant: JobVariant
    pixels: Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the job ended. at_s: when, in seconds of the keeper's own time."""

    state: JobState
    engine: str
    at_s: float
    error: ErrorInfo | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    replaced_by: JobId | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A job whose results were acknowledged. at_s: when, in seconds of the keeper's own time."""

    principal: str
    session_id: SessionId
    job_id: JobId
    at_s: float


@dataclass(frozen=True, slots=True)
class KeptTimeNote:
    """The keeper's own time as it was when the clock on the wall showed ``wall_s``."""

    elapsed_s: float
    wall_s: float


Part = Order | Attempts | Made | Ended
