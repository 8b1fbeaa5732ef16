"""Selections as arrays: where they reach, what is near, what they enclose, growing and softening.

Distances are Euclidean between pixel centers and exact, so a grown selection is round.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.geometry import Rect

__all__ = ["bounds", "distance", "feather", "fill_holes", "flood", "grow", "window"]

_MIN_TILE_PX = 192
"""Smaller tiles measure less area, larger ones need fewer calls; this was quickest for a cap of 5 px."""


def bounds(selection: NDArray) -> Rect | None:
    """The smallest Rect around everything above 0 in a (H, W) array; None if nothing is."""
    rows = np.flatnonzero(selection.max(axis=1, initial=0) > 0)
    if not rows.size:
        return None
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(selection[top:bottom].max(axis=0) > 0)
    return Rect.from_edges(int(columns[0]), top, int(columns[-1]) + 1, bottom)


def window(box: Rect) -> tuple[slice, slice]:
    """What indexes ``box`` in an array of rows and columns."""
    return slice(box.top, box.bottom), slice(box.left, box.right)


def grow(selection: NDArray, px: int) -> NDArray[np.bool_]:
    """What lies within ``px`` px of anything above 0, as (H, W) bool; ``px`` >= 0."""
    grown = selection > 0
    box = bounds(selection)
    if box is None or px == 0:
        return grown
    height, width = grown.shape
    box = box.grow(px).intersect(Rect(0, 0, width, height))
    near = window(box)
    grown[near] = distance(grown[near], px) <= px
    return grown


def feather(selection: NDArray[np.float32], px: int) -> NDArray[np.float32]:
    """Fade the selection out over the ``px`` px next to its unselected surroundings.

    Only inwards: what is 0 stays 0, and nothing becomes larger. The edge of the array is no edge of the
    selection, so a selection that runs out of the picture stays full there.
    """
    if px == 0:
        return selection
    ramp = distance(selection <= 0, px + 1) / np.float32(px + 1)
    return selection * np.minimum(ramp, np.float32(1))


def fill_holes(selection: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raise what the selection encloses to the level that encloses it; nothing becomes lower.

    A hole is as deep as the easiest way out of it, and the array's edge is out. Lines that touch by a corner enclose.
    """
    box = bounds(selection)
    if box is None:
        return selection
    height, width = selection.shape
    box = box.grow(1).intersect(Rect(0, 0, width, height))
    depth = -selection[window(box)]
    outside = depth.copy()
    outside[1:-1, 1:-1] = -1
    filled = selection.copy()
    filled[window(box)] = -flood(outside, depth, diagonally=False)
    return filled


def flood(seed: NDArray, ceiling: NDArray, *, diagonally: bool) -> NDArray:
    """Let ``seed`` spread from pixel to pixel, nowhere above ``ceiling``.

    Args:
        seed: (H, W) of bool or float.
        ceiling: the same; with bool, where it may spread at all.
        diagonally: whether it also spreads over corners.

    Returns:
        At each pixel the highest value that gets there: a way lets through as much as its lowest ceiling.
    """
    level = np.minimum(seed, ceiling)
    sides = np.ascontiguousarray(ceiling), np.ascontiguousarray(ceiling.T)
    while not np.array_equal(level, ceiling):
        before = level.copy()
        for side in sides:
            _sweep(level, side, diagonally)
            _sweep(level[::-1], side[::-1], diagonally)
            level = np.ascontiguousarray(level.T)
        if np.array_equal(level, before):
            break
    return level


def _sweep(level: NDArray, ceiling: NDArray, diagonally: bool) -> None:
    """Spread from the first row to the last."""
    for row in range(1, len(level)):
        coming = level[row - 1].copy()
        if diagonally:
            np.maximum(coming[1:], level[row - 1, :-1], out=coming[1:])
            np.maximum(coming[:-1], level[row - 1, 1:], out=coming[:-1])
        np.minimum(coming, ceiling[row], out=coming)
        np.maximum(level[row], coming, out=level[row])


def distance(support: NDArray[np.bool_], cap_px: int) -> NDArray[np.float32]:
    """How far each pixel is from the nearest true one, in px, as (H, W) float32.

    Distances above ``cap_px`` read as infinite. The work is proportional to ``cap_px`` and to the area within that of
    an edge; what lies deeper inside or further outside costs next to nothing.
    """
    height, width = support.shape
    result = np.full(support.shape, np.inf, np.float32)
    side = max(_MIN_TILE_PX, 4 * cap_px)
    for top in range(0, height, side):
        for left in range(0, width, side):
            above, before = max(0, top - cap_px), max(0, left - cap_px)
            near = support[above : top + side + cap_px, before : left + side + cap_px]
            tile = np.s_[top : top + side, left : left + side]
            if support[tile].all():
                result[tile] = 0
            elif near.any():
                within = np.s_[top - above :, left - before :]
                result[tile] = _distance(near, cap_px)[within][:side, :side]
    return result


def _distance(support: NDArray[np.bool_], cap_px: int) -> NDArray[np.float32]:
    across = np.where(support, np.float32(0), np.float32(np.inf))
    step = 1
    while step <= cap_px:  # after each, whatever is less than twice the step away is right
        further = across + np.float32(step)
        np.minimum(across[:, step:], further[:, :-step], out=across[:, step:])
        np.minimum(across[:, :-step], further[:, step:], out=across[:, :-step])
        step *= 2
    across *= across
    squared = across.copy()
    for rows in range(1, min(cap_px, len(support) - 1) + 1):
        further = across + np.float32(rows * rows)
        np.minimum(squared[rows:], further[:-rows], out=squared[rows:])
        np.minimum(squared[:-rows], further[rows:], out=squared[:-rows])
    np.copyto(squared, np.inf, where=squared > cap_px * cap_px)
    return np.sqrt(squared, out=squared)
