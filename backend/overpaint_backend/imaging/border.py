"""What lies to both sides of a mask's border, as short profiles across it.

A profile starts where a painted pixel and a pixel to learn from lie side by side, and walks away from the border in
both directions. Everything a seam can be judged by is in there, and there are only so many of them: what they are
asked costs the same in a picture of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .raster import whole_pixels

__all__ = ["DEPTH_PX", "Border", "colors_at", "find_border", "mean_along", "squares_at"]

DEPTH_PX = 24
"""How far profiles go to each side."""

_BRIGHTEST = np.float32(4)
"""What evidence is clipped to, either side of black, as encoded values."""

_MAX_PROFILES = 1000
"""Three for each cell of a correction's field along a border of 5000 px."""

_NORMAL_PX = 4
"""How far around a border pixel its direction is judged from; even a staircase looks straight over that."""


@dataclass(frozen=True, slots=True)
class Border:
    """N profiles of ``DEPTH_PX`` pixels to each side; the first of a side touches the border.

    places: (N, 2) float32, row and column where the profiles cross the border.
    inside, outside: (2, N, S) int, rows and columns of the pixels, valid or not inside the array.
    inside_valid, outside_valid: (N, S) bool; false from the first pixel on that lies on the wrong side, outside the
        array, or is nothing to learn from.
    """

    places: NDArray[np.floating]
    inside: NDArray[np.intp]
    outside: NDArray[np.intp]
    inside_valid: NDArray[np.bool_]
    outside_valid: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.places)


def find_border(hole: NDArray[np.bool_], known: NDArray[np.bool_]) -> Border:
    """Find where ``hole`` meets what is known.

    Args:
        hole: (H, W) bool, where the engine painted.
        known: (H, W) bool, what may be learnt from; where ``hole`` is true it counts as false.
    """
    sources = known & ~hole
    inner, outer = _crossings(hole, sources)
    normals = _normals(hole, outer)
    outside, outside_valid = _walk(outer, normals, sources)
    inside, inside_valid = _walk(inner, -normals, hole)
    places = (inner + outer).astype(np.float32) / 2
    return Border(places, inside, outside, inside_valid, outside_valid)


def colors_at(
    picture: NDArray[np.floating], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.floating]:
    """(..., 3) colors of a (H, W, 3) picture at ``rows`` and ``columns``, which broadcast to each other.

    Single lights of a scene may be thousands of times brighter than white, and tell nothing about a seam: they are clipped.
    """
    found = whole_pixels(picture)[rows, columns]
    colors = found.view(picture.dtype).reshape(*found.shape, picture.shape[2])
    return np.clip(colors, -_BRIGHTEST, _BRIGHTEST, out=colors)


def squares_at(
    centers: NDArray[np.intp], radius_px: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows (n, 2r + 1, 1) and columns (n, 1, 2r + 1) of squares around (2, n) ``centers``, clipped to an array of ``shape``."""
    reach = np.arange(-radius_px, radius_px + 1)
    rows, columns = (np.clip(centers[axis, :, None] + reach, 0, shape[axis] - 1) for axis in (0, 1))
    return rows[:, :, None], columns[:, None, :]


def mean_along(
    values: NDArray[np.floating], valid: NDArray[np.bool_], depth_px: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Means over the valid ones of every ``depth_px`` pixels of (N, S, 3) profiles, of which what is left over does not count.

    Returns:
        (N, S // depth_px, 3) means, and (N, S // depth_px) 1 where there are any, else 0.
    """
    count = valid.shape[1] // depth_px
    used = np.s_[:, : count * depth_px]
    part = valid[used].reshape(len(valid), count, depth_px, 1)
    counts = part.sum(axis=2)
    sums = (values[used].reshape(len(valid), count, depth_px, 3) * part).sum(axis=2)
    return (sums / np.maximum(counts, 1)).astype(np.float32), (counts[..., 0] > 0).astype(np.float32)


def _crossings(
    hole: NDArray[np.bool_], sources: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of neighbors, the first in the hole, the second a source; evenly thinned out if there are many."""
    inner, outer = [], []
    for step in ((0, 1), (1, 0)):
        first = np.s_[: hole.shape[0] - step[0], : hole.shape[1] - step[1]]
        second = np.s_[step[0] :, step[1] :]
        for near, far, sign in ((first, second, 1), (second, first, -1)):
            both = hole[near] & sources[far]
            # Counts on a flat array: where next to nothing is true, several times as quick as argwhere.
            found = np.stack(np.unravel_index(np.flatnonzero(both), both.shape), axis=-1)
            if sign < 0:
                found += step
            inner.append(found)
            outer.append(found + sign * np.array(step))
    pairs = np.concatenate(inner), np.concatenate(outer)
    stride = max(1, -(-len(pairs[0]) // _MAX_PROFILES))
    return pairs[0][::stride], pairs[1][::stride]


def _normals(hole: NDArray[np.bool_], outer: NDArray[np.intp]) -> NDArray[np.floating]:
    """Unit vectors out of the hole, (N, 2): away from the mean position of its pixels nearby."""
    reach = np.arange(-_NORMAL_PX, _NORMAL_PX + 1)
    near = hole[squares_at(outer.T, _NORMAL_PX, hole.shape)].astype(np.float32)
    normals = -np.stack((near.sum(axis=2) @ reach, near.sum(axis=1) @ reach), axis=-1).astype(np.float32)
    lengths = np.hypot(normals[:, 0], normals[:, 1])
    # In the middle of a ring of mask no direction is the better one.
    normals[lengths < 1e-3] = (0, 1)
    return normals / np.maximum(lengths, np.float32(1e-3))[:, None]


def _walk(
    starts: NDArray[np.intp], directions: NDArray[np.floating], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The pixels from each start on, clipped to the array, and which of them come before the first that is not allowed."""
    steps = np.arange(DEPTH_PX, dtype=np.float32)
    pixels = np.rint(starts.T[..., None] + directions.T[..., None] * steps).astype(np.intp)
    clipped = np.clip(pixels, 0, np.array(allowed.shape)[:, None, None] - 1)
    valid = (pixels == clipped).all(axis=0) & allowed[clipped[0], clipped[1]]
    return clipped, np.logical_and.accumulate(valid, axis=1)
