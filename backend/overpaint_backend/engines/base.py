"""What a fill engine is.

An engine turns a picture and a mask into a painted picture. It knows no editors, no jobs and no pixel formats: it
gets arrays and gives arrays, and reports steps on the way. Installing a package with an entry point in the group
``overpaint.engines`` is all it takes to offer one; ``overpaint_backend.engines.testing`` has the suite it must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.messages import EngineInfo, GenerationSettings

__all__ = [
    "BatchSession",
    "BleedSession",
    "Cancelled",
    "ChangingProvider",
    "Device",
    "Engine",
    "EngineInfo",
    "EngineProvider",
    "EngineSession",
    "FillRequest",
    "FillResult",
    "GenerationSettings",
    "MakeRoom",
    "OnStep",
    "OperationName",
    "OwnPrimariesEngine",
    "Saving",
    "Step",
    "ThriftySession",
    "no_room",
]


class Cancelled(Exception):
    """The artist no longer wants the result. Raised by ``on_step``; an engine lets it pass. No error."""


class OperationName(StrEnum):
    """What can be asked of an engine."""

    FILL = "fill"
    REMOVE = "remove"
    EXPAND = "expand"
    EDIT = "edit"
    """Change what is there as an instruction, the prompt, says; what lies under the mask counts."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where a session computes.

    kind: ``cpu``, ``cuda``, ``mps``, or ``auto`` for the best there is. index: tells several of a kind apart.
    """

    kind: str = "cpu"
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRequest:
    """One picture to paint in. The engine must not write to the arrays.

    image: (H, W, 3) float32 with sRGB's primaries (but see ``OwnPrimariesEngine``) and curve, finite. Outside [0, 1] where
        the document's colors are of a wider gamut or brighter than white; an engine clips what it cannot use. What is not ``known`` continues what
        is. What lies under the mask is arbitrary, but for an edit, or a strength below 1: to these counts what lies under the mask.
    mask: (H, W) float32 in [0, 1]; everything above 0 is to be painted, blending is the caller's business. An engine may
        stay the nearer to what is there the lower the value is, measured against the highest.
    known: (H, W) bool; False is nothing to learn from: outside the canvas, or transparent.
    operation: what the artist asked for.
    prompt, negative_prompt: may be empty; engines that follow none ignore them.
    settings: steps, guidance, strength and LoRAs; what is None is the engine's choice, and engines without them ignore
        them.
    seed: 0 to 2**32 - 1. The same request with the same seed gives the same result, another seed another one.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.float32]
    known: NDArray[np.bool_]
    operation: OperationName
    prompt: str = ""
    negative_prompt: str = ""
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FillResult:
    """A painted picture.

    image: (H, W, 3) float32 of the request's size, finite; values outside [0, 1] are kept where the document can hold
        them. Outside the mask: the request's own pixels, or the engine's version of them, which tells how far it is off in
        color and sharpness; they are not shown.
    """

    image: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Step:
    """How far a fill is.

    fraction: 0 to 1, never less than in the step before; the last step says 1.
    preview: makes the picture as it stands, (h, w, 3) float32 in [0, 1] over the whole request, of any size with
        about its proportions; None if there is nothing to see. Only valid until ``on_step`` returns.
    """

    fraction: float
    preview: Callable[[], NDArray[np.float32]] | None = None


OnStep = Callable[[Step], None]
"""Called between the steps of a fill, in the engine's thread; raises Cancelled to end it."""

MakeRoom = Callable[[], bool]
"""Closes the models that are loaded beside this one. Returns whether there were any, so that trying again makes sense."""


def no_room() -> bool:
    """A MakeRoom for a session that has the device to itself."""
    return False


