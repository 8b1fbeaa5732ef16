"""The selection of an Expand, which comes with margins instead of a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.geometry import Margins, Rect, Size

__all__ = ["expand_selection"]


def expand_selection(canvas: Size, margins: Margins, context: Rect) -> NDArray[np.float32]:
    """Select what an Expand adds, over ``context``.

    Args:
        canvas: the canvas before the Expand.
        margins: what is added on each side.
        context: what the engine sees, in canvas coordinates; may reach outside the grown canvas, where nothing
            is selected.

    Returns:
        (H, W) float32 over ``context``: 1 on what is new, else 0.
    """
    selection = np.zeros((context.height, context.width), np.float32)
    original = Rect.from_size(canvas)
    for area, level in ((original.expand(margins), 1), (original, 0)):
        part = area.intersect(context).relative_to(context.origin)
        selection[part.top : part.bottom, part.left : part.right] = level
    return selection
