"""One fill after another with the embedded engine: draft, field, detail, and how far it is."""

from __future__ import annotations

import threading
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import FillRequest, FillResult, OnStep, OperationName, Step
from overpaint_backend.imaging.mask import grow
from overpaint_backend.imaging.resample import extend
from overpaint_protocol.errors import NothingToSample, UnsupportedOperation

from .detail import copy_detail
from .field import search
from .patches import PATCH_RADIUS_PX, whole
from .picture import Picture, choose_window, shrink_factor, vary

__all__ = ["EmbeddedSession"]

_MIN_PATCHES = 16
"""With fewer whole patches to copy there is no texture to continue, only color."""

_MAX_DRAFT_PIXELS = 1_000_000
_MAX_DRAFT_HOLE_PIXELS = 100_000
"""Time goes mostly into the draft's masked pixels; a cancel is not heard while it is painted."""

_MAX_SKETCH_PIXELS = 25_000

_SKETCHED = 0.1
_DRAFTED = 0.6
_FOUND = 0.9
_DETAILED = 0.99
"""Shares of the time."""

# The library's seed is one per process.
_library_lock = threading.Lock()


class EmbeddedSession:
    """Paints from the surroundings; keeps nothing between fills."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Paint a sketch to look at, a draft, and the detail.

        Raises:
            Cancelled: ``on_step`` did.
            UnsupportedOperation: the request is an edit.
            NothingToSample: no pixel outside the mask is known.
        """
        if request.operation is OperationName.EDIT:
            raise UnsupportedOperation(
                "The embedded engine follows no instructions. Choose an engine with a model that does."
            )
        hole = request.mask > 0
        sources = request.known & ~hole
        on_step(Step(0.0))
        if hole.any():
            if not sources.any():
                raise NothingToSample(
                    "There is nothing left to build the fill from. Leave some of the picture unselected, "
                    "or choose an engine that paints from a prompt."
                )
            image = self._paint(Picture(request.image, hole, sources), request.seed, on_step)
        else:
            image = request.image
        on_step(Step(1.0, lambda: image))
        return FillResult(image)

    def close(self) -> None:
        """Nothing is held."""

    def _paint(self, picture: Picture, seed: int, on_step: OnStep) -> NDArray[np.float32]:
        window = choose_window(picture)
        part = picture.crop(window)
        factor = shrink_factor(part, _MAX_DRAFT_PIXELS, _MAX_DRAFT_HOLE_PIXELS)
        work = vary(part.shrink(factor), seed)
        sketch = work.shrink(shrink_factor(work, _MAX_SKETCH_PIXELS, _MAX_SKETCH_PIXELS))
        if sketch is not work:
            sketched = self._draft(sketch, seed)
            on_step(Step(_SKETCHED, lambda: picture.paste(sketched, window)))
        draft = self._draft(work, seed)
        on_step(Step(_DRAFTED, lambda: picture.paste(draft, window)))
        if not whole(work.sources).any():
            return picture.paste(draft, window)
        field = search(draft, work, seed, lambda share: on_step(Step(_DRAFTED + (_FOUND - _DRAFTED) * share)))
        filled = copy_detail(
            part, draft, field, factor, lambda share: on_step(Step(_FOUND + (_DETAILED - _FOUND) * share))
        )
        return picture.paste(filled, window)

    def _draft(self, picture: Picture, seed: int) -> NDArray[np.float32]:
        """Paint the hole at the picture's own resolution; (H, W, 3) float32 in [0, 1]."""
        clipped = np.clip(picture.rgb, 0, 1)
        if np.count_nonzero(whole(picture.sources)) < _MIN_PATCHES and not _is_sparse(picture):
            return extend(clipped, picture.sources)
        rgb = np.rint(clipped * 255).astype(np.uint8)
        neither = ~(picture.hole | picture.sources)
        with _library_lock:
            self._library.set_random_seed(seed)
            painted = self._library.inpaint(
                rgb, picture.hole, global_mask=neither if neither.any() else None, patch_size=PATCH_RADIUS_PX
            )
        # Around very few sources the library's voting overshoots; a copy cannot leave their range.
        copied = rgb[picture.sources]
        painted = np.clip(painted, copied.min(axis=0), copied.max(axis=0)).astype(np.float32) / np.float32(
            255
        )
        painted = np.where(picture.hole[..., None], painted, clipped)
        # What may not be read must not show in the softened colors and patches of its neighbors either.
        return extend(painted, ~neither)


def _is_sparse(picture: Picture) -> bool:
    """True if no part of the hole is far from a source, as between the lines of a grid."""
    return bool((grow(picture.sources, 4 * PATCH_RADIUS_PX) | ~picture.hole).all())
