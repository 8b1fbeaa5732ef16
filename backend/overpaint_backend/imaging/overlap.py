"""What paint that overlaps with known surroundings tells: in the bleed lie paint and truth, one above the other.

An engine did not see that truth, so it may have painted other detail there, or another thing that was asked for. Hence what
counts is what many places along the border have in common, as far as it exceeds what they would by chance; and places that
differ by more than an engine's fault are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .bleed import Bleed
from .border import Border, colors_at, mean_along
from .correction import MEANT, Correction, Scene
from .membrane import CELL_PX, Field
from .sharpness import (
    DETAIL_RADIUS_PX,
    PATCH_RADIUS_PX,
    has_room,
    luma,
    measure_softness,
    patches,
    sharpened_at,
    sharpening_kernel,
)
from .tone import Tone

__all__ = ["plan_from_overlap"]

_MIN_CELLS = 4
"""With fewer along the border there is nothing to tell a fault from another thing by."""

_SIGN_BLOCK, _SIGN_SERIES = 6, 4
"""How many profiles share a coin, and how often all coins are tossed, to see what differences without a common sign give."""


def plan_from_overlap(scene: Scene, border: Border, bleed: Bleed, *, may_sharpen: bool) -> Correction | None:
    """What is to be done to the paint in the scene's hole, so that it meets what is around; None if too little tells.

    Args:
        scene: where the hole is what shows; around it lies the bleed.
        border: the hole's.
        bleed: of the scene's shape.
        may_sharpen: whether the paint has not been sharpened yet.
    """
    pairs = _Pairs.along(scene, border, bleed)
    if len(pairs.by_cell().level) < _MIN_CELLS:
        return None
    pairs = pairs.without_meant()
    cells = pairs.by_cell()
    if len(cells.level) < _MIN_CELLS:
        return Correction()
    tone = _tone(cells)
    kernel = _kernel(scene, border, bleed, tone) if may_sharpen else None
    if kernel is not None:
        # Softness itself looks like less contrast and, beside an edge, like another color.
        sharper = _Pairs.along(scene, border, bleed, kernel).without_meant()
        if len(sharper.by_cell().level) >= _MIN_CELLS:
            pairs, tone = sharper, _tone(sharper.by_cell())
    field = _field(scene.hole.shape, pairs.after(tone))
    return Correction(tone, kernel, field)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Paint and truth along the border. places: (N, 2) row and column. paint, truth: (N, 3) mean colors."""

    places: NDArray[np.floating]
    paint: NDArray[np.floating]
    truth: NDArray[np.floating]

    @classmethod
    def along(
        cls, scene: Scene, border: Border, bleed: Bleed, kernel: NDArray[np.floating] | None = None
    ) -> _Pairs:
        """The means of what can be trusted on each profile, of those that have any, with the paint sharpened."""
        (rows, columns), valid = _trusted(border, bleed)
        if kernel is None:
            painted = colors_at(scene.painted, rows, columns)
        else:
            painted = sharpened_at(scene.painted, kernel, rows, columns)
            valid[valid] = has_room(rows[valid], columns[valid], scene.hole | bleed.region)
        depth_px = valid.shape[1]
        paint, has_any = mean_along(painted, valid, depth_px)
        truth, _ = mean_along(colors_at(scene.image, rows, columns), valid, depth_px)
        used = has_any[:, 0] > 0
        return cls(border.places[used], paint[used, 0], truth[used, 0])

    @property
    def level(self) -> NDArray[np.floating]:
        """(N, 3) halfway between paint and truth."""
        return (self.paint + self.truth) / 2

    @property
    def change(self) -> NDArray[np.floating]:
        """(N, 3) from paint to truth."""
        return self.truth - self.paint

    def by_cell(self) -> _Pairs:
        """Means along the border: single pixels differ in detail."""
        index, counts = self._cells()
        return _Pairs(*(_means(array, index, counts) for array in (self.places, self.paint, self.truth)))

    def without_meant(self) -> _Pairs:
        """Only the pairs of cells that an engine's fault explains; none where most of them differ by more than that."""
        index, counts = self._cells()
        change = _means(self.change, index, counts)
        detail = np.median(np.abs(self.change - change[index])) if len(index) else 0
        is_fault = np.abs(change).max(axis=1) <= MEANT + detail
        if 2 * is_fault.sum() < len(is_fault):
            is_fault = np.zeros_like(is_fault)
        used = is_fault[index]
        return _Pairs(self.places[used], self.paint[used], self.truth[used])

    def after(self, tone: Tone) -> _Pairs:
        """With the paint corrected."""
        return replace(self, paint=tone.apply(self.paint).astype(np.float32))

    def _cells(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(N,) which cell each pair lies in, and how many lie in each."""
        cells = (self.places / CELL_PX).astype(np.intp) @ np.array([1 << 16, 1])
        _, index, counts = np.unique(cells, return_inverse=True, return_counts=True)
        return index, counts


def _tone(cells: _Pairs) -> Tone:
    """What turns paint into truth, beyond what it would have to by chance."""
    tone = Tone.fit(cells.level, cells.change)
    left = cells.after(tone).change
    return tone.beyond([Tone.fit(cells.level, left * sign) for sign in _signs(len(left), 1)])


def _field(shape: tuple[int, int], pairs: _Pairs) -> Field:
    noise = [pairs.change * sign for sign in _signs(len(pairs.change), _SIGN_BLOCK)]
    weights = np.ones(len(pairs.change), np.float32)
    return Field.solve(shape, pairs.places, pairs.change, weights, np.stack(noise))


def _trusted(border: Border, bleed: Bleed) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The pixels of profiles, (2, N, S), that lie as near to the mask as paint can be trusted, and which of them are valid."""
    depth_px = min(bleed.trusted_px, border.outside.shape[2])
    places = border.outside[..., :depth_px]
    valid = border.outside_valid[:, :depth_px] & bleed.region[places[0], places[1]]
    return places, np.logical_and.accumulate(valid, axis=1)


def _kernel(scene: Scene, border: Border, bleed: Bleed, tone: Tone) -> NDArray[np.floating] | None:
    """What sharpens paint of that tone; None if it is sharp."""
    softness_px = _softness(scene, border, bleed, tone)
    if not softness_px:
        return None
    (rows, columns), used = _trusted(border, bleed)
    rows, columns = rows[used], columns[used]
    roomy = has_room(rows, columns, scene.hole | bleed.region)
    rows, columns = rows[roomy], columns[roomy]
    truth = colors_at(scene.image, rows, columns)
    return sharpening_kernel(scene.painted, truth, rows, columns, softness_px)


def _softness(scene: Scene, border: Border, bleed: Bleed, tone: Tone) -> float:
    """In px: there is room for the paint's fine detail, and beside it for what tells how blurs change such detail."""
    sharp, sharp_valid = patches(
        scene.image, border.outside[..., PATCH_RADIUS_PX + 1], PATCH_RADIUS_PX, scene.sources
    )
    soft, soft_valid = patches(
        scene.painted, border.outside[..., DETAIL_RADIUS_PX + 1], DETAIL_RADIUS_PX, bleed.region
    )
    both = sharp_valid & soft_valid
    return measure_softness(luma(sharp[both]), luma(soft[both], tone.gain), border.places[both])


def _signs(count: int, block: int) -> NDArray[np.floating]:
    """(``_SIGN_SERIES``, count, 1) of 1 and -1; as many as ``block`` in a row share a coin."""
    coins = np.random.default_rng(0).integers(0, 2, (_SIGN_SERIES, -(-count // block))) * 2 - 1
    return coins[:, np.arange(count) // block, None].astype(np.float32)


def _means(
    array: NDArray[np.floating], index: NDArray[np.intp], counts: NDArray[np.intp]
) -> NDArray[np.floating]:
    sums = [np.bincount(index, column, len(counts)) for column in array.T]
    return np.stack([column / counts for column in sums], axis=-1).astype(np.float32)
