"""Straight lines that run through the surroundings of a hole and have to go on in it.

Boards, courses of bricks, a horizon: along such a line a picture stays much the same. How much of the detail around the hole
a family of lines explains tells whether it is there: half of it and more beside boards, a seventh at most beside leaves or
roofs. The lines of a family are parallel or, seen in perspective, change their slope evenly from one to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.imaging.mask import bounds, grow

from .patches import detail_of
from .picture import Picture

__all__ = ["Lines", "find_lines"]

_MIN_EXPLAINED = 0.3
"""Which share of the detail the lines must explain. Ten fill cases have .47 to .82 or .15 at most."""

_MIN_CONTRAST = 0.01
"""With less detail than this, as a standard deviation, there is nothing to go on."""

_MIN_CROSSED = 0.8
"""Which share of the hole must lie on lines that can be seen outside it; slanted ones miss a corner of an expansion."""

_MIN_SEEN_PX = 16
"""How many known pixels a line must have for that."""

_MIN_REACH_PX = 16
_REACH = 0.5
"""How far around the hole to look, as a fraction of the side of a square as large."""

_SAMPLES = 20_000
_COARSE = 3
"""Only every third sample decides where the search begins."""

_SLOPES = np.tan(np.radians(np.arange(-45, 46)))
_TURNS = np.linspace(-0.4, 0.4, 9)
_MAX_TURN = 0.5
"""By how much the slope changes from line to line, times how far the picture goes to either side of the hole's middle. At 1,
lines would meet in it."""

_BEGINNINGS = 3
_HALVINGS = 7
"""From how many of the best of these families to go on, and how often with half the step."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A family of lines. The line numbered n passes the middle's column n px below the middle, with a slope of ``slope + turn * n``.

    are_steep: rows and columns change places; slopes are then across per px down.
    middle: row and column of the middle of the hole.
    """

    are_steep: bool
    middle: tuple[float, float]
    slope: float
    turn: float

    def shrink(self, factor: int) -> Lines:
        """The same in the picture that is ``factor`` times smaller."""
        row, column = ((place + 0.5) / factor - 0.5 for place in self.middle)
        return replace(self, middle=(row, column), turn=self.turn * factor)

    def number(self, rows: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """On which line each pixel is, in px from the middle one."""
        down, right = rows - np.float32(self.middle[0]), columns - np.float32(self.middle[1])
        if self.are_steep:
            down, right = right, down
        slope, turn = np.float32(self.slope), np.float32(self.turn)
        return ((down - slope * right) / (1 + turn * right)).astype(np.float32)

    def numbers(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """The same for each pixel of a picture; (H, W)."""
        rows, columns = np.indices(shape, np.float32)
        return self.number(rows, columns)

    def guide(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """What the library is to hold pixels to: their line, as a fraction of 1, in the first of three channels; (H, W, 3).

        The library takes 0 and 1 for the same.
        """
        numbers = self.numbers(shape)
        guide = np.zeros((*shape, 3), np.float32)
        guide[..., 0] = 0.5 * (numbers - numbers.min()) / max(1.0, float(np.ptp(numbers)))
        return guide

    def meet(
        self, numbers: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pixels on lines ``numbers`` in the same column as others, or the same row if the lines are steep."""
        along, middle = (rows, self.middle[::-1]) if self.are_steep else (columns, self.middle)
        across = np.rint(middle[0] + numbers + (self.slope + self.turn * numbers) * (along - middle[1]))
        across = across.astype(np.int64)
        return (along, across) if self.are_steep else (across, along)


