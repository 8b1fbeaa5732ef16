"""How a result ends: from the artist's selection to what the engine paints and how much of that shows.

A soft selection is a stack of slabs of one level each, and each of them is widened like a hard one: in full over the
grow, then fading out over the blend. So the result is nowhere less than the selection, continuous where that is, and
ends at most grow + blend px outside of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.errors import EmptySelection
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edges

from .blocks import each_block, row_blocks
from .expand import expand_selection
from .mask import bounds, distance, feather, fill_holes, flood, window

__all__ = ["Area", "Reach", "derive_reach", "expand_area", "selected_area"]

_SPECK_LEVEL = 0.02
_SPECKS_NOTE = "Specks that were selected by less than 2 % were left as they are. Select them more strongly to have them changed."

_REACH_FRACTION = 1 / 8
"""Of the selection's thickness: a small thing does not want to be lost in its own fringe."""
_MIN_REACH_PX = 3
_MAX_REACH_PX = 5
_MAX_REACH_DIAGONALS = 0.004
"""Users of other programs complain of changed surroundings first: matched in color, a fill needs little to hide its seam."""
_GROW_FRACTION = 1 / 4

_REMOVE_GROW_PX = 4
"""3 for a selection that is too tight, and 1 for the soft rim a thing has in a picture."""
_REMOVE_GROW_FRACTION = 1 / 2
_MIN_REMOVE_REACH_PX = 5

_MIN_EXPAND_REACH_PX = 4
_MAX_EXPAND_REACH_PX = 8
_MAX_EXPAND_REACH_SIDES = 1 / 100
_MOST_EXPAND_REACH_PX = 64
_EXPAND_GROW_FRACTION = 1 / 8
_MAX_ORIGINAL_FRACTION = 1 / 4
"""Of the original's shorter side: more of a small picture must not fade."""

_HARD_PX = 2
"""An edge that is no wider is a hard one with its stairs smoothed."""
_SLABS = 8


