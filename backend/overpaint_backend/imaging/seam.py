"""What the step tells by which paint and picture meet, where an engine shows its faults in no other way.

It should be no larger than steps between neighbors elsewhere: those to both sides of the border tell what is usual there,
and only what clearly exceeds it is taken for a seam. So an engine that was right is left alone, and an edge of the picture
that happens to end at the border is no seam. Nor is a step that no engine's fault explains: another thing was asked for, and
keeps its color.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .border import DEPTH_PX, Border, colors_at
from .correction import MEANT, Correction, Scene
from .membrane import CELL_PX, Field
from .sharpness import PATCH_RADIUS_PX, luma, measure_softness, patches
from .tone import Tone

__all__ = ["plan_from_seam"]

_MIN_CELLS = 4
"""With fewer along the border there is nothing to tell a seam from a detail by."""

_SLOPES_PX = 2
"""How many slopes before and after a step are looked at."""

_MIN_RIM_PX, _MAX_RIM_PX = 4, 14
"""How deep a spoiled rim may be: half a cell of a latent space to nearly two."""

_RIM_CONTRAST = 1.6
"""How many times steeper than elsewhere paint is where a spoiled rim begins and ends."""

_PATTERN_RATIO = 1.2
"""And than anything in the picture beside it: what has such edges all over is a pattern."""

_SIGN_BLOCK, _SIGN_SERIES = 6, 4
"""How many profiles share a coin, and how often all coins are tossed, to see what steps without a common sign add up to."""

_MOST_LEFT = 0.06
"""What an engine may still be off by inside, once its own version of the surroundings is right."""

_EDGE_RATIO = 6
_VISIBLE = np.float32(0.02)
"""A step larger than so many usual ones and this is an edge of the picture; no profile may claim more for a seam."""

_NOISE_RATIO = 4
"""How many usual steps a step may exceed ``MEANT`` by and still be an engine's fault."""


@dataclass(frozen=True, slots=True)
class _Profiles:
    """Colors along the border's profiles, (N, S, 3) each: paint inside, and around it what it continues."""

    border: Border
    paint: NDArray[np.floating]
    around: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _Steps:
    """How colors change outwards between pixels of the profiles, beyond what the pixels before and after let expect.

    valid: (N,) bool. level: (N, 3) mean of both colors. change: (N, 3).
    """

    valid: NDArray[np.bool_]
    level: NDArray[np.floating]
    change: NDArray[np.floating]

    def without_meant(self, usual: Sequence[_Steps]) -> _Steps:
        """Only the steps that an engine's fault explains, over ``usual`` ones; none where most are larger than that."""
        changes = np.concatenate([steps.change[steps.valid] for steps in usual])
        noise = np.median(np.abs(changes)) if changes.size else np.float32(0)
        is_fault = self.valid & (np.abs(self.change).max(axis=1) <= MEANT + _NOISE_RATIO * noise)
        if 2 * is_fault.sum() < self.valid.sum():
            is_fault = np.zeros_like(is_fault)
        return replace(self, valid=is_fault)


def plan_from_seam(scene: Scene, border: Border, *, is_corrected: bool) -> Correction:
    """What is to be done to the paint in the scene's hole, so that it meets what the engine returned around it.

    Args:
        scene: where the hole is all that the engine painted.
        border: the hole's, of at least ``MIN_PROFILES``.
        is_corrected: whether the engine's own version has told its tone and sharpness already, so that only little can be
            left, and what looks like more is what was asked for.
    """
    profiles = _Profiles(
        border, colors_at(scene.painted, border.inside), colors_at(scene.painted, border.outside)
    )
    rim_px = _rim(profiles)
    jump, usual = _steps(profiles, rim_px)
    tone = Tone.none() if is_corrected else _tone_of_jump(border, jump, usual)
    profiles = replace(profiles, paint=tone.apply(profiles.paint))
    softness_px = 0.0 if is_corrected else _softness(scene, border, tone)
    most = _MOST_LEFT if is_corrected else np.inf
    field = _jump_field(scene.hole.shape, border, *_steps(profiles, rim_px), most)
    return Correction(tone, softness_px, [field], rim_px)


def _tone_of_jump(border: Border, jump: _Steps, usual: Sequence[_Steps]) -> Tone:
    """What a tone must do to even out ``jump`` beyond what it would do to the ``usual`` steps."""
    tones = []
    for steps in (jump, *usual):
        # Means along the border: where paint is softer than the picture, single pixels look like less contrast.
        cells = (border.places[steps.valid] / CELL_PX).astype(np.intp) @ np.array([1 << 16, 1])
        _, index, counts = np.unique(cells, return_inverse=True, return_counts=True)
        if len(counts) >= _MIN_CELLS:
            level, change = (
                np.stack([np.bincount(index, column) / counts for column in array[steps.valid].T], axis=-1)
                for array in (steps.level, steps.change)
            )
            tones.append(Tone.fit(level, change))
        elif steps is jump:
            return Tone.none()
    first, *others = tones
    return first.beyond(others) if others else Tone.none()


