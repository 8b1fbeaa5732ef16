"""Which known patch each patch of a painted picture resembles: the correspondence field.

The search is PatchMatch's (Barnes et al. 2009), for all pixels at once: each looks where its neighbors found something, then
around its own find. In the end neighbors settle on what to copy in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .agreement import agree
from .lines import Lines
from .patches import soften
from .picture import Picture
from .targets import Targets

__all__ = ["Field", "Finder", "search", "settle"]

_PASSES = 4
_STRIDES_PX = (8, 4, 2, 1)
_SEARCHED = 0.7
"""The search's share of the time; the rest is agreement's."""

_EVEN_PX = 4.0
"""Standard deviation of what counts as color at large where lines are straightened, which lie a little elsewhere in the draft."""

_NEIGHBORS = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True, slots=True)
class Field:
    """sources: (H, W) int64, the flat index of the known pixel that each pixel of the hole resembles.

    Pixels that are closer to the hole than the radius of a patch have one, too; -1 beyond.
    """

    sources: NDArray[np.int64]

    @classmethod
    def of(cls, targets: Targets, places: NDArray[np.int64]) -> Field:
        """The field in which each of ``targets`` has its one of ``places``, (N,) int64."""
        sources = np.full(targets.shape, -1, np.int64)
        sources[targets.rows, targets.columns] = places
        return cls(sources)

    def enlarge(self, factor: int, shape: tuple[int, int]) -> Field:
        """The same for a picture of ``shape`` that is ``factor`` times larger; a source beyond its end is none."""
        height, width = shape
        rows, columns = np.indices(shape)
        sources = self.sources[rows // factor, columns // factor]
        source_rows, source_columns = np.divmod(sources, self.sources.shape[1])
        source_rows = source_rows * factor + rows % factor
        source_columns = source_columns * factor + columns % factor
        inside = (sources >= 0) & (source_rows < height) & (source_columns < width)
        return Field(np.where(inside, source_rows * width + source_columns, -1))


def search(
    painted: NDArray[np.float32],
    picture: Picture,
    random: np.random.Generator,
    on_pass: Callable[[float], None],
    lines: Lines | None = None,
) -> tuple[NDArray[np.float32], Field]:
    """Find the field of ``painted``, (H, W, 3) float32, which is ``picture`` with its hole filled, and settle it.

    Sources are on the same one of ``lines``, if any, where that fits. There must be a whole patch of sources. Calls
    ``on_pass`` with the share that is done, up to 1; it may raise.
    """
    targets = Targets(painted, picture, lines)
    finder = Finder(targets, random)
    for done in range(1, _PASSES + 1):
        finder.search(_STRIDES_PX, max(picture.hole.shape) // 2)
        on_pass(_SEARCHED * done / _PASSES)
    field = Field.of(targets, finder.found)
    return settle(painted, picture, field, lambda share: on_pass(_SEARCHED + (1 - _SEARCHED) * share), lines)


def settle(
    painted: NDArray[np.float32],
    picture: Picture,
    field: Field,
    on_round: Callable[[float], None],
    lines: Lines | None = None,
) -> tuple[NDArray[np.float32], Field]:
    """Let neighbors agree on their sources in ``field``, along ``lines`` if any; what is painted then, and the field of it.

    Without lines that is ``painted`` as it was. Calls ``on_round`` with the share that is done, up to 1; it may raise.
    """
    targets = Targets(painted, picture, lines)
    found = field.sources[targets.rows, targets.columns]
    if lines is None:
        return painted, Field.of(targets, agree(targets, found, painted, on_round))
    # What is painted may bend by some pixels, so neighbors have to agree on what it looks like when straight.
    found = targets.straighten(found)
    painted = _even_out(picture, painted, Field.of(targets, found))
    targets = Targets(painted, picture, lines)
    field = Field.of(targets, agree(targets, found, painted, on_round))
    return _even_out(picture, painted, field), field


def _even_out(picture: Picture, draft: NDArray[np.float32], field: Field) -> NDArray[np.float32]:
    """Paint the hole of ``picture`` from its sources; of the draft, of the same size, only the colors at large are left."""
    found = field.sources >= 0
    copied = draft.copy()
    copied[found] = picture.rgb.reshape(-1, 3)[field.sources[found]]
    share = np.maximum(soften(found[..., None].astype(np.float32), _EVEN_PX), 1e-6)
    even = copied + soften(draft - copied, _EVEN_PX) / share
    return np.where(picture.hole[..., None], even, draft)


class Finder:
    """The state of a search.

    Attributes:
        found: (N,) int64, the place each target has.
        misfit: (N,) float32, how badly it fits.
    """

    def __init__(self, targets: Targets, random: np.random.Generator, start: Field | None = None) -> None:
        """Begin with the sources of ``start``, and with any where that has none that may be copied."""
        self._targets = targets
        self._random = random
        self._all = np.arange(len(targets.rows))
        self.found = random.choice(np.flatnonzero(targets.allowed), len(self._all))
        if start is not None:
            places = start.sources[targets.rows, targets.columns]
            usable = (places >= 0) & targets.allowed[places]
            self.found[usable] = places[usable]
        self.misfit = targets.misfit(self._all, self.found)

    def search(self, strides_px: tuple[int, ...], reach_px: int) -> None:
        """One pass: let each target ask the neighbors at these distances, then look around within ``reach_px``, ever closer."""
        for stride in strides_px:
            for down, right in _NEIGHBORS:
                self._ask_neighbors(down * stride, right * stride)
        while reach_px >= 1:
            self._look_around(reach_px)
            reach_px //= 2

    def _ask_neighbors(self, down: int, right: int) -> None:
        """Offer each target what the one that lies so far ``down`` and ``right`` of it found, shifted back."""
        has, others = self._targets.neighbors(self._all, down, right)
        found_rows, found_columns = np.divmod(self.found[others], self._targets.shape[1])
        self._offer(self._all[has], found_rows - down, found_columns - right)

    def _look_around(self, reach: int) -> None:
        """Offer each target a place within ``reach`` px of what it has."""
        rows, columns = np.divmod(self.found, self._targets.shape[1])
        down, right = self._random.integers(-reach, reach + 1, (2, len(rows)))
        self._offer(self._all, rows + down, columns + right)

    def _offer(self, targets: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        height, width = self._targets.shape
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        targets, places = targets[inside], (rows * width + columns)[inside]
        news = self._targets.allowed[places] & (places != self.found[targets])
        targets, places = targets[news], places[news]
        misfit = self._targets.misfit(targets, places)
        better = misfit < self.misfit[targets]
        self.found[targets[better]] = places[better]
        self.misfit[targets[better]] = misfit[better]
