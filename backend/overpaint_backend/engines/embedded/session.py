"""One fill after another with the embedded engine: lines, a draft, its refinement, detail, and how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import FillRequest, FillResult, OnStep, OperationName, Step
from overpaint_backend.imaging.mask import grow
from overpaint_backend.imaging.resample import extend
from overpaint_protocol.errors import NothingToSample, UnsupportedOperation

from .detail import copy_detail
from .field import Field, search
from .lattice import find_lattice
from .lines import Lines, find_lines
from .patches import PATCH_RADIUS_PX, touching, whole
from .picture import Picture, choose_window, shrink_factor, vary
from .refinement import refine
from .shiftmap import map_shifts, redraw

__all__ = ["EmbeddedSession"]

_MIN_PATCHES = 16
"""With fewer whole patches to copy there is no texture to continue, only color."""

_MAX_PIXELS = 1_000_000
_MAX_HOLE_PIXELS = 100_000
"""The working resolution has no more: time goes mostly into masked pixels."""

_SIZES = (4, 2, 1)
"""How many times smaller than the working resolution pictures are painted, one after the other."""

_COARSEST = 4
_COARSEST_WITH_LINES = 2
"""Where to begin. A coarse draft sees further, drifts less, and comes out alike from any seed; thin lines are lost in it."""

_MAPPED = 2
"""How many times smaller pictures that come again are when it is settled what goes where."""

_REFINED = 0.95
"""The share of the time at a size, before what came of it is shown."""

_GUIDED = 0.05
"""What a patch's place among the lines counts against its looks; with 0.01 boards and
horizons come out worse, with 0.15 no better."""

_DRAFTED = 0.1
_FOUND = 0.95
_DETAILED = 0.99
"""Shares of the time that are over when a draft is painted, the field found and its detail copied."""

_Show = Callable[[float, NDArray[np.float32]], None]
"""Takes the fraction done and a draft of the whole window."""

# The library's seed is one per process.
_library_lock = threading.Lock()


class EmbeddedSession:
    """Paints from the surroundings; keeps nothing between fills."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Paint a draft, refine it, and paint the detail.

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
        factor = shrink_factor(part, _MAX_PIXELS, _MAX_HOLE_PIXELS)
        work = vary(part.shrink(factor), seed)
        random = np.random.default_rng(seed)
        if not whole(work.sources).any():
            return picture.paste(self._draft(work, random), window)

        def show(fraction: float, draft: NDArray[np.float32]) -> None:
            on_step(Step(fraction, partial(picture.paste, draft, window)))

        draft, field = _fill_in_periods(work, random, on_step, show) or self._refine(
            work, find_lines(work), random, on_step, show
        )
        filled = copy_detail(part, draft, field, factor, _between(on_step, _FOUND, _DETAILED))
        return picture.paste(filled, window)

    def _refine(
        self, work: Picture, lines: Lines | None, random: np.random.Generator, on_step: OnStep, show: _Show
    ) -> tuple[NDArray[np.float32], Field]:
        """A draft as coarse as the hole allows, refined step by step to the working resolution, and its field."""
        coarsest = _COARSEST if lines is None else _COARSEST_WITH_LINES
        sizes = [each for each in _SIZES if each == 1 or (each <= coarsest and _keeps_hole(work, each))]
        shares = list(accumulate(each**-2 for each in sizes))
        ends = [_DRAFTED + (_FOUND - _DRAFTED) * share / shares[-1] for share in shares]
        picture, on_it = work.shrink(sizes[0]), lines and lines.shrink(sizes[0])
        painted = self._draft(picture, random, on_it)
        show(_DRAFTED, painted)
        painted, field = search(painted, picture, random, _between(on_step, _DRAFTED, ends[0]), on_it)
        painted = _readable(painted, picture)
        for (coarser, size), (start, end) in zip(pairwise(sizes), pairwise(ends), strict=True):
            picture, on_it = work.shrink(size), lines and lines.shrink(size)
            factor = coarser // size
            painted = copy_detail(picture, painted, field, factor, lambda _: None)
            painted, field = refine(
                _readable(painted, picture),
                picture,
                field.enlarge(factor, picture.hole.shape),
                random,
                _between(on_step, start, start + _REFINED * (end - start)),
                on_it,
            )
            painted = _readable(painted, picture)
            show(end, painted)
        return painted, field

    def _draft(
        self, picture: Picture, random: np.random.Generator, lines: Lines | None = None
    ) -> NDArray[np.float32]:
        """Paint the hole at the picture's own resolution, along ``lines`` if any; (H, W, 3) float32 in [0, 1]."""
        clipped = np.clip(picture.rgb, 0, 1)
        if np.count_nonzero(whole(picture.sources)) < _MIN_PATCHES and not _is_sparse(picture):
            return extend(clipped, picture.sources)
        rgb = np.rint(clipped * 255).astype(np.uint8)
        neither = ~(picture.hole | picture.sources)
        with _library_lock:
            self._library.set_random_seed(int(random.integers(2**31)))
            global_mask = neither if neither.any() else None
            if lines is None:
                painted = self._library.inpaint(
                    rgb, picture.hole, global_mask=global_mask, patch_size=PATCH_RADIUS_PX
                )
            else:
                painted = self._library.inpaint_regularity(
                    rgb,
                    picture.hole,
                    lines.guide(picture.hole.shape),
                    global_mask=global_mask,
                    patch_size=PATCH_RADIUS_PX,
                    guide_weight=_GUIDED,
                )
        # Around very few sources the library's voting overshoots; a copy cannot leave their range.
        copied = rgb[picture.sources]
        painted = np.clip(painted, copied.min(axis=0), copied.max(axis=0)).astype(np.float32) / np.float32(
            255
        )
        return _readable(np.where(picture.hole[..., None], painted, clipped), picture)


