"""From the bytes of a request to arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.errors import InvalidImage
from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat

from .profiles import conversion
from .raster import LARGEST_COMPONENT, Raster, component_dtype

__all__ = ["decode", "decode_mask"]


def decode(
    bands: Sequence[Bytes],
    size: Size,
    pixel_format: PixelFormat,
    color: ColorSpace,
    profile: bytes | None = None,
) -> Raster:
    """Read the rows in ``bands`` into a Raster of ``size``.

    Float components keep what lies below 0 and above 1. Not-a-number reads as 0, infinity as the largest half-precision
    number, so that every number is finite. The alpha of ``gray8`` is 1.

    Args:
        bands: the rows top to bottom, cut anywhere; pixels as in ``overpaint_protocol.pixels``.
        size: width and height in px.
        pixel_format: channel order and depth.
        color: what the color components mean.
        profile: the ICC profile where that is ICC.

    Raises:
        InvalidImage: the bytes are too few or too many for the size, or the profile is damaged, missing or not for
            this format.
        UnsupportedFormat: the profile is for another color model.
    """
    pixels = _components(bands, size, pixel_format)
    to_working = conversion(color, profile, 1 if pixel_format.channels < 3 else 3).to_working
    if pixel_format.is_float:
        top = LARGEST_COMPONENT
        values = np.clip(np.nan_to_num(pixels.astype(np.float32)), -top, top)
    else:
        values = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    if pixel_format is PixelFormat.GRAY8:
        alpha = np.ones((size.height, size.width), np.float32)
    else:
        alpha = np.clip(values[..., -1], 0, 1)
    if pixel_format.channels < 3:
        components = values[..., :1]
    elif pixel_format.value.startswith("bgra"):
        components = values[..., 2::-1]
    else:
        components = values[..., :3]
    return Raster(np.ascontiguousarray(to_working(components)), alpha)


def decode_mask(bands: Sequence[Bytes], size: Size) -> NDArray[np.float32]:
    """Read a gray8 selection into (H, W) float32 in [0, 1]; 255 becomes 1.

    Raises:
        InvalidImage: the bytes are too few or too many for the size.
    """
    pixels = _components(bands, size, PixelFormat.GRAY8)
    return pixels[..., 0].astype(np.float32) / np.float32(255)


def _components(bands: Sequence[Bytes], size: Size, pixel_format: PixelFormat) -> NDArray:
    length = sum(memoryview(band).nbytes for band in bands)
    expected = size.area * pixel_format.bytes_per_pixel
    if length != expected:
        raise InvalidImage(
            f"An image of {size} px in {pixel_format.value} needs {expected} bytes, {length} came. "
            "Update Overpaint on both sides and try again."
        )
    data = bands[0] if len(bands) == 1 else b"".join(bands)
    flat = np.frombuffer(data, component_dtype(pixel_format))
    return flat.reshape(size.height, size.width, pixel_format.channels)
