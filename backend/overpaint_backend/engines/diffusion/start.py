"""What sampling starts from: how the request is laid out, what the model gets to see of it, and how much it changes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import Device, FillRequest, OperationName
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.imaging.mask import bounds
from overpaint_backend.imaging.resample import extend
from overpaint_backend.models.families import Family, MaskConvention
from overpaint_protocol.errors import NothingToSample, UnsupportedOperation
from overpaint_protocol.geometry import Rect, Size

from .frame import Frame
from .windows import Window, plan_windows

__all__ = ["Start", "StartMaker", "Task"]

_GREY = np.float32(0.5)


class Task(StrEnum):
    """What a model is made to do; each has a pipeline of its own."""

    PAINT = "paint"
    """A hole in a picture."""
    TEXT = "text"
    """A whole picture, from words alone."""
    EDIT = "edit"
    """Change a picture as an instruction says."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where sampling begins.

    task: what to do. frame: how the request is laid out.
    picture: (h, w, 3) float32 in [0, 1] of the working size. mask: (h, w) bool, what to paint.
    levels: (h, w) float32 in [0, 1], how far to go from ``picture`` there, of ``strength``; None for all the way.
    steps: how many to ask the pipeline for. strength: how far to go from ``picture``, 0 to 1, or None where a model
        knows no strength.
    """

    task: Task
    frame: Frame
    picture: NDArray[np.float32]
    mask: NDArray[np.bool_]
    steps: int
    strength: float | None
    levels: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class _Pictures:
    """The fields of a Start that variants share. key: of the request they are made for."""

    key: bytes
    picture: NDArray[np.float32]
    mask: NDArray[np.bool_]
    levels: NDArray[np.float32] | None


class StartMaker:
    """Makes starts and keeps the last one's picture, which variants of a job share.

    Args:
        family: the model's.
        native_px: side of the square the model was trained on.
        is_controlled: whether a ControlNet tells the model what surrounds the hole.
    """

    def __init__(self, family: Family, native_px: int, is_controlled: bool) -> None:
        self._family = family
        self._native_px = native_px
        self._takes_strength = family.takes_strength(is_controlled)
        self._only_masks_latents = family.mask_convention(is_controlled) is MaskConvention.LATENTS
        self._kept: _Pictures | None = None

    def make(self, request: FillRequest, scale: float, check: Callable[[], None]) -> Start:
        """The start for ``request``.

        Args:
            request: what to paint.
            scale: works at so much of the model's side; below 1 when memory is short.
            check: called now and then; may raise to stop.

        Raises:
            UnsupportedOperation: the request asks for an edit or sets a strength, and the model knows none.
            NothingToSample: the request asks for an edit of nothing.
        """
        is_blank = self._is_blank(request)
        task = self._task(request.operation, is_blank)
        strength = self._strength(request, task, is_blank)
        frame = self.frame(request, scale)
        steps, strength = self._steps(request.settings.steps or self._family.steps, strength)
        if is_blank:
            shape = (frame.work.height, frame.work.width)
            return Start(task, frame, np.full((*shape, 3), _GREY), np.ones(shape, np.bool_), steps, strength)
        key = self._key(request, frame)
        if self._kept is None or self._kept.key != key:
            self._kept = self._pictures(key, request, frame, check)
        kept = self._kept
        return Start(task, frame, kept.picture, kept.mask, steps, strength, kept.levels)

    def frame(self, request: FillRequest, scale: float) -> Frame:
        """How ``request`` is laid out to be painted at once, at so much of the model's side."""
        windows = self.windows(request, scale)
        return self._plan(request, scale, windows[0].rect if len(windows) == 1 else self._useful(request))

    def windows(self, request: FillRequest, scale: float) -> tuple[Window, ...]:
        """What of ``request`` is to be painted at once, for a mask with something above 0.

        An instruction is followed in one go: what it makes of one part says nothing about the next.
        """
        useful = self._useful(request)
        if request.operation is OperationName.EDIT:
            return (Window(useful),)
        return plan_windows(useful, request.mask > 0, self._native_px * scale, request.settings.detail)

    def px_per_work_px(self, request: FillRequest, scale: float) -> float:
        """How many px of ``request`` the model takes for one where it paints finest."""
        frame = self._plan(request, scale, self.windows(request, scale)[0].rect)
        return max(frame.padded.width / frame.work.width, frame.padded.height / frame.work.height)

    def can_refine(self, request: FillRequest) -> bool:
        """Whether the model can begin with what is there."""
        return self._takes_strength and request.operation is not OperationName.EDIT

    def clear(self) -> None:
        """Forget the kept picture."""
        self._kept = None

    def _plan(self, request: FillRequest, scale: float, window: Rect) -> Frame:
        return Frame.plan(
            Size(request.mask.shape[1], request.mask.shape[0]),
            self._native_px,
            self._family.multiple_px,
            scale=scale,
            detail=request.settings.detail,
            window=window,
        )

    def _useful(self, request: FillRequest) -> Rect:
        """What of a request tells the model something: all, or the hole alone where nothing surrounds it."""
        whole = Rect(0, 0, request.mask.shape[1], request.mask.shape[0])
        return (bounds(request.mask) or whole) if self._is_blank(request) else whole

    def _is_blank(self, request: FillRequest) -> bool:
        """Whether there is nothing to learn from."""
        return not self._sources(request).any()

    def _sources(self, request: FillRequest) -> NDArray[np.bool_]:
        """(H, W), what may be learnt from. What changes in part begins with what is there."""
        if _keeps_hole(request):
            return request.known
        if self._grades(request):
            return request.known & (request.mask < request.mask.max())
        return request.known & ~(request.mask > 0)

    def _grades(self, request: FillRequest) -> bool:
        """Whether parts of the mask ask for less change than others. What is removed goes as a whole."""
        if not self._only_masks_latents or request.operation is not OperationName.FILL:
            return False
        in_part = (request.mask > 0) & (request.mask < request.mask.max())
        return bool(in_part.any())

    def _task(self, operation: OperationName, is_blank: bool) -> Task:
        pipelines = self._family.pipelines
        if operation is not OperationName.EDIT:
            return Task.TEXT if is_blank and pipelines.text else Task.PAINT
        if not pipelines.edit:
            raise UnsupportedOperation(
                f"{self._family.title} follows no instructions. Choose a model that does, such as Qwen-Image-Edit or "
                "FLUX.2 [klein], or describe what to paint and fill instead."
            )
        if is_blank:
            raise NothingToSample("There is nothing here to change. Paint something first, or fill instead.")
        return Task.EDIT

    def _strength(self, request: FillRequest, task: Task, is_blank: bool) -> float | None:
        can_stay_near = self._takes_strength and task is not Task.EDIT
        if _keeps_some(request) and not can_stay_near:
            how = (
                "takes an edit as far as it says" if task is Task.EDIT else "always paints the selection anew"
            )
            raise UnsupportedOperation(
                f"{self._family.title} {how}. Leave the strength at 100 %, or choose another model."
            )
        if not can_stay_near or task is Task.TEXT:
            return None
        if is_blank:
            # Nothing but noise to begin with, or the model's closest to that if it was trained to fill.
            return self._family.strength if self._family.trained_to_fill else 1.0
        if _keeps_some(request):
            return request.settings.strength
        if request.operation is OperationName.REMOVE:
            return self._family.remove_strength
        return self._family.strength

    def _steps(self, steps: int, strength: float | None) -> tuple[int, float | None]:
        """Steps and strength that leave at least one step to do; strength 0 if none is wanted."""
        if strength is None:
            return steps, None
        if strength * steps < 0.5:
            return steps, 0.0
        if self._family.is_few_step:
            return math.ceil(steps / strength), strength
        return steps, max(strength, 1 / steps)

    def _pictures(
        self, key: bytes, request: FillRequest, frame: Frame, check: Callable[[], None]
    ) -> _Pictures:
        cell_px = self._family.cell_px
        mask = frame.enter_mask(request.mask > 0, cell_px)
        levels, hole = None, mask
        if self._grades(request):
            levels = frame.enter_levels(request.mask / request.mask.max(), cell_px)
            hole = levels >= 1
        picture = frame.enter(extend(np.clip(request.image, 0, 1), self._sources(request)))
        is_shown = not self._only_masks_latents and request.operation is not OperationName.REMOVE
        if not (_keeps_hole(request) or is_shown):
            picture = self._filled(picture, hole, frame, request, check)
        return _Pictures(key, picture, mask, levels)

    def _filled(
        self,
        picture: NDArray[np.float32],
        mask: NDArray[np.bool_],
        frame: Frame,
        request: FillRequest,
        check: Callable[[], None],
    ) -> NDArray[np.float32]:
        """Fill the hole from its surroundings without a model, the same for every seed."""
        hidden = frame.enter_mask(~request.known & ~(request.mask > 0), 1)
        session = EmbeddedEngine().open(Device())
        fill = FillRequest(
            image=picture, mask=mask.astype(np.float32), known=~hidden, operation=OperationName.REMOVE
        )
        try:
            return np.clip(session.fill(fill, lambda step: check()).image, 0, 1)
        except (
            NothingToSample
        ):  # all that was known lies in cells of the hole; its colors are in there already
            return picture
        finally:
            session.close()

    @staticmethod
    def _key(request: FillRequest, frame: Frame) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        for array in (request.image, request.mask, request.known):
            digest.update(np.ascontiguousarray(array).data)
        digest.update(repr((frame, request.operation.value, _keeps_hole(request))).encode())
        return digest.digest()


def _keeps_some(request: FillRequest) -> bool:
    """Whether the result is to stay near what is there. A strength of 1 asks for nothing of the kind."""
    strength = request.settings.strength
    return strength is not None and strength < 1


def _keeps_hole(request: FillRequest) -> bool:
    """Whether what lies under the mask counts."""
    return request.operation is OperationName.EDIT or _keeps_some(request)
