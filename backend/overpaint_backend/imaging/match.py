"""Making what an engine painted meet the picture around it.

Engines shift colors, lose contrast, soften, and spoil the rim of what they paint. Their own version of what they were not
asked to paint, if they return one, tells how much (``own_version``). What is then left is told by the bleed, where paint lies
over known surroundings (``overlap``), or without one by the step between paint and picture (``seam``). So an engine that was
right is left alone, and another thing, which was asked for, keeps its color.

Corrections go from coarse to fine: tones over all, then sharpness, then a smooth field that is strongest at the border.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .bleed import Bleed
from .border import DEPTH_PX, find_border
from .correction import Correction, Scene
from .mask import distance
from .overlap import plan_from_overlap
from .own_version import plan_from_own_version
from .raster import whole_pixels
from .resample import extend
from .seam import plan_from_seam

__all__ = ["REACH_PX", "match"]

REACH_PX = DEPTH_PX + 1
"""How far from what was painted a picture has a say in what ``match`` does."""

_MIN_PROFILES = 8
"""With fewer along the border there is nothing to tell a seam from a detail by."""


def match(
    painted: NDArray[np.float32],
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    known: NDArray[np.bool_],
    bleed: Bleed | None = None,
) -> NDArray[np.float32]:
    """Correct ``painted`` so that no seam shows where it meets ``image``.

    Args:
        painted: (H, W, 3) float32, encoded with the sRGB curve, what an engine returned; outside the mask and the bleed
            either its own version of the picture or the picture itself.
        image: (H, W, 3) float32, the picture; the truth where it is known and not masked.
        mask: (H, W) float32, above 0 where paint may show.
        known: (H, W) bool; False where ``image`` holds nothing.
        bleed: what the engine painted beside that.

    Returns:
        A new (H, W, 3) float32: ``image`` where it is known and not masked, elsewhere what was painted, corrected around
        the mask.
    """
    shown = mask > 0
    scene = Scene(painted, image, shown, known & ~shown)
    hole = shown if bleed is None else shown | bleed.region
    whole = replace(scene, hole=hole, sources=scene.sources & ~hole)
    border = find_border(whole.hole, whole.sources)
    own = rest = None
    if len(border) >= _MIN_PROFILES:
        own = plan_from_own_version(whole, border)
        if own is not None:
            painted = own.apply(painted)
            scene, whole = replace(scene, painted=painted), replace(whole, painted=painted)
        if bleed is not None and bleed.trusted_px:
            inner = find_border(scene.hole, scene.sources)
            rest = plan_from_overlap(scene, inner, bleed, may_sharpen=own is None)
        rest = rest or plan_from_seam(whole, border, is_corrected=own is not None)
    rest = rest or Correction()
    # After an own version the paint is a copy of ours: if that is all, there is no need for another.
    result = painted if rest.is_nothing and own is not None else rest.apply(painted)
    np.copyto(whole_pixels(result), whole_pixels(image), where=scene.sources)
    if rest.rim_px:
        spoiled = whole.hole & (distance(whole.sources, rest.rim_px) <= rest.rim_px)
        spoiled &= ~scene.sources
        np.copyto(result, extend(result, ~spoiled), where=spoiled[..., None])
    return result
