"""Small pictures for the eye while an engine works."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from overpaint_protocol.geometry import Size

from .resample import bounded_size, resize

__all__ = ["MAX_PREVIEW_PIXELS", "Backdrop", "Preview", "encode_preview"]

_QUALITIES = (80, 60, 40)
MAX_PREVIEW_PIXELS = 512 * 512
_MIN_PIXELS = 16 * 16


@dataclass(frozen=True, slots=True)
class Preview:
    """A JPEG file and its size in px."""

    jpeg: bytes
    size: Size


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The picture that a fill is shown in while it is made, scaled down once for all previews.

    picture: (h, w, 3) float32 in the working space. selection: (h, w) float32, how much of the fill shows.
    to_display: from the working space to sRGB's primaries.
    """

    picture: NDArray[np.float32]
    selection: NDArray[np.float32]
    to_display: Callable[[NDArray[np.float32]], NDArray[np.float32]]

    def show(self, painted: NDArray[np.float32], max_bytes: int) -> Preview | None:
        """Show an engine's half-made picture in its place.

        Args:
            painted: (h, w, 3) float32 over the same area at any size, as a Step's preview gives it.
            max_bytes: the budget; 0 for no preview.
        """
        height, width = self.selection.shape
        change = resize(painted, Size(width, height)) - self.picture
        shown = self.picture + self.selection[..., None] * change
        return encode_preview(self.to_display(shown.astype(np.float32, copy=False)), max_bytes)


def encode_preview(rgb: NDArray[np.float32], max_bytes: int) -> Preview | None:
    """Write a JPEG of at most ``max_bytes``: first with less quality, then with fewer pixels.

    Args:
        rgb: (H, W, 3) float32 with sRGB's primaries and curve; values outside [0, 1] are clipped.
        max_bytes: the budget; 0 for no preview.

    Returns:
        The preview, or None if even a tiny one does not fit.
    """
    height, width = rgb.shape[:2]
    picture = Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    pixels = min(MAX_PREVIEW_PIXELS, width * height)
    while max_bytes > 0:
        size = bounded_size(Size(width, height), pixels)
        small = picture.resize((size.width, size.height), Image.Resampling.BOX)
        for quality in _QUALITIES:
            file = io.BytesIO()
            small.save(file, "JPEG", quality=quality)
            if file.tell() <= max_bytes:
                return Preview(file.getvalue(), size)
        if pixels <= _MIN_PIXELS:
            break
        pixels = max(_MIN_PIXELS, pixels // 4)
    return None
