"""The sRGB transfer curve, both ways."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["to_linear", "to_srgb"]


def to_srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Encode linear light in [0, 1] with the sRGB curve (IEC 61966-2-1)."""
    toe = linear * np.float32(12.92)
    curve = np.float32(1.055) * np.power(linear, np.float32(1 / 2.4)) - np.float32(0.055)
    return np.where(linear <= np.float32(0.0031308), toe, curve)


def to_linear(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo ``to_srgb``: from encoded values in [0, 1] to linear light."""
    toe = encoded / np.float32(12.92)
    curve = np.power((encoded + np.float32(0.055)) / np.float32(1.055), np.float32(2.4))
    return np.where(encoded <= np.float32(0.04045), toe, curve)
