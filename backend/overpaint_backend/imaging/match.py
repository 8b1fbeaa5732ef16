"""Making what an engine painted meet the picture around it.

Engines shift colors, lose contrast, soften, and spoil the rim of what they paint. Two things tell how much. Many return
the whole Context, so around the mask their version of the very pixels that are known lies beside the truth. And where
paint and picture meet they should differ by no more than neighbors elsewhere do: steps between neighbors to both sides of
the border tell what is usual there, and only what clearly exceeds it is taken for a seam. So an engine that was right is
left alone, and an edge of the picture that happens to end at the border is no seam. Nor is a step that no engine's fault
explains: another thing was asked for, and keeps its color.

Only known pixels within ``border.DEPTH_PX`` of the mask count. Corrections go from coarse to fine: tones over all, then
sharpness, then a smooth field that is strongest at the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .blocks import each_block
from .border import DEPTH_PX, Border, find_border
from .mask import distance
from .membrane import CELL_PX, Field
from .resample import extend
from .sharpness import PATCH_RADIUS_PX, luma, measure_softness, sharpen
from .tone import Tone

__all__ = ["REACH_PX", "match"]

REACH_PX = DEPTH_PX + 1
"""How far from the mask a picture has a say in what ``match`` does."""

_MIN_PROFILES = 8
"""With fewer there is nothing to tell a seam from a detail by."""

_MIN_CELLS = 4
"""The same for cells along the border."""

_OWN_VERSION = np.float32(1e-4)
"""A known pixel that comes back with less difference was passed through, not painted."""

_OWN_DEPTH_PX = 4
"""How far from the border an engine's own version of the picture says what is wrong at the border."""

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

_EDGE_RATIO = 6
_VISIBLE = np.float32(0.02)
"""A step larger than so many usual ones and this is an edge of the picture; no profile may claim more for a seam."""

_MEANT = np.float32(0.12)
_NOISE_RATIO = 4
"""Engines are off by less than this and so many usual steps: a larger step is another thing, which was asked for."""

_BRIGHTEST = np.float32(4)
"""What evidence is clipped to, either side of black, as encoded values."""

_GROUP_PX = 32
"""Patches within so many px agree on one softness."""


