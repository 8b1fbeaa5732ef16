"""A picture with a hole and what may be copied into it: choosing a window, shrinking, varying by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.imaging.mask import bounds, grow
from overpaint_backend.imaging.resample import resize, resize_known
from overpaint_protocol.geometry import Rect, Size

__all__ = ["Picture", "choose_window", "shrink_factor", "vary"]

_MIN_SURROUNDINGS_PX = 128
_SURROUNDINGS_FRACTION = 0.5
"""How far around the mask to copy from, as a fraction of its longest side. Near things fit better than far ones."""

_PLAIN_SEEDS = 4
_VETO_FRACTION = 0.3
_VETO_CELL_PX = 128
_VETO_DISTANCE_PX = 64
"""See ``vary``."""


@dataclass(frozen=True, slots=True)
class Picture:
    """rgb: (H, W, 3) float32. hole, sources: (H, W) bool, to paint and to copy from; disjoint."""

    rgb: NDArray[np.float32]
    hole: NDArray[np.bool_]
    sources: NDArray[np.bool_]

    @property
    def size(self) -> Size:
        """Width and height in px."""
        height, width = self.hole.shape
        return Size(width, height)

    def crop(self, rect: Rect) -> Picture:
        """The part inside ``rect``, sharing memory."""
        window = np.s_[rect.top : rect.bottom, rect.left : rect.right]
        return Picture(self.rgb[window], self.hole[window], self.sources[window])

    def shrink(self, factor: int) -> Picture:
        """Scale down by a whole number, so that each small pixel stands for a square cell; the last ones may be cut.

        A small pixel that is partly hole and partly source counts as source if half of it is; what is no source and
        has any hole in it is to be painted.
        """
        if factor == 1:
            return self
        height, width = self.hole.shape
        missing = ((0, -height % factor), (0, -width % factor))
        whole = np.pad(self.rgb, (*missing, (0, 0)), mode="edge")
        size = Size(whole.shape[1] // factor, whole.shape[0] // factor)
        rgb, sources = resize_known(whole, np.pad(self.sources, missing, mode="edge"), size)
        cells = np.pad(self.hole, missing, mode="edge").reshape(size.height, factor, size.width, factor)
        return Picture(rgb, cells.any(axis=(1, 3)) & ~sources, sources)

    def paste(self, painted: NDArray[np.float32], window: Rect) -> NDArray[np.float32]:
        """The picture with its hole filled from ``painted``, which covers ``window`` at any resolution."""
        result = self.rgb.copy()
        part = result[window.top : window.bottom, window.left : window.right]
        hole = self.hole[window.top : window.bottom, window.left : window.right]
        part[hole] = resize(painted, window.size)[hole]
        return result


def shrink_factor(picture: Picture, max_pixels: int, max_hole_pixels: int) -> int:
    """The smallest whole number to shrink ``picture`` by that keeps it within both limits."""
    excess = max(picture.hole.size / max_pixels, np.count_nonzero(picture.hole) / max_hole_pixels)
    return max(1, math.ceil(math.sqrt(excess)))


def choose_window(picture: Picture) -> Rect:
    """What of the picture to look at: the hole and its surroundings, or more if nothing in there is known.

    Surroundings come before resolution: a wide hole in a narrow frame ends as one blot.
    """
    whole = Rect.from_size(picture.size)
    box = bounds(picture.hole)
    if box is None:
        return whole
    pad = max(_MIN_SURROUNDINGS_PX, int(max(box.width, box.height) * _SURROUNDINGS_FRACTION))
    window = box.grow(pad).intersect(whole)
    while not picture.crop(window).sources.any():
        window = window.grow(max(window.width, window.height)).intersect(whole)
    return window


def vary(picture: Picture, seed: int) -> Picture:
    """Let the seed decide what may be copied, so that variants differ in what they show.

    Starting PatchMatch from another seed changes details only. Three seeds of four leave out part of the sources,
    in a few blobs, none of them close to the hole, where lines must go on. The fourth copies from anywhere.
    """
    if seed % _PLAIN_SEEDS == 0:
        return picture
    size = picture.size
    grid = (size.height // _VETO_CELL_PX + 2, size.width // _VETO_CELL_PX + 2)
    cells = np.random.default_rng(seed).standard_normal(grid, dtype=np.float32)
    noise = resize(cells, size)
    blobs = noise < np.quantile(noise, _VETO_FRACTION)
    sources = picture.sources & (~blobs | grow(picture.hole, _VETO_DISTANCE_PX))
    return Picture(picture.rgb, picture.hole, sources) if sources.any() else picture
