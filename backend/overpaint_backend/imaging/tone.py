"""A gain and an offset for each component, fitted to pairs of colors that should be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tone"]

_MAX_SHIFT = np.float32(0.3)
_MAX_SLOPE = np.float32(0.4)
_CERTAIN_RATIO = np.float32(2)
"""How many times the largest that chance gives a shift or slope must be to count; the more, the fuller."""

_FLOOR = np.float32(2e-4)
_LEVEL_PRIOR = np.float32(0.015**2)
"""Variance of levels that a contrast needs to show in; a flat ring tells of a shift alone."""

_OUTLIER_SIGMAS = np.float32(4)
_OUTLIER_FLOOR = np.float32(0.02)
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Tone:
    """``value + shift + slope * (value - pivot)``, each (3,) float32."""

    shift: NDArray[np.floating]
    slope: NDArray[np.floating]
    pivot: NDArray[np.floating]

    @classmethod
    def none(cls) -> Tone:
        """The tone that changes nothing."""
        zero = np.zeros(3, np.float32)
        return cls(zero, zero, zero)

    @classmethod
    def fit(cls, level: NDArray[np.floating], change: NDArray[np.floating]) -> Tone:
        """Find what turns one color of each pair into the other, heeding no outliers.

        Args:
            level: (N, 3) float32, the pairs' means. Fitted against these, noise in either color gives no slope.
            change: (N, 3) float32, second color less first. N is at least 1.
        """
        # A component in a row, which sums are quicker over.
        level, change = np.ascontiguousarray(level.T), np.ascontiguousarray(change.T)
        center = np.median(change, axis=1)
        fitted = center[:, None]
        shift, slope, pivot = center, np.zeros_like(center), np.zeros_like(center)
        for _ in range(_ROUNDS):
            off = change - fitted
            bound = _OUTLIER_SIGMAS * 1.4826 * np.median(np.abs(off), axis=1) + _OUTLIER_FLOOR
            off /= bound[:, None]
            weights = np.square(np.maximum(0, 1 - np.square(off)))
            total = np.maximum(weights.sum(axis=1), np.float32(1e-6))
            pivot = np.vecdot(weights, level) / total
            shift = np.vecdot(weights, change) / total
            spread = level - pivot[:, None]
            weights *= spread
            variance = np.vecdot(weights, spread) / total
            slope = np.vecdot(weights, change) / total / (variance + _LEVEL_PRIOR)
            fitted = shift[:, None] + slope[:, None] * spread
        return cls._bounded(shift, slope, pivot)

    @classmethod
    def _bounded(
        cls, shift: NDArray[np.floating], slope: NDArray[np.floating], pivot: NDArray[np.floating]
    ) -> Tone:
        slope = np.clip(slope, -_MAX_SLOPE, _MAX_SLOPE)
        # The levels lie halfway between the colors, a tone starts from the first.
        start = pivot - shift / 2
        return cls(
            np.clip(shift, -_MAX_SHIFT, _MAX_SHIFT).astype(np.float32),
            (slope / (1 - slope / 2)).astype(np.float32),
            start.astype(np.float32),
        )

    def beyond(self, usual: Sequence[Tone]) -> Tone:
        """What of this tone exceeds what is fitted to pairs that need none, at least one."""
        shift_noise = np.max([tone.shift**2 for tone in usual], axis=0) + _FLOOR**2
        slope_noise = np.max([tone.slope**2 for tone in usual], axis=0) + _FLOOR**2
        shift = self.shift * _certain(self.shift, shift_noise)
        return Tone(shift, self.slope * _certain(self.slope, slope_noise), self.pivot)

    @property
    def gain(self) -> NDArray[np.floating]:
        """(3,) factor; applied before ``offset``."""
        return 1 + self.slope

    @property
    def offset(self) -> NDArray[np.floating]:
        """(3,) what is added after ``gain``."""
        return self.shift - self.slope * self.pivot

    def apply(self, rgb: NDArray[np.floating]) -> NDArray[np.floating]:
        """Correct (..., 3) float32."""
        return rgb * self.gain + self.offset


def _certain(value: NDArray[np.floating], noise: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.maximum(0, 1 - _CERTAIN_RATIO**2 * noise / np.maximum(value**2, noise)).astype(np.float32)
