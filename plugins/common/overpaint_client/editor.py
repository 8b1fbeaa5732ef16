"""EditorPort: what any editor must offer, as a written contract.

``testing.contract.EditorContract`` holds every implementation to it, the in-memory FakeEditor and the real editors
alike. All methods are called on the editor's main thread and return quickly: pixels are read and written in bands, and
the controller lets the editor's event loop turn between two bands.

Coordinates are canvas coordinates in px: the origin is the canvas' top-left corner, wherever the layers lie.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat

__all__ = ["DocumentInfo", "EditorPort", "Insertion", "LayerPlan", "LayerWriter", "PixelReader"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """A Document as the editor describes it.

    document_id: 1 to 64 of ``A-Za-z0-9-_.``, the same for as long as the document is open, and never that of another one, not even
        in a later run of the editor.
    title: what the editor shows as its name. path: its file, or empty if it was never saved.
    canvas: size of the canvas in px.
    format: the format in which ``PixelReader`` gives and ``LayerWriter`` takes pixels of this document.
    color: the color space of these pixels. profile: its ICC profile where that is ``icc``, None otherwise.
    note: what the artist should know about any result in this document, a sentence, or empty.
    """

    document_id: str
    title: str
    path: str
    canvas: Size
    format: PixelFormat
    color: ColorSpace = ColorSpace.SRGB
    profile: bytes | None = None
    note: str = ""

    @property
    def profile_digest(self) -> str:
        """A short name of the profile that differs between any two, or empty without one.

        The date in it and its id do not count: editors make some of their own profiles anew each time they start.
        """
        if self.profile is None:
            return ""
        header = self.profile[:24] + self.profile[36:84]
        return hashlib.sha256(header + self.profile[100:]).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """A layer to insert.

    name: what the layer list shows. rect: where it goes, in canvas coordinates from before the insertion.
    is_visible: false for the variants behind the first.
    """

    name: str
    rect: Rect
    is_visible: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Insertion:
    """Layers that belong together; they come in one group if there are several.

    name: of the group and of the editor's undo step.
    layers: top-most first; at least one.
    margins: how the canvas grows, or None. Existing layers keep their place in the picture; ``LayerPlan.rect`` may
        reach into the new area with negative coordinates.
    """

    name: str
    layers: tuple[LayerPlan, ...]
    margins: Margins | None = None


class PixelReader(Protocol):
    """Reads a document as it looks: the composite of the visible layers."""

    def pixels(self, rect: Rect) -> Bytes:
        """Pixels of ``rect``, which lies inside the area, in the document's ``DocumentInfo.format`` and color space.

        Straight alpha, rows without padding, exactly ``rect.area * format.bytes_per_pixel`` bytes. Transparent
        places have alpha 0.
        """
        ...

    def selection(self, rect: Rect) -> Bytes:
        """The soft selection in ``rect``, which lies inside the area: one byte a pixel, 0 = not selected.

        Zeros if nothing is selected: what that means is for who asks.
        """
        ...

    def close(self) -> None:
        """Release what was held for reading. Calling it again does nothing."""
        ...


class LayerWriter(Protocol):
    """Collects the pixels of an Insertion. The document does not change before ``commit``."""

    def write(self, layer: int, rect: Rect, data: Bytes) -> None:
        """Set pixels of a layer.

        Args:
            layer: index into ``Insertion.layers``.
            rect: part of that layer's ``LayerPlan.rect``, in the same coordinates.
            data: its pixels in the document's ``DocumentInfo.format``, rows without padding.
        """
        ...

    def commit(self) -> None:
        """Grow the canvas if asked and put the layers on top, in as few undo steps as the editor allows.

        The layers' pixels, offsets and names are as planned; every other layer and the selection are untouched.

        Raises:
            NoDocument: the document was closed meanwhile.
        """
        ...

    def abort(self) -> None:
        """Throw away what was written. Does nothing after ``commit``."""
        ...


class EditorPort(Protocol):
    """An editor with its open documents."""

    name: str
    """Stable short name, ``krita``, ``gimp`` or ``cli``."""

    version: str
    """The editor's version, for people to read."""

    def active_document(self) -> DocumentInfo:
        """The document the artist works on.

        Raises:
            NoDocument: none is open.
            UnsupportedFormat: its color model cannot be used; the sentence says what to do.
        """
        ...

    def document(self, document_id: str) -> DocumentInfo:
        """An open document by its id.

        Raises:
            NoDocument: it is closed.
            UnsupportedFormat: as for ``active_document``.
        """
        ...

    def selection_bounds(self, document_id: str) -> Rect | None:
        """The rectangle around everything selected, or None if nothing is. May reach outside the canvas.

        Raises:
            NoDocument: it is closed.
        """
        ...

    def open_reader(self, document_id: str, area: Rect) -> PixelReader:
        """Start reading a document.

        Args:
            document_id: which.
            area: part of the canvas; nothing outside it will be asked of the reader.

        Raises:
            NoDocument: it is closed.
            UnsupportedFormat: as for ``active_document``.
        """
        ...

    def begin_insertion(self, document_id: str, insertion: Insertion) -> LayerWriter:
        """Start preparing layers for a document.

        Raises:
            NoDocument: it is closed.
            UnsupportedFormat: as for ``active_document``.
        """
        ...