@dataclass(frozen=True, slots=True)
class Area:
    """What an operation changes, over the Context.

    mask: (H, W) float32 in [0, 1], what the engine paints: everything above 0, which holds all of ``alpha``. It is graded
        only where the artist's selection is.
    alpha: (H, W) float32 in [0, 1], how much of what was painted the layer shows.
    box: the bounds of everything above 0 in ``mask``, relative to the Context.
    notes: what the artist should know about it, a sentence each.
    """

    mask: NDArray[np.float32]
    alpha: NDArray[np.float32]
    box: Rect
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a result goes beyond the selection: in full over ``grow_px``, then fading out over ``blend_px``."""

    grow_px: int
    blend_px: int

    @property
    def total_px(self) -> int:
        """Beyond this, nothing changes."""
        return self.grow_px + self.blend_px


def selected_area(
    selection: NDArray[np.float32],
    edges: Edges,
    *,
    removes: bool = False,
    known: NDArray[np.bool_] | None = None,
) -> Area:
    """What changes where an artist selected ``selection``.

    Args:
        selection: (H, W) in [0, 1], over the Context.
        edges: how the result is to end; what is None follows from the selection.
        removes: what is selected is to go without a trace of its rim.
        known: (H, W), what can be learnt from; None for all. Where most of what is not selected would be painted over, what
            follows from the selection yields.

    Raises:
        EmptySelection: nothing is selected, or all of it too faintly to be meant.
    """
    box = _around(selection, 1)
    part, notes = _without_specks(selection[window(box)])
    if edges.fill_holes:
        part = fill_holes(part)
    part = feather(part, edges.feather_px or 0)
    derived = derive_reach(part, removes=removes)
    while True:
        reach = _chosen(derived, edges)
        area = _widen(part, box, selection.shape, reach)
        derived = Reach(derived.grow_px // 2, derived.blend_px // 2)
        if _chosen(derived, edges) == reach or _leaves_enough(area, selection, known):
            return replace(area, notes=notes)


def expand_area(canvas: Size, margins: Margins, context: Rect, edges: Edges) -> Area:
    """What changes where ``canvas`` grows by ``margins``: all of the new, fading into the original beside it.

    The new is always covered in full, so of ``edges`` only grow and blend count.
    """
    widest = max(margins.left, margins.top, margins.right, margins.bottom)
    side_px = min(canvas.width, canvas.height)
    most_px = min(_MOST_EXPAND_REACH_PX, max(_MAX_EXPAND_REACH_PX, round(side_px * _MAX_EXPAND_REACH_SIDES)))
    total_px = _between(
        _MIN_EXPAND_REACH_PX,
        round(widest * _REACH_FRACTION),
        min(most_px, round(side_px * _MAX_ORIGINAL_FRACTION)),
    )
    grow_px = round(total_px * _EXPAND_GROW_FRACTION)
    reach = _chosen(Reach(grow_px, total_px - grow_px), edges)
    selection = expand_selection(canvas, margins, context)
    return _widen(selection, Rect.from_size(context.size), selection.shape, reach)


def derive_reach(selection: NDArray[np.float32], *, removes: bool = False) -> Reach:
    """How far a result goes beyond ``selection`` where nobody says.

    It follows from how thick the selection is, and is at most the larger of 5 px and 0.4 % of its diagonal. The softer
    its edge is already, the less is added; one that is removed grows all the same.
    """
    measure = _Measure.of(selection)
    most_px = max(_MAX_REACH_PX, int(measure.diagonal_px * _MAX_REACH_DIAGONALS))
    least_px = _MIN_REMOVE_REACH_PX if removes else _MIN_REACH_PX
    total_px = _between(least_px, round(measure.thickness_px * _REACH_FRACTION), most_px)
    soft_px = max(0, round(measure.edge_px) - _HARD_PX)
    if removes:
        grow_px = max(_REMOVE_GROW_PX, round(total_px * _REMOVE_GROW_FRACTION))
        return Reach(grow_px, max(0, total_px - grow_px - soft_px))
    grow_px = round(total_px * _GROW_FRACTION)
    return Reach(max(0, grow_px - soft_px), max(0, total_px - grow_px - soft_px))


def _leaves_enough(area: Area, selection: NDArray[np.float32], known: NDArray[np.bool_] | None) -> bool:
    """Whether at least half of what is known beside the selection is also beside the area, which holds it."""
    near = window(area.box)
    total = area.mask.size if known is None else np.count_nonzero(known)
    if 2 * (total - area.box.area) >= total:
        return True
    left, beside = (
        total - np.count_nonzero((levels[near] > 0) if known is None else (levels[near] > 0) & known[near])
        for levels in (area.mask, selection)
    )
    return bool(2 * left >= beside)


def _chosen(derived: Reach, edges: Edges) -> Reach:
    return Reach(
        derived.grow_px if edges.grow_px is None else edges.grow_px,
        derived.blend_px if edges.blend_px is None else edges.blend_px,
    )


@dataclass(frozen=True, slots=True)
class _Measure:
    """How large a selection is, and how soft.

    diagonal_px: of its bounds. thickness_px: side of a square that is as thick. edge_px: how wide its edge is; 1 is a step.
    """

    diagonal_px: float
    thickness_px: float
    edge_px: float

    @classmethod
    def of(cls, selection: NDArray[np.float32]) -> _Measure:
        """Measure a selection that has something above 0."""
        height, width = selection.shape
        box = bounds(selection) or Rect(0, 0, 0, 0)
        part = selection[window(box.grow(1).intersect(Rect(0, 0, width, height)))]
        peak = float(part.max())
        area = ascent = squares = 0.0
        for rows in row_blocks(*part.shape):
            area += float(part[rows].sum())
            for step in (np.diff(part[rows], axis=1), np.diff(part[rows.start : rows.stop + 1], axis=0)):
                ascent += float(np.abs(step, out=step).sum())
                # A ramp n px wide climbs n steps of 1 / n, whose squares add up to 1 / n.
                squares += float(np.vdot(step, step))
        outline_px = max(1.0, ascent / peak)
        area_px = area / peak
        return cls(
            diagonal_px=float(np.hypot(box.width, box.height)),
            thickness_px=4 * area_px / outline_px,
            edge_px=peak * ascent / squares if squares else 1.0,
        )


def _without_specks(selection: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Drop what nowhere reaches 2 %, with a note; a faint tail of something stronger stays."""
    peak = selection.max(initial=0)
    if peak == 0:
        raise EmptySelection("Nothing is selected. Select the area to change and try again.")
    if peak < _SPECK_LEVEL:
        raise EmptySelection(
            "Everything is selected by less than 2 %, which would not show. Select the area more strongly and try again."
        )
    strong, support = selection >= _SPECK_LEVEL, selection > 0
    if np.count_nonzero(strong) == np.count_nonzero(support):
        return selection, ()
    kept = flood(strong, support, diagonally=True)
    if np.array_equal(kept, support):
        return selection, ()
    return np.where(kept, selection, np.float32(0)), (_SPECKS_NOTE,)


