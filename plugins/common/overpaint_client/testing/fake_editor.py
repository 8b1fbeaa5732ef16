"""FakeEditor: an editor in memory, for tests of everything above ``EditorPort``.

It passes EditorContract, as the real ones do. Scripting it::

    editor = FakeEditor()
    document_id = editor.open_document("photo", Size(64, 48), rgba8)
    editor.select(document_id, Rect(8, 8, 16, 16), bytes([255]) * 256)
    ...
    editor.layers(document_id)[0].pixel(Point(9, 9))
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from overpaint_client.editor import DocumentInfo, Insertion, LayerWriter, PixelReader
from overpaint_protocol.errors import NoDocument, UnsupportedFormat
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.pixels import Bytes, PixelFormat

from .contract import LayerState

__all__ = ["FakeEditor"]


@dataclass(slots=True)
class _State:
    """One step of the undo history: immutable layers, top-most first, and the canvas."""

    canvas: Size
    layers: tuple[LayerState, ...]


@dataclass(slots=True)
class _Document:
    title: str
    path: str
    history: list[_State]
    selection: tuple[Rect, bytes] | None = None
    is_supported: bool = True

    @property
    def now(self) -> _State:
        return self.history[-1]


@dataclass(slots=True)
class FakeEditor:
    """An EditorPort and the Harness of its own contract in one.

    pixel_format: ``bgra8`` or ``rgba8``, as Krita or GIMP give 8-bit pixels.
    """

    name: str = "fake"
    version: str = "1"
    pixel_format: PixelFormat = PixelFormat.BGRA8
    undo_steps_fill: int = 1
    undo_steps_expand: int = 1
    _documents: dict[str, _Document] = field(default_factory=dict)
    _active: str = ""
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    # ------------------------------------------------------------ EditorPort

    def active_document(self) -> DocumentInfo:
        """See EditorPort."""
        if not self._active:
            raise NoDocument("No picture is open. Open one, then try again.")
        return self.document(self._active)

    def document(self, document_id: str) -> DocumentInfo:
        """See EditorPort."""
        document = self._find(document_id)
        if not document.is_supported:
            raise UnsupportedFormat("This picture is indexed. Convert it to RGB, then try again.")
        return DocumentInfo(
            document_id=document_id,
            title=document.title,
            path=document.path,
            canvas=document.now.canvas,
            format=self.pixel_format,
        )

    def selection_bounds(self, document_id: str) -> Rect | None:
        """See EditorPort."""
        selection = self._find(document_id).selection
        return None if selection is None else selection[0]

    def open_reader(self, document_id: str, area: Rect) -> PixelReader:
        """See EditorPort."""
        self.document(document_id)
        return _Reader(self._find(document_id), self.pixel_format)

    def begin_insertion(self, document_id: str, insertion: Insertion) -> LayerWriter:
        """See EditorPort."""
        self.document(document_id)
        return _Writer(self, document_id, insertion)

    # ------------------------------------------------------------ Harness and scripting

    @property
    def port(self) -> FakeEditor:
        """Itself."""
        return self

    def open_document(self, title: str, size: Size, rgba8: bytes, path: str = "") -> str:
        """Open a picture with one layer and make it active."""
        background = LayerState("Background", Rect.from_size(size), True, "", rgba8)
        self._active = f"fake-{next(self._ids)}"
        self._documents[self._active] = _Document(title, path, [_State(size, (background,))])
        return self._active

    def open_unsupported(self) -> bool:
        """Open an indexed picture and make it active."""
        document_id = self.open_document("Indexed", Size(2, 2), bytes(16))
        self._documents[document_id].is_supported = False
        return True

    def select(self, document_id: str, rect: Rect, mask: bytes | None) -> None:
        """Select softly, or nothing."""
        self._find(document_id).selection = None if mask is None else (rect, mask)

    def layers(self, document_id: str) -> list[LayerState]:
        """All layers, top-most first."""
        return list(self._find(document_id).now.layers)

    def undo(self, document_id: str) -> None:
        """Take back the last insertion."""
        history = self._find(document_id).history
        if len(history) > 1:
            history.pop()

    def crop(self, document_id: str, canvas: Size) -> None:
        """Cut the canvas at its right and lower edge."""
        document = self._find(document_id)
        document.history.append(_State(canvas, document.now.layers))

    def close_document(self, document_id: str) -> None:
        """Close without asking."""
        del self._documents[document_id]
        if self._active == document_id:
            self._active = next(iter(self._documents), "")

    def settle(self) -> None:
        """Nothing happens in the background here."""

    def commit(self, document_id: str, insertion: Insertion, pictures: list[bytes]) -> None:
        """Put RGBA8 pictures in as layers: one undo step."""
        document = self._find(document_id)
        dx, dy, canvas = 0, 0, document.now.canvas
        if insertion.margins is not None:
            dx, dy = insertion.margins.left, insertion.margins.top
            canvas = Rect.from_size(canvas).expand(insertion.margins).size
        group = insertion.name if len(insertion.layers) > 1 else ""
        added = tuple(
            LayerState(plan.name, plan.rect.translate(dx, dy), plan.is_visible, group, picture)
            for plan, picture in zip(insertion.layers, pictures, strict=True)
        )
        kept = tuple(replace(layer, rect=layer.rect.translate(dx, dy)) for layer in document.now.layers)
        document.history.append(_State(canvas, added + kept))

    def _find(self, document_id: str) -> _Document:
        if document_id not in self._documents:
            raise NoDocument("That picture is closed. Open it again, then try again.")
        return self._documents[document_id]


def _swap_red_and_blue(data: Bytes, pixel_format: PixelFormat) -> bytes:
    if pixel_format is PixelFormat.RGBA8:
        return bytes(data)
    out = bytearray(data)
    out[0::4], out[2::4] = out[2::4], out[0::4]
    return bytes(out)


class _Reader:
    def __init__(self, document: _Document, pixel_format: PixelFormat) -> None:
        self._state = document.now
        self._selection = document.selection
        self._format = pixel_format

    def pixels(self, rect: Rect) -> Bytes:
        rows = bytearray(rect.area * 4)
        for layer in reversed([layer for layer in self._state.layers if layer.is_visible]):
            _paint(rows, rect, layer)
        return _swap_red_and_blue(rows, self._format)

    def selection(self, rect: Rect) -> Bytes:
        out = bytearray(rect.area)
        if self._selection is not None:
            place, mask = self._selection
            shared = rect.intersect(place)
            for y in range(shared.top, shared.bottom):
                source = (y - place.y) * place.width + shared.left - place.x
                target = (y - rect.y) * rect.width + shared.left - rect.x
                out[target : target + shared.width] = mask[source : source + shared.width]
        return bytes(out)

    def close(self) -> None:
        pass


def _paint(rows: bytearray, rect: Rect, layer: LayerState) -> None:
    """Put a layer over ``rows`` (straight-alpha RGBA8 of ``rect``)."""
    shared = rect.intersect(layer.rect)
    for y in range(shared.top, shared.bottom):
        for x in range(shared.left, shared.right):
            source = ((y - layer.rect.y) * layer.rect.width + x - layer.rect.x) * 4
            target = ((y - rect.y) * rect.width + x - rect.x) * 4
            over = layer.rgba8[source : source + 4]
            if over[3] == 255:
                rows[target : target + 4] = over
            elif over[3]:
                under_alpha = rows[target + 3] * (255 - over[3]) / 255
                alpha = over[3] + under_alpha
                for c in range(3):
                    rows[target + c] = round((over[c] * over[3] + rows[target + c] * under_alpha) / alpha)
                rows[target + 3] = round(alpha)


class _Writer:
    def __init__(self, editor: FakeEditor, document_id: str, insertion: Insertion) -> None:
        self._editor = editor
        self._document_id = document_id
        self._insertion = insertion
        self._pictures = [bytearray(plan.rect.area * 4) for plan in insertion.layers]

    def write(self, layer: int, rect: Rect, data: Bytes) -> None:
        place = self._insertion.layers[layer].rect
        if not place.contains(rect) or len(data) != rect.area * 4:
            raise ValueError(f"{len(data)} bytes for {rect} in a layer of {place}")
        pixels = _swap_red_and_blue(data, self._editor.pixel_format)
        for y in range(rect.height):
            start = ((rect.y - place.y + y) * place.width + rect.x - place.x) * 4
            row = pixels[y * rect.width * 4 : (y + 1) * rect.width * 4]
            self._pictures[layer][start : start + len(row)] = row

    def commit(self) -> None:
        self._editor.commit(self._document_id, self._insertion, [bytes(p) for p in self._pictures])

    def abort(self) -> None:
        pass
