"""Between a request of any size and the size a model works at.

A model paints well only at about the size it was trained on, and only at multiples of its own cells. So the whole
request is scaled to the model's number of pixels and the result back. A strip far longer than wide would leave its
short side without pixels; it gets wider by repeating its edge, which is cut off again. Where nothing surrounds what is to
be painted, the model gets that alone, so that its picture fits in there; around a small hole in a large request it gets
the hole with some of its surroundings, so that these keep their detail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from overpaint_backend.imaging.resample import resize
from overpaint_protocol.geometry import Rect, Size

__all__ = ["Frame"]

_MAX_RATIO = 4
_MIN_FILLED = 0.9
"""Of the pixels a model works at: fewer would be a waste of what it can."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How a request is laid out for a model.

    request: its size. window: what of it the model gets. padded: the window's size, grown to right or bottom.
    work: what the model paints.
    """

    request: Size
    window: Rect
    padded: Size
    work: Size

    @classmethod
    def plan(
        cls,
        request: Size,
        native_px: int,
        multiple_px: int,
        *,
        scale: float = 1.0,
        detail: float | None = None,
        window: Rect | None = None,
    ) -> Frame:
        """Lay out ``request`` for a model that was trained on ``native_px`` squared, with no more pixels than that.

        Args:
            request: any size.
            native_px: side of the model's square.
            multiple_px: what both sides of ``work`` are divisible by.
            scale: works at so much of the model's side; below 1 when memory is short.
            detail: works at no more than this scale of the request; None for all the model can.
            window: the part of the request to lay out, not empty; None for all of it.
        """
        window = window or Rect.from_size(request)
        padded = Size(
            max(window.width, -(-window.height // _MAX_RATIO)),
            max(window.height, -(-window.width // _MAX_RATIO)),
        )
        pixels = (native_px * scale) ** 2
        if detail is not None:
            pixels = min(pixels, padded.area * detail**2)
        most = max(1, int(pixels) // multiple_px**2)
        columns, rows = min(_grids(most), key=lambda grid: _misfit(grid, padded))
        return cls(request, window, padded, Size(columns * multiple_px, rows * multiple_px))

    def enter(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """A (H, W, C) picture of the request's size at the working size."""
        padded = np.pad(picture[self._inside()], (*self._padding(), (0, 0)), mode="edge")
        is_smaller = self.work.area < self.padded.area
        resampling = Image.Resampling.LANCZOS if is_smaller else Image.Resampling.BICUBIC
        return np.clip(resize(padded, self.work, resampling), 0, 1)

    def enter_mask(self, mask: NDArray[np.bool_], cell_px: int) -> NDArray[np.bool_]:
        """A (H, W) mask at the working size: a whole cell of ``cell_px`` wherever any of it is true."""
        return self.enter_levels(mask.astype(np.float32), cell_px) > 0

    def enter_levels(self, levels: NDArray[np.float32], cell_px: int) -> NDArray[np.float32]:
        """A soft (H, W) mask at the working size; a cell of ``cell_px`` has the highest of its values throughout."""
        padded = np.pad(levels[self._inside()], self._padding())
        small = resize(padded, self.work, Image.Resampling.BOX)
        rows, columns = self.work.height // cell_px, self.work.width // cell_px
        cells = small.reshape(rows, cell_px, columns, cell_px).max(axis=(1, 3))
        return cells.repeat(cell_px, axis=0).repeat(cell_px, axis=1)

    def leave(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """A (h, w, C) picture over the working area, of any size, at the request's size; black around the window."""
        is_smaller = self.padded.area < picture.shape[0] * picture.shape[1]
        resampling = Image.Resampling.HAMMING if is_smaller else Image.Resampling.BICUBIC
        scaled = resize(picture, self.padded, resampling)
        return self._surround(scaled[: self.window.height, : self.window.width], self.request, self.window)

    def crop(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """The request as a (h, w, 3) picture over the working area shows it, at about its own resolution."""
        height = max(1, round(picture.shape[0] * self.window.height / self.padded.height))
        width = max(1, round(picture.shape[1] * self.window.width / self.padded.width))
        shown = picture[:height, :width]
        if self.window.size == self.request:
            return shown
        scale = min(1.0, width / self.window.width)
        left, top = int(self.window.left * scale), int(self.window.top * scale)
        place = Rect(
            left, top, max(1, int(self.window.width * scale)), max(1, int(self.window.height * scale))
        )
        size = Size(
            max(place.right, round(self.request.width * scale)),
            max(place.bottom, round(self.request.height * scale)),
        )
        return self._surround(resize(shown, place.size), size, place)

    def _inside(self) -> tuple[slice, slice]:
        return np.s_[self.window.top : self.window.bottom, self.window.left : self.window.right]

    def _padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (
            (0, self.padded.height - self.window.height),
            (0, self.padded.width - self.window.width),
        )

    @staticmethod
    def _surround(picture: NDArray[np.float32], size: Size, place: Rect) -> NDArray[np.float32]:
        """``picture`` at ``place`` in a black one of ``size``."""
        if place.size == size:
            return picture
        whole = np.zeros((size.height, size.width, picture.shape[2]), np.float32)
        whole[place.top : place.bottom, place.left : place.right] = picture
        return whole


def _grids(most: int) -> list[tuple[int, int]]:
    """Columns and rows that make nearly ``most`` cells."""
    grids = [(columns, most // columns) for columns in range(1, most + 1)]
    return [grid for grid in grids if grid[0] * grid[1] >= _MIN_FILLED * most]


def _misfit(grid: tuple[int, int], size: Size) -> float:
    """How far a grid of squares is from the proportions of ``size``; 0 if it has them."""
    return abs(math.log(grid[0] / grid[1] * size.height / size.width))
