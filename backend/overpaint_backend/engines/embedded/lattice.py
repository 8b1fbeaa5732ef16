"""How far a picture is from itself where it comes again, as walls of bricks, tiles, windows and cloth do.

The surroundings of the hole are laid over themselves at all shifts at once, by Fourier transform (Padfield 2012, Masked Object
Registration in the Fourier Domain). Where they are alike at two shifts in different directions and at the sums of these, the
shifts span a lattice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .patches import detail_of
from .picture import Picture

__all__ = ["find_lattice"]

_MIN_ALIKE = 0.6
"""From which correlation on the picture comes again. Bricks have .9; of 26 other pictures none has more than .42 at two shifts in
different directions."""

_SLACK = 0.12
"""By how much less alike than at the best shift a picture may be at the two that span the lattice."""

_MIN_CONTRAST = 0.1
"""By how much more alike it must be there than half way there: along lines it is much alike everywhere. Bricks have .2."""

_MIN_AGAIN = 0.5
"""How alike it must be at the lattice's other shifts."""

_MIN_SHIFT_PX = 8
_REACH = 0.6
"""The longest shift, as a share of the picture's sides."""

_MIN_PAIRS = 2000
"""How many pairs of known pixels there must be at a shift."""

_MIN_TURN = 0.5
"""How far from one direction two shifts must be, as a sine."""

_MAX_PERIODS = 12
_ASTRAY_PX = 2
"""How far from the sum of two shifts the best one may be: few lattices have periods of whole pixels."""


def find_lattice(picture: Picture) -> NDArray[np.int64] | None:
    """The shifts after which ``picture`` comes again, (M, 2), in px down and right, shortest first; None if it does not.

    It has to come again in two directions.
    """
    alike = _Likeness(picture)
    spanning = _spanning(alike)
    if spanning is None:
        return None
    first, second = spanning
    if any(
        alike.near(shift)[1] < _MIN_AGAIN for shift in (2 * first, 2 * second, first + second, first - second)
    ):
        return None
    times = range(-_MAX_PERIODS, _MAX_PERIODS + 1)
    near = (alike.near(i * first + j * second) for i in times for j in times if i or j)
    return _shortest_first({(int(down), int(right)) for (down, right), value in near if value >= _MIN_AGAIN})


def _spanning(alike: _Likeness) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """The two shortest shifts in different directions at which the picture comes again."""
    peaks = alike.peaks()
    if not peaks:
        return None
    least = max(_MIN_ALIKE, max(peaks.values()) - _SLACK)
    shifts = _shortest_first(
        {
            shift
            for shift, value in peaks.items()
            if value >= least and value - alike.half_way(shift) >= _MIN_CONTRAST
        }
    )
    for second in shifts[1:]:
        if abs(_sine(shifts[0], second)) >= _MIN_TURN:
            return shifts[0], second
    return None


def _shortest_first(shifts: set[tuple[int, int]]) -> NDArray[np.int64]:
    return np.array(sorted(shifts, key=lambda shift: (np.hypot(*shift), shift)), np.int64).reshape(-1, 2)


def _sine(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    return float((one[0] * other[1] - one[1] * other[0]) / (np.hypot(*one) * np.hypot(*other)))


class _Likeness:
    """How alike a picture's known detail is to itself at each shift, as a correlation; -1 where too little is known."""

    def __init__(self, picture: Picture) -> None:
        known = picture.sources.astype(np.float64)
        detail = detail_of(picture.rgb, picture.sources).astype(np.float64)
        height, width = known.shape
        padded = (2 * height, 2 * width)

        def overlaid(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
            product = np.fft.rfft2(one, padded) * np.conj(np.fft.rfft2(other, padded))
            return np.fft.fftshift(np.fft.irfft2(product, padded))

        count = np.maximum(np.rint(overlaid(known, known)), 1)
        mine, theirs = overlaid(detail, known), overlaid(known, detail)
        common = overlaid(detail, detail) - mine * theirs / count
        my_variance = overlaid(detail**2, known) - mine**2 / count
        their_variance = overlaid(known, detail**2) - theirs**2 / count
        deviations = np.sqrt(np.maximum(my_variance, 0) * np.maximum(their_variance, 0))
        self._values = np.where(count >= _MIN_PAIRS, common / np.maximum(deviations, 1e-9), -1)
        self._middle = np.array((height, width))
        self._reach = (_REACH * self._middle).astype(np.int64)

    def peaks(self) -> dict[tuple[int, int], float]:
        """The shifts within reach at which it is higher than all around, with its values."""
        down, right = self._reach
        window = self._around(np.zeros(2, np.int64), self._reach)
        highest = np.max([np.roll(window, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
        rows, columns = np.nonzero(window >= highest)
        return {
            (int(row - down), int(column - right)): float(window[row, column])
            for row, column in zip(rows, columns, strict=True)
            if np.hypot(row - down, column - right) >= _MIN_SHIFT_PX
        }

    def half_way(self, shift: tuple[int, int]) -> float:
        """Its value at half of a shift within reach."""
        down, right = self._middle + np.array(shift) // 2
        return float(self._values[down, right])

    def near(self, shift: NDArray[np.int64]) -> tuple[NDArray[np.int64], float]:
        """The best shift near one, and its value; -1 beyond reach."""
        if (np.abs(shift) > self._reach).any():
            return shift, -1.0
        window = self._around(shift, np.full(2, _ASTRAY_PX))
        row, column = np.unravel_index(np.argmax(window), window.shape)
        return shift + np.array((row, column)) - _ASTRAY_PX, float(window[row, column])

    def _around(self, shift: NDArray[np.int64], reach: NDArray[np.int64]) -> NDArray[np.float64]:
        top, left = self._middle + shift - reach
        bottom, right = self._middle + shift + reach + 1
        return self._values[top:bottom, left:right]
