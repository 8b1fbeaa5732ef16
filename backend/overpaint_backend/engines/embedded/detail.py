"""Detail at full resolution for a draft at a smaller one, copied along its field.

The draft gives the colors at large, the picture the rest: each pixel of the hole takes over by how much its source differs
from the draft's softened colors there. So neither the draft's resolution nor its eight bits show, and where two copies
meet, only detail can break, never the color.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.imaging.mask import bounds, grow
from overpaint_backend.imaging.resample import extend

from .field import Field
from .patches import soften
from .picture import Picture

__all__ = ["copy_detail"]

_MAX_STEP = np.float32(0.06)
"""By how much the fill is moved at most, in values of the picture. Where the two differ by more at the seam, a thing was cut, and to
carry its color inside would only make it glow."""

_SOFTNESS_PX = 1.5
"""Standard deviation of what counts as color at large, in pixels of the draft."""


def copy_detail(
    picture: Picture,
    draft: NDArray[np.float32],
    field: Field,
    factor: int,
    on_part: Callable[[float], None],
) -> NDArray[np.float32]:
    """Fill the hole of ``picture``.

    Args:
        picture: its own values; they may leave [0, 1], and so may the result.
        draft: (ceil(H / factor), ceil(W / factor), 3) float32 in [0, 1], with its hole painted.
        field: of the draft.
        factor: how many pixels of the picture a pixel of the draft is wide.
        on_part: called with the share that is done, up to 1; it may raise.
    """
    height, width = picture.hole.shape
    large = soften(draft, _SOFTNESS_PX)
    rim = grow(picture.hole, 1) & picture.sources
    result = picture.rgb.copy()
    low, high = _range(picture)
    cells_down, cells_right = draft.shape[:2]
    missing = ((0, cells_down * factor - height), (0, cells_right * factor - width))
    cells = np.pad(picture.hole | rim, missing).reshape(cells_down, factor, cells_right, factor)
    for down in range(factor):
        for right in range(factor):
            rows, columns = np.nonzero(cells[:, down, :, right])
            sources = field.sources[rows, columns]
            source_rows, source_columns = np.divmod(sources, cells_right)
            here = _between(large, rows, columns, down, right, factor)
            there = _between(large, source_rows, source_columns, down, right, factor)
            # Cells at the end may be cut; what is missing of them is the edge's.
            copied = picture.rgb[
                np.minimum(source_rows * factor + down, height - 1),
                np.minimum(source_columns * factor + right, width - 1),
            ]
            result[rows * factor + down, columns * factor + right] = np.where(
                sources[:, None] >= 0, copied + (here - there), here
            )
        on_part((down + 1) / factor)
    _close_seam(result, picture, rim)
    np.clip(result, low, high, out=result, where=picture.hole[..., None])
    return result


def _close_seam(result: NDArray[np.float32], picture: Picture, rim: NDArray[np.bool_]) -> None:
    """Move the fill, in place, so that it meets what is known; the further inside, the more evenly.

    By how much to move shows on the rim, the known pixels next to the hole: ``result`` has there what the fill would
    have put, and gets what is known again.
    """
    box = bounds(picture.hole | rim)
    if box is None or not rim.any():
        return
    window = np.s_[box.top : box.bottom, box.left : box.right]
    part = result[window]
    step = picture.rgb[window] - part
    largest = np.abs(step).max(axis=-1, keepdims=True)
    part += extend(step * (_MAX_STEP / np.maximum(largest, _MAX_STEP)), rim[window])
    part[~picture.hole[window]] = picture.rgb[window][~picture.hole[window]]


def _between(
    large: NDArray[np.float32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    down: int,
    right: int,
    factor: int,
) -> NDArray[np.float32]:
    """``large`` at the pixel that lies ``down`` and ``right`` in each cell, interpolated between the cells' centers."""
    last_row, last_column = large.shape[0] - 1, large.shape[1] - 1
    total = np.zeros((len(rows), 3), np.float32)
    for (row_step, row_weight), (column_step, column_weight) in product(
        _neighbors(down, factor), _neighbors(right, factor)
    ):
        if weight := row_weight * column_weight:
            near = large[
                np.clip(rows + row_step, 0, last_row), np.clip(columns + column_step, 0, last_column)
            ]
            total += np.float32(weight) * near
    return total


def _neighbors(place: int, factor: int) -> tuple[tuple[int, float], tuple[int, float]]:
    """Which two cells a pixel lies between, as steps from its own, with their weights."""
    offset = (place + 0.5) / factor - 0.5
    step = -1 if offset < 0 else 1
    return (0, 1 - abs(offset)), (step, abs(offset))


def _range(picture: Picture) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The least and the greatest value among the sources, per channel; a fill invents none beyond."""
    least = np.array([picture.rgb[..., c].min(initial=np.inf, where=picture.sources) for c in range(3)])
    greatest = np.array([picture.rgb[..., c].max(initial=-np.inf, where=picture.sources) for c in range(3)])
    return least, greatest
