"""Painting an area that is many times what a model works at: in overlapping windows, without a seam between them.

First all of it is painted at once, small, which settles what is where. Then window after window is refined from that, each
seeing what those before it made and fading into it over half of the overlap. A model that can only paint anew paints
window after window instead, and so continues what it painted before.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import FillRequest, Step
from overpaint_backend.imaging.resample import bounded_size, resize
from overpaint_protocol.geometry import Rect, Size

from .progress import Progress

__all__ = ["Window", "paint_windows", "plan_windows"]

_DETAIL = 0.78
"""The scale of the canvas from which on a picture counts as sharp."""
_TOLERANCE = 0.97
"""Sides are whole numbers of cells, which costs a little."""
_OVERLAP = 1 / 4
_SURROUNDINGS = 1 / 8
"""Of a window's side: what it shares with the next one, and what it shows around the hole."""
_RATIOS = (1.0, 3 / 4, 4 / 3, 1 / 2, 2.0)
_MAX_WINDOWS = 64
_REFINE_STRENGTH = 0.5
"""Enough to draw what was too small to see, not to invent something else."""
_MAX_PREVIEW_PIXELS = 512 * 512


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a request to paint at once. left_px, top_px: how much of it windows before it cover on that side."""

    rect: Rect
    left_px: int = 0
    top_px: int = 0

    def weights(self) -> NDArray[np.float32]:
        """(H, W) in [0, 1], how much this window shows: half of an overlap is settled, over the other half it fades in."""
        across, down = (
            _ramp(length, overlap)
            for length, overlap in ((self.rect.width, self.left_px), (self.rect.height, self.top_px))
        )
        return down[:, None] * across[None, :]


def plan_windows(
    within: Rect, hole: NDArray[np.bool_], native_px: float, detail: float | None
) -> tuple[Window, ...]:
    """Choose what to paint at once: all of ``within``, a part that holds the hole, or several that cover it.

    Args:
        within: what of the request can be of use.
        hole: (H, W), what is to be painted; all of it lies in ``within``, and it is true somewhere.
        native_px: side of the square the model works at.
        detail: the scale to work at, or None for what is sharp.

    Returns:
        At most 64 windows in the order to paint them; where that is not enough, they work at a lower scale.
    """
    scale = detail or _DETAIL
    if native_px >= scale * _TOLERANCE * math.sqrt(within.area):
        return (Window(within),)
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    needed = Rect.from_edges(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    while True:
        windows = _cover(needed, within, native_px / scale)
        windows = tuple(window for window in windows if hole[_inside(window.rect)].any())
        if len(windows) <= _MAX_WINDOWS:
            return windows
        scale *= 0.9


def paint_windows(
    request: FillRequest,
    windows: Sequence[Window],
    paint: Callable[[FillRequest, Progress], NDArray[np.float32]],
    progress: Progress,
    *,
    can_refine: bool,
) -> NDArray[np.float32]:
    """Paint the request's hole window by window; (H, W, 3) of its size.

    Args:
        request: what to paint. Where it is to stay near what is there, that is refined as it is.
        windows: what to paint at once.
        paint: paints a request of any size, telling how far it is.
        progress: of all of it; what it raises passes.
        can_refine: whether the model can begin with what is there.
    """
    hole = request.mask > 0
    picture, known, settings = request.image.copy(), request.known, request.settings
    is_sketched = can_refine and (settings.strength is None or settings.strength >= 1)
    done, share = 0.0, 1.0
    units = float(len(windows))
    if is_sketched:
        share = _REFINE_STRENGTH
        units = 1 + share * len(windows)
        sketch = paint(request, progress.part(0, 1, units))
        picture, known = np.where(hole[..., None], sketch, picture), known | hole
        settings = replace(settings, strength=_REFINE_STRENGTH)
        done = 1.0
    for index, window in enumerate(windows):
        progress.check()
        inside, weights = _inside(window.rect), window.weights()
        part = np.where(hole[inside], weights, np.float32(0))
        if not part.any():
            continue
        mask = request.mask[inside] if settings is request.settings else np.ones_like(part)
        painted = paint(
            replace(
                request,
                image=picture[inside],
                mask=np.where(part > 0, mask, np.float32(0)),
                known=known[inside],
                settings=settings,
                seed=int(np.random.SeedSequence([request.seed, index]).generate_state(1)[0]),
            ),
            _part_in_place(progress, done / units, share / units, picture, window.rect),
        )
        picture[inside] += (painted - picture[inside]) * part[..., None]
        known = known.copy()
        known[inside] |= part > 0
        done += share
    return picture


def _part_in_place(
    progress: Progress, begun: float, share: float, picture: NDArray[np.float32], rect: Rect
) -> Progress:
    """The progress of a window: its previews are shown where it lies in the picture so far."""

    def tell(step: Step) -> None:
        make = step.preview
        shown = None if make is None else lambda: _in_place(make(), picture, rect)
        progress.tell(begun + share * step.fraction, shown)

    return Progress(tell)


def _in_place(part: NDArray[np.float32], picture: NDArray[np.float32], rect: Rect) -> NDArray[np.float32]:
    height, width = picture.shape[:2]
    size = bounded_size(Size(width, height), _MAX_PREVIEW_PIXELS)
    left, right = rect.left * size.width // width, rect.right * size.width // width
    top, bottom = rect.top * size.height // height, rect.bottom * size.height // height
    shown = np.clip(resize(picture, size), 0, 1)
    if left < right and top < bottom:
        shown[top:bottom, left:right] = resize(part, Size(right - left, bottom - top))
    return shown


def _cover(needed: Rect, within: Rect, side_px: float) -> list[Window]:
    """As few windows of ``side_px`` squared as cover ``needed`` with its surroundings, row by row."""
    needed = needed.grow(round(side_px * _SURROUNDINGS)).intersect(within)
    overlap_px = round(side_px * _OVERLAP)
    grids: list[list[Window]] = []
    for ratio in _RATIOS:
        width, height = _window_size(side_px, ratio, within.size)
        columns = _places(
            needed.left, needed.right, width, min(overlap_px, width // 2), within.left, within.right
        )
        rows = _places(
            needed.top, needed.bottom, height, min(overlap_px, height // 2), within.top, within.bottom
        )
        grids.append(
            [
                Window(Rect(left, top, width, height), left_px, top_px)
                for top, top_px in rows
                for left, left_px in columns
            ]
        )
    return min(grids, key=len)


def _window_size(side_px: float, ratio: float, most: Size) -> tuple[int, int]:
    """Width and height of a window of about that ratio; what one side lacks, the other gets, up to 3 : 1."""
    pixels = side_px * side_px
    width = min(most.width, round(side_px * math.sqrt(ratio)))
    height = min(most.height, round(min(pixels / width, 3 * width)))
    return min(most.width, round(min(pixels / height, 3 * height))), height


def _places(start: int, end: int, length: int, overlap: int, least: int, most: int) -> list[tuple[int, int]]:
    """Where windows along one axis begin, and how much each shares with the one before."""
    if end - start <= length:
        return [(min(max(least, (start + end - length) // 2), most - length), 0)]
    count = math.ceil((end - start - overlap) / (length - overlap))
    places = [start + round(index * (end - start - length) / (count - 1)) for index in range(count)]
    shared = [before + length - place for before, place in itertools.pairwise(places)]
    return list(zip(places, [0, *shared], strict=True))


def _ramp(length: int, overlap: int) -> NDArray[np.float32]:
    settled = overlap // 2
    fading = overlap - settled
    if not fading:
        return np.ones(length, np.float32)
    steps = (np.arange(length) + 0.5 - settled) / fading
    return np.clip(steps, 0, 1).astype(np.float32)


def _inside(rect: Rect) -> tuple[slice, slice]:
    return np.s_[rect.top : rect.bottom, rect.left : rect.right]
