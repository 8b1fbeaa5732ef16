"""One fill after another with the embedded engine: lines, drafts, fields, a choice, detail, and how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import FillRequest, FillResult, OnStep, OperationName, Step
from overpaint_backend.imaging.mask import grow
from overpaint_backend.imaging.resample import extend
from overpaint_protocol.errors import NothingToSample, UnsupportedOperation

from .detail import copy_detail
from .field import Field, even_out, search
from .layout import departure
from .lines import Lines, find_lines
from .patches import PATCH_RADIUS_PX, touching, whole
from .picture import Picture, choose_window, shrink_factor, vary
from .texture import strangeness

__all__ = ["EmbeddedSession"]

_MIN_PATCHES = 16
"""With fewer whole patches to copy there is no texture to continue, only color."""

_MAX_DRAFT_PIXELS = 1_000_000
_MAX_DRAFT_HOLE_PIXELS = 100_000
"""Time goes mostly into the draft's masked pixels; a cancel is not heard while it is painted."""

_COARSENESS = (3, 2, 1)
"""How many times smaller than the working resolution the drafts are, the quickest first."""

_COARSENESS_SHARES = tuple(each**-2 / sum(every**-2 for every in _COARSENESS) for each in _COARSENESS)

_COARSER = 1.1
"""What each step of coarseness multiplies strangeness by: detail is lost, so a coarser draft has to be better by more than
chance."""

_ASTRAY = 0.7
"""How much stranger a draft counts for each departure from the coarsest by as much as the colors around vary. From 0.5 to 0.8
the same ten cases are filled about equally well at four seeds."""

_GUIDED = 0.05
"""What a patch's place among the lines counts against its looks; with 0.01 boards and
horizons come out worse, with 0.15 no better."""

_CHOSEN = 0.85
_FOLLOWED = 0.6
_FOUND = 0.95
_DETAILED = 0.99
"""Shares of the time that are over when a draft is chosen, or painted along lines, its field found and its detail copied."""

_TRY_DRAFTED = 0.6
"""A draft's share of the time that it takes to try it."""

_TRY_FOUND = 0.9
"""The field's share of the rest, before a look at what comes of it."""

_Show = Callable[[float, NDArray[np.float32]], None]
"""Takes the fraction done and a draft of the whole window."""

# The library's seed is one per process.
_library_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Try:
    """A draft at the working resolution, and what comes of it there.

    strangeness: how strange that looks. field: the draft's, if it was found on the way.
    """

    draft: NDArray[np.float32]
    painted: NDArray[np.float32]
    strangeness: float
    field: Field | None

    def beside(self, coarsest: NDArray[np.float32], work: Picture) -> _Try:
        """The same, stranger by how far it departs from what comes of the coarsest draft."""
        astray = 1 + _ASTRAY * departure(self.painted, coarsest, work)
        return replace(self, strangeness=self.strangeness * astray)


class EmbeddedSession:
    """Paints from the surroundings; keeps nothing between fills."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Paint a draft, or choose among some, and paint the detail.

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
        if not whole(work.sources).any():
            return picture.paste(self._draft(work, seed), window)

        def show(fraction: float, draft: NDArray[np.float32]) -> None:
            on_step(Step(fraction, partial(picture.paste, draft, window)))

        lines = find_lines(work)
        if lines is None:
            draft, field = self._choose(work, seed, on_step, show)
        else:
            draft, field = self._follow(lines, work, seed, on_step, show)
        filled = copy_detail(part, draft, field, factor, _between(on_step, _FOUND, _DETAILED))
        return picture.paste(filled, window)

    def _choose(
        self, work: Picture, seed: int, on_step: OnStep, show: _Show
    ) -> tuple[NDArray[np.float32], Field]:
        """The best of some drafts, and its field."""
        best: _Try | None = None
        coarsest: NDArray[np.float32] | None = None
        start = 0.0
        for coarseness, share in zip(_COARSENESS, _COARSENESS_SHARES, strict=True):
            end = start + _CHOSEN * share
            if coarseness == 1 or _keeps_hole(work, coarseness):
                draft = self._draft(work.shrink(coarseness), seed)
                drafted = start + _TRY_DRAFTED * (end - start)
                show(drafted, best.draft if best else draft)
                tried = _try(draft, work, coarseness, seed, _between(on_step, drafted, end))
                coarsest = tried.painted if coarsest is None else coarsest
                tried = tried.beside(coarsest, work)
                best = min(best or tried, tried, key=lambda each: each.strangeness)
                show(end, best.draft)
            start = end
        assert best is not None  # noqa: S101 - the last draft is as coarse as the working resolution
        return best.draft, best.field or search(best.draft, work, seed, _between(on_step, _CHOSEN, _FOUND))

    def _follow(
        self, lines: Lines, work: Picture, seed: int, on_step: OnStep, show: _Show
    ) -> tuple[NDArray[np.float32], Field]:
        """A draft in which ``lines`` go on straight, and its field.

        They settle what goes where, so no other is painted beside it; it takes twice as long as one without lines.
        """
        draft = self._draft(work, seed, lines)
        show(_FOLLOWED, draft)
        field = search(draft, work, seed, _between(on_step, _FOLLOWED, _FOUND), lines)
        return _readable(even_out(work, draft, field), work), field

    def _draft(self, picture: Picture, seed: int, lines: Lines | None = None) -> NDArray[np.float32]:
        """Paint the hole at the picture's own resolution, along ``lines`` if any; (H, W, 3) float32 in [0, 1]."""
        clipped = np.clip(picture.rgb, 0, 1)
        if np.count_nonzero(whole(picture.sources)) < _MIN_PATCHES and not _is_sparse(picture):
            return extend(clipped, picture.sources)
        rgb = np.rint(clipped * 255).astype(np.uint8)
        neither = ~(picture.hole | picture.sources)
        with _library_lock:
            self._library.set_random_seed(seed)
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


def _try(
    draft: NDArray[np.float32],
    work: Picture,
    coarseness: int,
    seed: int,
    on_share: Callable[[float], None],
) -> _Try:
    """See what would come of ``draft``, which is ``coarseness`` times smaller than ``work``, at the size of that."""
    small = work.shrink(coarseness)
    field = search(draft, small, seed, lambda share: on_share(_TRY_FOUND * share))
    painted = _readable(copy_detail(work, draft, field, coarseness, lambda _: None), work)
    strange = strangeness(painted, work) * _COARSER ** (coarseness - 1)
    if coarseness == 1:
        return _Try(draft, painted, strange, field)
    return _Try(painted, painted, strange, None)


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
