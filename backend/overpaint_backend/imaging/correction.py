"""What is done to an engine's paint: a tone over all of it, then sharpness, then smooth fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .blocks import each_block
from .membrane import Field
from .sharpness import sharpen
from .tone import Tone

__all__ = ["MEANT", "Correction", "Scene"]

MEANT = np.float32(0.12)
"""Engines are off by less than this, beyond what is usual: a larger difference is another thing, which was asked for."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Paint in a picture.

    painted, image: (H, W, 3) float32, encoded with the sRGB curve. hole, sources: (H, W) bool, what is to be corrected, and
        where ``image`` is the truth; disjoint.
    """

    painted: NDArray[np.floating]
    image: NDArray[np.floating]
    hole: NDArray[np.bool_]
    sources: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Correction:
    """What to do to paint. softness_px: to undo. fields: to add. rim_px: how deep it is spoiled from its border on."""

    tone: Tone = field(default_factory=Tone.none)
    softness_px: float = 0.0
    fields: Sequence[Field] = ()
    rim_px: int = 0

    @property
    def is_nothing(self) -> bool:
        """Whether paint stays as it is."""
        tone_is_none = not (self.tone.shift.any() or self.tone.slope.any())
        return (
            tone_is_none
            and not (self.softness_px or self.rim_px)
            and all(one.is_flat_zero for one in self.fields)
        )

    def apply(self, painted: NDArray[np.floating]) -> NDArray[np.float32]:
        """A new (H, W, 3) of ``painted``, corrected."""
        height, width = painted.shape[:2]
        gain = np.tile(self.tone.gain, width)
        offset = np.tile(self.tone.offset, width)
        fields = [field.rows((height, width)) for field in self.fields if not field.is_flat_zero]
        if self.softness_px:
            painted = sharpen(painted, self.softness_px)
        result = np.empty((height, width, 3), np.float32)

        def correct(rows: slice) -> None:
            # Rows of all components, since arithmetic over a last axis of 3 is slow.
            block = result[rows].reshape(-1, width * 3)
            np.multiply(painted[rows].reshape(-1, width * 3), gain, out=block)
            block += offset
            for added in fields:
                block += added[rows]

        each_block(height, width, correct)
        return result