@runtime_checkable
class EngineSession(Protocol):
    """An engine with its model loaded on one device. Used by one thread at a time."""

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Paint what the request's mask covers.

        Calls ``on_step`` at least twice and as often as the engine can stop, so that a cancel is heard soon.

        Raises:
            Cancelled: ``on_step`` did; the session stays usable.
            UnsupportedOperation: the engine does not offer the request's operation, or a setting asks for what it cannot.
            RequestError: there is no LoRA of an id in the settings.
            NothingToSample: the engine needs surroundings and none are known, or nothing is there to edit.
            OutOfMemory: the picture is too large for the device. A session that can do with less at the price of
                 time or quality calls the ``make_room`` it was opened with first, and only does so when that
                 returns False.
            EngineError: anything else that went wrong.
        """
        ...

    def close(self) -> None:
        """Give back memory and devices. Calling it twice is fine."""
        ...


@runtime_checkable
class BatchSession(EngineSession, Protocol):
    """A session that may paint several variants in about the time of one."""

    def batch_limit(self, request: FillRequest) -> int:
        """For how many variants of ``request`` at once there is room now; 1 where that would not be faster."""
        ...

    def fill_batch(self, request: FillRequest, seeds: Sequence[int], on_step: OnStep) -> list[FillResult]:
        """Paint a variant for each of ``seeds``, in that order; the request's own seed does not count.

        A variant is the one that its seed gives alone, up to the rounding of sums in another order. Previews show the
        first one. Raises as ``fill`` does.
        """
        ...


@runtime_checkable
class BleedSession(EngineSession, Protocol):
    """A session that spoils the rim of what it paints, or shifts colors without showing by how much.

    It is made to paint further than is shown, over known surroundings: its rim falls in there, and paint and truth can be
    compared. Who wants no bleed is asked to paint just what is needed.
    """

    def bleed_px(self, request: FillRequest) -> int:
        """How many px further than ``request`` says it should paint, at least 0.

        Two thirds of that may be lost, the third next to what is shown has to be as good as the rest. It is asked for less
        where there is little to paint or to learn from.
        """
        ...


class Saving(StrEnum):
    """How a session does with less memory, by what it costs."""

    TILED = "tiled"
    """In tiles, one picture at a time: slower."""
    OFFLOADED = "offloaded"
    """With parts of the model in main memory until their turn comes: slower."""
    SMALLER = "smaller"
    """It paints smaller and scales up: less detail."""


@runtime_checkable
class ThriftySession(EngineSession, Protocol):
    """A session that can go on with less memory when that runs out."""

    def saving(self) -> Saving | None:
        """How it saves memory at present, or None."""
        ...


@runtime_checkable
class EngineProvider(Protocol):
    """Something that offers several engines, such as one for each installed model."""

    def engines(self) -> Iterable[Engine]:
        """What it offers now. Imports nothing heavy.

        Raises:
            EngineError: what it offers cannot run here, in a sentence that says what to do.
        """
        ...


@runtime_checkable
class ChangingProvider(EngineProvider, Protocol):
    """A provider whose engines come and go while the worker runs, as installed models do."""

    def stamp(self) -> object:
        """Something that differs from before once ``engines`` may answer differently.

        Asked every other second while no job runs, so it must cost next to nothing. An engine that is equal to the one
        of that id before keeps its session; so engines of changing providers compare by what they would load.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """A kind of engine. Making one is cheap and imports nothing heavy; ``open`` may be slow."""

    def info(self) -> EngineInfo:
        """What the engine can do. Always the same."""
        ...

    def weight_bytes(self, device: Device) -> int:
        """Memory its model takes on ``device`` from ``open`` to ``close``; 0 for an engine without a model.

        Asked before ``open``, so that room can be made. May import what ``open`` imports, and loads nothing.
        """
        ...

    def open(self, device: Device, make_room: MakeRoom = no_room) -> EngineSession:
        """Load what a fill needs.

        Args:
            device: where to compute.
            make_room: for the session to call when memory runs out in a fill; see ``EngineSession.fill``.

        Raises:
            EngineError: it cannot run here, in a sentence that says what to do.
            OutOfMemory: there is no room for it. It may be tried again once there is more.
        """
        ...


@runtime_checkable
class OwnPrimariesEngine(Engine, Protocol):
    """An engine to which numbers mean no particular colors, since it paints with those it finds.

    It gets pictures in the primaries of their document, still encoded with the sRGB curve: what it copies comes back to the last
    bit, and nothing of a wider gamut lies outside [0, 1].
    """

    uses_own_primaries: Literal[True]
