"""From the bytes of a request to arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.errors import InvalidImage
from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat

from .blocks import each_block
from .mask import bounds, window
from .profiles import conversion
from .raster import LARGEST_COMPONENT, Raster, component_dtype

__all__ = ["decode", "decode_mask", "read_pixels"]


def decode(
    bands: Sequence[Bytes],
    size: Size,
    pixel_format: PixelFormat,
    color: ColorSpace,
    profile: bytes | None = None,
    *,
    own_primaries: bool = False,
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
        own_primaries: whether the working space has the primaries of the document (``profiles``).

    Raises:
        InvalidImage: the bytes are too few or too many for the size, or the profile is damaged, missing or not for
            this format.
        UnsupportedFormat: the profile is for another color model.
    """
    pixels = read_pixels(bands, size, pixel_format)
    to_working = conversion(
        color, profile, 1 if pixel_format.channels < 3 else 3, own_primaries=own_primaries
    ).to_working
    if pixel_format.channels < 3:
        order = (0,)
    else:
        order = (2, 1, 0) if pixel_format.value.startswith("bgra") else (0, 1, 2)
    rgb = np.empty((size.height, size.width, 3), np.float32)
    alpha = np.empty(rgb.shape[:2], np.float32)
    full = 1 if pixel_format.is_float else np.iinfo(pixels.dtype).max
    opaque: list[slice] = []

    def read(rows: slice) -> None:
        components = rgb[rows] if len(order) == 3 else np.empty((*rgb[rows].shape[:2], 1), np.float32)
        # Channel by channel, which is quickest.
        for index, channel in enumerate(order):
            components[..., index] = pixels[rows, :, channel]
        rgb[rows] = to_working(_scaled(components, pixels.dtype))
        if pixel_format is PixelFormat.GRAY8 or pixels[rows, :, -1].min() >= full:
            opaque.append(rows)
        else:
            alpha[rows] = pixels[rows, :, -1]
            np.clip(_scaled(alpha[rows], pixels.dtype), 0, 1, out=alpha[rows])

    each_block(size.height, size.width, read)
    if sum(rows.stop - rows.start for rows in opaque) == size.height:
        # One row for all: most pictures are opaque, and a plane of ones is large.
        alpha = np.broadcast_to(np.ones(size.width, np.float32), alpha.shape)
    else:
        for rows in opaque:
            alpha[rows] = 1
    return Raster(rgb, alpha)


def _scaled(values: NDArray[np.float32], dtype: np.dtype) -> NDArray[np.float32]:
    """What was read from ``dtype``, in place: integers as 0 to 1, floats made finite."""
    if dtype.kind == "f":
        return np.clip(np.nan_to_num(values, copy=False), -LARGEST_COMPONENT, LARGEST_COMPONENT, out=values)
    values /= np.float32(np.iinfo(dtype).max)
    return values


def decode_mask(bands: Sequence[Bytes], size: Size) -> NDArray[np.float32]:
    """Read a gray8 selection into (H, W) float32 in [0, 1]; 255 becomes 1.

    Raises:
        InvalidImage: the bytes are too few or too many for the size.
    """
    pixels = read_pixels(bands, size, PixelFormat.GRAY8)[..., 0]
    selection = np.zeros(pixels.shape, np.float32)
    box = bounds(pixels)
    if box is not None:
        np.divide(pixels[window(box)], np.float32(255), out=selection[window(box)])
    return selection


def read_pixels(bands: Sequence[Bytes], size: Size, pixel_format: PixelFormat) -> NDArray:
    """The rows in ``bands`` as they are, (H, W, channels).

    Raises:
        InvalidImage: the bytes are too few or too many for the size.
    """
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
