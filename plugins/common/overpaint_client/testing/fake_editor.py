"""FakeEditor: an editor in memory, for tests of everything above ``EditorPort``.

It passes EditorContract, as the real ones do. Scripting it::

    editor = FakeEditor()
    document_id = editor.open_document("photo", Size(64, 48), rgba8)
    editor.select(document_id, Rect(8, 8, 16, 16), bytes([255]) * 256)
    ...
    editor.layers(document_id)[0].pixel(Point(9, 9))

Documents other than 8-bit sRGB are opened with ``open_kind``, and looked at with ``numbers``.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from overpaint_client.editor import DocumentInfo, Insertion, LayerWriter, PixelReader
from overpaint_protocol.errors import NoDocument, UnsupportedFormat
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat

from .contract import LayerState
from .kinds import DocumentKind, pack, swap_red_and_blue, unpack

__all__ = ["FakeEditor"]

_KINDS = tuple(
    DocumentKind(pixel_format, color, profile)
    for pixel_format in PixelFormat
    if pixel_format is not PixelFormat.GRAY8
    for color, profile in (
        (ColorSpace.SRGB, None),
        (ColorSpace.LINEAR_SRGB, None),
        (ColorSpace.ICC, b"the bytes of a profile"),
    )
)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer. data: straight-alpha pixels of ``rect`` in the document's format."""

    name: str
    rect: Rect
    is_visible: bool
    group: str
    data: bytes


@dataclass(slots=True)
class _State:
    """One step of the undo history: immutable layers, top-most first, and the canvas."""

    canvas: Size
    layers: tuple[_Layer, ...]


@dataclass(slots=True)
class _Document:
    title: str
    path: str
    kind: DocumentKind
    history: list[_State]
    selection: tuple[Rect, bytes] | None = None
    is_supported: bool = True

    @property
    def now(self) -> _State:
        return self.history[-1]


@dataclass(slots=True)
class FakeEditor:
    """An EditorPort and the Harness of its own contract in one.

    pixel_format: ``bgra8`` or ``rgba8``, as Krita or GIMP give 8-bit pixels; of documents opened from then on.
    """

    name: str = "fake"
    version: str = "1"
    pixel_format: PixelFormat = PixelFormat.BGRA8
    undo_steps_fill: int = 1
    undo_steps_expand: int = 1
    kinds: tuple[DocumentKind, ...] = _KINDS
    _documents: dict[str, _Document] = field(default_factory=dict)
    _active: str = ""

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
            format=document.kind.format,
            color=document.kind.color,
            profile=document.kind.profile,
        )

    def selection_bounds(self, document_id: str) -> Rect | None:
        """See EditorPort."""
        selection = self._find(document_id).selection
        return None if selection is None else selection[0]

    def open_reader(self, document_id: str, area: Rect) -> PixelReader:
        """See EditorPort."""
        self.document(document_id)
        return _Reader(self._find(document_id))

    def begin_insertion(self, document_id: str, insertion: Insertion) -> LayerWriter:
        """See EditorPort."""
        info = self.document(document_id)
        return _Writer(self, document_id, info.format, insertion)

    # ------------------------------------------------------------ Harness and scripting

    @property
    def port(self) -> FakeEditor:
        """Itself."""
        return self

    def open_document(self, title: str, size: Size, rgba8: bytes, path: str = "") -> str:
        """Open a picture with one layer and make it active."""
        pixels = swap_red_and_blue(rgba8, self.pixel_format)
        return self.open_kind(title, size, DocumentKind(self.pixel_format), pixels, path)

    def open_kind(self, title: str, size: Size, kind: DocumentKind, pixels: bytes, path: str = "") -> str:
        """The same with a document of any kind, from pixels in its own format."""
        background = _Layer("Background", Rect.from_size(size), True, "", pixels)
        self._active = f"fake-{uuid.uuid4().hex}"
        self._documents[self._active] = _Document(title, path, kind, [_State(size, (background,))])
        return self._active

    def convert(self, document_id: str, kind: DocumentKind) -> None:
        """Say from now on that the document is of this kind; its pixels stay as they are."""
        self._find(document_id).kind = kind

    def open_unsupported(self) -> bool:
        """Open an indexed picture and make it active."""
        document_id = self.open_document("Indexed", Size(2, 2), bytes(16))
        self._documents[document_id].is_supported = False
        return True

    def select(self, document_id: str, rect: Rect, mask: bytes | None) -> None:
        """Select softly, or nothing."""
        self._find(document_id).selection = None if mask is None else (rect, mask)

    def layers(self, document_id: str) -> list[LayerState]:
        """All layers of an 8-bit RGB document, top-most first."""
        document = self._find(document_id)
        return [
            LayerState(
                layer.name,
                layer.rect,
                layer.is_visible,
                layer.group,
                swap_red_and_blue(layer.data, document.kind.format),
            )
            for layer in document.now.layers
        ]

    def numbers(self, document_id: str, rect: Rect) -> bytes:
        """Pixels of ``rect`` of the top-most layer, in the document's format."""
        document = self._find(document_id)
        return bytes(_composite(document.now.layers[:1], rect, document.kind.format))

    def undo(self, document_id: str) -> None:
        """Take back the last insertion."""
        history = self._find(document_id).history
        if len(history) > 1:
            history.pop()

    def crop(self, document_id: str, canvas: Size) -> None:
        """Cut the canvas at its right and lower edge."""
        document = self._find(document_id)
        document.history.append(_State(canvas, document.now.layers))

    def activate(self, document_id: str) -> None:
        """Bring an open picture to the front."""
        self._find(document_id)
        self._active = document_id

    def close_document(self, document_id: str) -> None:
        """Close without asking."""
        del self._documents[document_id]
        if self._active == document_id:
            self._active = next(iter(self._documents), "")

    def settle(self) -> None:
        """Nothing happens in the background here."""

    def commit(self, document_id: str, insertion: Insertion, pictures: list[bytes]) -> None:
        """Put pictures in the document's format in as layers: one undo step."""
        document = self._find(document_id)
        dx, dy, canvas = 0, 0, document.now.canvas
        if insertion.margins is not None:
            dx, dy = insertion.margins.left, insertion.margins.top
            canvas = Rect.from_size(canvas).expand(insertion.margins).size
        group = insertion.name if len(insertion.layers) > 1 else ""
        added = tuple(
            _Layer(plan.name, plan.rect.translate(dx, dy), plan.is_visible, group, picture)
            for plan, picture in zip(insertion.layers, pictures, strict=True)
        )
        kept = tuple(replace(layer, rect=layer.rect.translate(dx, dy)) for layer in document.now.layers)
        document.history.append(_State(canvas, added + kept))

    def _find(self, document_id: str) -> _Document:
        if document_id not in self._documents:
            raise NoDocument("That picture is closed. Open it again, then try again.")
        return self._documents[document_id]


