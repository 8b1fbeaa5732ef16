"""Jobs as a user interface sees them: one observable record each, with a sentence for the status line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from overpaint_protocol.errors import OverpaintError
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edges, Expand, JobId, Operation, Remove, operation_name

__all__ = ["Content", "EditRequest", "Job", "JobPhase", "Preview"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a Document looked like in ``area`` when a job read it: a digest of its pixels, BLAKE2b-256 in hex."""

    area: Rect
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest:
    """What the artist asks for, before any pixel is read.

    operation: what to do. engine: an id from ``Controller.engines``, or None for the recipe's or the daemon's choice.
    recipe: an id from ``Controller.recipes`` that fills in what is left open here, or None.
    variants: how many layers, 1 to 8. seed: of the first variant, or None for a new one each time.
    edges: how the layers end. is_batch: nobody sits and waits for it, so others may go first.
    slot: a name for what is asked for again and again; a newer request for the document's slot replaces one that waits.
    """

    operation: Operation
    engine: str | None = None
    recipe: str | None = None
    variants: int = 1
    seed: int | None = None
    edges: Edges = field(default_factory=Edges)
    is_batch: bool = False
    slot: str | None = None


class JobPhase(str, Enum):
    """Where a job is, seen from the editor."""

    WAITING = "waiting"
    """For the daemon to answer."""
    READING = "reading"
    SENDING = "sending"
    QUEUED = "queued"
    RUNNING = "running"
    INSERTING = "inserting"
    OFFERED = "offered"
    """Finished, and its document is not at hand: the artist decides (``Controller.insert`` or ``discard``)."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if nothing more happens by itself or by the artist."""
        return self in (JobPhase.DONE, JobPhase.FAILED, JobPhase.CANCELLED)

    @property
    def is_active(self) -> bool:
        """True while something is under way that can be cancelled."""
        return not self.is_final and self is not JobPhase.OFFERED


@dataclass(frozen=True, slots=True)
class Preview:
    """A glimpse of a variant in the making: a JPEG or PNG file over the Context."""

    variant: int
    media_type: str
    size: Size
    data: bytes


_NOT_SHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, what turns the words after it around, and halves of characters."""
_MAX_TITLE_CHARS = 80
_MAX_LABEL_CHARS = 40

_VERBS = {"fill": "Fill", "remove": "Remove", "expand": "Expand", "edit": "Edit"}


@dataclass(slots=True, kw_only=True)
class Job:
    """One job; only the controller changes it.

    fraction: 0 to 1, or None while it is unknown how long it takes. position: jobs ahead in the queue.
    time_left_s: seconds until the results are ready, or None if that is unknown; of account while QUEUED or RUNNING.
    variants_ready: results received so far. error: why it failed. stage: the daemon's words for what it does.
    profile_digest: of the document, as ``DocumentInfo`` has it. content: what was read of it, None before.
    notes: what the artist should know about the results, a sentence each. is_replaced: a newer job for its slot came.
    """

    job_id: JobId
    document_id: str
    title: str
    operation: Operation
    canvas: Size
    variants: int
    path: str = ""
    profile_digest: str = ""
    content: Content | None = None
    phase: JobPhase = JobPhase.WAITING
    stage: str = ""
    fraction: float | None = None
    position: int = 0
    time_left_s: float | None = None
    variants_ready: int = 0
    preview: Preview | None = None
    error: OverpaintError | None = None
    engine: str = ""
    seeds: tuple[int, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_replaced: bool = False

    def __post_init__(self) -> None:
        # It is the document's word, and stands in our sentences.
        self.title = _one_line(self.title, _MAX_TITLE_CHARS)

    @property
    def margins(self) -> Margins | None:
        """How the canvas grows, or None."""
        return self.operation.margins if isinstance(self.operation, Expand) else None

    @property
    def label(self) -> str:
        """Name of the layer group and the undo step, such as ``Fill: a red door``."""
        verb = _VERBS[operation_name(self.operation)]
        prompt = (
            "" if isinstance(self.operation, Remove) else _one_line(self.operation.prompt, _MAX_LABEL_CHARS)
        )
        return f"{verb}: {prompt}" if prompt else verb

    @property
    def sentence(self) -> str:
        """What a status line says about the job now; of one that is done, its notes, too."""
        if self.phase is JobPhase.FAILED and self.error is not None:
            return self.error.message
        if self.phase is JobPhase.QUEUED:
            ahead = f", {self.position} ahead" if self.position else ""
            return f"{self.label}: waiting for its turn{ahead}{self._left}."
        if self.phase is JobPhase.RUNNING:
            percent = "" if self.fraction is None else f" {round(self.fraction * 100)} %"
            return f"{self.label}: {self.stage or 'working'}{percent}{self._left}."
        if self.phase is JobPhase.OFFERED:
            return f"A finished result for “{self.title}” is waiting ({self.label})."
        if self.phase is JobPhase.CANCELLED and self.is_replaced:
            return f"{self.label}: replaced by a newer one."
        if self.phase is JobPhase.DONE:
            return " ".join((f"{self.label}: done.", *self.notes))
        return f"{self.label}: {_WORDS[self.phase]}."

    @property
    def _left(self) -> str:
        return "" if self.time_left_s is None else f", about {_duration(self.time_left_s)} left"


_WORDS = {
    JobPhase.WAITING: "waiting for the daemon",
    JobPhase.READING: "reading the picture",
    JobPhase.SENDING: "sending the picture",
    JobPhase.INSERTING: "adding the layers",
    JobPhase.FAILED: "failed",
    JobPhase.CANCELLED: "cancelled",
}


def _one_line(text: str, most_chars: int) -> str:
    """Somebody's words as a label, a layer's name or a terminal can show them."""
    words = " ".join(_NOT_SHOWN.sub(" ", text).split())
    return words if len(words) <= most_chars else words[: most_chars - 1] + "…"


def _duration(seconds: float) -> str:
    """A time as people say it, no more exact than it can be known."""
    if seconds > 90:
        return f"{round(seconds / 60)} min"
    return f"{max(1, round(seconds) if seconds <= 20 else 5 * round(seconds / 5))} s"
