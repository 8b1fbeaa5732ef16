"""Cutting the layer out of what an engine painted.

The layer holds nothing where its alpha is 0. Whatever the engine did there, laying it over the document cannot change
such a pixel.

The document's own alpha takes no part: where the selection is full the paint is opaque, also over transparent or
half-transparent surroundings. Who selects a hole in a cut-out wants it closed, and who selects past a soft edge wants paint
there; an edge that is to stay soft is kept by not selecting it, or by a mask on the layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.errors import EmptySelection
from overpaint_protocol.geometry import Rect

from .mask import bounds, window
from .raster import Raster, whole_pixels

__all__ = ["Layer", "cut_layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """Pixels for the document.

    target: where they go, relative to the Context.
    raster: their color and alpha, of the target's size.
    """

    target: Rect
    raster: Raster


def cut_layer(painted: NDArray[np.float32], alpha: NDArray[np.float32]) -> Layer:
    """Make the layer that blends ``painted`` in by ``alpha``.

    Args:
        painted: (H, W, 3) float32, the engine's picture of the whole Context. The layer is made of its memory: what does not
            show becomes 0 in it.
        alpha: (H, W) float32 in [0, 1], how much of ``painted`` shows.

    Returns:
        The layer over the bounds of everything above 0 in ``alpha``, which it has exactly; color 0 where that is 0.

    Raises:
        EmptySelection: nothing shows.
    """
    target = bounds(alpha)
    if target is None:
        raise EmptySelection("Nothing is selected. Select the area to change and try again.")
    rgb, shown = painted[window(target)], alpha[window(target)]
    pixels = whole_pixels(rgb)
    np.copyto(pixels, np.zeros((), pixels.dtype), where=shown == 0)
    return Layer(target, Raster(rgb, shown))
