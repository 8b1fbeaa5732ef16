"""A band around the layer that the engine paints as well, though none of it shows, as printers print beyond the cut.

Engines lose the rim of what they paint: an autoencoder blurs or grays it over a cell or so. In the bleed that does no harm.
And what is beneath the bleed is known, so the paint there tells how far off the engine is, even if it returns everything
around untouched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.geometry import Rect

from .mask import bounds, distance, window
from .resample import extend

__all__ = ["Bleed", "add_bleed"]

_LOST_FRACTION = 2 / 3
"""Of a bleed: what an engine may lose; the rest, next to the layer, is evidence."""

_MAX_THICKNESS_FRACTION = 1 / 5
"""Of what is painted: a thing that an engine fits into a hole must not be cut off all around."""

_BEHIND_RATIO = 1.5
"""How far what is behind the bleed may be, over how far it is straight across: there are right-angled corners."""

_WINDOW_RATIO = 4
"""How many times as far as the bleed there is nothing that counts."""


@dataclass(frozen=True, slots=True)
class Bleed:
    """Known surroundings that the engine painted over.

    region: (H, W) bool. width_px: how far it reaches from what the layer needs. trusted_px: how deep its paint is evidence,
        from the layer outwards; 0 if it is none.
    """

    region: NDArray[np.bool_]
    width_px: int
    trusted_px: int

    def within(self, box: Rect) -> Bleed:
        """The part that lies in ``box``."""
        return replace(self, region=self.region[window(box)])


def add_bleed(
    mask: NDArray[np.float32], known: NDArray[np.bool_], bleed_px: int
) -> tuple[NDArray[np.float32], Bleed]:
    """Widen what an engine paints.

    The bleed is at most a fifth as wide as the mask is thick, and none is taken from surroundings that are not much wider
    than the bleed: the engine needs them.

    Args:
        mask: (H, W) float32 in [0, 1], what the layer needs: everything above 0.
        known: (H, W) bool, what the engine may learn from.
        bleed_px: how much the engine wants, at least 0.

    Returns:
        A mask with the levels of ``mask``, continued over the bleed; and the bleed.
    """
    nothing = mask, Bleed(np.zeros(mask.shape, np.bool_), 0, 0)
    box = bounds(mask)
    if box is None or bleed_px == 0:
        return nothing
    height, width = mask.shape
    box = box.grow(_WINDOW_RATIO * bleed_px).intersect(Rect(0, 0, width, height))
    near = window(box)
    part = mask[near]
    hole = part > 0
    used_px = min(bleed_px, int(_thickness(hole) * _MAX_THICKNESS_FRACTION))
    around = _around(hole, known[near], used_px)
    if not around.any():
        return nothing
    region = np.zeros(mask.shape, np.bool_)
    region[near] = around
    widened = mask.copy()
    widened[near][around] = _continued(part, hole)[around]
    return widened, Bleed(region, used_px, max(0, used_px - round(bleed_px * _LOST_FRACTION)))


def _thickness(hole: NDArray[np.bool_]) -> float:
    """Side in px of a square that has as much area for its outline; what ends at the array's edge has none there."""
    outline_px = np.count_nonzero(hole[1:] != hole[:-1]) + np.count_nonzero(hole[:, 1:] != hole[:, :-1])
    return 4 * np.count_nonzero(hole) / max(1, outline_px)


def _around(hole: NDArray[np.bool_], known: NDArray[np.bool_], px: int) -> NDArray[np.bool_]:
    """What is known within ``px`` of the hole, where behind it there is half as much again."""
    least_px = px + px // 2
    away_px = distance(hole, least_px)
    sources = known & ~hole
    behind = distance(sources & (away_px > least_px), ceil(_BEHIND_RATIO * least_px))
    return sources & (away_px <= px) & np.isfinite(behind)


def _continued(mask: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    peak = mask.max()
    if (mask[hole] == peak).all():
        return np.broadcast_to(peak, mask.shape)
    levels = extend(mask[..., None], hole)[..., 0]
    return np.clip(levels, mask[hole].min(), peak)
