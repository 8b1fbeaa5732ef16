"""From arrays to the bytes of a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.errors import InvalidImage
from overpaint_protocol.pixels import ColorSpace, PixelFormat

from .blocks import each_block
from .profiles import conversion
from .raster import LARGEST_COMPONENT, Raster, component_dtype

__all__ = ["encode"]


def encode(
    raster: Raster,
    pixel_format: PixelFormat,
    color: ColorSpace,
    profile: bytes | None = None,
    *,
    own_primaries: bool = False,
) -> memoryview:
    """Write ``raster`` as rows of ``pixel_format``, without padding.

    Integers are clipped to their range and rounded to the nearest value, so that what ``decode`` read from an integer format
    comes back bit for bit (``profiles`` says where it cannot). Floats keep what lies below 0 and above 1. Of a color,
    grey is the luma of its encoded values.

    Args:
        raster: any finite numbers.
        pixel_format: channel order and depth, with alpha.
        color: what the written color components shall mean.
        profile: the ICC profile where that is ICC.
        own_primaries: whether the working space has the primaries of the document (``profiles``).

    Raises:
        InvalidImage: the format has no alpha channel, or the profile is damaged, missing or not for this format.
        UnsupportedFormat: the profile is for another color model.
    """
    if pixel_format is PixelFormat.GRAY8:
        raise InvalidImage("A layer needs an alpha channel, which gray8 has not. Ask for graya8.")
    to_document = conversion(
        color, profile, 1 if pixel_format.channels < 3 else 3, own_primaries=own_primaries
    ).to_document
    dtype = component_dtype(pixel_format)
    is_reversed = pixel_format.value.startswith("bgra")
    height, width = raster.alpha.shape
    pixels = np.empty((height, width, pixel_format.channels), dtype)

    def write(rows: slice) -> None:
        components = to_document(raster.rgb[rows])
        written = _written(components, dtype)
        if is_reversed:
            written = written[..., ::-1]
        for channel in range(written.shape[-1]):
            pixels[rows, :, channel] = written[..., channel]
        pixels[rows, :, -1] = _written(np.clip(raster.alpha[rows], 0, 1), dtype)

    each_block(height, width, write)
    return pixels.data.cast("B")


def _written(values: NDArray[np.float32], dtype: np.dtype) -> NDArray[np.float32]:
    """``values`` such that a cast to ``dtype`` is all that is left to do."""
    if dtype.kind == "f":
        return np.clip(values, -LARGEST_COMPONENT, LARGEST_COMPONENT)
    scaled = np.clip(values, 0, 1)
    scaled *= np.float32(np.iinfo(dtype).max)
    return np.rint(scaled, out=scaled)
