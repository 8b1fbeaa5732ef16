"""Color models that the daemon does not know, through Krita's own conversion.

Pixels become linear sRGB in 32-bit floats, which has room for colors beyond sRGB. Tried in Krita 5.2 and 6.0, there and
back again: L*a*b* and XYZ are the same to the last bit; CMYK and YCbCr shift by 1 to 4 ΔE, as their profiles' two
directions are not exact inverses. Only the layers that are added are converted, never what is in the document.

A node converts its pixels without lying in a document. The undo step goes to the document that made it: a scratch one.
"""

from __future__ import annotations

from contextlib import ExitStack

from krita import Document, Krita

from overpaint_protocol.geometry import Rect
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat

from .scratch import scratch_like

__all__ = [
    "CONVERTED_COLOR",
    "CONVERTED_FORMAT",
    "MODEL_NAMES",
    "Converter",
    "can_convert",
    "conversion_note",
]

CONVERTED_FORMAT = PixelFormat.RGBAF32
CONVERTED_COLOR = ColorSpace.LINEAR_SRGB
_CONVERTED = ("RGBA", "F32", "sRGB-elle-V2-g10.icc")
"""The same in Krita's words."""

MODEL_NAMES = {"CMYKA": "CMYK", "LABA": "L*a*b*", "XYZA": "XYZ", "YCbCrA": "YCbCr", "A": "alpha mask"}
_CHANNELS = {"CMYKA": 5, "LABA": 4, "XYZA": 4, "YCbCrA": 4}
_BYTES = {"U8": 1, "U16": 2, "F32": 4}
_INEXACT = ("CMYKA", "YCbCrA")


def can_convert(document: Document) -> bool:
    """True for a color model and depth that Krita converts without harm."""
    return document.colorModel() in _CHANNELS and document.colorDepth() in _BYTES


def conversion_note(document: Document) -> str:
    """What the conversion costs, in a sentence, or empty if nothing."""
    model = document.colorModel()
    if model not in _INEXACT:
        return ""
    return f"The picture is {MODEL_NAMES[model]}: Krita converted the result, which can shift its colors a little."


class Converter:
    """Converts pixels of one document there and back. Close it in the end.

    Args:
        app: the running Krita.
        document: one that ``can_convert``; it may change or be closed meanwhile.
    """

    def __init__(self, app: Krita, document: Document) -> None:
        self._stack = ExitStack()
        self._scratch = self._stack.enter_context(scratch_like(app, document))
        self._own = (document.colorModel(), document.colorDepth(), document.colorProfile())
        self.bytes_per_pixel = _CHANNELS[document.colorModel()] * _BYTES[document.colorDepth()]
        """Of a pixel in the document's own numbers."""

    def to_floats(self, own: Bytes, rect: Rect) -> bytes:
        """Pixels of ``rect`` in CONVERTED_FORMAT, from the document's own numbers."""
        return self._convert(own, rect, self._own, _CONVERTED)

    def to_own(self, floats: Bytes, rect: Rect) -> bytes:
        """The other way."""
        return self._convert(floats, rect, _CONVERTED, self._own)

    def close(self) -> None:
        """Let go of the scratch document. Calling it again does nothing."""
        self._stack.close()

    def _convert(
        self, data: Bytes, rect: Rect, source: tuple[str, str, str], target: tuple[str, str, str]
    ) -> bytes:
        node = self._scratch.createNode("", "paintlayer")
        node.setColorSpace(*source)
        node.setPixelData(bytes(data), 0, 0, rect.width, rect.height)
        node.setColorSpace(*target)
        self._scratch.waitForDone()
        return node.pixelData(0, 0, rect.width, rect.height).data()
