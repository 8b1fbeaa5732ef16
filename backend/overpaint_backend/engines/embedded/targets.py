"""The pixels that need a source, and how badly a source fits each of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .lines import Lines
from .patches import describe, touching, whole
from .picture import Picture

__all__ = ["Targets"]

_NEARNESS = np.float32(0.0005)
"""What it costs to copy from a whole longest side away, as a squared difference of color. Less than grain costs, so it
decides among equals only: near things are lit alike and seen in the same perspective. At 0.02, fills score half
a point of Q worse."""

_ASTRAY = np.float32(0.001)
_FAR_ASTRAY = np.float32(0.01)
"""What it costs to copy from another line, as a squared difference of color: for each square px it is away, and at most."""

_UNEVEN = np.float32(0.006)
"""What it costs, for each px and half of one at most, if its line does not run through the middle of a pixel as it does at the
target: where copies that differ in that meet, a line has a notch."""

_STRAIGHTENED_PX = 3
"""From so many px away, a place is moved to the line it should be on."""

_SHIFTED_PX = 24
_SHIFT = np.float32(0.004)
"""How far along its line a place may be moved, to where the line runs through the middle of a pixel as it does at the target, and
what a px of it counts against a px across: else lines have notches where their steps are drawn elsewhere."""


class Targets:
    """The pixels of a painted picture whose patch touches the hole, numbered in reading order.

    A place is the flat index of a pixel.

    Attributes:
        shape: height and width of the picture in px.
        rows, columns: (N,) int64, where each target is.
        numbers: (H, W) int64, which target a pixel is; -1 where it is none.
        allowed: (H * W,) bool, the places whose whole patch may be copied.
    """

    def __init__(self, painted: NDArray[np.float32], picture: Picture, lines: Lines | None = None) -> None:
        """Take ``painted``, (H, W, 3) float32, which is ``picture`` with its hole filled, and the lines that go on in it."""
        height, width = self.shape = picture.hole.shape
        described = describe(painted)
        self._described = described.reshape(height * width, -1)
        self.allowed = whole(picture.sources).ravel()
        targets = touching(picture.hole)
        self.rows, self.columns = np.nonzero(targets)
        self.numbers = np.full(self.shape, -1, np.int64)
        self.numbers[targets] = np.arange(len(self.rows))
        self._wanted = described[targets]
        self._lines = lines
        if lines is not None:
            self._on_line = lines.numbers(self.shape).ravel()

    def misfit(self, targets: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """How much each target's patch differs from that of its place, and a little for the way there."""
        difference = self._described[places]
        difference -= self._wanted[targets]
        rows, columns = np.divmod(places, self.shape[1])
        way = np.hypot(rows - self.rows[targets], columns - self.columns[targets]).astype(np.float32)
        misfit = np.einsum("ij,ij->i", difference, difference) + _NEARNESS / max(self.shape) * way
        if self._lines is not None:
            mine = self.rows[targets] * self.shape[1] + self.columns[targets]
            across = self._on_line[mine] - self._on_line[places]
            misfit += np.minimum(_ASTRAY * (across * across), _FAR_ASTRAY)
            misfit += _UNEVEN * np.minimum(np.abs(across), np.float32(0.5))
        return misfit

    def straighten(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """``places``, one for each target, moved to the line it is on if they are near; without lines as they are."""
        if self._lines is None:
            return places
        width = self.shape[1]
        rows, columns = np.divmod(places, width)
        mine = self.rows * width + self.columns
        numbers = self._on_line[mine]
        near = np.ones(len(places), np.bool_)
        straight = places
        least = np.full(len(places), np.inf, np.float32)
        for shift in sorted(range(-_SHIFTED_PX, _SHIFTED_PX + 1), key=abs):
            down, right = (shift, 0) if self._lines.are_steep else (0, shift)
            there_rows, there_columns = self._lines.meet(numbers, rows + down, columns + right)
            if shift == 0:
                away = np.maximum(np.abs(there_rows - rows), np.abs(there_columns - columns))
                near = away <= _STRAIGHTENED_PX
            usable = near & self._inside(there_rows, there_columns)
            there = np.where(usable, there_rows * width + there_columns, places)
            cost = np.abs(self._on_line[there] - numbers) + _SHIFT * abs(shift)
            better = usable & self.allowed[there] & (cost < least)
            straight = np.where(better, there, straight)
            least = np.where(better, cost, least)
        return straight

    def neighbors(
        self, targets: NDArray[np.int64], down: int, right: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which of ``targets`` have another so far ``down`` and ``right``, and the numbers of those others."""
        rows, columns = self.rows[targets] + down, self.columns[targets] + right
        inside = self._inside(rows, columns)
        found = np.full(len(targets), -1, np.int64)
        found[inside] = self.numbers[rows[inside], columns[inside]]
        return found >= 0, found[found >= 0]

    def _inside(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these pixels there are in the picture."""
        height, width = self.shape
        return (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
