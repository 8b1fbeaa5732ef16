"""GIMP's half of the EditorContract: runs inside GIMP, in the driver's plug-in, against images with a window.

There is no undo in GIMP's interface for plug-ins: the harness presses Ctrl+Z in the image window, as the artist would.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

from gi.repository import Babl, Gegl, Gimp, GLib

from overpaint_client.testing.contract import LayerState
from overpaint_client.testing.kinds import DocumentKind
from overpaint_gimp.editor import GimpEditor, identify
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.pixels import ColorSpace, PixelFormat

_PRECISIONS = {
    PixelFormat.GRAYA8: "U8",
    PixelFormat.GRAYA16: "U16",
    PixelFormat.GRAYAF16: "HALF",
    PixelFormat.GRAYAF32: "FLOAT",
    PixelFormat.RGBA8: "U8",
    PixelFormat.RGBA16: "U16",
    PixelFormat.RGBAF16: "HALF",
    PixelFormat.RGBAF32: "FLOAT",
}
_RGBA8 = "R'G'B'A u8"
_UNDO_S = 5.0


class GimpHarness:
    undo_steps_fill = 1
    undo_steps_expand = 1

    def __init__(self) -> None:
        self.port = GimpEditor(None)
        self.kinds = tuple(_kinds())
        self._images: dict[str, tuple[Gimp.Image, Gimp.Display | None]] = {}

    def open_document(self, title: str, size: Size, rgba8: bytes) -> str:
        image = Gimp.Image.new(size.width, size.height, Gimp.ImageBaseType.RGB)
        self._add_background(image, Gimp.ImageType.RGBA_IMAGE, rgba8)
        return self._show(image)

    def open_kind(self, title: str, size: Size, kind: DocumentKind, pixels: bytes) -> str:
        is_gray = kind.format.channels == 2
        curve = "LINEAR" if kind.color is ColorSpace.LINEAR_SRGB else "NON_LINEAR"
        image = Gimp.Image.new_with_precision(
            size.width,
            size.height,
            Gimp.ImageBaseType.GRAY if is_gray else Gimp.ImageBaseType.RGB,
            getattr(Gimp.Precision, f"{_PRECISIONS[kind.format]}_{curve}"),
        )
        if kind.profile is not None:
            image.set_color_profile(Gimp.ColorProfile.new_from_icc_profile(kind.profile))
        self._add_background(
            image, Gimp.ImageType.GRAYA_IMAGE if is_gray else Gimp.ImageType.RGBA_IMAGE, pixels
        )
        # a window takes half a second, and nothing is pressed in these
        return self._open(image, None)

    def numbers(self, document_id: str, rect: Rect) -> bytes:
        layer = self._images[document_id][0].get_layers()[0]
        _, left, top = layer.get_offsets()
        place = Gegl.Rectangle.new(rect.x - left, rect.y - top, rect.width, rect.height)
        own = Babl.get_name(layer.get_format())
        return bytes(layer.get_buffer().get(place, 1.0, own, Gegl.AbyssPolicy.NONE))

    def open_unsupported(self) -> bool:
        image = Gimp.Image.new(8, 8, Gimp.ImageBaseType.INDEXED)
        self._show(image)
        return True

    def select(self, document_id: str, rect: Rect, mask: bytes | None) -> None:
        image = self._images[document_id][0]
        if mask is None:
            Gimp.Selection.none(image)
            return
        image.select_rectangle(Gimp.ChannelOps.REPLACE, rect.x, rect.y, rect.width, rect.height)
        buffer = image.get_selection().get_buffer()
        buffer.set(Gegl.Rectangle.new(rect.x, rect.y, rect.width, rect.height), "Y u8", mask)
        buffer.flush()
        image.get_selection().update(rect.x, rect.y, rect.width, rect.height)

    def layers(self, document_id: str) -> list[LayerState]:
        found: list[LayerState] = []
        for layer in self._images[document_id][0].get_layers():
            children = layer.get_children() if layer.is_group() else None
            if children is None:
                found.append(_state(layer, ""))
            else:
                found.extend(_state(child, layer.get_name()) for child in children)
        return found

    def undo(self, document_id: str) -> None:
        Gimp.displays_flush()
        before = self._signature(document_id)
        self.press("ctrl+z")
        self._wait(lambda: self._signature(document_id) != before)

    def close_document(self, document_id: str) -> None:
        image, display = self._images.pop(document_id)
        if display is None:
            image.delete()
        else:
            display.delete()
        self._wait(lambda: not image.is_valid())

    def close_all(self) -> None:
        for document_id in list(self._images):
            self.close_document(document_id)

    def settle(self) -> None:
        self._turn()

    def press(self, keys: str) -> None:
        """Press ``keys`` in the image window."""
        windows = _xdotool("search", "--onlyvisible", "--class", "gimp").split()
        _xdotool("windowactivate", "--sync", windows[-1])
        _xdotool("key", keys)

    def _add_background(self, image: Gimp.Image, kind: Gimp.ImageType, numbers: bytes) -> None:
        width, height = image.get_width(), image.get_height()
        layer = Gimp.Layer.new(image, "Background", width, height, kind, 100.0, Gimp.LayerMode.NORMAL)
        image.insert_layer(layer, None, 0)
        buffer = layer.get_buffer()
        own = Babl.get_name(layer.get_format())
        buffer.set(Gegl.Rectangle.new(0, 0, width, height), own, numbers)
        buffer.flush()
        layer.update(0, 0, width, height)

    def _show(self, image: Gimp.Image) -> str:
        return self._open(image, Gimp.Display.new(image))

    def _open(self, image: Gimp.Image, display: Gimp.Display | None) -> str:
        self.port = GimpEditor(image)
        name = identify(image)
        self._images[name] = (image, display)
        return name

    def _signature(self, document_id: str) -> object:
        image = self._images[document_id][0]
        layers = [layer.get_id() for layer in image.get_layers()]
        return layers, image.get_width(), image.get_height()

    def _wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _UNDO_S
        while not condition():
            if time.monotonic() > end:
                raise AssertionError("GIMP did not do it in time")
            self._turn()
            time.sleep(0.01)

    def _turn(self) -> None:
        while GLib.MainContext.default().iteration(False):
            pass


def _kinds() -> Iterator[DocumentKind]:
    """Every depth in color and gray, encoded as GIMP's own profiles say and as an attached one does.

    GIMP lays layers over each other in linear float. There and back it is exact to 8 and 16 bits with its own curves; with
    a profile's it is off near black.
    """
    for pixel_format in _PRECISIONS:
        attached = (
            Gimp.ColorProfile.new_d50_gray_lab_trc()
            if pixel_format.channels == 2
            else Gimp.ColorProfile.new_rgb_adobe()
        )
        own_error = 2**-21 if pixel_format.bits == 32 else 0.0
        yield DocumentKind(pixel_format, composite_error=own_error)
        yield DocumentKind(pixel_format, ColorSpace.LINEAR_SRGB, composite_error=own_error)
        yield DocumentKind(
            pixel_format,
            ColorSpace.ICC,
            attached.get_icc_profile(),
            composite_error=0.0 if pixel_format.bits == 8 else 0.005,
        )


def _state(layer: Gimp.Layer, group: str) -> LayerState:
    _, x, y = layer.get_offsets()
    rect = Rect(x, y, layer.get_width(), layer.get_height())
    place = Gegl.Rectangle.new(0, 0, rect.width, rect.height)
    pixels = layer.get_buffer().get(place, 1.0, _RGBA8, Gegl.AbyssPolicy.NONE)
    return LayerState(layer.get_name(), rect, layer.get_visible(), group, bytes(pixels))


def _xdotool(*arguments: str) -> str:
    return subprocess.run(["xdotool", *arguments], capture_output=True, text=True, check=True).stdout
