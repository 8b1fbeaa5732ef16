"""What an engine's own version of known surroundings tells: many return the whole Context.

It lies beside the truth, pixel by pixel, so nothing has to be guessed. Known pixels within ``border.DEPTH_PX`` of the border
count. Where most of them come back as another thing, the engine painted over them, and there is no fault to learn from.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .border import Border, colors_at, mean_along
from .correction import MEANT, Correction, Scene
from .membrane import Field
from .sharpness import (
    PATCH_RADIUS_PX,
    has_room,
    luma,
    measure_softness,
    patches,
    sharpened_at,
    sharpening_kernel,
)
from .tone import Tone

__all__ = ["plan_from_own_version"]

_MIN_PAIRS = 8
"""Of colors; fewer tell nothing."""

_PASSED = np.float32(1e-4)
"""A known pixel that comes back with less difference was passed through, not painted."""

_DEPTH_PX = 4
"""How far from the border the own version says what is wrong at the border."""


def plan_from_own_version(scene: Scene, border: Border) -> Correction | None:
    """What turns the engine's version of the surroundings into the truth; None if it passed them through.

    Args:
        scene: where the hole is all that the engine painted.
        border: the hole's.
    """
    own, truth = (colors_at(picture, *border.outside) for picture in (scene.painted, scene.image))
    valid = border.outside_valid
    differs = (np.abs(own - truth) > _PASSED).any(axis=-1) & valid
    if differs.sum() * 2 <= valid.sum():
        return None
    before, after = _pairs(own, truth, valid)
    is_fault = np.abs(after - before).max(axis=1, initial=0) <= MEANT
    if 2 * np.count_nonzero(is_fault) < len(is_fault):
        return Correction()
    tone = _tone(before[is_fault], after[is_fault])
    kernel = _kernel(scene, border, tone, own, truth)
    if kernel is not None:
        # Softness itself looks like less contrast and, beside an edge, like another color.
        own = sharpened_at(scene.painted, kernel, *border.outside)
        before, after = _pairs(own, truth, valid)
        tone = _tone(before[is_fault], after[is_fault])
    nearest = np.s_[:, :_DEPTH_PX]
    off, has_any = mean_along(truth[nearest] - tone.apply(own[nearest]), valid[nearest], _DEPTH_PX)
    off, has_any = off[:, 0], has_any[:, 0]
    has_any *= np.abs(off).max(axis=1, initial=0) <= MEANT
    field = Field.solve(scene.hole.shape, border.places, off, has_any)
    return Correction(tone, kernel, field)


def _pairs(
    own: NDArray[np.floating], truth: NDArray[np.floating], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """(M, 3) colors of both, means of a few (N, S, 3) pixels, since single ones may have lost detail."""
    before, has_any = mean_along(own, valid, _DEPTH_PX)
    after, _ = mean_along(truth, valid, _DEPTH_PX)
    return before[has_any > 0], after[has_any > 0]


def _tone(before: NDArray[np.floating], after: NDArray[np.floating]) -> Tone:
    return Tone.none() if len(before) < _MIN_PAIRS else Tone.fit((before + after) / 2, after - before)


def _kernel(
    scene: Scene, border: Border, tone: Tone, own: NDArray[np.floating], truth: NDArray[np.floating]
) -> NDArray[np.floating] | None:
    """What sharpens paint of that tone, fitted wherever the picture is the same thing; None if it is sharp."""
    sharp, soft = (
        patches(picture, border.outside[..., PATCH_RADIUS_PX + 1], PATCH_RADIUS_PX, scene.sources)
        for picture in (scene.image, scene.painted)
    )
    valid = sharp[1]
    softness_px = measure_softness(
        luma(sharp[0][valid]), luma(soft[0][valid], tone.gain), border.places[valid]
    )
    if not softness_px:
        return None
    before, has_any = mean_along(tone.apply(own), border.outside_valid, _DEPTH_PX)
    after, _ = mean_along(truth, border.outside_valid, _DEPTH_PX)
    is_same = (has_any > 0) & (np.abs(after - before).max(axis=-1) <= MEANT)
    used = np.repeat(is_same, _DEPTH_PX, axis=1) & border.outside_valid
    rows, columns = border.outside[:, used]
    roomy = has_room(rows, columns, np.ones_like(scene.hole))
    return sharpening_kernel(scene.painted, truth[used][roomy], rows[roomy], columns[roomy], softness_px)
