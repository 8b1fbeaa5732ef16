"""The sRGB transfer curve, both ways and beyond the range of a display.

Below 0 the curve is mirrored, above 1 it goes on as it is. So colors that sRGB has no room for, of a wider gamut or brighter
than white, keep a number of about their own size, and come back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["to_linear", "to_srgb"]


def to_srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encode linear light, any finite numbers, with the sRGB curve (IEC 61966-2-1)."""
    light = np.abs(linear)
    toe = light * np.float32(12.92)
    curve = np.float32(1.055) * np.power(light, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.copysign(np.where(light <= np.float32(0.0031308), toe, curve), linear)


def to_linear(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo ``to_srgb``: from encoded values, any finite numbers, to linear light."""
    value = np.abs(encoded)
    toe = value / np.float32(12.92)
    curve = np.power((value + np.float32(0.055)) / np.float32(1.055), np.float32(2.4))
    return np.copysign(np.where(value <= np.float32(0.04045), toe, curve), encoded)
