"""KritaEditor: Krita's documents, selections and layers behind the EditorPort.

What the API gives and takes (tried in Krita 5.2 and 6.0):

- ``Document.pixelData`` is the composite of the visible layers in the document's own color space, straight alpha.
  ``profiles`` says what that space is, ``conversion`` handles color models that are neither RGB nor gray.
- Pixels can be set in a node that is in no document yet. Adding it then is the one undo step "Add Layer".
- Adding a node to a group is an undo step of the document that made the group, also while the group is in no document.
  So a group is made and filled by a scratch document, and adding it is one step, too.
- A plain group shows on the canvas only after ``refreshProjection``, a pass-through group at once.
- Python has no undo groups: growing the canvas is a step of its own, so an expand takes two undos.
- ``addChildNode`` and ``resizeImage`` turn Krita's event loop inside (see ``net.QtLoop``).
"""

from __future__ import annotations

import uuid
from pathlib import PurePath

from krita import Document, Krita, Node, Selection

from overpaint_client.editor import DocumentInfo, Insertion
from overpaint_protocol.errors import NoDocument, UnsupportedFormat
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.pixels import Bytes, PixelFormat

from .conversion import (
    CONVERTED_COLOR,
    CONVERTED_FORMAT,
    MODEL_NAMES,
    Converter,
    can_convert,
    conversion_note,
)
from .profiles import Profiles
from .scratch import scratch_like

__all__ = ["KritaEditor"]

_FORMATS = {
    ("RGBA", "U8"): PixelFormat.BGRA8,
    ("RGBA", "U16"): PixelFormat.BGRA16,
    ("RGBA", "F16"): PixelFormat.RGBAF16,
    ("RGBA", "F32"): PixelFormat.RGBAF32,
    ("GRAYA", "U8"): PixelFormat.GRAYA8,
    ("GRAYA", "U16"): PixelFormat.GRAYA16,
    ("GRAYA", "F16"): PixelFormat.GRAYAF16,
    ("GRAYA", "F32"): PixelFormat.GRAYAF32,
}
"""How pixels of Krita's color models lie in memory; those of other models are converted, if they can be."""


class KritaEditor:
    """An EditorPort for the running Krita.

    Args:
        app: ``Krita.instance()``.
    """

    name = "krita"

    def __init__(self, app: Krita) -> None:
        self.version: str = app.version()
        self._app = app
        self._profiles = Profiles(app)
        self._ids: list[tuple[Document, str]] = []

    def active_document(self) -> DocumentInfo:
        """See EditorPort."""
        document = self._app.activeDocument()
        if document is None:
            raise NoDocument("No picture is open. Open or create one, then try again.")
        return self._describe(document, self._id_of(document))

    def document(self, document_id: str) -> DocumentInfo:
        """See EditorPort."""
        return self._describe(self._find(document_id), document_id)

    def selection_bounds(self, document_id: str) -> Rect | None:
        """See EditorPort."""
        selection = self._find(document_id).selection()
        if selection is None:
            return None
        bounds = Rect(selection.x(), selection.y(), max(0, selection.width()), max(0, selection.height()))
        return None if bounds.is_empty else bounds

    def open_reader(self, document_id: str, area: Rect) -> _Reader:
        """See EditorPort."""
        document = self._find(document_id)
        return _Reader(self._app, document, self._describe(document, document_id))

    def begin_insertion(self, document_id: str, insertion: Insertion) -> _Writer:
        """See EditorPort."""
        document = self._find(document_id)
        return _Writer(self._app, document, self._describe(document, document_id), insertion)

    def _find(self, document_id: str) -> Document:
        self._forget_closed()
        for document, known_id in self._ids:
            if known_id == document_id:
                return document
        raise NoDocument("The picture was closed. Open it again, then try again.")

    def _id_of(self, document: Document) -> str:
        # Krita hands out a new wrapper on every call; they compare equal if they stand for one document. Nothing
        # that could be stored in the document would do: a copy of the file opened beside it would have it too.
        self._forget_closed()
        for known, document_id in self._ids:
            if known == document:
                return document_id
        document_id = uuid.uuid4().hex
        self._ids.append((document, document_id))
        return document_id

    def _forget_closed(self) -> None:
        is_open = self._app.documents()
        self._ids = [entry for entry in self._ids if entry[0] in is_open]

    def _describe(self, document: Document, document_id: str) -> DocumentInfo:
        model, depth = document.colorModel(), document.colorDepth()
        note, profile = "", None
        if (model, depth) in _FORMATS:
            pixel_format = _FORMATS[model, depth]
            color, profile = self._profiles.meaning(document)
        elif can_convert(document):
            pixel_format, color, note = CONVERTED_FORMAT, CONVERTED_COLOR, conversion_note(document)
        else:
            raise UnsupportedFormat(
                f"Overpaint cannot work in {MODEL_NAMES.get(model, model)} pictures. Use Image > Convert Image Color "
                "Space… to make this one RGB or grayscale, then try again.",
                detail=f"color model {model}, depth {depth}",
            )
        path = document.fileName()
        return DocumentInfo(
            document_id=document_id,
            title=document.name() or PurePath(path).name or "Unnamed",
            path=path,
            canvas=Size(document.width(), document.height()),
            format=pixel_format,
            color=color,
            profile=profile,
            note=note,
        )


