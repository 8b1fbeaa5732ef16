"""Which known patch each patch of a painted picture resembles: the correspondence field.

The search is PatchMatch's, for all pixels at once: each looks where its neighbors found something, then around its own
find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .patches import describe, touching, whole
from .picture import Picture

__all__ = ["Field", "search"]

_PASSES = 4
_STRIDES_PX = (8, 4, 2, 1)
_NEIGHBORS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True, slots=True)
class Field:
    """sources: (H, W) int64, the flat index of the known pixel that each pixel of the hole resembles.

    Pixels that are closer to the hole than the radius of a patch have one, too; 0 beyond.
    """

    sources: NDArray[np.int64]


def search(
    painted: NDArray[np.float32], picture: Picture, seed: int, on_pass: Callable[[float], None]
) -> Field:
    """Find the field of ``painted``, (H, W, 3) float32, which is ``picture`` with its hole filled.

    There must be a whole patch of sources. Calls ``on_pass`` with the share that is done, up to 1; it may raise.
    """
    random = np.random.default_rng(seed)
    finder = _Finder(painted, picture, random)
    for done in range(1, _PASSES + 1):
        for stride in _STRIDES_PX:
            for down, right in _NEIGHBORS:
                finder.ask_neighbors(down * stride, right * stride)
        reach = max(picture.hole.shape) // 2
        while reach >= 1:
            finder.look_around(reach, random)
            reach //= 2
        on_pass(done / _PASSES)
    return finder.field()


class _Finder:
    """The state of a search. Targets are the pixels whose patch touches the hole, numbered in reading order."""

    def __init__(self, painted: NDArray[np.float32], picture: Picture, random: np.random.Generator) -> None:
        self._shape = painted.shape[:2]
        described = describe(painted)
        self._described = described.reshape(-1, described.shape[-1])
        self._allowed = whole(picture.sources).ravel()
        targets = touching(picture.hole)
        self._rows, self._columns = np.nonzero(targets)
        self._wanted = described[targets]
        self._number = np.full(self._shape, -1, np.int64)
        self._number[targets] = np.arange(len(self._rows))
        self._found = random.choice(np.flatnonzero(self._allowed), len(self._rows))
        self._misfit = self._rate(np.arange(len(self._rows)), self._found)

    def field(self) -> Field:
        sources = np.zeros(self._shape, np.int64)
        sources[self._rows, self._columns] = self._found
        return Field(sources)

    def ask_neighbors(self, down: int, right: int) -> None:
        """Offer each target what the one that lies so far ``down`` and ``right`` of it found, shifted back."""
        height, width = self._shape
        rows, columns = self._rows + down, self._columns + right
        askers = np.flatnonzero((rows >= 0) & (rows < height) & (columns >= 0) & (columns < width))
        neighbors = self._number[rows[askers], columns[askers]]
        askers, neighbors = askers[neighbors >= 0], neighbors[neighbors >= 0]
        found_rows, found_columns = np.divmod(self._found[neighbors], width)
        self._offer(askers, found_rows - down, found_columns - right)

    def look_around(self, reach: int, random: np.random.Generator) -> None:
        """Offer each target a place within ``reach`` px of what it has."""
        rows, columns = np.divmod(self._found, self._shape[1])
        down, right = random.integers(-reach, reach + 1, (2, len(rows)))
        self._offer(np.arange(len(rows)), rows + down, columns + right)

    def _offer(self, targets: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        height, width = self._shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        targets, places = targets[inside], (rows * width + columns)[inside]
        news = self._allowed[places] & (places != self._found[targets])
        targets, places = targets[news], places[news]
        misfit = self._rate(targets, places)
        better = misfit < self._misfit[targets]
        self._found[targets[better]] = places[better]
        self._misfit[targets[better]] = misfit[better]

    def _rate(self, targets: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.float32]:
        difference = self._described[places]
        difference -= self._wanted[targets]
        return np.einsum("ij,ij->i", difference, difference)
