"""The engine that needs no model: it continues the surroundings with PatchMatch.

PatchMatch (Barnes et al. 2009, the library is PyPatchMatch) rebuilds the masked area from patches of the known
area, coarse to fine. It invents nothing and follows no prompt. The library call blocks and cannot be interrupted;
between the two passes here a cancel is heard.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from overpaint_backend.imaging.mask import bounds, grow
from overpaint_backend.imaging.resample import bounded_size, extend, resize, resize_known
from overpaint_protocol.errors import EngineError, NothingToSample, UnsupportedOperation
from overpaint_protocol.geometry import Rect, Size

from .base import (
    Device,
    EngineInfo,
    FillRequest,
    FillResult,
    MakeRoom,
    OnStep,
    OperationName,
    Step,
    no_room,
)

__all__ = ["EmbeddedEngine"]

_PATCH_RADIUS_PX = 3
"""The library's default of 15 takes many times as long and looks no better."""

_MIN_PATCHES = 16
"""With fewer whole patches to copy there is no texture to continue, only color."""

_MIN_SURROUNDINGS_PX = 128
_SURROUNDINGS_FRACTION = 0.5
"""How far around the mask to copy from, as a fraction of its longest side. Near things fit better than far ones."""

_MAX_WINDOW_PIXELS = 2_000_000
_MAX_HOLE_PIXELS = 1_000_000
"""Time goes mostly into masked pixels: about 15 s for each million of them, 0.7 s for each other million."""

_MAX_SKETCH_PIXELS = 25_000
_SKETCH_FRACTION = 0.1

_PLAIN_SEEDS = 4
_VETO_FRACTION = 0.3
_VETO_CELL_PX = 128
_VETO_DISTANCE_PX = 64
"""See ``_vary``."""

# The library's seed is one per process.
_library_lock = threading.Lock()


class EmbeddedEngine:
    """Fill, remove and expand without weights, on any machine."""

    def info(self) -> EngineInfo:
        """What the engine can do."""
        return EngineInfo(
            id="embedded",
            name="Embedded (no model)",
            operations=(OperationName.FILL, OperationName.REMOVE, OperationName.EXPAND),
            follows_prompt=False,
            follows_negative_prompt=False,
            needs_surroundings=True,
        )

    def weight_bytes(self, device: Device) -> int:
        """Nothing: it has no model."""
        return 0

    def open(self, device: Device, make_room: MakeRoom = no_room) -> EmbeddedSession:
        """Load the library; it always computes on the processor.

        Raises:
            EngineError: the library is missing or has no build for this machine.
        """
        try:
            import patchmatch
        except ImportError as error:
            raise EngineError(
                "The embedded engine's library is missing. Install Overpaint again.", detail=str(error)
            ) from error
        if not patchmatch.patchmatch_available:
            raise EngineError(
                "The embedded engine's library does not run on this machine. "
                "Install Overpaint again with: pip install --force-reinstall pypatchmatch"
            )
        return EmbeddedSession(patchmatch)


class EmbeddedSession:
    """Paints with PatchMatch; keeps nothing between fills."""

    def __init__(self, library: ModuleType) -> None:
        self._library = library

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Paint in two passes: a small one to look at, then the real one.

        Raises:
            Cancelled: ``on_step`` did.
            UnsupportedOperation: the request is an edit.
            NothingToSample: no pixel outside the mask is known.
        """
        if request.operation is OperationName.EDIT:
            raise UnsupportedOperation(
                "The embedded engine follows no instructions. Choose an engine with a model that does."
            )
        hole = request.mask > 0
        sources = request.known & ~hole
        on_step(Step(0.0))
        if hole.any():
            if not sources.any():
                raise NothingToSample(
                    "There is nothing left to build the fill from. Leave some of the picture unselected, "
                    "or choose an engine that paints from a prompt."
                )
            image = self._paint(_Picture(request.image, hole, sources), request.seed, on_step)
        else:
            image = request.image
        on_step(Step(1.0, lambda: image))
        return FillResult(image)

    def close(self) -> None:
        """Nothing is held."""

    def _paint(self, picture: _Picture, seed: int, on_step: OnStep) -> NDArray[np.float32]:
        window = _choose_window(picture)
        work = _vary(picture.crop(window).shrink(_MAX_WINDOW_PIXELS, _MAX_HOLE_PIXELS), seed)
        sketch = work.shrink(_MAX_SKETCH_PIXELS, _MAX_SKETCH_PIXELS)
        if sketch is not work:
            drawn = self._match(sketch, seed)
            on_step(Step(_SKETCH_FRACTION, lambda: picture.paste(drawn, window)))
        return picture.paste(self._match(work, seed), window)

    def _match(self, picture: _Picture, seed: int) -> NDArray[np.float32]:
        """Paint the hole at the picture's own resolution; (H, W, 3) float32."""
        if picture.patches < _MIN_PATCHES and not picture.is_sparse:
            return extend(picture.rgb, picture.sources)
        rgb = np.rint(np.clip(picture.rgb, 0, 1) * 255).astype(np.uint8)
        neither = ~(picture.hole | picture.sources)
        with _library_lock:
            self._library.set_random_seed(seed)
            painted = self._library.inpaint(
                rgb, picture.hole, global_mask=neither if neither.any() else None, patch_size=_PATCH_RADIUS_PX
            )
        # Around very few sources the library's voting overshoots; a copy cannot leave their range.
        copied = rgb[picture.sources]
        painted = np.clip(painted, copied.min(axis=0), copied.max(axis=0))
        return painted.astype(np.float32) / np.float32(255)