def match(
    painted: NDArray[np.float32],
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    known: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Correct ``painted`` so that no seam shows where it meets ``image``.

    Args:
        painted: (H, W, 3) float32, encoded with the sRGB curve, what an engine returned; outside the mask either its own
            version of the picture or the picture itself.
        image: (H, W, 3) float32, the picture; the truth where it is known and not masked.
        mask: (H, W) float32, above 0 where the engine painted.
        known: (H, W) bool; False where ``image`` holds nothing.

    Returns:
        A new (H, W, 3) float32: ``image`` where it is known and not masked, elsewhere what was painted, corrected around
        the mask.
    """
    hole = mask > 0
    scene = _Scene(painted, image, hole, known & ~hole)
    border = find_border(scene.hole, scene.sources)
    correction = _plan(scene, border) if len(border) >= _MIN_PROFILES else _Correction()
    return correction.apply(scene)


@dataclass(frozen=True, slots=True)
class _Scene:
    """painted, image: (H, W, 3) float32. hole, sources: (H, W) bool, painted and known; disjoint."""

    painted: NDArray[np.floating]
    image: NDArray[np.floating]
    hole: NDArray[np.bool_]
    sources: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Profiles:
    """Colors along the border's profiles.

    paint: (N, S, 3) inside. own: (N, S, 3) outside, as the engine returned them: what the paint continues. truth: the
        same pixels of the picture.
    """

    border: Border
    paint: NDArray[np.floating]
    own: NDArray[np.floating]
    truth: NDArray[np.floating]

    @property
    def has_own(self) -> bool:
        """Whether the engine returned a version of its own of what it was not asked to paint."""
        differ = (np.abs(self.own - self.truth) > _OWN_VERSION).any(axis=-1)
        valid = self.border.outside_valid
        return bool((differ & valid).sum() * 2 > valid.sum())


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
        is_fault = self.valid & (np.abs(self.change).max(axis=1) <= _MEANT + _NOISE_RATIO * noise)
        if 2 * is_fault.sum() < self.valid.sum():
            is_fault = np.zeros_like(is_fault)
        return replace(self, valid=is_fault)


@dataclass(frozen=True, slots=True)
class _Correction:
    """What to do to the paint. softness_px: to undo. fields: to add. rim_px: how deep the paint is to be replaced."""

    tone: Tone = field(default_factory=Tone.none)
    softness_px: float = 0.0
    fields: Sequence[Field] = ()
    rim_px: int = 0

    def apply(self, scene: _Scene) -> NDArray[np.float32]:
        """The corrected paint as a new (H, W, 3) where the scene has a hole or no source, elsewhere its image."""
        height, width = scene.hole.shape
        gain = np.tile(self.tone.gain, width)
        offset = np.tile(self.tone.offset, width)
        fields = [field.rows((height, width)) for field in self.fields if not field.is_flat_zero]
        painted = sharpen(scene.painted, self.softness_px) if self.softness_px else scene.painted
        result = np.empty((height, width, 3), np.float32)

        def correct(rows: slice) -> None:
            # Rows of all components, since arithmetic over a last axis of 3 is slow.
            block = painted[rows].reshape(-1, width * 3) * gain
            block += offset
            for one in fields:
                block += one[rows]
            sources = np.repeat(scene.sources[rows], 3, axis=1)
            np.copyto(block, scene.image[rows].reshape(-1, width * 3), where=sources)
            result[rows] = block.reshape(-1, width, 3)

        each_block(height, width, correct)
        if self.rim_px:
            spoiled = scene.hole & (distance(scene.sources, self.rim_px) <= self.rim_px)
            np.copyto(result, extend(result, ~spoiled), where=spoiled[..., None])
        return result


def _plan(scene: _Scene, border: Border) -> _Correction:
    def take(picture: NDArray[np.floating], pixels: NDArray[np.intp]) -> NDArray[np.floating]:
        # Single lights of a scene may be thousands of times brighter than white, and tell nothing about a seam.
        return np.clip(picture[pixels[..., 0], pixels[..., 1]], -_BRIGHTEST, _BRIGHTEST)

    profiles = _Profiles(
        border,
        take(scene.painted, border.inside),
        take(scene.painted, border.outside),
        take(scene.image, border.outside),
    )
    has_own = profiles.has_own
    tone = Tone.none()
    fields = []
    if has_own:
        tone = _tone_of_own_version(profiles)
        profiles = replace(profiles, paint=tone.apply(profiles.paint), own=tone.apply(profiles.own))
    rim_px = _rim(profiles)
    jump, usual = _steps(profiles, rim_px)
    further = _tone_of_jump(border, jump, usual)
    profiles = replace(profiles, paint=further.apply(profiles.paint))
    tone = tone.then(further)
    softness_px = _softness(scene, border, tone, has_own)
    shape = scene.hole.shape
    if has_own:
        off, valid = _mean(profiles.truth - profiles.own, border.outside_valid, _OWN_DEPTH_PX)
        fields.append(Field.solve(shape, border.places, off, valid))
    fields.append(_jump_field(shape, border, *_steps(profiles, rim_px)))
    return _Correction(tone, softness_px, fields, rim_px)


def _tone_of_own_version(profiles: _Profiles) -> Tone:
    """From an engine's version of known pixels; means of some, since single ones may have lost detail."""
    own, truth, valid = [], [], []
    for first in range(0, DEPTH_PX, _OWN_DEPTH_PX):
        part = np.s_[:, first : first + _OWN_DEPTH_PX]
        part_valid = profiles.border.outside_valid[part]
        own.append(_mean(profiles.own[part], part_valid, _OWN_DEPTH_PX)[0])
        truth.append(_mean(profiles.truth[part], part_valid, _OWN_DEPTH_PX)[0])
        valid.append(part_valid[:, 0])
    chosen = np.concatenate(valid)
    if np.count_nonzero(chosen) < _MIN_PROFILES:
        return Tone.none()
    before, after = np.concatenate(own)[chosen], np.concatenate(truth)[chosen]
    return Tone.fit((before + after) / 2, after - before)


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


def _jump_field(shape: tuple[int, int], border: Border, jump: _Steps, usual: Sequence[_Steps]) -> Field:
    # Whatever is still left after the tone and far from usual is an edge of the picture.
    bound = _VISIBLE + _EDGE_RATIO * np.median(np.abs(np.concatenate([steps.change for steps in usual])))
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
    line = np.concatenate((profiles.paint[:, ::-1], profiles.own), axis=1)
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
    outer = steepness(profiles.own[:, :-1], profiles.own[:, 1:], border.outside_valid[:, 1:])
    edge = steepness(profiles.paint[:, :1], profiles.own[:, :1], border.outside_valid[:, :1])[0]
    usual = float(np.median(np.concatenate((inner, outer))))
    # Where the border is slanted, the far edge spreads over neighbors.
    spread = (inner[:-2] + inner[1:-1] + inner[2:]) / 3
    depth = _MIN_RIM_PX + int(np.argmax(spread[_MIN_RIM_PX - 2 : _MAX_RIM_PX - 2]))
    far_edge = spread[depth - 2]
    # A pattern has such edges outside, too.
    bound = max(_RIM_CONTRAST * usual + _VISIBLE, _PATTERN_RATIO * float(outer.max()))
    return depth + 1 if edge > bound and far_edge > bound else 0


def _softness(scene: _Scene, border: Border, tone: Tone, has_own: bool) -> float:
    """In px, from patches beside the border; where the engine has its own version, from the same place."""
    sources = border.outside[:, PATCH_RADIUS_PX + 1]
    places = sources if has_own else border.inside[:, _MAX_RIM_PX + PATCH_RADIUS_PX + 1]
    sharp, sharp_valid = _patches(scene.image, sources, scene.sources)
    soft, soft_valid = _patches(scene.painted, places, scene.sources if has_own else scene.hole)
    both = sharp_valid & soft_valid
    groups = (border.places / _GROUP_PX).astype(np.intp) @ np.array([1 << 16, 1])
    return measure_softness(luma(sharp[both]), luma(tone.apply(soft[both])), groups[both])


def _patches(
    picture: NDArray[np.floating], centers: NDArray[np.intp], allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """(N, d, d, 3) around ``centers``, and which of them lie wholly where it is ``allowed``."""
    reach = np.arange(-PATCH_RADIUS_PX, PATCH_RADIUS_PX + 1)
    rows = centers[:, 0, None, None] + reach[None, :, None]
    columns = centers[:, 1, None, None] + reach[None, None, :]
    height, width = allowed.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    valid = (inside & allowed[rows, columns]).all(axis=(1, 2))
    return np.clip(picture[rows, columns], -_BRIGHTEST, _BRIGHTEST), valid


def _mean(
    values: NDArray[np.floating], valid: NDArray[np.bool_], depth_px: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """(N, 3) means over the valid ones of the first pixels, and (N,) 1 where there are any, else 0."""
    part = valid[:, :depth_px, None]
    counts = part.sum(axis=1)
    means = (values[:, :depth_px] * part).sum(axis=1) / np.maximum(counts, 1)
    return means.astype(np.float32), (counts[:, 0] > 0).astype(np.float32)
