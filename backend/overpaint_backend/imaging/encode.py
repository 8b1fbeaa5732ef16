"""From arrays to the bytes of a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.errors import InvalidImage
from overpaint_protocol.pixels import ColorSpace, PixelFormat

from .color import to_linear
from .raster import Raster, component_dtype

__all__ = ["encode"]


def encode(raster: Raster, pixel_format: PixelFormat, color: ColorSpace) -> bytes:
    """Write ``raster`` as rows of ``pixel_format``, without padding.

    Integers are rounded to the nearest value, so that what ``decode`` read from an integer format comes back
    bit for bit, in both color spaces. Grey is the luma of the encoded color (BT.709 weights).

    Args:
        raster: values outside [0, 1] are clipped.
        pixel_format: channel order and depth, with alpha.
        color: what the written color components shall mean.

    Raises:
        InvalidImage: the format has no alpha channel.
    """
    if pixel_format is PixelFormat.GRAY8:
        raise InvalidImage("A layer needs an alpha channel, which gray8 has not. Ask for graya8.")
    rgb = _as_gray(raster.rgb) if pixel_format.channels == 2 else raster.rgb
    rgb = np.clip(rgb, 0.0, 1.0)
    if color is ColorSpace.LINEAR_SRGB:
        rgb = to_linear(rgb)
    if pixel_format.value.startswith("bgra"):
        rgb = rgb[..., ::-1]
    values = np.concatenate((rgb, np.clip(raster.alpha, 0.0, 1.0)[..., None]), axis=-1)
    dtype = component_dtype(pixel_format)
    if not pixel_format.is_float:
        values = np.rint(values * np.float32(np.iinfo(dtype).max))
    return values.astype(dtype).tobytes()


def _as_gray(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) to (H, W, 1). Written around green so that equal components pass unchanged."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return (green + np.float32(0.2126) * (red - green) + np.float32(0.0722) * (blue - green))[..., None]
