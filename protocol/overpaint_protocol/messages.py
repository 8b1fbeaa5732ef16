"""Every message of the protocol, one frozen dataclass each (spec §5).

Wire keys are the field names; the registered name is the message's type. Optional fields that are ``None`` are left
out, all others are always written, also when they hold their default. A constructor refuses values outside the
stated range with a RequestError, so a decoded message is a valid one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, NewType, TypeVar

from .errors import OverpaintError, RequestError, Retry, from_code
from .geometry import Margins, Rect, Size
from .pixels import ColorSpace, ImageHeader, PixelFormat

__all__ = [
    "MAX_DETAIL",
    "MAX_EDGE_PX",
    "MAX_GUIDANCE",
    "MAX_LORAS",
    "MAX_LORA_WEIGHT",
    "MAX_PROMPT_CHARS",
    "MAX_SEED",
    "MAX_SIDE_PX",
    "MAX_STEPS",
    "MAX_VARIANTS",
    "MESSAGE_TYPES",
    "AckJob",
    "BrokenEngine",
    "CancelJob",
    "Capabilities",
    "DaemonReport",
    "DaemonStopping",
    "DeviceReport",
    "Edges",
    "Edit",
    "EncodedImage",
    "EnergyReport",
    "EngineInfo",
    "ErrorInfo",
    "ErrorReply",
    "Expand",
    "FailureReport",
    "FetchJob",
    "Fill",
    "GenerationSettings",
    "Hello",
    "InspectDaemon",
    "JobAccepted",
    "JobAcked",
    "JobCancelled",
    "JobDone",
    "JobFailed",
    "JobId",
    "JobPreview",
    "JobProgress",
    "JobReport",
    "JobState",
    "JobSummary",
    "JobVariant",
    "Limits",
    "LoadedReport",
    "LoraInfo",
    "LoraWeight",
    "Message",
    "Operation",
    "Ping",
    "Pong",
    "RecipeInfo",
    "Remove",
    "SessionId",
    "SessionReport",
    "ShutDown",
    "SubmitJob",
    "Welcome",
    "WorkerReport",
    "canvas_after",
    "operation_name",
    "type_name",
]

SessionId = NewType("SessionId", str)
JobId = NewType("JobId", str)

MAX_VARIANTS = 8
MAX_SEED = 2**32 - 1
MAX_PROMPT_CHARS = 8_000
MAX_SIDE_PX = 300_000
"""Longest side of a canvas in px: the limit of the formats editors keep documents in."""
MAX_EDGE_PX = 512
MIN_DETAIL, MAX_DETAIL = 0.1, 4.0
MAX_STEPS = 150
MAX_GUIDANCE = 30
MAX_LORAS = 8
MAX_LORA_WEIGHT = 4
_MAX_ID_CHARS = 64
_ID = re.compile(rf"[A-Za-z0-9_.-]{{1,{_MAX_ID_CHARS}}}")
_MAX_NAME_CHARS = 256

Message = object
"""An instance of a class in MESSAGE_TYPES."""

MESSAGE_TYPES: dict[str, type] = {}
"""Every message class by its type name on the wire."""

_TYPE_NAMES: dict[type, str] = {}
_Class = TypeVar("_Class", bound=type)


def _message(name: str) -> Callable[[_Class], _Class]:
    def register(cls: _Class) -> _Class:
        if name in MESSAGE_TYPES:
            raise ValueError(f"two messages are called {name}")
        MESSAGE_TYPES[name] = cls
        _TYPE_NAMES[cls] = name
        return cls

    return register


def type_name(message: object) -> str:
    """The wire type of ``message``.

    Raises:
        KeyError: it is not an instance of a registered message class.
    """
    return _TYPE_NAMES[type(message)]


def _check(condition: bool, sentence: str) -> None:
    if not condition:
        raise RequestError(sentence)


def _check_id(value: str, what: str) -> None:
    _check(
        _ID.fullmatch(value) is not None,
        f"The {what} must be 1 to {_MAX_ID_CHARS} letters, digits, '-', '_' or '.'.",
    )


def _check_fraction(value: float | None) -> None:
    _check(
        value is None or (math.isfinite(value) and 0 <= value <= 1),
        f"A fraction lies in 0 to 1, not {value}.",
    )


# ---------------------------------------------------------------- parts of messages


class JobState(str, Enum):
    """Where a job is. ``done``, ``failed`` and ``cancelled`` are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if the job will not change any more."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraWeight:
    """An adapter that changes a model's style or teaches it a thing.

    id: of an installed LoRA that the engine can use. weight: how much of it, -4 to 4; 1 is as it was trained.
    """

    id: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check_id(self.id, "id of a LoRA")
        _check(
            math.isfinite(self.weight) and abs(self.weight) <= MAX_LORA_WEIGHT,
            f"The weight of a LoRA lies in -{MAX_LORA_WEIGHT} to {MAX_LORA_WEIGHT}, not {self.weight}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How an engine with a model goes about it; None is the engine's own choice, and other engines ignore them.

    steps: how often the picture is refined, 1 to 150. guidance: how closely the prompt is followed, 0 to 30.
    strength: how far the Mask's area may get from what is there, 0 (unchanged) to 1 (anew).
    detail: the scale to work at, as a multiple of the canvas' own, 0.1 to 4; None lets the daemon choose.
    loras: adapters to mix in, up to 8, each once.
    """

    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    detail: float | None = None
    loras: tuple[LoraWeight, ...] = ()

    def __post_init__(self) -> None:
        _check(
            self.steps is None or 1 <= self.steps <= MAX_STEPS,
            f"Ask for 1 to {MAX_STEPS} steps, not {self.steps}.",
        )
        _check(
            self.guidance is None or 0 <= self.guidance <= MAX_GUIDANCE,
            f"The guidance lies in 0 to {MAX_GUIDANCE}, not {self.guidance}.",
        )
        _check(
            self.strength is None or 0 <= self.strength <= 1,
            f"The strength lies in 0 to 1, not {self.strength}.",
        )
        _check(
            self.detail is None or MIN_DETAIL <= self.detail <= MAX_DETAIL,
            f"The detail lies in {MIN_DETAIL} to {MAX_DETAIL}, not {self.detail}.",
        )
        _check(
            len(self.loras) <= MAX_LORAS,
            f"Up to {MAX_LORAS} LoRAs can be mixed, not {len(self.loras)}.",
        )
        ids = [lora.id for lora in self.loras]
        _check(len(set(ids)) == len(ids), "Each LoRA can be named once. Give it the weight you mean.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """How a result ends: how far beyond the Mask it reaches, and how softly. Beyond that nothing changes.

    Lengths are in px of the canvas, 0 to 512; None lets the daemon derive them from the Mask's size. With ``grow_px`` and
    ``blend_px`` 0 nothing outside the Mask changes; in an Expand, nothing of the original.

    grow_px: the Mask is widened by this much in full, so that the rim of what is replaced goes with it.
    blend_px: around that the result fades out over this much. In an Expand: how far it fades into the original.
    feather_px: the Mask fades inwards over this much, beside any softness of its own.
    fill_holes: what the Mask encloses is painted, too.
    """

    grow_px: int | None = None
    blend_px: int | None = None
    feather_px: int | None = None
    fill_holes: bool = False

    def __post_init__(self) -> None:
        for name, value in (("grow", self.grow_px), ("blend", self.blend_px), ("feather", self.feather_px)):
            _check(
                value is None or 0 <= value <= MAX_EDGE_PX,
                f"The mask can {name} by 0 to {MAX_EDGE_PX} px, not {value}.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Paint the Mask's area anew.

    prompt: what to paint there; empty lets the engine continue the surroundings.
    negative_prompt: what to avoid; without effect in engines that follow none.
    settings: steps, guidance, strength.
    """

    type: ClassVar[str] = "fill"
    prompt: str = ""
    negative_prompt: str = ""
    settings: GenerationSettings = GenerationSettings()

    def __post_init__(self) -> None:
        _check_prompts(self.prompt, self.negative_prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Make what the Mask covers disappear into its surroundings."""

    type: ClassVar[str] = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expand:
    """Grow the canvas and continue the picture into the new area.

    margins: what is added on each side, in px; at least one side is not 0.
    prompt, negative_prompt, settings: as in Fill.
    """

    type: ClassVar[str] = "expand"
    margins: Margins
    prompt: str = ""
    negative_prompt: str = ""
    settings: GenerationSettings = GenerationSettings()

    def __post_init__(self) -> None:
        _check_prompts(self.prompt, self.negative_prompt)
        _check(not self.margins.is_empty, "Say how many pixels to add on at least one side.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Change what the Mask covers as an instruction says, and keep the rest of it as it is.

    prompt: the instruction, such as "make it night"; not empty.
    negative_prompt, settings: as in Fill.
    """

    type: ClassVar[str] = "edit"
    prompt: str
    negative_prompt: str = ""
    settings: GenerationSettings = GenerationSettings()

    def __post_init__(self) -> None:
        _check_prompts(self.prompt, self.negative_prompt)
        _check(self.prompt.strip() != "", "Write what should change, such as “make it night”.")


Operation = Fill | Remove | Expand | Edit
"""What is asked of an engine: a union told apart on the wire by ``type``."""


def operation_name(operation: Operation) -> str:
    """``fill``, ``remove``, ``expand`` or ``edit``."""
    return operation.type


def canvas_after(operation: Operation, canvas: Size) -> Rect:
    """The canvas once ``operation`` is done, in coordinates of the one before.

    Raises:
        RequestError: its sides are longer than MAX_SIDE_PX.
    """
    whole = Rect.from_size(canvas)
    if isinstance(operation, Expand):
        whole = whole.expand(operation.margins)
    _check(
        max(whole.width, whole.height) <= MAX_SIDE_PX,
        f"The canvas would be {whole.size} px; its sides can have up to {MAX_SIDE_PX} px.",
    )
    return whole


def _check_prompts(*prompts: str) -> None:
    for prompt in prompts:
        _check(
            len(prompt) <= MAX_PROMPT_CHARS,
            f"The prompt has {len(prompt)} characters; shorten it to {MAX_PROMPT_CHARS}.",
        )
        _check(
            not any("\ud800" <= c <= "\udfff" for c in prompt),
            "The prompt holds bytes that are no text. Type it again.",  # as a shell may hand over; UTF-8 has no room
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """An error of the tree in ``errors.py`` as it travels.

    code: stable name, ``family.reason``.
    message: sentence for the artist.
    detail: facts for the log.
    retry: whether the same request may succeed later.
    action: name of a remedy, or empty.
    retry_after_s: seconds after which it may, None if that is not known.
    """

    code: str
    message: str
    detail: str = ""
    retry: Retry = Retry.NEVER
    action: str = ""
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        _check(
            self.retry_after_s is None or (math.isfinite(self.retry_after_s) and self.retry_after_s >= 0),
            f"A time to wait is 0 s or more, not {self.retry_after_s}.",
        )

    @classmethod
    def of(cls, error: OverpaintError) -> ErrorInfo:
        """What of ``error`` goes over the wire."""
        return cls(
            code=error.code,
            message=error.message,
            detail=error.detail,
            retry=error.retry,
            action=error.action,
            retry_after_s=error.retry_after_s,
        )

    def to_exception(self) -> OverpaintError:
        """The exception it came from; an unknown code gives the nearest known class and keeps its code."""
        return from_code(self.code)(
            self.message,
            detail=self.detail,
            code=self.code,
            retry=self.retry,
            action=self.action,
            retry_after_s=self.retry_after_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraInfo:
    """An installed LoRA. id: stable name to ask for it; name: what a menu shows."""

    id: str
    name: str

    def __post_init__(self) -> None:
        _check_id(self.id, "id of a LoRA")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """What an engine can do, as announced in ``welcome``.

    id: stable name to ask for it; name: what a menu shows.
    operations: names of the operations it offers, of ``fill``, ``remove``, ``expand``, ``edit``.
    follows_prompt: false if a prompt changes nothing. follows_negative_prompt: the same of the negative prompt.
    needs_surroundings: true if it builds from pixels around the Mask, so that it cannot fill a whole canvas.
    defaults: the settings it chooses where a job names none; a setting that is None changes nothing in this engine.
    loras: the installed LoRAs it can use.
    """

    id: str
    name: str
    operations: tuple[str, ...]
    follows_prompt: bool
    follows_negative_prompt: bool
    needs_surroundings: bool
    defaults: GenerationSettings = GenerationSettings()
    loras: tuple[LoraInfo, ...] = ()

    def __post_init__(self) -> None:
        _check_id(self.id, "engine id")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenEngine:
    """An installed engine that could not be loaded, and why, in a sentence."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeInfo:
    """Settings somebody gave a name: an engine, LoRAs, words around the prompt.

    id: stable name to ask for it; name: what a menu shows; description: a sentence about it, may be empty.
    engine: id of the engine it runs on, or None if it leaves the choice open.
    problem: why it cannot be used now and what to do, in a sentence; empty if it can.
    """

    id: str
    name: str
    description: str = ""
    engine: str | None = None
    problem: str = ""

    def __post_init__(self) -> None:
        _check_id(self.id, "id of a recipe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the daemon accepts.

    max_image_pixels: pixels of the Context, outside parts of an Expand included.
    max_message_bytes: all frames of one message together.
    max_frame_bytes: one frame; the connection is cut beyond it.
    max_jobs: unfinished jobs of one session.
    max_kept_bytes: results of one session that wait for ``job.ack``; beyond it new jobs are refused.
    """

    max_image_pixels: int
    max_message_bytes: int
    max_frame_bytes: int
    max_jobs: int
    max_kept_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job the daemon still keeps for the session.

    operation: ``fill``, ``remove``, ``expand`` or ``edit``. variants: how many results are ready.
    """

    job_id: JobId
    document_id: str
    operation: str
    state: JobState
    variants: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """A small picture for the eye in a file format: ``media_type`` is ``image/jpeg`` or ``image/png``.

    size: in px. frame: index of the payload frame that holds the whole file.
    """

    media_type: str
    size: Size
    frame: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """One client in ``daemon.report``: what it is and how many jobs it has in each state."""

    editor: str
    connected: bool
    queued: int
    running: int
    kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """One unfinished job in ``daemon.report``, without its id: the fields are those of ``job.progress``.

    editor: as in SessionReport. engine: id of the engine, or empty for the worker's choice.
    """

    editor: str
    operation: str
    engine: str
    state: JobState
    position: int
    stage: str = ""
    fraction: float | None = None
    time_left_s: float | None = None

    def __post_init__(self) -> None:
        _check_fraction(self.fraction)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedReport:
    """An engine that is loaded. weight_bytes: what its model takes. idle_s: since when nobody used it, in seconds; None in use."""

    engine: str
    weight_bytes: int
    idle_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """Where the engines of a worker compute, as it last saw it.

    device: ``cpu``, ``cuda`` or ``mps``; ``cpu`` before a model was opened. place: what people call it where there are several, such
    as ``cuda:1``; empty where there is no choice. free_bytes, total_bytes: of its memory, main memory
    for ``cpu`` and ``mps``. resident_bytes: main memory of the worker's process. loaded: least recently used first.
    """

    device: str
    free_bytes: int
    total_bytes: int
    resident_bytes: int
    place: str = ""
    loaded: tuple[LoadedReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """One of the processes that engines run in.

    state: ``starting``, ``idle``, ``busy`` or ``down``. restarts: how often it had to be replaced. device: None while it has not told.
    """

    state: str
    restarts: int
    device: DeviceReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureReport:
    """A job that failed lately. ago_s: seconds since then. code: of its error."""

    ago_s: float
    operation: str
    engine: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReport:
    """What the machine's own meters say. source: ``nvml`` (graphics cards) or ``rapl`` (processors).

    joules: since the daemon's start, of all programs. watts: mean since the report before, or None in the first.
    """

    source: str
    joules: float
    watts: float | None = None


# ---------------------------------------------------------------- editor to daemon


@_message("hello")
@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Open or resume a session on this connection. Answered by ``welcome`` or ``error``.

    session_id: made by the client, kept over reconnects and restarts of the editor. Who knows it owns its jobs.
    client_version: version of the plug-in. editor, editor_version: the host program, for people to read.
    oldest_minor, newest_minor: range of minor protocol versions the client accepts.
    features: optional behavior the client offers.
    preview_bytes: largest preview it wants, 0 for none.
    """

    session_id: SessionId
    client_version: str
    editor: str
    editor_version: str
    oldest_minor: int
    newest_minor: int
    features: tuple[str, ...] = ()
    preview_bytes: int = 0

    def __post_init__(self) -> None:
        _check_id(self.session_id, "session id")
        _check(0 <= self.preview_bytes <= 1 << 20, "The preview budget lies in 0 to 1 MiB.")
        for text in (self.client_version, self.editor, self.editor_version):
            _check(
                len(text) <= _MAX_NAME_CHARS and text.isprintable(),  # others see them in their terminals
                f"Names in hello have at most {_MAX_NAME_CHARS} characters, and no line breaks or control characters.",
            )


@_message("job.submit")
@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJob:
    """Ask for an operation. Answered by ``job.accepted`` or ``error``; the same job_id again changes nothing.

    job_id: made by the client. document_id: the editor's name of the document, the same for all its jobs.
    operation: what to do. engine: id of an engine, or None for the recipe's or else the daemon's choice.
    recipe: id of the recipe that fills in what the operation and ``engine`` leave open, or None.
    variants: how many results, 1 to 8. seed: of the first variant, the others follow; None lets the daemon choose.
    canvas: size of the canvas in px, before the operation.
    context: what the engine sees, in canvas coordinates; inside the canvas, for an Expand inside the grown canvas.
    image: pixels of ``context`` where it lies on the canvas.
    mask: gray8 over ``context``, 255 = repaint, 0 = keep, between = blend; None for an Expand, which has its margins.
    edges: how far the returned layer reaches beyond the Mask, and how softly it ends.
    is_batch: nobody sits and waits for it, so jobs that somebody waits for may go first.
    slot: a name for what is asked for again and again, such as a live preview, or None. An earlier job of the session for the
        same document and slot that has not begun is replaced by this one: it ends as cancelled.
    """

    job_id: JobId
    document_id: str
    operation: Operation
    engine: str | None = None
    recipe: str | None = None
    variants: int = 1
    seed: int | None = None
    canvas: Size
    context: Rect
    image: ImageHeader
    mask: ImageHeader | None = None
    edges: Edges = Edges()
    is_batch: bool = False
    slot: str | None = None

    def __post_init__(self) -> None:
        _check_id(self.job_id, "job id")
        _check_id(self.document_id, "document id")
        if self.slot is not None:
            _check_id(self.slot, "name of a slot")
        if self.engine is not None:
            _check_id(self.engine, "id of an engine")
        if self.recipe is not None:
            _check_id(self.recipe, "id of a recipe")
        _check(
            1 <= self.variants <= MAX_VARIANTS, f"Ask for 1 to {MAX_VARIANTS} variants, not {self.variants}."
        )
        _check(self.seed is None or 0 <= self.seed <= MAX_SEED, f"The seed lies in 0 to {MAX_SEED}.")
        _check(not self.context.is_empty, "The context holds no pixels.")
        whole = canvas_after(self.operation, self.canvas)
        if isinstance(self.operation, Expand):
            _check(self.mask is None, "An expand has margins instead of a mask.")
        else:
            _check(self.mask is not None, "A mask is missing.")
        _check(
            whole.contains(self.context),
            f"The context {self.context} lies outside the canvas of {whole.size} px.",
        )
        visible = self.visible
        _check(not visible.is_empty, "The context shows nothing of the canvas.")
        _check(
            self.image.size == visible.size,
            f"The image is {self.image.size} px, the context shows {visible.size} px of the canvas.",
        )
        _check(self.image.format is not PixelFormat.GRAY8, "The image needs an alpha channel.")
        _check(
            (self.image.color is ColorSpace.ICC) == (self.image.profile is not None),
            "An image in a color space of its own comes with the profile.",
        )
        if self.mask is not None:
            _check(self.mask.format is PixelFormat.GRAY8, f"A mask is gray8, not {self.mask.format.value}.")
            _check(
                self.mask.size == self.context.size,
                f"The mask is {self.mask.size} px, the context {self.context.size} px.",
            )

    @property
    def visible(self) -> Rect:
        """The part of ``context`` that lies on the canvas, in canvas coordinates."""
        return self.context.intersect(Rect.from_size(self.canvas))


@_message("job.cancel")
@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob:
    """Stop a job. Answered by ``job.cancelled``, also when the job is already over."""

    job_id: JobId


@_message("job.fetch")
@dataclass(frozen=True, slots=True, kw_only=True)
class FetchJob:
    """Send again what is known of a job: its variants so far, then its end if it has ended.

    Answered by ``job.progress`` (or ``error``), followed by the replay.
    """

    job_id: JobId


@_message("job.ack")
@dataclass(frozen=True, slots=True, kw_only=True)
class AckJob:
    """The results are safe in the document, or not wanted: the daemon may forget the job.

    Answered by ``job.acked``, also when the job is unknown. An unfinished job is cancelled first. A ``job.submit`` of the same
    id that comes later is refused.
    """

    job_id: JobId


@_message("ping")
@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Ask whether the daemon's loop turns. Answered by ``pong`` with the same nonce."""

    nonce: int


@_message("daemon.inspect")
@dataclass(frozen=True, slots=True, kw_only=True)
class InspectDaemon:
    """Ask how the daemon is. Answered by ``daemon.report``."""


@_message("daemon.shutdown")
@dataclass(frozen=True, slots=True, kw_only=True)
class ShutDown:
    """End the daemon. Answered by ``daemon.stopping``; unfinished jobs wait for the next daemon.

    drain: finish them first and take no new ones meanwhile. Answered by ``daemon.report``; asked a second time, with or without,
        the daemon ends at once.
    """

    drain: bool = False


# ---------------------------------------------------------------- daemon to editor


@_message("welcome")
@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The session is open.

    daemon_id: changes with every start of the daemon. product_version: the daemon's.
    minor: the minor protocol version to use. features: optional behavior the daemon offers.
    limits: what it accepts. engines: what it can run, best first. broken_engines: what it could not load.
    recipes: the user's recipes, by name. jobs: what it keeps for this session.
    """

    daemon_id: str
    product_version: str
    minor: int
    features: tuple[str, ...] = ()
    limits: Limits
    engines: tuple[EngineInfo, ...]
    broken_engines: tuple[BrokenEngine, ...] = ()
    recipes: tuple[RecipeInfo, ...] = ()
    jobs: tuple[JobSummary, ...] = ()


@_message("daemon.capabilities")
@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What can be asked for has changed: a model was installed or removed, a recipe was written.

    Sent unasked to every open session; the fields are those of ``welcome``, whole.
    """

    engines: tuple[EngineInfo, ...]
    broken_engines: tuple[BrokenEngine, ...] = ()
    recipes: tuple[RecipeInfo, ...] = ()


@_message("job.accepted")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobAccepted:
    """The job is in the queue, and on the disk: it outlives the daemon. position: jobs ahead of it."""

    job_id: JobId
    position: int


@_message("job.progress")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Where a job is. Only the newest counts; older ones may be dropped.

    stage: what is being done, a word or two for people. fraction: 0 to 1 over all variants, or None if unknown.
    position: jobs that run before it while queued. time_left_s: seconds until all variants are ready, judged by earlier
    jobs; None before there is anything to judge by.
    """

    job_id: JobId
    state: JobState
    stage: str = ""
    fraction: float | None = None
    position: int = 0
    time_left_s: float | None = None

    def __post_init__(self) -> None:
        _check_fraction(self.fraction)
        _check(
            self.time_left_s is None or (math.isfinite(self.time_left_s) and self.time_left_s >= 0),
            f"A time left is 0 s or more, not {self.time_left_s}.",
        )


@_message("job.preview")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobPreview:
    """A glimpse of a variant in the making, over the Context. Only the newest counts."""

    job_id: JobId
    variant: int
    image: EncodedImage


@_message("job.variant")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobVariant:
    """A result: the layer for ``target``.

    variant: index from 0. seed: the one that gives it again. engine: id of the engine that made it.
    target: where it goes, in canvas coordinates from before the operation (negative in an Expand to left or top).
        It reaches beyond the Mask as far as the job's ``edges`` allow.
    image: straight-alpha pixels of ``target`` in the format and color the job's image came in; alpha is the blend.
        A profile is not sent back.
    """

    job_id: JobId
    variant: int
    seed: int
    engine: str
    target: Rect
    image: ImageHeader


@_message("job.done")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobDone:
    """All variants were sent.

    timings_ms: milliseconds by stage, for people and benchmarks.
    notes: what the artist should know about the results, a sentence each, such as a part of the selection that was left
        out.
    """

    job_id: JobId
    variants: int
    engine: str
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@_message("job.failed")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed:
    """The job ended in an error; variants sent before stay valid."""

    job_id: JobId
    error: ErrorInfo


@_message("job.cancelled")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled:
    """Answer to ``job.cancel``, and sent unasked when a newer job has replaced one that waited.

    state: how the job ended; ``done`` or ``failed`` if it was over before. replaced_by: the newer job, if that is why.
    """

    job_id: JobId
    state: JobState
    replaced_by: JobId | None = None


@_message("job.acked")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobAcked:
    """The daemon has forgotten the job, and will not do it again."""

    job_id: JobId


@_message("pong")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """Answer to ``ping``."""

    nonce: int


@_message("daemon.report")
@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonReport:
    """How the daemon is.

    uptime_s: seconds since its start. worker: the best state that one of the workers is in, of ``idle``, ``busy``, ``starting`` and
    ``down`` in this order. workers: each of them, always in the same order. sessions: the clients, oldest first.
    jobs: those that run, then those that wait, in their order.
    kept_bytes: pictures and results of all sessions; max_kept_bytes: as many as there is room for.
    idle_unload_s: how long an engine stays loaded that nobody uses. failures: the newest first.
    energy: one of each source that can be read. is_draining: it takes no new jobs and ends after the unfinished ones.
    """

    daemon_id: str
    product_version: str
    pid: int
    uptime_s: float
    worker: str
    workers: tuple[WorkerReport, ...]
    engines: tuple[EngineInfo, ...]
    broken_engines: tuple[BrokenEngine, ...] = ()
    sessions: tuple[SessionReport, ...] = ()
    jobs: tuple[JobReport, ...] = ()
    kept_bytes: int = 0
    max_kept_bytes: int = 0
    idle_unload_s: float = 0.0
    failures: tuple[FailureReport, ...] = ()
    energy: tuple[EnergyReport, ...] = ()
    is_draining: bool = False


@_message("daemon.stopping")
@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStopping:
    """The daemon ends now; the next one goes on with the jobs. Also sent unasked to every connected client."""


@_message("error")
@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """The message named in the header's ``re`` could not be done; ``job_id`` if it was about a job."""

    error: ErrorInfo
    job_id: JobId | None = None