def _fill_in_periods(
    work: Picture, random: np.random.Generator, on_step: OnStep, show: _Show
) -> tuple[NDArray[np.float32], Field] | None:
    """The hole filled in whole periods and the field it is copied along; None if the picture does not come again."""
    if not _keeps_hole(work, _MAPPED):
        return None
    small = work.shrink(_MAPPED)
    shifts = find_lattice(small)
    if shifts is None:
        return None
    mapped = map_shifts(small, shifts, random, _between(on_step, 0, _DRAFTED))
    if mapped is None:
        return None
    painted, field = mapped
    show(_DRAFTED, painted)
    painted = copy_detail(work, _readable(painted, small), field, _MAPPED, lambda _: None)
    field = field.enlarge(_MAPPED, work.hole.shape)
    painted = _readable(painted, work)
    painted, field = redraw(painted, work, field, random, _between(on_step, _DRAFTED, _REFINED * _FOUND))
    painted = _readable(painted, work)
    show(_FOUND, painted)
    return painted, field


def _readable(painted: NDArray[np.float32], picture: Picture) -> NDArray[np.float32]:
    """``painted`` in [0, 1], without what may not be read, which must not show in its neighbors' softened colors either."""
    return extend(np.clip(painted, 0, 1), picture.hole | picture.sources)


def _keeps_hole(picture: Picture, coarseness: int) -> bool:
    """False if parts of the hole are too thin to be left so many times smaller, or nothing is left to copy."""
    small = picture.shrink(coarseness)
    rows, columns = np.nonzero(picture.hole)
    remains = touching(small.hole)[rows // coarseness, columns // coarseness].all()
    return bool(remains) and bool(whole(small.sources).any())


def _between(on_step: OnStep, start: float, end: float) -> Callable[[float], None]:
    """What tells shares of a part of the work as fractions of the whole."""
    return lambda share: on_step(Step(start + (end - start) * share))


def _is_sparse(picture: Picture) -> bool:
    """True if no part of the hole is far from a source, as between the lines of a grid."""
    return bool((grow(picture.sources, 4 * PATCH_RADIUS_PX) | ~picture.hole).all())