def _widen(part: NDArray[np.float32], box: Rect, shape: tuple[int, int], reach: Reach) -> Area:
    """What changes where ``part`` of a selection lies at ``box`` of the Context, of ``shape``, and 0 around it."""
    wide_box = box.grow(reach.total_px).intersect(Rect(0, 0, shape[1], shape[0]))
    inner = window(box.translate(-wide_box.x, -wide_box.y))
    selection = np.zeros((wide_box.height, wide_box.width), np.float32)
    selection[inner] = part
    # Zeros that nobody touches cost nothing.
    alpha, mask = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    shown, painted = alpha[window(wide_box)], mask[window(wide_box)]
    if reach.total_px == 0:
        shown[:] = painted[:] = selection
    else:
        _widen_slabs(selection, reach, shown, painted)
    box = bounds(painted) or Rect(0, 0, 0, 0)
    return Area(mask, alpha, box.translate(wide_box.x, wide_box.y))


def _widen_slabs(
    selection: NDArray[np.float32], reach: Reach, shown: NDArray[np.float32], painted: NDArray[np.float32]
) -> None:
    """Write into ``shown`` and ``painted``, all 0, what ``selection`` is widened to."""
    slabs, height = _slabs(selection)
    for slab in range(slabs):
        _widen_slab(selection, slab * height, height, reach, shown, painted)

    def bound(rows: slice) -> None:
        for widened in (shown[rows], painted[rows]):
            np.maximum(widened, selection[rows], out=widened)
            np.minimum(widened, 1, out=widened)

    each_block(selection.shape[0], selection.shape[1], bound)


def _widen_slab(
    selection: NDArray[np.float32],
    floor: np.float32,
    height: np.float32,
    reach: Reach,
    shown: NDArray[np.float32],
    painted: NDArray[np.float32],
) -> None:
    """Add what the part of ``selection`` from ``floor`` on, up to ``height`` above, becomes to what is shown and painted."""
    # Sums of eighths may fall short of the level they stand for by a rounding.
    away_px = distance(selection >= floor + height * np.float32(1 - 1e-4), reach.total_px)

    def add(rows: slice) -> None:
        own = selection[rows] - floor
        np.clip(own, 0, height, out=own)
        fading = _fade(away_px[rows], reach)
        fading *= height
        shown[rows] += np.maximum(fading, own, out=fading)
        np.copyto(own, height, where=away_px[rows] <= reach.total_px)
        painted[rows] += own

    each_block(selection.shape[0], selection.shape[1], add)


def _slabs(part: NDArray[np.float32]) -> tuple[int, np.float32]:
    """How many slabs to take a selection for, and how high each is: 1 where next to nothing of it lies in between."""
    peak = np.float32(part.max())
    between = np.count_nonzero((part > 0) & (part < peak))
    if between:
        outline_px = sum(float(np.abs(np.diff(part, axis=axis)).sum(dtype=np.float64)) for axis in (0, 1))
        if between * peak > _HARD_PX * outline_px:
            return _SLABS, peak / np.float32(_SLABS)
    return 1, peak


def _fade(away_px: NDArray[np.float32], reach: Reach) -> NDArray[np.float32]:
    """1 up to the grow, then smoothly down to 0 beyond the blend."""
    left = reach.total_px + 1 - away_px
    left /= np.float32(reach.blend_px + 1)
    np.clip(left, 0, 1, out=left)
    square = left * left
    left *= -2
    left += 3
    square *= left
    return square


def _around(selection: NDArray[np.float32], px: int) -> Rect:
    """What lies within ``px`` of the bounds of everything above 0, as far as the array goes."""
    height, width = selection.shape
    return (bounds(selection) or Rect(0, 0, 0, 0)).grow(px).intersect(Rect(0, 0, width, height))


def _between(least: int, value: int, most: int) -> int:
    return min(max(least, value), most)
