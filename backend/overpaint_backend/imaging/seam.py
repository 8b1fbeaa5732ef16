"""What the step tells by which paint and picture meet, where an engine shows its faults in no other way.

It should be no larger than steps between neighbors elsewhere: those to both sides of the border tell what is usual there,
and only what clearly exceeds it is taken for a seam. So an engine that was right is left alone, and an edge of the picture
that happens to end at the border is no seam. Nor is a step that no engine's fault explains: another thing was asked for, and
keeps its color.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .border import DEPTH_PX, Border, colors_at
from .correction import MEANT, Correction, Scene
from .membrane import CELL_PX, Field
from .sharpness import PATCH_RADIUS_PX, luma, measure_softness, patches, wiener_kernel
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

    The first of S steps on each profile is the one across the border, the others are usual ones.

    valid: (S, N) bool. level: (S, 3, N) mean of both colors. change: (S, 3, N).
    """

    valid: NDArray[np.bool_]
    level: NDArray[np.floating]
    change: NDArray[np.floating]

    def without_meant(self) -> _Steps:
        """Only the first steps that an engine's fault explains, over usual ones; none where most are larger than that."""
        changes = _entries(self.change[1:], self.valid[1:])
        noise = np.median(np.abs(changes)) if changes.size else np.float32(0)
        is_fault = self.valid[0] & (np.abs(self.change[0]).max(axis=0) <= MEANT + _NOISE_RATIO * noise)
        if 2 * is_fault.sum() < self.valid[0].sum():
            is_fault = np.zeros_like(is_fault)
        return replace(self, valid=np.concatenate((is_fault[None], self.valid[1:])))


def plan_from_seam(scene: Scene, border: Border, *, is_corrected: bool) -> Correction:
    """What is to be done to the paint in the scene's hole, so that it meets what the engine returned around it.

    Args:
        scene: where the hole is all that the engine painted.
        border: the hole's, of at least ``MIN_PROFILES``.
        is_corrected: whether the engine's own version has told its tone and sharpness already, so that only little can be
            left, and what looks like more is what was asked for.
    """
    profiles = _Profiles(
        border, colors_at(scene.painted, *border.inside), colors_at(scene.painted, *border.outside)
    )
    rim_px = _rim(profiles)
    steps = _steps(profiles, rim_px)
    if is_corrected:
        return Correction(field=_jump_field(scene.hole.shape, border, steps, _MOST_LEFT), rim_px=rim_px)
    tone = _tone_of_jump(border, steps)
    steps = _steps(replace(profiles, paint=tone.apply(profiles.paint)), rim_px)
    field = _jump_field(scene.hole.shape, border, steps, np.inf)
    softness_px = _softness(scene, border, tone)
    kernel = wiener_kernel(softness_px) if softness_px else None
    return Correction(tone, kernel, field, rim_px)


def _tone_of_jump(border: Border, steps: _Steps) -> Tone:
    """What a tone must do to even out the first steps beyond what it would do to the usual ones."""
    tones = []
    for valid, level, change in zip(steps.valid, steps.level, steps.change, strict=True):
        # Means along the border: where paint is softer than the picture, single pixels look like less contrast.
        cells = (border.places[valid] / CELL_PX).astype(np.intp) @ np.array([1 << 16, 1])
        _, index, counts = np.unique(cells, return_inverse=True, return_counts=True)
        if len(counts) >= _MIN_CELLS:
            means = (
                np.stack([np.bincount(index, row) / counts for row in rows[:, valid]], axis=-1)
                for rows in (level, change)
            )
            tones.append(Tone.fit(*means))
        elif not tones:
            return Tone.none()
    first, *others = tones
    return first.beyond(others) if others else Tone.none()


