"""Whether a fill looks as if it belonged: how strange its textures are among those around it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.imaging.mask import bounds, grow
from overpaint_backend.imaging.resample import resize
from overpaint_protocol.geometry import Size

from .patches import DETAIL, describe
from .picture import Picture

__all__ = ["strangeness"]

_OCTAVES = 3
_MIN_REACH_PX = 8
_REACH = 0.25
"""How far around the hole to look, as a fraction of the side of a square as large; that far, things look alike."""

_QUANTILES = np.linspace(0.01, 0.99, 50)
_GRAIN = 0.05
"""Added to the spread of what is around, so that a trace of grain next to a flat wall does not count."""


def strangeness(painted: NDArray[np.float32], picture: Picture) -> float:
    """How far the details in the hole are from those around it; 0 if there are as many of each kind.

    It is the Wasserstein distance between both, for each cosine of a patch but the mean color, relative to how much
    they vary, averaged over three scales. Color is left out: what is right may be of another color than the surroundings,
    but a fill that is flatter, busier or striped otherwise than they are is seldom right.

    Args:
        painted: (H, W, 3) float32, which is ``picture`` with its hole filled.
        picture: with a hole and sources.
    """
    hole, near = picture.hole, picture.sources
    reach = max(_MIN_REACH_PX, int(_REACH * math.sqrt(np.count_nonzero(hole))))
    around = near & grow(hole, reach)
    if around.any():
        near = around
    box = bounds(hole | near)
    assert box is not None  # noqa: S101 - there are a hole and sources
    part = np.s_[box.top : box.bottom, box.left : box.right]
    painted, hole, near = painted[part], hole[part], near[part]
    distances: list[float] = []
    for _ in range(_OCTAVES):
        if not (hole.any() and near.any()):
            break
        described = describe(painted)[..., DETAIL]
        inside, outside = described[hole], described[near]
        apart = np.abs(np.quantile(inside, _QUANTILES, axis=0) - np.quantile(outside, _QUANTILES, axis=0))
        distances.append(float(apart.mean(axis=0).sum() / (outside.std(axis=0).sum() + _GRAIN)))
        height, width = hole.shape
        painted = resize(painted, Size((width + 1) // 2, (height + 1) // 2))
        hole, near = hole[::2, ::2], near[::2, ::2]
    return float(np.mean(distances))
