"""FileEditor: an editor without a window, so that the command line goes the way every editor goes.

Its documents are stacks of layers in memory, its selection is a mask of the canvas' size. The same EditorContract
holds it that holds Krita and GIMP.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overpaint_client.editor import DocumentInfo, Insertion
from overpaint_protocol.errors import NoDocument
from overpaint_protocol.geometry import Rect
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat
from overpaint_protocol.version import PRODUCT_VERSION

__all__ = ["PIXEL_DTYPES", "FileEditor", "FileLayer", "Pixels", "lay_over"]

Pixels = NDArray[np.uint8 | np.uint16 | np.float16 | np.float32]
"""(H, W, C), straight alpha, alpha last; C is 2 for grey, 4 for color. Integers span 0 to 1 with their range."""

PIXEL_DTYPES = {
    PixelFormat.GRAYA8: np.dtype("<u1"),
    PixelFormat.RGBA8: np.dtype("<u1"),
    PixelFormat.GRAYA16: np.dtype("<u2"),
    PixelFormat.RGBA16: np.dtype("<u2"),
    PixelFormat.GRAYAF16: np.dtype("<f2"),
    PixelFormat.RGBAF16: np.dtype("<f2"),
    PixelFormat.GRAYAF32: np.dtype("<f4"),
    PixelFormat.RGBAF32: np.dtype("<f4"),
}
"""The formats a document can have, with the type of their components."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLayer:
    """A layer. rect: where its pixels lie, in canvas coordinates. pixels: (H, W, C) as in Pixels.

    group: name of the group it came in, or empty.
    """

    name: str
    rect: Rect
    pixels: Pixels
    is_visible: bool = True
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A document at one time. layers: top-most first, of which the newest insertion made the first ``inserted``.

    selection: (H, W) uint8 of the canvas' size, or None if nothing is selected.
    """

    info: DocumentInfo
    layers: tuple[FileLayer, ...]
    selection: NDArray[np.uint8] | None
    inserted: int = 0

    @property
    def canvas(self) -> Rect:
        return Rect.from_size(self.info.canvas)


class FileEditor:
    """An EditorPort over pictures in memory. The document opened last is the active one."""

    name = "cli"
    version = PRODUCT_VERSION

    def __init__(self) -> None:
        self._documents: dict[str, list[_State]] = {}

    # ------------------------------------------------------------ what the command line does with it

    def open(
        self,
        pixels: Pixels,
        pixel_format: PixelFormat,
        *,
        selection: NDArray[np.uint8] | None = None,
        color: ColorSpace = ColorSpace.SRGB,
        profile: bytes | None = None,
        title: str = "",
        path: str = "",
    ) -> DocumentInfo:
        """Open a picture as a document of one layer.

        Args:
            pixels: (H, W, C) in ``pixel_format``; the document keeps the array, which must not change any more.
            pixel_format: one of PIXEL_DTYPES.
            selection: (H, W) uint8, 255 = change, or None for no selection.
            color: the color space of the pixels.
            profile: its ICC profile where that is ICC.
            title: what to call the document.
            path: its file.

        Raises:
            ValueError: the arrays do not fit the format or each other.
        """
        height, width, channels = pixels.shape
        if channels != pixel_format.channels or pixels.dtype != PIXEL_DTYPES.get(pixel_format):
            raise ValueError(f"{pixels.shape} {pixels.dtype} is not {pixel_format.value}")
        if selection is not None and (selection.shape != (height, width) or selection.dtype != np.uint8):
            raise ValueError(f"a selection of {selection.shape} {selection.dtype} for {width} x {height} px")
        canvas = Rect(0, 0, width, height)
        document_id = f"file-{uuid.uuid4().hex}"
        info = DocumentInfo(
            document_id=document_id,
            title=title,
            path=path,
            canvas=canvas.size,
            format=pixel_format,
            color=color,
            profile=profile,
        )
        base = FileLayer(name=title, rect=canvas, pixels=pixels)
        self._documents[document_id] = [_State(info=info, layers=(base,), selection=selection)]
        return info

    def close(self, document_id: str) -> None:
        """Close a document; one that is closed stays so."""
        self._documents.pop(document_id, None)

    def select(self, document_id: str, selection: NDArray[np.uint8] | None) -> None:
        """Replace the selection: (H, W) uint8 of the canvas' size, or None for none."""
        history = self._find(document_id)
        history[-1] = replace(history[-1], selection=selection)

    def undo(self, document_id: str) -> None:
        """Take the newest insertion back, if there is one."""
        history = self._find(document_id)
        if len(history) > 1:
            history.pop()

    def layers(self, document_id: str) -> tuple[FileLayer, ...]:
        """The layers, top-most first."""
        return self._now(document_id).layers

    def inserted(self, document_id: str) -> tuple[FileLayer, ...]:
        """The layers of the newest insertion, in its order; none before the first."""
        state = self._now(document_id)
        return state.layers[: state.inserted]

    def flatten(self, document_id: str, *, showing: FileLayer | None = None) -> Pixels:
        """The document as it looks, or with ``showing`` as the only visible one of the inserted layers.

        Returns:
            (H, W, C) of the canvas' size. Where a layer's alpha is 0 nothing of what lies below changes, to the bit.
        """
        state = self._now(document_id)
        layers = state.layers
        if showing is not None:
            layers = (replace(showing, is_visible=True), *layers[state.inserted :])
        return _flatten(state.info.format, layers, state.canvas)

    # ------------------------------------------------------------ EditorPort

    def active_document(self) -> DocumentInfo:
        """See EditorPort."""
        if not self._documents:
            raise NoDocument("No picture is open.")
        return next(reversed(self._documents.values()))[-1].info

    def document(self, document_id: str) -> DocumentInfo:
        """See EditorPort."""
        return self._now(document_id).info

    def selection_bounds(self, document_id: str) -> Rect | None:
        """See EditorPort."""
        selection = self._now(document_id).selection
        if selection is None:
            return None
        columns = np.flatnonzero(selection.any(axis=0))
        rows = np.flatnonzero(selection.any(axis=1))
        if not len(columns):
            return None
        return Rect.from_edges(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)

    def open_reader(self, document_id: str, area: Rect) -> _Reader:
        """See EditorPort."""
        return _Reader(self._now(document_id))

    def begin_insertion(self, document_id: str, insertion: Insertion) -> _Writer:
        """See EditorPort."""
        return _Writer(
            self._now(document_id).info, insertion, lambda layers: self._add(document_id, insertion, layers)
        )

    def _add(self, document_id: str, insertion: Insertion, layers: tuple[FileLayer, ...]) -> None:
        state = self._now(document_id)
        selection = state.selection
        info = state.info
        layers += state.layers
        if insertion.margins is not None:
            margins = insertion.margins
            grown = state.canvas.expand(margins)
            layers = tuple(replace(layer, rect=layer.rect.relative_to(grown.origin)) for layer in layers)
            info = replace(info, canvas=grown.size)
            if selection is not None:
                selection = np.pad(selection, ((margins.top, margins.bottom), (margins.left, margins.right)))
        self._documents[document_id].append(
            _State(info=info, layers=layers, selection=selection, inserted=len(insertion.layers))
        )

    def _find(self, document_id: str) -> list[_State]:
        if document_id not in self._documents:
            raise NoDocument("The picture is no longer open.")
        return self._documents[document_id]

    def _now(self, document_id: str) -> _State:
        return self._find(document_id)[-1]


