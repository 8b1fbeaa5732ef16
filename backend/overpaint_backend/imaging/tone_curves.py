"""The tone curves of ICC profiles (ICC.1:2022 §10.6 and §10.18), both ways, in float and without an end.

A curve takes a component of the document to linear light (``decode``) and back (``encode``). Profiles define it from 0 to 1;
below it is mirrored around its start, above its formula or its last slope goes on, so that no number is lost.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FormulaCurve", "SampledCurve", "ToneCurve", "read_curve"]

_MAX_SAMPLES = 65_536
_PARAMETERS = (1, 3, 4, 5, 7)
"""How many numbers the formulas 0 to 4 of a ``para`` tag have."""


class ToneCurve(Protocol):
    """Component to linear light and back; arrays of float32 of any shape and any finite numbers."""

    def decode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Linear light of components."""
        ...

    def encode(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Components of linear light."""
        ...


@dataclass(frozen=True, slots=True)
class FormulaCurve:
    """``(scale x + shift) ** gamma + lift`` from ``split`` on, below it ``slope x + start``.

    Raises:
        ValueError: it does not rise, so there is no way back.
    """

    gamma: float
    scale: float = 1.0
    shift: float = 0.0
    slope: float = 0.0
    split: float = 0.0
    lift: float = 0.0
    start: float = 0.0

    def __post_init__(self) -> None:
        if not (self.gamma > 0 and self.scale > 0 and self.slope >= 0 and self.split < 1):
            raise ValueError(f"{self} does not rise")

    def decode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ToneCurve."""
        return _mirrored(self._rise, values, np.float32(0), self._first)

    def encode(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ToneCurve. Light in a gap of the curve becomes the component above it."""
        return _mirrored(self._fall, light, self._first, np.float32(0))

    @property
    def _first(self) -> np.float32:
        return np.float32(self._rise(np.zeros(1, np.float32))[0])

    def _rise(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        base = np.maximum(values * np.float32(self.scale) + np.float32(self.shift), np.float32(0))
        curve = np.power(base, np.float32(self.gamma)) + np.float32(self.lift)
        if self.split <= 0:
            return curve
        line = values * np.float32(self.slope) + np.float32(self.start)
        return np.where(values < np.float32(self.split), line, curve)

    def _fall(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        base = np.power(np.maximum(light - np.float32(self.lift), np.float32(0)), np.float32(1 / self.gamma))
        curve = (base - np.float32(self.shift)) / np.float32(self.scale)
        if self.split <= 0:
            return curve
        curve = np.maximum(curve, np.float32(self.split))
        if self.slope == 0:
            return np.where(light > np.float32(self.start), curve, np.float32(0))
        line = (light - np.float32(self.start)) / np.float32(self.slope)
        return np.where(line < np.float32(self.split), line, curve)


@dataclass(frozen=True, eq=False)
class SampledCurve:
    """Straight lines between ``samples``, at least 2 values in [0, 1] at even distances, none below the one before.

    Raises:
        ValueError: they do not rise, so there is no way back.
    """

    samples: NDArray[np.float32]

    def __post_init__(self) -> None:
        if (np.diff(self.samples) < 0).any() or self.samples[0] >= self.samples[-1]:
            raise ValueError("the samples do not rise")

    def decode(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ToneCurve."""
        return _mirrored(self._rise, values, np.float32(0), self.samples[0])

    def encode(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """See ToneCurve. Light that several components have becomes one of them."""
        return _mirrored(self._fall, light, self.samples[0], np.float32(0))

    @cached_property
    def _last_slope(self) -> np.float32:
        """How the curve goes on above 1: as in its last piece, or evenly where that is flat."""
        steps = np.float32(len(self.samples) - 1)
        return (self.samples[-1] - self.samples[-2]) * steps or np.float32(1)

    def _rise(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        last = len(self.samples) - 1
        place = np.minimum(values, np.float32(1)) * np.float32(last)
        before = np.minimum(place.astype(np.int32), last - 1)
        low = self.samples[before]
        within = low + (place - before.astype(np.float32)) * (self.samples[before + 1] - low)
        beyond = np.maximum(values - np.float32(1), np.float32(0)) * self._last_slope
        return (within + beyond).astype(np.float32, copy=False)

    def _fall(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        places = np.linspace(0, 1, len(self.samples), dtype=np.float32)
        within = np.interp(light, self.samples, places).astype(np.float32)
        return within + np.maximum(light - self.samples[-1], np.float32(0)) / self._last_slope


def read_curve(tag: bytes) -> ToneCurve:
    """Read a ``curv`` or ``para`` tag.

    Raises:
        ValueError, struct.error: it is damaged, of another kind, or does not rise.
    """
    kind = tag[:4]
    if kind == b"para":
        (formula,) = struct.unpack_from(">H", tag, 8)
        if formula >= len(_PARAMETERS):
            raise ValueError(f"formula {formula} is unknown")
        fixed = struct.unpack_from(f">{_PARAMETERS[formula]}i", tag, 12)
        return _read_formula(formula, [number / 65536 for number in fixed])
    if kind != b"curv":
        raise ValueError(f"{kind!r} is no tone curve")
    (count,) = struct.unpack_from(">I", tag, 8)
    if count == 0:
        return FormulaCurve(1.0)
    if count == 1:
        return FormulaCurve(struct.unpack_from(">H", tag, 12)[0] / 256)
    if count > _MAX_SAMPLES:
        raise ValueError(f"{count} samples")
    samples = np.frombuffer(tag, ">u2", count, 12).astype(np.float32) / np.float32(65535)
    return SampledCurve(samples)


def _read_formula(formula: int, numbers: list[float]) -> FormulaCurve:
    gamma, *rest = numbers
    if formula == 0:
        return FormulaCurve(gamma)
    scale, shift, *rest = rest
    if formula in (1, 2):
        if scale <= 0:
            raise ValueError("the curve does not rise")
        lift = rest[0] if rest else 0.0
        return FormulaCurve(gamma, scale, shift, split=-shift / scale, lift=lift, start=lift)
    slope, split, *rest = rest
    lift, start = rest or (0.0, 0.0)
    return FormulaCurve(gamma, scale, shift, slope, split, lift, start)


def _mirrored(
    curve: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    values: NDArray[np.float32],
    zero: np.float32,
    image: np.float32,
) -> NDArray[np.float32]:
    """``curve``, defined from ``zero`` on, where it is ``image``, turned around that point for what lies below."""
    if zero == 0 and image == 0:
        return np.copysign(curve(np.abs(values)), values)
    away = values - zero
    return image + np.copysign(curve(np.abs(away) + zero) - image, away)
