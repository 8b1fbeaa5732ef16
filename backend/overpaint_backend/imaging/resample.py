"""Resizing float pictures, with or without holes, and choosing a size to work at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from overpaint_protocol.geometry import Size

from .mask import bounds, window
from .raster import whole_pixels

__all__ = ["bounded_size", "extend", "resize", "resize_known"]


def bounded_size(size: Size, max_pixels: int) -> Size:
    """``size`` scaled down in proportion to hold at most about ``max_pixels`` px; unchanged if it does."""
    if size.area <= max_pixels:
        return size
    scale = (max_pixels / size.area) ** 0.5
    return Size(max(1, int(size.width * scale)), max(1, int(size.height * scale)))


def resize(
    picture: NDArray[np.float32],
    size: Size,
    resampling: Image.Resampling = Image.Resampling.BICUBIC,
    part: tuple[float, float, float, float] | None = None,
) -> NDArray[np.float32]:
    """Scale a (H, W) or (H, W, C) float32 array to ``size``; without rounding, and without clipping.

    ``part`` is left, top, right and bottom of what to scale, None for all; what is beside it plays in as in a whole.
    """
    if part is None and picture.shape[:2] == (size.height, size.width):
        return picture
    if picture.ndim == 2:
        plane = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(plane.resize((size.width, size.height), resampling, part))
    planes = [resize(picture[..., channel], size, resampling, part) for channel in range(picture.shape[2])]
    return np.stack(planes, axis=-1)


def resize_known(
    rgb: NDArray[np.float32], known: NDArray[np.bool_], size: Size, min_share: float = 0.5
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scale down a picture of which only a part counts.

    The color of a small pixel is the mean of the known pixels under it, so nothing else bleeds in.

    Args:
        rgb: (H, W, 3) float32.
        known: (H, W) bool.
        size: at most that of ``rgb``.
        min_share: how much of a small pixel must be known for it to count, 0 (exclusive) to 1.

    Returns:
        The picture, 0 where nothing is known, and where it is; should no small pixel have its share, all with
        any.
    """
    if rgb.shape[:2] == (size.height, size.width):
        return _only(rgb, known), known
    share = resize(known.astype(np.float32), size, Image.Resampling.BOX)
    total = resize(_only(rgb, known), size, Image.Resampling.BOX)
    known_small = share >= min_share
    if not known_small.any():
        known_small = share > 0
    mean = np.divide(total, share[..., None], out=np.zeros_like(total), where=known_small[..., None])
    return mean, known_small


def extend(rgb: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Continue the known pixels smoothly over all others, the further away the softer.

    Args:
        rgb: (H, W, 3) float32.
        known: (H, W) bool, true at least once.
    """
    unknown = ~known
    box = bounds(unknown)
    if box is None:
        return rgb
    height, width = known.shape
    half = Size((width + 1) // 2, (height + 1) // 2)
    coarse = extend(*resize_known(rgb, known, half, min_share=1e-3))
    across, down = half.width / width, half.height / height
    below = (box.left * across, box.top * down, box.right * across, box.bottom * down)
    rest = resize(coarse, box.size, Image.Resampling.BILINEAR, below)
    result = rgb.copy()
    near = window(box)
    np.copyto(whole_pixels(result[near]), whole_pixels(rest), where=unknown[near])
    return result


def _only(rgb: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A copy with 0 where nothing is known."""
    copy = rgb.copy()
    pixels = whole_pixels(copy)
    np.copyto(pixels, np.zeros((), pixels.dtype), where=~known)
    return copy
