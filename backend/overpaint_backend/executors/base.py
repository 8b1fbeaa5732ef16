"""What daemon and worker say to each other, and what an executor must offer.

A message is ``[name, body, *payload]``: the name of a class below, its fields in msgpack, pixels beside them. Both
ends are always of the same version, since the daemon starts the worker from its own installation.

What a job or a variant says comes before its pixels, in a message of its own: one side reads the words while the other still
copies the pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import zmq

from overpaint_protocol import codec
from overpaint_protocol.errors import ProtocolError
from overpaint_protocol.geometry import Rect
from overpaint_protocol.messages import (
    BrokenEngine,
    DeviceReport,
    EncodedImage,
    EngineInfo,
    ErrorInfo,
    SubmitJob,
)
from overpaint_protocol.pixels import Bytes, ImageHeader

__all__ = [
    "EnginesChanged",
    "Executor",
    "Link",
    "PixelsAt",
    "Ready",
    "Remark",
    "RunJob",
    "RunOver",
    "RunPixels",
    "RunPreview",
    "RunProgress",
    "RunRemark",
    "RunVariant",
    "Serve",
    "StopRun",
    "WorkerCondition",
    "WorkerEvent",
    "WorkerGone",
    "WorkerSettings",
    "WorkerStart",
    "pack",
    "unpack",
]


# ---------------------------------------------------------------- both ways


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelsAt:
    """Where pixels lie in memory that both share (see ``shared``).

    at: where its first byte is. lengths: of its frames, in bytes; they lie one behind the other, aligned. room_start, room_end: where
    the results of the run that is to begin may be laid down.
    """

    at: int
    lengths: tuple[int, ...]
    room_start: int = 0
    room_end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPixels:
    """The pixels of the RunJob or the RunVariant of ``run`` that was said just before: at ``at``, or as payload."""

    run: int
    at: PixelsAt | None = None


# ---------------------------------------------------------------- daemon to worker


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker is to behave.

    idle_unload_s: how long an engine stays loaded that is not used. pace_path: file for what is learnt about the time
    runs take, for this worker alone; empty to forget it with the worker. place: of its device, as in DeviceReport.
    """

    idle_unload_s: float = 600.0
    pace_path: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStart:
    """What a worker reads from its standard input, as one line of JSON.

    endpoint, token: of the socket to connect to. shared: its descriptor of the memory it shares with the daemon, see ``shared``.
    packets: that of its half of a pair of sockets, see ``line``.
    """

    endpoint: str
    token: str
    settings: WorkerSettings
    shared: int | None = None
    packets: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJob:
    """Make the variants of ``request`` from index ``first_variant`` on. RunPixels follow.

    run: number of this attempt. engine: id of the engine, or empty for the worker's choice. seed: of variant 0, the others follow.
    preview_bytes: largest preview, 0 for none.
    """

    run: int
    engine: str
    seed: int
    first_variant: int
    preview_bytes: int
    request: SubmitJob


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRun:
    """Stop this run at the next step; nothing happens if it is over."""

    run: int


# ---------------------------------------------------------------- worker to daemon


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker can take jobs. engines: what it can run, best first. broken_engines: what it could not load."""

    engines: tuple[EngineInfo, ...]
    broken_engines: tuple[BrokenEngine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginesChanged:
    """Models came or went since the worker said Ready; the fields are as there."""

    engines: tuple[EngineInfo, ...]
    broken_engines: tuple[BrokenEngine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """stage: a word or two for people. fraction: 0 to 1 over all variants, or None. time_left_s: as in ``job.progress``."""

    run: int
    stage: str
    fraction: float | None
    time_left_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPreview:
    """A glimpse of a variant in the making; the file is the payload."""

    run: int
    variant: int
    image: EncodedImage


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCondition:
    """How the worker is, said every few seconds and when a model comes or goes."""

    device: DeviceReport


class Remark(StrEnum):
    """What a worker remarks on a run."""

    LOADING = "loading"
    """Its model is not loaded yet."""
    LOADED = "loaded"
    """device, took_ms"""
    UNLOADED_OTHERS = "unloaded_others"
    """count: models that left to make room"""
    SAVED_MEMORY = "saved_memory"
    """saving: the session goes on with less memory from here on, as an ``engines.base.Saving`` says"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRemark:
    """Something about a run that no client hears, for the story of its job. Which field goes with which: see Remark."""

    run: int
    remark: Remark
    device: str = ""
    took_ms: float | None = None
    count: int | None = None
    saving: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunVariant:
    """A finished variant, with the fields of ``job.variant``. RunPixels follow."""

    run: int
    variant: int
    seed: int
    engine: str
    target: Rect
    image: ImageHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOver:
    """The run has ended: as asked, because it was stopped, or with ``error``.

    timings_ms: by stage. notes: as in ``job.done``.
    """

    run: int
    error: ErrorInfo | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGone:
    """The worker's process has ended (said by the executor, never sent). reason: for the log."""

    reason: str