class _Reader:
    """A PixelReader."""

    def __init__(self, state: _State) -> None:
        self._state = state

    def pixels(self, rect: Rect) -> Bytes:
        """See PixelReader."""
        return _flatten(self._state.info.format, self._state.layers, rect).tobytes()

    def selection(self, rect: Rect) -> Bytes:
        """See PixelReader."""
        if self._state.selection is None:
            return bytes(rect.area)
        return self._state.selection[_window(rect)].tobytes()

    def close(self) -> None:
        """See PixelReader."""


class _Writer:
    """A LayerWriter; ``add`` puts the finished layers into the document."""

    def __init__(
        self, info: DocumentInfo, insertion: Insertion, add: Callable[[tuple[FileLayer, ...]], None]
    ) -> None:
        group = insertion.name if len(insertion.layers) > 1 else ""
        self._layers = tuple(
            FileLayer(
                name=plan.name,
                rect=plan.rect,
                pixels=_blank(plan.rect, info.format),
                is_visible=plan.is_visible,
                group=group,
            )
            for plan in insertion.layers
        )
        self._add = add

    def write(self, layer: int, rect: Rect, data: Bytes) -> None:
        """See LayerWriter."""
        target = self._layers[layer]
        if not target.rect.contains(rect):
            raise ValueError(f"{rect} lies outside the layer's {target.rect}")
        pixels = np.frombuffer(data, dtype=target.pixels.dtype)
        shape = (rect.height, rect.width, target.pixels.shape[2])
        target.pixels[_window(rect.relative_to(target.rect.origin))] = pixels.reshape(shape)

    def commit(self) -> None:
        """See LayerWriter."""
        self._add(self._layers)

    def abort(self) -> None:
        """See LayerWriter. The layers were not in the document yet."""


def lay_over(below: Pixels, above: Pixels) -> None:
    """Lay ``above`` over ``below``, in place; both (H, W, C) of the same type and size, straight alpha, alpha last.

    A pixel where ``above`` has alpha 0 keeps all its bits; one where it is opaque takes the other's.
    """
    is_float = below.dtype.kind == "f"
    top = 1 if is_float else int(np.iinfo(str(below.dtype)).max)
    # Single precision holds 8 bits with room to spare, not 16.
    exact = np.float32 if below.dtype.itemsize == 1 else np.float64
    for start in range(0, below.shape[0], _ROWS_AT_ONCE):
        low, high = below[start : start + _ROWS_AT_ONCE], above[start : start + _ROWS_AT_ONCE]
        shows = high[..., -1] > 0
        if not shows.any():
            continue
        back, front = low[shows].astype(exact), high[shows].astype(exact)
        front_alpha = front[:, -1:] / top
        back_weight = back[:, -1:] / top * (1 - front_alpha)
        alpha = front_alpha + back_weight
        mixed = (front * front_alpha + back * back_weight) / alpha
        mixed[:, -1:] = alpha * top
        low[shows] = (mixed if is_float else np.rint(np.clip(mixed, 0, top))).astype(below.dtype)


def _flatten(pixel_format: PixelFormat, layers: tuple[FileLayer, ...], rect: Rect) -> Pixels:
    result = _blank(rect, pixel_format)
    for index, layer in enumerate(reversed(layers)):
        shared = layer.rect.intersect(rect)
        if not layer.is_visible or shared.is_empty:
            continue
        below = result[_window(shared.relative_to(rect.origin))]
        above = layer.pixels[_window(shared.relative_to(layer.rect.origin))]
        if index == 0:
            below[...] = above  # the picture itself, with what it hides under alpha 0
        else:
            lay_over(below, above)
    return result


def _blank(rect: Rect, pixel_format: PixelFormat) -> Pixels:
    return np.zeros((rect.height, rect.width, pixel_format.channels), PIXEL_DTYPES[pixel_format])


def _window(rect: Rect) -> tuple[slice, slice]:
    return np.s_[rect.top : rect.bottom, rect.left : rect.right]
