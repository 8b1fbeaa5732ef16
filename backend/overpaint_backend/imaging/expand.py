"""The selection of an Expand, which comes with margins instead of a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.geometry import Margins, Rect, Size

__all__ = ["expand_selection"]


def expand_selection(
    canvas: Size, margins: Margins, context: Rect, overlap_px: int = 0
) -> NDArray[np.float32]:
    """Select what an Expand adds, over ``context``.

    Args:
        canvas: the canvas before the Expand.
        margins: what is added on each side.
        context: what the engine sees, in canvas coordinates; may reach outside the grown canvas, where nothing
            is selected.
        overlap_px: how far the selection reaches into the original, fading to 0, on the sides that grow. 0
            leaves every pixel of the original alone.

    Returns:
        (H, W) float32 in [0, 1] over ``context``.
    """
    columns = np.arange(context.left, context.right)
    rows = np.arange(context.top, context.bottom)
    across = _axis(columns, canvas.width, (margins.left, margins.right), overlap_px)
    down = _axis(rows, canvas.height, (margins.top, margins.bottom), overlap_px)
    selection = np.maximum(across[None, :], down[:, None])
    grown = Rect.from_size(canvas).expand(margins)
    selection[:, (columns < grown.left) | (columns >= grown.right)] = 0
    selection[(rows < grown.top) | (rows >= grown.bottom), :] = 0
    return selection


def _axis(
    positions: NDArray[np.int_], length: int, margins: tuple[int, int], overlap_px: int
) -> NDArray[np.float32]:
    """Selection along one axis: 1 outside 0..length, fading over ``overlap_px`` next to a margin, else 0."""
    before, after = margins
    # Steps into the original from each growing side: 1 at the outermost pixel, at most 0 outside.
    inside = np.full(positions.shape, overlap_px + 1)
    if before:
        inside = np.minimum(inside, positions + 1)
    if after:
        inside = np.minimum(inside, length - positions)
    ramp = 1 - np.clip(inside, 0, overlap_px + 1) / (overlap_px + 1)
    return ramp.astype(np.float32)