def find_lines(picture: Picture) -> Lines | None:
    """The lines that cross the hole of ``picture``, if they explain enough of what is around it."""
    box = bounds(picture.hole)
    assert box is not None  # noqa: S101 - there is a hole
    height, width = picture.hole.shape
    around = max(_MIN_REACH_PX, int(_REACH * math.sqrt(np.count_nonzero(picture.hole))))
    near = np.flatnonzero(picture.sources & grow(picture.hole, around))
    if len(near) == 0:
        return None
    samples = near[:: -(-len(near) // _SAMPLES)]
    detail = detail_of(picture.rgb, picture.sources).ravel()[samples]
    if detail.std() < _MIN_CONTRAST:
        return None
    rows, columns = (places.astype(np.float32) for places in np.divmod(samples, width))
    middle = ((box.top + box.bottom - 1) / 2, (box.left + box.right - 1) / 2)
    fitted: list[tuple[float, Lines]] = []
    for are_steep in (False, True):
        middle_along, length = (middle[0], height) if are_steep else (middle[1], width)
        reach_px = max(middle_along, length - middle_along)
        fitted.append(_fit(rows, columns, detail, Lines(are_steep, middle, 0, 0), reach_px))
    _, lines = max(fitted, key=lambda each: each[0])
    crossing, crossed = _crossing(lines, picture)
    of_those = crossing.ravel()[samples]
    if crossed < _MIN_CROSSED or np.count_nonzero(of_those) < _MIN_SEEN_PX:
        return None
    explained = _explained(lines, rows[of_those], columns[of_those], detail[of_those], 1)
    if explained < _MIN_EXPLAINED:
        return None
    return lines


def _fit(
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    detail: NDArray[np.float32],
    start: Lines,
    reach_px: float,
) -> tuple[float, Lines]:
    """The family that explains most of ``detail``, and how much that is; the picture ends ``reach_px`` from the middle."""
    few = np.s_[::_COARSE]
    tried = [
        (_explained(lines, rows[few], columns[few], detail[few], 2), lines)
        for lines in (
            replace(start, slope=float(slope), turn=float(turn) / reach_px)
            for slope, turn in product(_SLOPES, _TURNS)
        )
    ]
    tried.sort(key=lambda each: -each[0])
    climbed = [_climb(rows, columns, detail, lines, reach_px) for _, lines in tried[:_BEGINNINGS]]
    return max(climbed, key=lambda each: each[0])


def _climb(
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    detail: NDArray[np.float32],
    lines: Lines,
    reach_px: float,
) -> tuple[float, Lines]:
    """The best family in small steps from ``lines``, ever smaller once none makes it better."""
    explained = _explained(lines, rows, columns, detail, 1)
    for halving in range(_HALVINGS):
        slope, turn = 0.01 / 2**halving, 0.05 / reach_px / 2**halving
        improved = True
        while improved:
            improved = False
            for more_slope, more_turn in ((slope, 0), (-slope, 0), (0, turn), (0, -turn)):
                other = replace(lines, slope=lines.slope + more_slope, turn=lines.turn + more_turn)
                if abs(other.turn) * reach_px > _MAX_TURN:
                    continue
                theirs = _explained(other, rows, columns, detail, 1)
                if theirs > explained + 1e-4:
                    explained, lines, improved = theirs, other, True
    return explained, lines


def _explained(
    lines: Lines,
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    detail: NDArray[np.float32],
    width_px: int,
) -> float:
    """Which share of the variance of ``detail`` goes away if each line's mean is subtracted, beyond what chance does."""
    which = np.floor(lines.number(rows, columns) / width_px).astype(np.int64)
    which -= which.min()
    counts = np.bincount(which)
    sums = np.bincount(which, detail)
    used = counts > 0
    total = float(np.dot(detail, detail))
    share = float((sums[used] ** 2 / counts[used]).sum()) / max(total, 1e-12)
    chance = np.count_nonzero(used) / len(detail)
    return (share - chance) / max(1 - chance, 1e-6)


def _crossing(lines: Lines, picture: Picture) -> tuple[NDArray[np.bool_], float]:
    """The pixels on lines that cross the hole, and which share of the hole is on lines that are seen outside it."""
    which = np.rint(lines.numbers(picture.hole.shape)).astype(np.int64)
    which -= which.min()
    count = int(which.max()) + 1
    inside = np.bincount(which[picture.hole], minlength=count)
    outside = np.bincount(which[picture.sources], minlength=count)
    crossed = float(inside[outside >= _MIN_SEEN_PX].sum() / inside.sum())
    return (inside > 0)[which], crossed
