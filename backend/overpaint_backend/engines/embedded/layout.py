"""What a fill shows at large, and how far another one departs from that.

Which things go where is settled best in a coarse draft, which sees furthest and comes out alike from any seed. A finer one that
puts something else there has gone astray in detail, however right its textures are.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.imaging.mask import bounds
from overpaint_backend.imaging.resample import resize
from overpaint_protocol.geometry import Rect, Size

from .picture import Picture

__all__ = ["departure"]

_CELLS = 6
"""Along the side of a square as large as the hole. With twice as many, drafts are told apart as well."""

_SPREAD = 0.02
"""Added to how much the colors around vary, so that nothing departs far from a flat wall by a trace of shading."""


def departure(painted: NDArray[np.float32], other: NDArray[np.float32], picture: Picture) -> float:
    """How far apart two fills are at large, relative to how much the colors around the hole vary; 0 if they agree.

    Args:
        painted: (H, W, 3) float32, which is ``picture`` with its hole filled.
        other: the same, filled otherwise.
        picture: with a hole and sources.
    """
    box = bounds(picture.hole)
    assert box is not None  # noqa: S101 - there is a hole
    side = math.sqrt(np.count_nonzero(picture.hole))
    window = box.grow(max(1, int(side / 4))).intersect(Rect.from_size(picture.size))
    part = np.s_[window.top : window.bottom, window.left : window.right]
    hole, around = picture.hole[part], picture.sources[part]
    cell = max(1, int(side / _CELLS))
    cells = Size(-(-window.width // cell), -(-window.height // cell))
    share = resize(np.repeat(hole[..., None], 3, axis=2).astype(np.float32), cells)[..., 0]
    inside = share >= min(0.5, float(share.max()))
    apart = np.abs(resize(painted[part], cells) - resize(other[part], cells))[inside].mean()
    spread = picture.rgb[part][around].std(axis=0).mean() if around.any() else 0.0
    return float(apart / (spread + _SPREAD))
