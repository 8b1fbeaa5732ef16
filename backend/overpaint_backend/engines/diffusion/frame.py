"""Between a request of any size and the size a model works at.

A model paints well only at about the size it was trained on, and only at multiples of its own cells. So the whole
request is scaled to the model's number of pixels and the result back. A strip far longer than wide would leave its
short side without pixels; it gets wider by repeating its edge, which is cut off again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from overpaint_backend.imaging.resample import resize
from overpaint_protocol.geometry import Size

__all__ = ["Frame"]

_MAX_RATIO = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """How a request is laid out for a model.

    request: its size. padded: the same, grown to right or bottom. work: what the model paints.
    """

    request: Size
    padded: Size
    work: Size

    @classmethod
    def plan(cls, request: Size, native_px: int, multiple_px: int, scale: float = 1.0) -> Frame:
        """Lay out ``request`` for a model that was trained on ``native_px`` squared.

        Args:
            request: any size.
            native_px: side of the model's square.
            multiple_px: what both sides of ``work`` are divisible by.
            scale: works at so much of the model's side; below 1 when memory is short.
        """
        padded = Size(
            max(request.width, -(-request.height // _MAX_RATIO)),
            max(request.height, -(-request.width // _MAX_RATIO)),
        )
        factor = native_px * scale / padded.area**0.5
        sides = [
            max(1, round(side * factor / multiple_px)) * multiple_px for side in (padded.width, padded.height)
        ]
        return cls(request, padded, Size(*sides))

    def enter(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """A (H, W, C) picture of the request's size at the working size."""
        padded = np.pad(picture, (*self._padding(), (0, 0)), mode="edge")
        is_smaller = self.work.area < self.padded.area
        resampling = Image.Resampling.LANCZOS if is_smaller else Image.Resampling.BICUBIC
        return np.clip(resize(padded, self.work, resampling), 0, 1)

    def enter_mask(self, mask: NDArray[np.bool_], cell_px: int) -> NDArray[np.bool_]:
        """A (H, W) mask at the working size: a whole cell of ``cell_px`` wherever any of it is true."""
        padded = np.pad(mask, self._padding()).astype(np.float32)
        small = resize(padded, self.work, Image.Resampling.BOX) > 0
        rows, columns = self.work.height // cell_px, self.work.width // cell_px
        cells = small.reshape(rows, cell_px, columns, cell_px).any(axis=(1, 3))
        return cells.repeat(cell_px, axis=0).repeat(cell_px, axis=1)

    def leave(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """A (h, w, C) picture over the working area, of any size, at the request's size."""
        return resize(picture, self.padded)[: self.request.height, : self.request.width]

    def crop(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """The part of a (h, w, C) picture over the working area that shows the request, at its own size."""
        height = max(1, round(picture.shape[0] * self.request.height / self.padded.height))
        width = max(1, round(picture.shape[1] * self.request.width / self.padded.width))
        return picture[:height, :width]

    def _padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (
            (0, self.padded.height - self.request.height),
            (0, self.padded.width - self.request.width),
        )
