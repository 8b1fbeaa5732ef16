"""Color profiles of RGB and grayscale documents: what they mean, and their bytes.

Krita's API gives a profile's name only. A document saved as .kra has the bytes in it, so a scratch document of the same
profile is saved, once for each name: that takes a third of a second. Krita itself tells profiles apart by their names: of
two with one name it knows the first it saw, and shows every picture with that one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from krita import Document, Krita

from overpaint_protocol.errors import UnsupportedFormat
from overpaint_protocol.pixels import ColorSpace

from .scratch import scratch_like

__all__ = ["Profiles"]

_PLAIN = {
    "sRGB-elle-V2-srgbtrc.icc": ColorSpace.SRGB,
    "sRGB built-in": ColorSpace.SRGB,
    "Gray-D50-elle-V2-srgbtrc.icc": ColorSpace.SRGB,
    "Gray-D50-elle-V4-srgbtrc.icc": ColorSpace.SRGB,
    "sRGB-elle-V2-g10.icc": ColorSpace.LINEAR_SRGB,
    "Gray-D50-elle-V2-g10.icc": ColorSpace.LINEAR_SRGB,
    "Gray-D50-elle-V4-g10.icc": ColorSpace.LINEAR_SRGB,
}
"""Profiles that come with Krita, among them those of new documents, and say nothing that the daemon does not know."""

_ICC_IN_KRA = "/annotations/icc"


class Profiles:
    """Profiles by name, read when they are first asked for."""

    def __init__(self, app: Krita) -> None:
        self._app = app
        self._known: dict[tuple[str, str], bytes] = {}

    def meaning(self, document: Document) -> tuple[ColorSpace, bytes | None]:
        """The color space of an RGB or grayscale document, and the ICC profile where it is one of its own.

        Raises:
            UnsupportedFormat: Krita does not give the profile away.
        """
        name = document.colorProfile()
        if name in _PLAIN:
            return _PLAIN[name], None
        key = document.colorModel(), name
        if key not in self._known:
            self._known[key] = self._read(document)
        return ColorSpace.ICC, self._known[key]

    def _read(self, document: Document) -> bytes:
        detail = "there is none in a saved document"
        try:
            with scratch_like(self._app, document) as scratch, TemporaryDirectory() as folder:
                file = Path(folder, "profile.kra")
                scratch.saveAs(str(file))
                with zipfile.ZipFile(file) as archive:
                    for entry in archive.namelist():
                        if entry.endswith(_ICC_IN_KRA):
                            return archive.read(entry)
        except (OSError, zipfile.BadZipFile) as error:
            detail = repr(error)
        raise UnsupportedFormat(
            f"Krita does not tell the color profile “{document.colorProfile()}” of this picture. Use Image > Convert Image "
            "Color Space… to give it another one, such as sRGB, then try again.",
            detail=detail,
        )
