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

        def gather(column: NDArray[np.floating]) -> NDArray[np.floating]:
            flat = np.bincount(index, column * weights, grid[0] * grid[1])
            return flat.reshape(grid).astype(np.float32)

        series = values[None] if noise is None else np.concatenate((values[None], noise))
        channels = values.shape[1]
        sums = np.stack(
            [gather(one[:, channel]) for one in series for channel in range(channels)], axis=-1
        ).reshape(*grid, len(series), channels)
        return cls(cell_px, _push(sums, gather(np.ones_like(weights)))[..., 0, :])

    @property
    def is_flat_zero(self) -> bool:
        """Whether there is nothing in it."""
        return not self.values.any()

    def rows(self, shape: tuple[int, int]) -> _Rows:
        """Read the field row by row over a picture of ``shape``."""
        across = stretch(shape[1], self.values.shape[1], self.cell_px) @ self.values
        flat = across.reshape(len(across), -1)
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
    weights = np.zeros((length, cells), np.float32)
    for shift, weight in ((-1, (0.5 - off) ** 2 / 2), (0, 0.75 - off**2), (1, (0.5 + off) ** 2 / 2)):
        np.add.at(weights, (np.arange(length), np.clip(nearest + shift, 0, cells - 1)), weight)
    return weights


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
    # A cell with one value or two says less than one with a row of them.
    own = (sums - base * counts[..., None, None]) / (counts[..., None, None] + 1)
    if sums.shape[2] == 1:
        return base + own
    own[:, :, 0] *= _worth(own, counts > 0)[..., None]
    return base + own


def _worth(own: NDArray[np.floating], seen: NDArray[np.bool_]) -> NDArray[np.floating]:
    """How much of the first series' own differences, (h, w), 0 to 1, is more than chance; the other series are chance.

    Asked of all cells together first, so that one edge of the picture that ends here is not enough. A few cells are no
    witnesses: what all values have in common must be settled before.
    """
    power = np.square(own).sum(axis=-1)
    if np.count_nonzero(seen) < _MIN_CELLS:
        return np.zeros(seen.shape, np.float32)
    typical = np.quantile(power[seen], _SHARED_FRAC, axis=0)
    usual = typical[1:].max() + _FLOOR**2
    overall = max(0.0, 1 - _CLEAR_POWER * usual / max(typical[0], usual))
    chance = (
        _around(power[..., 1:].mean(axis=-1)) / np.maximum(_around(seen.astype(np.float32)), 1) + _FLOOR**2
    )
    power = np.maximum(power[..., 0], _FLOOR**2)
    share = np.maximum(0, 1 - _CERTAIN_SIGMAS**2 * chance / power)
    return overall * share * np.minimum(1, np.sqrt(_MAX_POWER * typical[0] / power))


def _around(plane: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sums over 3 × 3 cells."""
    padded = np.pad(plane, 1)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _halve(array: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sums over 2 × 2 cells; the last row and column are halves where the length is odd."""
    height, width = array.shape[:2]
    pad = ((0, height % 2), (0, width % 2), *((0, 0) for _ in array.shape[2:]))
    even = np.pad(array, pad)
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