@dataclass(frozen=True, slots=True)
class _Picture:
    """rgb: (H, W, 3) float32. hole, sources: (H, W) bool, to paint and to copy from; disjoint."""

    rgb: NDArray[np.float32]
    hole: NDArray[np.bool_]
    sources: NDArray[np.bool_]

    @property
    def size(self) -> Size:
        height, width = self.hole.shape
        return Size(width, height)

    @property
    def patches(self) -> int:
        """How many whole patches there are to copy."""
        diameter = 2 * _PATCH_RADIUS_PX + 1
        whole = Image.fromarray(self.sources.astype(np.uint8)).filter(ImageFilter.MinFilter(diameter))
        return int(np.count_nonzero(np.asarray(whole)))

    @property
    def is_sparse(self) -> bool:
        """True if no part of the hole is far from a source, as between the lines of a grid."""
        return bool((grow(self.sources, 4 * _PATCH_RADIUS_PX) | ~self.hole).all())

    def crop(self, rect: Rect) -> _Picture:
        window = np.s_[rect.top : rect.bottom, rect.left : rect.right]
        return _Picture(self.rgb[window], self.hole[window], self.sources[window])

    def shrink(self, max_pixels: int, max_hole_pixels: int) -> _Picture:
        """Scale down to the limits; the picture itself if it keeps them."""
        hole_pixels = max(1, int(self.hole.sum()))
        size = bounded_size(
            self.size, min(max_pixels, int(self.size.area * min(1, max_hole_pixels / hole_pixels)))
        )
        if size == self.size:
            return self
        rgb, sources = resize_known(self.rgb, self.sources, size)
        # A small pixel that is partly hole and partly source copies; only what is no source gets painted.
        hole = ~sources & (resize(self.hole.astype(np.float32), size, Image.Resampling.BOX) > 0)
        return _Picture(rgb, hole, sources)

    def paste(self, painted: NDArray[np.float32], window: Rect) -> NDArray[np.float32]:
        """The picture with its hole filled from ``painted``, which covers ``window`` at any resolution."""
        result = self.rgb.copy()
        part = result[window.top : window.bottom, window.left : window.right]
        hole = self.hole[window.top : window.bottom, window.left : window.right]
        part[hole] = np.clip(resize(painted, window.size), 0, 1)[hole]
        return result


def _choose_window(picture: _Picture) -> Rect:
    """What of the picture to look at: the hole and its surroundings, or more if nothing in there is known.

    Surroundings come before resolution: a wide hole in a narrow frame ends as one blot.
    """
    whole = Rect.from_size(picture.size)
    box = bounds(picture.hole)
    if box is None:
        return whole
    pad = max(_MIN_SURROUNDINGS_PX, int(max(box.width, box.height) * _SURROUNDINGS_FRACTION))
    window = box.grow(pad).intersect(whole)
    while not picture.crop(window).sources.any():
        window = window.grow(max(window.width, window.height)).intersect(whole)
    return window


def _vary(picture: _Picture, seed: int) -> _Picture:
    """Let the seed decide what may be copied, so that variants differ in what they show.

    Starting PatchMatch from another seed changes details only. Three seeds of four leave out part of the sources,
    in a few blobs, none of them close to the hole, where lines must go on. The fourth copies from anywhere.
    """
    if seed % _PLAIN_SEEDS == 0:
        return picture
    size = picture.size
    grid = (size.height // _VETO_CELL_PX + 2, size.width // _VETO_CELL_PX + 2)
    cells = np.random.default_rng(seed).standard_normal(grid, dtype=np.float32)
    noise = resize(cells, size)
    blobs = noise < np.quantile(noise, _VETO_FRACTION)
    sources = picture.sources & (~blobs | grow(picture.hole, _VETO_DISTANCE_PX))
    return _Picture(picture.rgb, picture.hole, sources) if sources.any() else picture
