"""A smooth field over a picture from scattered values of unlike worth: what a seam is evened out with.

Between the values it is nearly the membrane that Poisson blending solves for (Pérez et al. 2003), but found by pulling
the values up a pyramid and pushing them down again. So it can weigh them on the way: a value that many neighbors share
reaches far, one that stands alone counts for little or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

__all__ = ["CELL_PX", "Field"]

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
            weights: (N,) 0 to 1; what weighs 0 is as if it were not there.
            noise: (K, N, C), K times values of the same kind of which none means anything: what they show by chance
                tells what ``values`` may. None trusts every value.
        """
        used = weights > 0
        places, values, weights = places[used], values[used], weights[used]
        series = values[None] if noise is None else np.concatenate((values[None], noise[:, used]))
        cell_px = max(CELL_PX, -(-max(shape) // _MAX_CELLS))
        grid = (-(-shape[0] // cell_px), -(-shape[1] // cell_px))
        cells, index = _distinct(np.minimum((places / cell_px).astype(np.intp), np.array(grid) - 1))
        weighted = np.moveaxis(series, 0, 1) * weights[:, None, None]
        field = _push(grid, cells, _sums(weighted, index), _sums(weights, index), wanted=1)
        return cls(cell_px, field[..., 0, :])

    @property
    def is_flat_zero(self) -> bool:
        """Whether there is nothing in it."""
        return not self.values.any()

    def rows(self, shape: tuple[int, int]) -> _Rows:
        """Read the field row by row over a picture of ``shape``."""
        cells = len(self.values)
        down = _stretch(np.eye(cells, dtype=np.float32), shape[0], self.cell_px)
        return _Rows(down, _stretch_across(self.values, shape[1], self.cell_px).reshape(cells, -1))


@dataclass(frozen=True, slots=True)
class _Rows:
    """A Field that is stretched along its rows; along the columns it is when asked."""

    down: NDArray[np.floating]
    across: NDArray[np.floating]

    def write(self, rows: slice, out: NDArray[np.floating]) -> None:
        """Write n rows into ``out``, (n, W * C) float32."""
        down = self.down[rows]
        used = np.flatnonzero(down.any(axis=0))
        part = np.s_[used[0] : used[-1] + 1]
        np.matmul(down[:, part], self.across[part], out=out)


def _stretch(cells: NDArray[np.floating], length: int, cell_px: int) -> NDArray[np.floating]:
    """Interpolate (h, w, ...) cells to (``length``, w, ...)."""
    near, shares = _between(np.arange(length), len(cells), cell_px)
    parts = cells[near] * shares.reshape(*near.shape, *(1,) * (cells.ndim - 1))
    return parts[0] + parts[1] + parts[2]


def _stretch_across(cells: NDArray[np.floating], length: int, cell_px: int) -> NDArray[np.floating]:
    """Interpolate (h, w, ...) cells to (h, ``length``, ...)."""
    return _stretch(np.ascontiguousarray(cells.swapaxes(0, 1)), length, cell_px).swapaxes(0, 1)


def _between(px: NDArray[np.intp], cells: int, cell_px: int) -> tuple[NDArray[np.intp], NDArray[np.floating]]:
    """Which three of a row of cells each of (n,) ``px`` lies between, (3, n), and the share of each, (3, n) float32.

    From center to center, quadratically, so without kinks.
    """
    at = (px + 0.5) / cell_px - 0.5
    nearest = np.rint(at).astype(np.intp)
    off = at - nearest
    near = np.array((np.maximum(nearest - 1, 0), nearest, nearest + 1))
    shares = np.array(((0.5 - off) ** 2 / 2, 0.75 - off**2, (0.5 + off) ** 2 / 2), np.float32)
    return np.minimum(near, cells - 1), shares


def _distinct(cells: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(n, 2) which cells, row and column, are among (N, 2), and (N,) which of them each is."""
    keys, index = np.unique(cells[:, 0] << 32 | cells[:, 1], return_inverse=True)
    return np.stack((keys >> 32, keys & 0xFFFFFFFF), axis=-1), index


def _sums(rows: NDArray[np.floating], index: NDArray[np.intp]) -> NDArray[np.floating]:
    """Add up N rows of any shape by ``index``, (N,), each number of which up to the highest is there."""
    flat = rows.reshape(len(rows), prod(rows.shape[1:]))
    places = index[:, None] * flat.shape[1] + np.arange(flat.shape[1])
    return np.bincount(places.ravel(), flat.ravel()).reshape(-1, *rows.shape[1:]).astype(np.float32)


def _push(
    grid: tuple[int, int],
    cells: NDArray[np.intp],
    sums: NDArray[np.floating],
    counts: NDArray[np.floating],
    wanted: int,
) -> NDArray[np.floating]:
    """Means by cell, (h, w, wanted, C), of the first series.

    A coarser grid says what is common to several cells; what a cell then adds of its own is taken for as much as it
    exceeds what chance adds in the cells around. Few cells of a large grid add anything.

    Args:
        grid: height and width in cells.
        cells: (n, 2) row and column of those with values.
        sums: (n, 1 + K, C) of their values.
        counts: (n,) how many there are, all above 0.
        wanted: of how many series.
    """
    series = sums.shape[1]
    if grid == (1, 1):
        coarse = np.zeros((1, 1, *sums.shape[1:]), np.float32)
    else:
        parents, index = _distinct(cells // 2)
        half = (-(-grid[0] // 2), -(-grid[1] // 2))
        coarse = _push(half, parents, _sums(sums, index), _sums(counts, index), series)
    (rows, down), (columns, across) = (_between(cells[:, axis], coarse.shape[axis], 2) for axis in (0, 1))
    shares = (down[:, None] * across)[..., None, None]
    base = (coarse[rows[:, None], columns] * shares).sum(axis=(0, 1))
    # A cell with one value or two says less than one with a row of them.
    own = (sums - base * counts[:, None, None]) / (counts[:, None, None] + 1)
    if series > 1:
        own[:, 0] *= _worth(own, cells, grid)[:, None]
    means = _stretch_across(_stretch(coarse[:, :, :wanted], grid[0], 2), grid[1], 2)
    means[cells[:, 0], cells[:, 1]] += own[:, :wanted]
    return means


def _worth(own: NDArray[np.floating], cells: NDArray[np.intp], grid: tuple[int, int]) -> NDArray[np.floating]:
    """How much of the first series' own differences, (n, 1 + K, C), is more than chance, (n,) 0 to 1.

    The other series are chance. Asked of all cells together first, so that one edge of the picture that ends here is not
    enough. A few cells are no witnesses: what all values have in common must be settled before.
    """
    if len(own) < _MIN_CELLS:
        return np.zeros(len(own), np.float32)
    power = np.square(own).sum(axis=-1)
    typical = np.quantile(power, _SHARED_FRAC, axis=0)
    usual = typical[1:].max() + _FLOOR**2
    overall = max(0.0, 1 - _CLEAR_POWER * usual / max(typical[0], usual))
    chance = _mean_around(power[:, 1:].mean(axis=-1), cells, grid) + _FLOOR**2
    power = np.maximum(power[:, 0], _FLOOR**2)
    share = np.maximum(0, 1 - _CERTAIN_SIGMAS**2 * chance / power)
    return overall * share * np.minimum(1, np.sqrt(_MAX_POWER * typical[0] / power))


def _mean_around(
    values: NDArray[np.floating], cells: NDArray[np.intp], grid: tuple[int, int]
) -> NDArray[np.floating]:
    """(n,) the mean of the cells' values in the 3 × 3 around each."""
    plane = np.zeros((2, grid[0] + 2, grid[1] + 2), np.float32)
    row, column = cells.T + 1
    plane[0, row, column], plane[1, row, column] = values, 1
    rows = plane[:, :-2] + plane[:, 1:-1] + plane[:, 2:]
    total, count = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:])[:, row - 1, column - 1]
    return total / count
