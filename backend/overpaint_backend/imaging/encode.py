"""From arrays to the bytes of a layer."""

from __future__ import annotations

import numpy as np

from overpaint_protocol.errors import InvalidImage
from overpaint_protocol.pixels import ColorSpace, PixelFormat

from .profiles import conversion
from .raster import LARGEST_COMPONENT, Raster, component_dtype

__all__ = ["encode"]


def encode(
    raster: Raster, pixel_format: PixelFormat, color: ColorSpace, profile: bytes | None = None
) -> bytes:
    """Write ``raster`` as rows of ``pixel_format``, without padding.

    Integers are clipped to their range and rounded to the nearest value, so that what ``decode`` read from an integer format
    comes back bit for bit (``profiles`` says where it cannot). Floats keep what lies below 0 and above 1. Of a color,
    grey is the luma of its encoded values.

    Args:
        raster: any finite numbers.
        pixel_format: channel order and depth, with alpha.
        color: what the written color components shall mean.
        profile: the ICC profile where that is ICC.

    Raises:
        InvalidImage: the format has no alpha channel, or the profile is damaged, missing or not for this format.
        UnsupportedFormat: the profile is for another color model.
    """
    if pixel_format is PixelFormat.GRAY8:
        raise InvalidImage("A layer needs an alpha channel, which gray8 has not. Ask for graya8.")
    components = conversion(color, profile, 1 if pixel_format.channels < 3 else 3).to_document(raster.rgb)
    if pixel_format.value.startswith("bgra"):
        components = components[..., ::-1]
    alpha = np.clip(raster.alpha, 0, 1)[..., None]
    dtype = component_dtype(pixel_format)
    if pixel_format.is_float:
        components = np.clip(components, -LARGEST_COMPONENT, LARGEST_COMPONENT)
        return np.concatenate((components, alpha), axis=-1).astype(dtype).tobytes()
    values = np.concatenate((np.clip(components, 0, 1), alpha), axis=-1)
    return np.rint(values * np.float32(np.iinfo(dtype).max)).astype(dtype).tobytes()