WorkerEvent = (
    Ready
    | EnginesChanged
    | WorkerCondition
    | RunProgress
    | RunPreview
    | RunRemark
    | RunVariant
    | RunOver
    | WorkerGone
)

_MESSAGES: dict[bytes, type] = {
    cls.__name__.encode(): cls
    for cls in (
        RunJob,
        RunPixels,
        StopRun,
        Ready,
        EnginesChanged,
        WorkerCondition,
        RunProgress,
        RunPreview,
        RunRemark,
        RunVariant,
        RunOver,
    )
}


def pack(message: object, payload: Sequence[Bytes] = ()) -> list[Bytes]:
    """Lay out a message of this module in frames; the payload is handed on without a copy."""
    return [type(message).__name__.encode(), codec.pack(message), *payload]


def unpack(frames: Sequence[Bytes]) -> tuple[object, tuple[Bytes, ...]]:
    """Read what ``pack`` wrote: the message and its payload.

    Raises:
        ProtocolError: the frames do not hold a message of this module.
    """
    if len(frames) < 2:
        raise ProtocolError(f"A message of the worker has at least 2 frames, not {len(frames)}.")
    cls = _MESSAGES.get(bytes(frames[0]))
    if cls is None:
        raise ProtocolError("The worker sent a message of an unknown kind.")
    return codec.unpack(frames[1], cls), tuple(frames[2:])


class Link(Protocol):
    """A worker's end of what it says and hears. For the thread that works."""

    def send(self, message: object, payload: Sequence[Bytes] = ()) -> None:
        """Say something to the daemon."""
        ...

    def next_job(self, timeout_s: float) -> tuple[RunJob, tuple[Bytes, ...]] | None:
        """Wait for a job and its pixels, up to ``timeout_s``; None if none came."""
        ...

    def is_stopped(self, run: int) -> bool:
        """Whether the daemon does not want ``run`` any more."""
        ...


Serve = Callable[[Link, WorkerSettings], None]
"""What a worker does, for as long as it lives: says Ready, then does the jobs. The process ends with it."""


class Executor(Protocol):
    """One worker, kept alive. Nothing here blocks, except ``stop``; all of it is for the daemon's thread."""

    @property
    def watched(self) -> tuple[zmq.Socket[bytes] | int, ...]:
        """Sockets of libzmq and descriptors of others, readable when ``poll`` has something to say; none while there is no worker."""
        ...

    @property
    def restarts(self) -> int:
        """How often a worker had to be replaced."""
        ...

    def poll(self, now: float) -> list[tuple[WorkerEvent, tuple[Bytes, ...]]]:
        """What happened since the last call, oldest first, with payloads; starts a worker if it is time to.

        Call it when one of ``watched`` is readable and at least every 100 ms, so that a dead worker is noticed.
        """
        ...

    def run(self, job: RunJob, payload: Sequence[Bytes]) -> None:
        """Hand a job to a worker that said Ready and is not running any."""
        ...

    def cancel(self, run: int) -> None:
        """Ask the worker to stop ``run``."""
        ...

    def kill(self) -> None:
        """End the worker at once; WorkerGone follows and a new one is started."""
        ...

    def stop(self, timeout_s: float) -> None:
        """End the worker for good, by force after ``timeout_s``."""
        ...
