"""Krita's half of the EditorContract: runs inside Krita, in the driver's plug-in, against documents with a view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from krita import Document, Krita, Node, Selection

from overpaint_client.testing.contract import LayerState
from overpaint_client.testing.kinds import DocumentKind
from overpaint_krita.editor import KritaEditor
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.pixels import ColorSpace, PixelFormat

__all__ = ["KRITA_FORMATS", "PROFILES", "KritaHarness", "profile_bytes"]

KRITA_FORMATS = {
    PixelFormat.BGRA8: ("RGBA", "U8"),
    PixelFormat.BGRA16: ("RGBA", "U16"),
    PixelFormat.RGBAF16: ("RGBA", "F16"),
    PixelFormat.RGBAF32: ("RGBA", "F32"),
    PixelFormat.GRAYA8: ("GRAYA", "U8"),
    PixelFormat.GRAYA16: ("GRAYA", "U16"),
    PixelFormat.GRAYAF16: ("GRAYA", "F16"),
    PixelFormat.GRAYAF32: ("GRAYA", "F32"),
}

PROFILES = {
    "RGBA": ("sRGB-elle-V2-srgbtrc.icc", "sRGB-elle-V2-g10.icc", "ClayRGB-elle-V2-g22.icc"),
    "GRAYA": ("Gray-D50-elle-V2-srgbtrc.icc", "Gray-D50-elle-V2-g10.icc", "Gray-D50-elle-V2-g22.icc"),
}
"""Of Krita's own profiles: plain, linear, and another. ClayRGB has the primaries of Adobe RGB."""

_SHIPPED = Path("/usr/share/color/icc/krita")


def profile_bytes(name: str) -> bytes:
    """One of Krita's own profiles as it lies in Krita's folder."""
    return (_SHIPPED / name).read_bytes()


def _kinds() -> dict[DocumentKind, str]:
    """The kinds of documents, each with the name of its profile in Krita."""
    kinds: dict[DocumentKind, str] = {}
    for pixel_format, (model, _) in KRITA_FORMATS.items():
        plain, linear, other = PROFILES[model]
        rounding = 1e-3 if pixel_format.is_float else 0.0  # of Krita's mixing in floats
        kinds[DocumentKind(pixel_format, composite_error=rounding)] = plain
        kinds[DocumentKind(pixel_format, ColorSpace.LINEAR_SRGB, composite_error=rounding)] = linear
        own = DocumentKind(pixel_format, ColorSpace.ICC, profile_bytes(other), composite_error=rounding)
        kinds[own] = other
    return kinds


class KritaHarness:
    """See Harness. ``spin(seconds)`` turns Krita's event loop."""

    undo_steps_fill = 1
    undo_steps_expand = 2

    def __init__(self, spin: Callable[[float], None]) -> None:
        self._app = Krita.instance()
        self._spin = spin
        self._documents: dict[str, Document] = {}
        self._unsupported: list[Document] = []
        self._profile_names = _kinds()
        self.kinds = tuple(self._profile_names)
        self.port = KritaEditor(self._app)

    def open_document(self, title: str, size: Size, rgba8: bytes) -> str:
        return self.open_kind(title, size, DocumentKind(PixelFormat.BGRA8), _swapped(rgba8))

    def open_kind(self, title: str, size: Size, kind: DocumentKind, pixels: bytes) -> str:
        document = self._show(title, size, *KRITA_FORMATS[kind.format], self._profile_names[kind])
        background = document.topLevelNodes()[0]
        background.setName("Background")
        background.setPixelData(pixels, 0, 0, size.width, size.height)
        document.refreshProjection()
        document.waitForDone()
        document_id = self.port.active_document().document_id
        self._documents[document_id] = document
        return document_id

    def numbers(self, document_id: str, rect: Rect) -> bytes:
        nodes = self._documents[document_id].topLevelNodes()
        top = next(node for node in reversed(nodes) if node.type() == "paintlayer")
        return bytes(top.pixelData(rect.x, rect.y, rect.width, rect.height))

    def open_unsupported(self) -> bool:
        self._unsupported.append(self._show("mask", Size(8, 8), "A", "U8"))
        return True

    def select(self, document_id: str, rect: Rect, mask: bytes | None) -> None:
        selection = None
        if mask is not None:
            selection = Selection()
            selection.setPixelData(mask, rect.x, rect.y, rect.width, rect.height)
        self._documents[document_id].setSelection(selection)
        self.settle()

    def layers(self, document_id: str) -> list[LayerState]:
        return list(_layers(self._documents[document_id].rootNode(), ""))

    def undo(self, document_id: str) -> None:
        assert self.port.active_document().document_id == document_id
        self._app.action("edit_undo").trigger()
        self.settle()

    def close_document(self, document_id: str) -> None:
        _close(self._documents.pop(document_id))
        self.settle()

    def close_all(self) -> None:
        self.settle()
        for document in [*self._documents.values(), *self._unsupported]:
            _close(document)
        self._documents.clear()
        self._unsupported.clear()
        self.settle()

    def settle(self) -> None:
        # undo and closing only happen when the event loop turns
        self._spin(0.15)
        for document in self._documents.values():
            document.waitForDone()
        self._spin(0.05)

    def _show(self, title: str, size: Size, model: str, depth: str, profile: str = "") -> Document:
        document = self._app.createDocument(size.width, size.height, title, model, depth, profile, 100.0)
        self._app.activeWindow().addView(document)
        self._spin(0.2)
        document.waitForDone()
        return document


def _layers(parent: Node, group: str) -> list[LayerState]:
    found: list[LayerState] = []
    for node in reversed(parent.childNodes()):
        if node.type() == "grouplayer":
            found += _layers(node, node.name())
        elif node.type() == "paintlayer":
            found.append(_layer(node, group))
    return found


def _layer(node: Node, group: str) -> LayerState:
    bounds = node.bounds()
    rect = Rect(bounds.x(), bounds.y(), bounds.width(), bounds.height())
    data = bytes(node.pixelData(rect.x, rect.y, rect.width, rect.height))
    return LayerState(
        name=node.name(), rect=rect, is_visible=node.visible(), group=group, rgba8=_swapped(data)
    )


def _swapped(data: bytes) -> bytes:
    """RGBA to BGRA, and back."""
    out = bytearray(data)
    out[0::4], out[2::4] = data[2::4], data[0::4]
    return bytes(out)


def _close(document: Document) -> None:
    document.waitForDone()
    document.setModified(False)
    document.close()