class _Reader:
    def __init__(self, document: _Document) -> None:
        self._state = document.now
        self._selection = document.selection
        self._format = document.kind.format

    def pixels(self, rect: Rect) -> Bytes:
        return _composite([layer for layer in self._state.layers if layer.is_visible], rect, self._format)

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


def _composite(layers: Sequence[_Layer], rect: Rect, pixel_format: PixelFormat) -> bytearray:
    """Layers, top-most first, over each other in ``rect``."""
    size = pixel_format.bytes_per_pixel
    rows = bytearray(rect.area * size)
    for layer in reversed(layers):
        shared = rect.intersect(layer.rect)
        for y in range(shared.top, shared.bottom):
            source = ((y - layer.rect.y) * layer.rect.width + shared.left - layer.rect.x) * size
            target = ((y - rect.y) * rect.width + shared.left - rect.x) * size
            length = shared.width * size
            under = rows[target : target + length]
            over = layer.data[source : source + length]
            rows[target : target + length] = _lay_over(over, under, pixel_format)
    return rows


def _lay_over(over: bytes, under: bytearray, pixel_format: PixelFormat) -> bytearray:
    out = bytearray(under)
    size, channels = pixel_format.bytes_per_pixel, pixel_format.channels
    top = 1.0 if pixel_format.is_float else 2**pixel_format.bits - 1
    above, below = unpack(over, pixel_format), unpack(under, pixel_format)
    for pixel in range(len(over) // size):
        *color, alpha = above[pixel * channels : (pixel + 1) * channels]
        place = slice(pixel * size, (pixel + 1) * size)
        if alpha == top:
            out[place] = over[place]
        elif alpha:
            *base, base_alpha = below[pixel * channels : (pixel + 1) * channels]
            rest = base_alpha * (top - alpha) / top
            mixed = [(c * alpha + b * rest) / (alpha + rest) for c, b in zip(color, base, strict=True)]
            out[place] = pack([*mixed, alpha + rest], pixel_format)
    return out


class _Writer:
    def __init__(
        self, editor: FakeEditor, document_id: str, pixel_format: PixelFormat, insertion: Insertion
    ) -> None:
        self._editor = editor
        self._document_id = document_id
        self._bytes_per_pixel = pixel_format.bytes_per_pixel
        self._insertion = insertion
        self._pictures = [bytearray(plan.rect.area * self._bytes_per_pixel) for plan in insertion.layers]

    def write(self, layer: int, rect: Rect, data: Bytes) -> None:
        place, size = self._insertion.layers[layer].rect, self._bytes_per_pixel
        if not place.contains(rect) or len(data) != rect.area * size:
            raise ValueError(f"{len(data)} bytes for {rect} in a layer of {place}")
        for y in range(rect.height):
            start = ((rect.y - place.y + y) * place.width + rect.x - place.x) * size
            row = data[y * rect.width * size : (y + 1) * rect.width * size]
            self._pictures[layer][start : start + len(row)] = row

    def commit(self) -> None:
        self._editor.commit(self._document_id, self._insertion, [bytes(p) for p in self._pictures])

    def abort(self) -> None:
        pass