def _jump_field(
    shape: tuple[int, int], border: Border, jump: _Steps, usual: Sequence[_Steps], most: float
) -> Field:
    # Whatever is still left after the tone and far from usual is an edge of the picture.
    bound = _VISIBLE + _EDGE_RATIO * np.median(np.abs(np.concatenate([steps.change for steps in usual])))
    bound = min(bound, np.float32(most))
    values = np.where(jump.valid[:, None], np.clip(jump.change, -bound, bound), 0)
    weights = jump.valid.astype(np.float32)
    # Where a profile ends early its other steps speak for the missing ones.
    counts = sum(steps.valid.astype(np.float32) for steps in usual)
    power = sum(np.where(steps.valid[:, None], np.square(steps.change), 0) for steps in usual)
    typical = np.sqrt(power / np.maximum(counts, 1)[:, None])
    signs = np.where(np.arange(len(border)) % 2, np.float32(1), np.float32(-1))[:, None]
    noise = [np.where(steps.valid[:, None], steps.change, typical * signs) for steps in usual]
    # A rim that is blurred makes the steps at the border larger without any being a seam: then signs are by chance.
    blocks = np.arange(len(border)) // _SIGN_BLOCK
    coins = np.random.default_rng(0).integers(0, 2, (_SIGN_SERIES, blocks[-1] + 1)) * 2 - 1
    noise += [values * coin[blocks, None] for coin in coins]
    return Field.solve(shape, border.places, values, weights, np.stack(noise))


def _steps(profiles: _Profiles, rim_px: int) -> tuple[_Steps, list[_Steps]]:
    """The step across the border, over the rim if that is spoiled, and as wide ones to both sides of it.

    An edge of a picture goes over several pixels, a seam over none: so what the slopes before and after a step let
    expect, as learnt from the steps beside the border, is no part of it.
    """
    border = profiles.border
    line = np.concatenate((profiles.paint[:, ::-1], profiles.around), axis=1)
    valid = np.concatenate((border.inside_valid[:, ::-1], border.outside_valid), axis=1)
    at = DEPTH_PX - 1 - rim_px
    inside = range(_SLOPES_PX, at - rim_px - _SLOPES_PX, 2)
    outside = range(DEPTH_PX + _SLOPES_PX, 2 * DEPTH_PX - 1 - rim_px - _SLOPES_PX, 2)
    all_steps = [_step(line, valid, first, rim_px + 1) for first in (at, *inside, *outside)]
    slopes = np.concatenate([slope[steps.valid].reshape(-1, _SLOPES_PX) for steps, slope in all_steps[1:]])
    changes = np.concatenate([steps.change[steps.valid].ravel() for steps, _ in all_steps[1:]])
    squares = slopes.T @ slopes + np.float32(1e-4) * np.eye(_SLOPES_PX, dtype=np.float32)
    expect = np.linalg.solve(squares, slopes.T @ changes)
    jump, *usual = [replace(steps, change=steps.change - slope @ expect) for steps, slope in all_steps]
    return jump.without_meant(usual), usual


def _step(
    line: NDArray[np.floating], valid: NDArray[np.bool_], first: int, width: int
) -> tuple[_Steps, NDArray[np.floating]]:
    """The step from pixel ``first`` of the lines, ``width`` px wide, and the slopes nearby, (N, 3, ``_SLOPES_PX``)."""
    last = first + width
    steps = _Steps(
        valid[:, first] & valid[:, last], (line[:, first] + line[:, last]) / 2, line[:, last] - line[:, first]
    )
    slopes = []
    for off in range(_SLOPES_PX):
        before = (line[:, first - off] - line[:, first - off - 1]) * valid[:, first - off - 1, None]
        after = (line[:, last + off + 1] - line[:, last + off]) * valid[:, last + off + 1, None]
        sides = valid[:, first - off - 1].astype(np.float32) + valid[:, last + off + 1]
        slopes.append((before + after) / np.maximum(sides, 1)[:, None])
    return steps, np.stack(slopes, axis=-1)


def _rim(profiles: _Profiles) -> int:
    """How deep the rim of the paint is spoiled, in px; 0 if it is not.

    Such a rim has an edge to both sides all along the border.
    """

    def steepness(
        first: NDArray[np.floating], second: NDArray[np.floating], valid: NDArray[np.bool_]
    ) -> NDArray:
        steps = np.minimum(np.abs(first - second).mean(axis=-1), 0.25) * valid
        return steps.sum(axis=0) / np.maximum(valid.sum(axis=0), 1)

    border = profiles.border
    inner = steepness(profiles.paint[:, :-1], profiles.paint[:, 1:], border.inside_valid[:, 1:])
    outer = steepness(profiles.around[:, :-1], profiles.around[:, 1:], border.outside_valid[:, 1:])
    edge = steepness(profiles.paint[:, :1], profiles.around[:, :1], border.outside_valid[:, :1])[0]
    usual = float(np.median(np.concatenate((inner, outer))))
    # Where the border is slanted, the far edge spreads over neighbors.
    spread = (inner[:-2] + inner[1:-1] + inner[2:]) / 3
    depth = _MIN_RIM_PX + int(np.argmax(spread[_MIN_RIM_PX - 2 : _MAX_RIM_PX - 2]))
    far_edge = spread[depth - 2]
    # A pattern has such edges outside, too.
    bound = max(_RIM_CONTRAST * usual + _VISIBLE, _PATTERN_RATIO * float(outer.max()))
    return depth + 1 if edge > bound and far_edge > bound else 0


def _softness(scene: Scene, border: Border, tone: Tone) -> float:
    """In px, from patches to both sides of the border."""
    sharp, sharp_valid = patches(
        scene.image, border.outside[:, PATCH_RADIUS_PX + 1], PATCH_RADIUS_PX, scene.sources
    )
    soft, soft_valid = patches(
        scene.painted, border.inside[:, _MAX_RIM_PX + PATCH_RADIUS_PX + 1], PATCH_RADIUS_PX, scene.hole
    )
    both = sharp_valid & soft_valid
    return measure_softness(luma(sharp[both]), luma(tone.apply(soft[both])), border.places[both])
