"""What lies to both sides of a mask's border, as short profiles across it.

A profile starts where a painted pixel and a pixel to learn from lie side by side, and walks away from the border in
both directions. Everything a seam can be judged by is in there, and there are only so many of them: what they are
asked costs the same in a picture of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEPTH_PX", "Border", "colors_at", "find_border", "mean_along"]

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
    inside, outside: (N, S, 2) int, row and column of the pixels, valid or not inside the array.
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
    steps = np.arange(DEPTH_PX, dtype=np.float32)[None, :, None] * normals[:, None, :]
    outside, outside_valid = _walk(outer[:, None, :] + steps, sources)
    inside, inside_valid = _walk(inner[:, None, :] - steps, hole)
    places = (inner + outer).astype(np.float32) / 2
    return Border(places, inside, outside, inside_valid, outside_valid)


def colors_at(picture: NDArray[np.floating], pixels: NDArray[np.intp]) -> NDArray[np.floating]:
    """(..., 3) colors of a (H, W, 3) picture at (..., 2) rows and columns.

    Single lights of a scene may be thousands of times brighter than white, and tell nothing about a seam: they are clipped.
    """
    return np.clip(picture[pixels[..., 0], pixels[..., 1]], -_BRIGHTEST, _BRIGHTEST)


def mean_along(
    values: NDArray[np.floating], valid: NDArray[np.bool_], depth_px: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """(N, 3) means over the valid ones of the first pixels of (N, S, 3) profiles, and (N,) 1 where there are any, else 0."""
    part = valid[:, :depth_px, None]
    counts = part.sum(axis=1)
    means = (values[:, :depth_px] * part).sum(axis=1) / np.maximum(counts, 1)
    return means.astype(np.float32), (counts[:, 0] > 0).astype(np.float32)


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
    offsets = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    around = outer[:, None, :] + offsets
    near = hole[
        np.clip(around[..., 0], 0, hole.shape[0] - 1), np.clip(around[..., 1], 0, hole.shape[1] - 1)
    ].astype(np.float32)
    normals = -(near @ offsets.astype(np.float32))
    lengths = np.hypot(normals[:, 0], normals[:, 1])
    # In the middle of a ring of mask no direction is the better one.
    normals[lengths < 1e-3] = (0, 1)
    return normals / np.maximum(lengths, np.float32(1e-3))[:, None]


def _walk(
    positions: NDArray[np.floating], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The pixels at ``positions``, clipped to the array, and which of them come before the first that is not allowed."""
    pixels = np.rint(positions).astype(np.intp)
    limit = np.array(allowed.shape) - 1
    clipped = np.clip(pixels, 0, limit)
    valid = (pixels == clipped).all(axis=-1) & allowed[clipped[..., 0], clipped[..., 1]]
    return clipped, np.logical_and.accumulate(valid, axis=1)
