"""A smooth field over a picture from scattered values of unlike worth: what a seam is evened out with.

Between the values it is nearly the membrane that Poisson blending solves for (Pérez et al. 2003), but found by pulling
the values up a pyramid and pushing them down again. So it can weigh them on the way: a value that many neighbors share
reaches far, one that stands alone counts for little or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELL_PX", "Field", "stretch"]

CELL_PX = 16
"""The finest cell. What changes within fewer px is texture, not a seam."""

_MAX_CELLS = 256
_CERTAIN_SIGMAS = np.float32(2)
"""A difference smaller than so many of its standard errors is left alone."""

_MIN_CELLS = 8
_SHARED_FRAC = 0.4
_CLEAR_POWER = 3
_MAX_POWER = 25
"""See ``_worth``."""

_FLOOR = np.float32(2e-4)
"""A twentieth of an 8-bit step: nothing is known better than that."""


@dataclass(frozen=True, slots=True)
class Field:
    """Values on a grid of cells over a picture.

    cell_px: side of a cell. values: (h, w, C) float32, a value for the center of each.
    """

    cell_px: int
    values: NDArray[np.floating]

    @classmethod
    def solve(
        cls,
        shape: tuple[int, int],
        places: NDArray[np.floating],
        values: NDArray[np.floating],
        weights: NDArray[np.floating],
        noise: NDArray[np.floating] | None = None,
    ) -> Field:
        """Lay a field through ``values``.

        Args:
            shape: height and width of the picture in px.
            places: (N, 2) row and column of the values.
            values: (N, C).
            weights: (N,) 0 to 1.
            noise: (K, N, C), K times values of the same kind of which none means anything: what they show by chance
                tells what ``values`` may. None trusts every value.
        """
        cell_px = max(CELL_PX, -(-max(shape) // _MAX_CELLS))
        grid = (-(-shape[0] // cell_px), -(-shape[1] // cell_px))
        cells = np.minimum((places / cell_px).astype(np.intp), np.array(grid) - 1)
        index = cells[:, 0] * grid[1] + cells[:, 1]

        def gather(columns: NDArray[np.floating]) -> NDArray[np.floating]:
            """The weighted sums by cell of N rows of any shape."""
            rows = (columns.reshape(len(index), -1) * weights[:, None]).astype(np.float32, copy=False)
            length = rows.shape[1]
            places = index[:, None] * length + np.arange(length)
            sums = np.bincount(places.ravel(), rows.ravel(), grid[0] * grid[1] * length)
            return sums.reshape(*grid, *columns.shape[1:]).astype(np.float32)

        series = values[None] if noise is None else np.concatenate((values[None], noise))
        counts = gather(np.ones_like(weights))
        return cls(cell_px, _push(gather(np.moveaxis(series, 0, 1)), counts)[..., 0, :])

    @property
    def is_flat_zero(self) -> bool:
        """Whether there is nothing in it."""
        return not self.values.any()

    def rows(self, shape: tuple[int, int]) -> _Rows:
        """Read the field row by row over a picture of ``shape``."""
        across = np.tensordot(stretch(shape[1], self.values.shape[1], self.cell_px), self.values, (1, 1))
        flat = across.swapaxes(0, 1).reshape(len(self.values), -1)
        return _Rows(stretch(shape[0], self.values.shape[0], self.cell_px), flat)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A Field that is stretched along its rows; along the columns it is when asked."""

    down: NDArray[np.floating]
    across: NDArray[np.floating]

    def __getitem__(self, rows: slice) -> NDArray[np.floating]:
        """(n, W * C) float32 of n rows."""
        down = self.down[rows]
        used = np.flatnonzero(down.any(axis=0))
        part = np.s_[used[0] : used[-1] + 1]
        return down[:, part] @ self.across[part]


def stretch(length: int, cells: int, cell_px: int) -> NDArray[np.floating]:
    """(length, cells) weights that interpolate between the centers of cells, quadratically, so without kinks."""
    at = (np.arange(length) + 0.5) / cell_px - 0.5
    nearest = np.rint(at).astype(np.intp)
    off = at - nearest
    # With a cell more at both ends, which then go to those beside them.
    weights = np.zeros((length, cells + 2), np.float32)
    for shift, weight in enumerate(((0.5 - off) ** 2 / 2, 0.75 - off**2, (0.5 + off) ** 2 / 2)):
        weights[np.arange(length), nearest + shift] = weight
    weights[:, 1] += weights[:, 0]
    weights[:, -2] += weights[:, -1]
    return weights[:, 1:-1]


def _push(sums: NDArray[np.floating], counts: NDArray[np.floating]) -> NDArray[np.floating]:
    """Means by cell, (h, w, 1 + K, C), from the sums of values in it and how many there are.

    A coarser grid says what is common to several cells; what a cell then adds of its own is taken for as much as it
    exceeds what chance adds in the cells around.
    """
    height, width = counts.shape
    if height * width == 1:
        base = np.zeros_like(sums)
    else:
        coarse = _push(_halve(sums), _halve(counts))
        flat = coarse.reshape(*coarse.shape[:2], -1)
        base = stretch(width, coarse.shape[1], 2) @ np.tensordot(stretch(height, coarse.shape[0], 2), flat, 1)
        base = base.reshape(sums.shape)
    # Few cells of a large grid have any values.
    seen = counts > 0
    count = counts[seen][:, None, None]
    # A cell with one value or two says less than one with a row of them.
    own = (sums[seen] - base[seen] * count) / (count + 1)
    if sums.shape[2] > 1:
        own[:, 0] *= _worth(own, seen)[:, None]
    base[seen] += own
    return base


def _worth(own: NDArray[np.floating], seen: NDArray[np.bool_]) -> NDArray[np.floating]:
    """How much of the first series' own differences, (n, 1 + K, C) of the cells ``seen``, is more than chance, (n,) 0 to 1.

    The other series are chance. Asked of all cells together first, so that one edge of the picture that ends here is not
    enough. A few cells are no witnesses: what all values have in common must be settled before.
    """
    if len(own) < _MIN_CELLS:
        return np.zeros(len(own), np.float32)
    power = np.square(own).sum(axis=-1)
    typical = np.quantile(power, _SHARED_FRAC, axis=0)
    usual = typical[1:].max() + _FLOOR**2
    overall = max(0.0, 1 - _CLEAR_POWER * usual / max(typical[0], usual))
    around = np.zeros(seen.shape, np.float32)
    around[seen] = power[:, 1:].mean(axis=-1)
    chance = _around(around)[seen] / np.maximum(_around(seen.astype(np.float32))[seen], 1) + _FLOOR**2
    power = np.maximum(power[:, 0], _FLOOR**2)
    share = np.maximum(0, 1 - _CERTAIN_SIGMAS**2 * chance / power)
    return overall * share * np.minimum(1, np.sqrt(_MAX_POWER * typical[0] / power))


def _around(plane: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sums over 3 × 3 cells."""
    padded = np.zeros((plane.shape[0] + 2, plane.shape[1] + 2), np.float32)
    padded[1:-1, 1:-1] = plane
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _halve(array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sums over 2 × 2 cells; the last row and column are halves where the length is odd."""
    height, width = array.shape[0] // 2, array.shape[1] // 2
    sums = array[::2, ::2].copy()
    sums[:height] += array[1::2, ::2]
    sums[:, :width] += array[::2, 1::2]
    sums[:height, :width] += array[1::2, 1::2]
    return sums
