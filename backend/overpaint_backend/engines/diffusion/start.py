"""What sampling starts from: the picture at the working size with its hole filled somehow, and how much it changes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import Device, FillRequest, OperationName
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.imaging.resample import extend
from overpaint_backend.models.families import Family, MaskConvention
from overpaint_protocol.errors import NothingToSample, UnsupportedOperation

from .frame import Frame

__all__ = ["Start", "StartMaker"]

_GREY = np.float32(0.5)


@dataclass(frozen=True, slots=True)
class Start:
    """Where sampling begins.

    picture: (h, w, 3) float32 in [0, 1] of the working size. mask: (h, w) bool, what to paint.
    steps: how many to ask the pipeline for. strength: how far to go from ``picture``, 0 to 1, or None where a family
        knows no strength.
    """

    picture: NDArray[np.float32]
    mask: NDArray[np.bool_]
    steps: int
    strength: float | None


class StartMaker:
    """Makes starts and keeps the last one's picture, which variants of a job share.

    Args:
        family: the model's.
        is_controlled: whether a ControlNet tells the model what surrounds the hole.
    """

    def __init__(self, family: Family, is_controlled: bool) -> None:
        self._family = family
        mask = family.controlled_mask if is_controlled else family.mask
        self._knows_surroundings = mask is not MaskConvention.LATENTS
        self._takes_strength = family.strength is not None and mask is not MaskConvention.CONTROL
        self._kept: tuple[bytes, NDArray[np.float32], NDArray[np.bool_]] | None = None

    def make(self, request: FillRequest, frame: Frame, check: Callable[[], None]) -> Start:
        """The start for ``request``.

        Args:
            request: what to paint.
            frame: its layout.
            check: called now and then; may raise to stop.

        Raises:
            UnsupportedOperation: the request sets a strength and the model knows none.
        """
        strength = self._strength(request)
        key = self._key(request, frame)
        if self._kept is None or self._kept[0] != key:
            cell_px = self._family.cell_px
            mask = frame.enter_mask(request.mask > 0, cell_px)
            self._kept = (key, self._picture(request, frame, mask, check), mask)
        _, picture, mask = self._kept
        steps, strength = self._steps(request.settings.steps or self._family.steps, strength)
        return Start(picture, mask, steps, strength)

    def clear(self) -> None:
        """Forget the kept picture."""
        self._kept = None

    def _strength(self, request: FillRequest) -> float | None:
        wanted = request.settings.strength
        if not self._takes_strength:
            if wanted is not None and wanted < 1:
                raise UnsupportedOperation(
                    f"{self._family.title} always paints the selection anew. Leave the strength at 100 %, or choose "
                    "another model."
                )
            return None
        if wanted is not None:
            return wanted
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

    def _picture(
        self, request: FillRequest, frame: Frame, mask: NDArray[np.bool_], check: Callable[[], None]
    ) -> NDArray[np.float32]:
        known = request.known
        keeps_hole = request.settings.strength is not None
        sources = known if keeps_hole else known & ~(request.mask > 0)
        if not sources.any():
            return np.full((frame.work.height, frame.work.width, 3), _GREY)
        picture = frame.enter(extend(request.image, sources))
        if keeps_hole or (self._knows_surroundings and request.operation is not OperationName.REMOVE):
            return picture
        return self._filled(picture, mask, frame, request, check)

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
        digest.update(repr((frame, request.operation.value, request.settings.strength is not None)).encode())
        return digest.digest()
