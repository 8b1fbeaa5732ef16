"""What is done to an engine's paint: a tone over all of it, then sharpness, then a smooth field."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace

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
    """What to do to paint.

    kernel: to sharpen it with, or None. field: to add. rim_px: how deep it is spoiled from its border on.
    """

    tone: Tone = dataclasses.field(default_factory=Tone.none)
    kernel: NDArray[np.floating] | None = None
    field: Field | None = None
    rim_px: int = 0

    @property
    def is_nothing(self) -> bool:
        """Whether paint stays as it is."""
        tone_is_none = not (self.tone.shift.any() or self.tone.slope.any())
        return tone_is_none and self.kernel is None and not (self.rim_px or self._added)

    def apply(self, painted: NDArray[np.floating]) -> NDArray[np.float32]:
        """A new (H, W, 3) of ``painted``, corrected."""
        height, width = painted.shape[:2]
        gain = np.tile(self.tone.gain, width)
        offset = np.tile(self.tone.offset, width)
        added = None
        if self._added is not None:
            # As what is to be added before the gain: then it can be laid down first, and nothing has to lie aside.
            values = (self._added.values + self.tone.offset) / self.tone.gain
            added = replace(self._added, values=values).rows((height, width))
        if self.kernel is not None:
            painted = sharpen(painted, self.kernel)
        result = np.empty((height, width, 3), np.float32)

        def correct(rows: slice) -> None:
            # Rows of all components, since arithmetic over a last axis of 3 is slow.
            block, paint = (picture[rows].reshape(-1, width * 3) for picture in (result, painted))
            if added is None:
                np.multiply(paint, gain, out=block)
                block += offset
            else:
                added.write(rows, block)
                block += paint
                block *= gain

        each_block(height, width, correct)
        return result

    @property
    def _added(self) -> Field | None:
        """The field, if there is anything in it."""
        return None if self.field is None or self.field.is_flat_zero else self.field