def _jump_field(shape: tuple[int, int], border: Border, steps: _Steps, most: float) -> Field:
    # Whatever is still left after the tone and far from usual is an edge of the picture.
    bound = _VISIBLE + _EDGE_RATIO * np.median(np.abs(steps.change[1:]))
    bound = min(bound, np.float32(most))
    values = np.where(steps.valid[0], np.clip(steps.change[0], -bound, bound), np.float32(0))
    weights = steps.valid[0].astype(np.float32)
    # Where a profile ends early its other steps speak for the missing ones.
    usual, is_usual = steps.change[1:], steps.valid[1:, None]
    power = np.square(usual).sum(axis=0, where=is_usual)
    typical = np.sqrt(power / np.maximum(is_usual.sum(axis=0), 1))
    signs = np.where(np.arange(len(border)) % 2, np.float32(1), np.float32(-1))
    # A rim that is blurred makes the steps at the border larger without any being a seam: then signs are by chance.
    blocks = np.arange(len(border)) // _SIGN_BLOCK
    coins = np.random.default_rng(0).integers(0, 2, (_SIGN_SERIES, blocks[-1] + 1)) * 2 - 1
    tossed = values * coins[:, None, blocks].astype(np.float32)
    noise = np.concatenate((np.where(is_usual, usual, typical * signs), tossed))
    return Field.solve(shape, border.places, values.T, weights, noise.swapaxes(1, 2))


def _steps(profiles: _Profiles, rim_px: int) -> _Steps:
    """The step across the border, over the rim if that is spoiled, and as wide ones to both sides of it.

    An edge of a picture goes over several pixels, a seam over none: so what the slopes before and after a step let
    expect, as learnt from the steps beside the border, is no part of it.
    """
    border = profiles.border
    # Pixels first and profiles last: what is done to one pixel of all profiles is done in a row.
    line = np.concatenate((profiles.paint[:, ::-1], profiles.around), axis=1).transpose(1, 2, 0).copy()
    valid = np.concatenate((border.inside_valid[:, ::-1], border.outside_valid), axis=1).T.copy()
    at = DEPTH_PX - 1 - rim_px
    inside = range(_SLOPES_PX, at - rim_px - _SLOPES_PX, 2)
    outside = range(DEPTH_PX + _SLOPES_PX, 2 * DEPTH_PX - 1 - rim_px - _SLOPES_PX, 2)
    first = np.array((at, *inside, *outside))
    last = first + rim_px + 1
    level, change = (line[first] + line[last]) / 2, line[last] - line[first]
    is_step = valid[first] & valid[last]
    slopes = np.stack([_slope(line, valid, first - off, last + off) for off in range(_SLOPES_PX)])
    known_slopes = np.stack([_entries(slope[1:], is_step[1:]) for slope in slopes])
    known_changes = _entries(change[1:], is_step[1:])
    squares = known_slopes @ known_slopes.T + np.float32(1e-4) * np.eye(_SLOPES_PX, dtype=np.float32)
    for slope, share in zip(slopes, np.linalg.solve(squares, known_slopes @ known_changes), strict=True):
        change -= slope * share
    return _Steps(is_step, level, change).without_meant()


def _slope(
    line: NDArray[np.floating], valid: NDArray[np.bool_], first: NDArray[np.intp], last: NDArray[np.intp]
) -> NDArray[np.floating]:
    """(S, 3, N) the mean change from pixel to pixel of what is known just before pixels ``first`` and after ``last``."""
    before, after = valid[first - 1], valid[last + 1]
    rise = (line[first] - line[first - 1]) * before[:, None]
    rise += (line[last + 1] - line[last]) * after[:, None]
    return rise / np.maximum(before.astype(np.float32) + after, 1)[:, None]


def _entries(array: NDArray[np.floating], valid: NDArray[np.bool_]) -> NDArray[np.floating]:
    """(M,) of (S, 3, N), where (S, N) is valid."""
    return array[np.broadcast_to(valid[:, None], array.shape)]


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
        scene.image, border.outside[..., PATCH_RADIUS_PX + 1], PATCH_RADIUS_PX, scene.sources
    )
    soft, soft_valid = patches(
        scene.painted, border.inside[..., _MAX_RIM_PX + PATCH_RADIUS_PX + 1], PATCH_RADIUS_PX, scene.hole
    )
    both = sharp_valid & soft_valid
    return measure_softness(luma(sharp[both]), luma(soft[both], tone.gain), border.places[both])
