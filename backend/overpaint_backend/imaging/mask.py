"""Selections: where they reach, growing them for the engine, softening them for the blend.

Distances are Euclidean between pixel centers and exact, so a grown selection is round.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.geometry import Rect

__all__ = ["bounds", "distance", "feather", "grow"]


def bounds(selection: NDArray) -> Rect | None:
    """The smallest Rect around everything above 0 in a (H, W) array; None if nothing is."""
    support = selection > 0
    rows = np.flatnonzero(support.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(support.any(axis=0))
    return Rect.from_edges(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def grow(selection: NDArray, px: int) -> NDArray[np.bool_]:
    """What lies within ``px`` px of anything above 0, as (H, W) bool; ``px`` >= 0."""
    grown = selection > 0
    box = bounds(selection)
    if box is None or px == 0:
        return grown
    height, width = grown.shape
    box = box.grow(px).intersect(Rect(0, 0, width, height))
    window = np.s_[box.top : box.bottom, box.left : box.right]
    grown[window] = distance(grown[window], px) <= px
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


def distance(support: NDArray[np.bool_], cap_px: int) -> NDArray[np.float32]:
    """How far each pixel is from the nearest true one, in px, as (H, W) float32.

    Distances above ``cap_px`` read as infinite. The work is proportional to ``cap_px``.
    """
    height, width = support.shape
    far = height + width + cap_px + 1
    columns = np.arange(width)
    left = np.maximum.accumulate(np.where(support, columns, -far), axis=1)
    right = np.minimum.accumulate(np.where(support, columns, far + width)[:, ::-1], axis=1)[:, ::-1]
    across = np.minimum(columns - left, right - columns).astype(np.float32)
    across[across > cap_px] = np.inf
    squared_across = across * across
    squared = squared_across.copy()
    for rows in range(1, min(cap_px, height - 1) + 1):
        step = np.float32(rows * rows)
        np.minimum(squared[rows:], squared_across[:-rows] + step, out=squared[rows:])
        np.minimum(squared[:-rows], squared_across[rows:] + step, out=squared[:-rows])
    result = np.sqrt(squared)
    result[result > cap_px] = np.inf
    return result