def _converter_for(app: Krita, document: Document) -> Converter | None:
    return Converter(app, document) if can_convert(document) else None


class _Reader:
    def __init__(self, app: Krita, document: Document, info: DocumentInfo) -> None:
        # Only if a stroke or a filter is still being worked into the picture is there anything to wait for.
        if document.tryBarrierLock():
            document.unlock()
        else:
            document.waitForDone()
        selection = document.selection()
        self._document: Document | None = document
        # a copy (its tiles are shared until one is changed): the artist may deselect between two bands
        self._selection: Selection | None = None if selection is None else selection.duplicate()
        self._canvas = Rect.from_size(info.canvas)
        self._converter = _converter_for(app, document)
        self._bytes_per_pixel = (self._converter or info.format).bytes_per_pixel

    def pixels(self, rect: Rect) -> Bytes:
        document = self._check(rect)
        data = document.pixelData(rect.x, rect.y, rect.width, rect.height).data()
        if len(data) != rect.area * self._bytes_per_pixel:  # closed, or converted meanwhile
            raise NoDocument("The picture was closed or converted while it was read. Try again.")
        return data if self._converter is None else self._converter.to_floats(data, rect)

    def selection(self, rect: Rect) -> Bytes:
        self._check(rect)
        if self._selection is None:
            return bytes(rect.area)
        return self._selection.pixelData(rect.x, rect.y, rect.width, rect.height).data()

    def close(self) -> None:
        self._document = self._selection = None
        if self._converter is not None:
            self._converter.close()

    def _check(self, rect: Rect) -> Document:
        if self._document is None:
            raise ValueError("the reader is closed")
        if not self._canvas.contains(rect):
            raise ValueError(f"{rect} is not inside the canvas of {self._canvas.size} px")
        return self._document


class _Writer:
    def __init__(self, app: Krita, document: Document, info: DocumentInfo, insertion: Insertion) -> None:
        self._app = app
        self._document = document
        self._canvas = info.canvas
        self._bytes_per_pixel = info.format.bytes_per_pixel
        self._converter = _converter_for(app, document)
        self._insertion = insertion
        self._margins = insertion.margins or Margins()
        self._nodes: list[Node] = []
        for plan in insertion.layers:
            node = document.createNode(plan.name, "paintlayer")
            node.setVisible(plan.is_visible)
            self._nodes.append(node)

    def write(self, layer: int, rect: Rect, data: Bytes) -> None:
        if not self._insertion.layers[layer].rect.contains(rect):
            raise ValueError(f"{rect} is not inside layer {layer}")
        # setPixelData says nothing if there are too few bytes, and reads beyond them
        if len(data) != rect.area * self._bytes_per_pixel:
            raise ValueError(f"{rect} needs {rect.area * self._bytes_per_pixel} bytes, not {len(data)}")
        # where the pixels will be once the canvas has grown
        place = rect.translate(self._margins.left, self._margins.top)
        own = bytes(data) if self._converter is None else self._converter.to_own(data, rect)
        self._nodes[layer].setPixelData(own, place.x, place.y, place.width, place.height)

    def commit(self) -> None:
        self._check_open()
        if not self._margins.is_empty:
            grown = Rect.from_size(self._canvas).expand(self._margins)
            self._document.resizeImage(grown.x, grown.y, grown.width, grown.height)
            self._check_open()
        if len(self._nodes) == 1:
            self._document.rootNode().addChildNode(self._nodes[0], None)
        else:
            self._add_group()
        self.abort()

    def abort(self) -> None:
        self._nodes = []
        if self._converter is not None:
            self._converter.close()

    def _add_group(self) -> None:
        with scratch_like(self._app, self._document) as scratch:
            group = scratch.createGroupLayer(self._insertion.name)
            group.setPassThroughMode(True)
            for node in reversed(self._nodes):
                group.addChildNode(node, None)
            self._document.rootNode().addChildNode(group, None)

    def _check_open(self) -> None:
        if self._document not in self._app.documents():
            raise NoDocument(
                "The picture was closed before the result could be added. Open it again, then try again."
            )
