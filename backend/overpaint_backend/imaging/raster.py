"""An image as the engines want it, and how the channels of a pixel format map to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import PixelFormat

__all__ = ["LARGEST_COMPONENT", "Raster", "component_dtype", "whole_pixels"]

LARGEST_COMPONENT = np.float32(65504)
"""The largest number of half precision. Float components are held within it on both sides of 0, on their way in and out."""


@dataclass(frozen=True, slots=True)
class Raster:
    """Straight-alpha color.

    rgb: (H, W, 3) float32 in the working space: finite, encoded with the sRGB curve, outside [0, 1] where that has no room
        for the document's color.
    alpha: (H, W) float32 in [0, 1]; not to be written to, since where all is opaque its rows are one and the same.
    """

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32]

    @property
    def size(self) -> Size:
        """Width and height in px."""
        height, width = self.alpha.shape
        return Size(width, height)


def whole_pixels(picture: NDArray[np.floating]) -> NDArray[np.void]:
    """A (H, W) view of a (H, W, 3) picture, of which each pixel lies in one piece, with pixels as items.

    To pick some, by a mask or by rows and columns, takes a fraction of the time that it takes with components as items.
    """
    return picture.view(np.dtype((np.void, picture.shape[2] * picture.itemsize)))[..., 0]


def component_dtype(pixel_format: PixelFormat) -> np.dtype:
    """The little-endian numpy type of one component of ``pixel_format``."""
    return np.dtype(f"<{'f' if pixel_format.is_float else 'u'}{pixel_format.bits // 8}")
