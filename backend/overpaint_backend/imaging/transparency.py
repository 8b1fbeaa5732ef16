"""What is seen of transparent places.

Their color is whatever a program left there, magenta or black, and nobody has ever seen it. So it is thrown away before
anything is scaled, matched, painted from or shown.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .raster import Raster
from .resample import extend

__all__ = ["known_pixels", "over_gray", "without_hidden"]

_KNOWN_ALPHA = np.float32(1 / 16)
"""Below this the color of an 8-bit pixel has too few steps left to learn from."""

_NOTHING = np.float32(0.5)
_BACKGROUND = np.float32(0.8)
"""As light as the checkerboards that editors show behind transparent pixels."""


def known_pixels(alpha: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W), where a document's alpha leaves enough of its color to learn from."""
    return alpha >= _KNOWN_ALPHA


def without_hidden(rgb: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace what is not known by a smooth continuation of what is, or by mid-grey where nothing is.

    Args:
        rgb: (H, W, 3) float32.
        known: (H, W) bool.
    """
    return extend(rgb, known) if known.any() else np.full_like(rgb, _NOTHING)


def over_gray(raster: Raster) -> NDArray[np.float32]:
    """The picture as (H, W, 3) over an even light grey, to be looked at."""
    alpha = raster.alpha[..., None]
    seen = np.where(alpha > 0, raster.rgb, np.float32(0)) * alpha + _BACKGROUND * (1 - alpha)
    return seen.astype(np.float32, copy=False)
