"""Runs inside gimp-console: GimpEditor with every depth and kind of image, what is not 8-bit RGB in sRGB.

Prints nothing; each check leaves its faults as text.
"""

from __future__ import annotations

import struct

from gi.repository import Babl, Gegl, Gimp

from overpaint_client.editor import Insertion, LayerPlan
from overpaint_gimp.editor import GimpEditor
from overpaint_protocol.errors import NoDocument
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.pixels import ColorSpace, PixelFormat

_SIDE = 16
_CODES = {
    PixelFormat.RGBA8: ("B", "R'G'B'A u8", 255),
    PixelFormat.RGBA16: ("H", "R'G'B'A u16", 65535),
    PixelFormat.RGBAF16: ("e", "R'G'B'A half", 1.0),
    PixelFormat.RGBAF32: ("f", "R'G'B'A float", 1.0),
}
_EXPECTED = {
    "u8": PixelFormat.RGBA8,
    "u16": PixelFormat.RGBA16,
    "u32": PixelFormat.RGBA16,
    "half": PixelFormat.RGBAF16,
    "float": PixelFormat.RGBAF32,
    "double": PixelFormat.RGBAF32,
}
# An integer format with linear steps has few of them in the dark; floats are exact to their last digits, of which
# half has eleven bits.
_TOLERANCES = {"u8-linear": 8 / 255, "u16-linear": 8 / 65535, "half-linear": 2**-11}
_FLOAT_TOLERANCE = 2e-6


def check_depths() -> list[str]:
    """Read what was painted and insert a layer, in every precision, in color and in gray."""
    faults: list[str] = []
    for precision in Gimp.Precision.__enum_values__.values():
        for base, kind in (
            (Gimp.ImageBaseType.RGB, Gimp.ImageType.RGBA_IMAGE),
            (Gimp.ImageBaseType.GRAY, Gimp.ImageType.GRAYA_IMAGE),
        ):
            image = Gimp.Image.new_with_precision(_SIDE, _SIDE, base, precision)
            layer = Gimp.Layer.new(image, "Background", _SIDE, _SIDE, kind, 100.0, Gimp.LayerMode.NORMAL)
            image.insert_layer(layer, None, 0)
            faults += [f"{precision.value_nick} {base.value_nick}: {text}" for text in _check(image, layer)]
            image.delete()
    return faults


def check_profile() -> list[str]:
    """An attached profile: the numbers pass through as they are, nothing is converted to sRGB."""
    image = Gimp.Image.new(_SIDE, _SIDE, Gimp.ImageBaseType.RGB)
    image.set_color_profile(Gimp.ColorProfile.new_rgb_adobe())
    layer = Gimp.Layer.new(
        image, "Background", _SIDE, _SIDE, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL
    )
    image.insert_layer(layer, None, 0)
    faults = _check(image, layer)
    image.delete()
    return faults


def check_stacks() -> list[str]:
    """Images whose layers do not simply cover the canvas."""
    faults: list[str] = []
    image = Gimp.Image.new(_SIDE, _SIDE, Gimp.ImageBaseType.RGB)
    small = Gimp.Layer.new(image, "Small", 4, 4, Gimp.ImageType.RGB_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
    image.insert_layer(small, None, 0)
    small.set_offsets(-2, 3)
    _paint(small, bytes((10, 20, 30, 255)) * 16)
    whole = Rect(0, 0, _SIDE, _SIDE)
    expected = bytearray(whole.area * 4)
    for y in range(3, 7):
        expected[y * _SIDE * 4 : (y * _SIDE + 2) * 4] = bytes((10, 20, 30, 255)) * 2
    if _read(image, whole) != bytes(expected):
        faults.append("a small layer without alpha beyond the canvas' edge is not read in its place")
    small.set_visible(False)
    if _read(image, whole) != bytes(whole.area * 4):
        faults.append("without a visible layer the picture is not transparent")
    if [one.get_name() for one in image.get_layers()] != ["Small"]:
        faults.append("reading left layers behind")
    if len(Gimp.get_images()) != 1:
        faults.append("reading left images behind")
    image.delete()
    return faults


def check_floating() -> list[str]:
    """A layer floats while the result comes: it becomes a layer of its own, and the result lies on top."""
    faults: list[str] = []
    image = Gimp.Image.new(_SIDE, _SIDE, Gimp.ImageBaseType.RGB)
    layer = Gimp.Layer.new(
        image, "Background", _SIDE, _SIDE, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL
    )
    image.insert_layer(layer, None, 0)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, 2, 2, 4, 4)
    Gimp.Selection.float(image, [layer], 1, 1)
    _insert(image, Rect(-3, 0, 3, _SIDE), bytes((1, 2, 3, 255)) * 48, Margins(left=3))
    names = [one.get_name() for one in image.get_layers()]
    if image.get_floating_sel() is not None or names[0] != "Result" or len(names) != 3:
        faults.append(f"layers {names}, floating {image.get_floating_sel()}")
    if [tuple(layer.get_offsets())[1:], image.get_width()] != [(3, 0), _SIDE + 3]:
        faults.append("the canvas did not grow to the left")
    image.delete()
    return faults


def check_closed() -> list[str]:
    """The image is closed in the middle of everything: a sentence, and the process lives on."""
    faults: list[str] = []
    image = Gimp.Image.new(_SIDE, _SIDE, Gimp.ImageBaseType.RGB)
    layer = Gimp.Layer.new(
        image, "Background", _SIDE, _SIDE, Gimp.ImageType.RGBA_IMAGE, 100.0, Gimp.LayerMode.NORMAL
    )
    image.insert_layer(layer, None, 0)
    editor = GimpEditor(image)
    document_id = editor.active_document().document_id
    rect = Rect(0, 0, 4, 4)
    reader = editor.open_reader(document_id, rect)
    plans = (LayerPlan(name="Result", rect=rect),)
    writer = editor.begin_insertion(document_id, Insertion(name="Result", layers=plans))
    writer.write(0, rect, bytes(64))
    image.delete()
    calls = {
        "active_document": editor.active_document,
        "document": lambda: editor.document(document_id),
        "selection_bounds": lambda: editor.selection_bounds(document_id),
        "write": lambda: writer.write(0, rect, bytes(64)),
        "commit": writer.commit,
    }
    for name, call in calls.items():
        try:
            call()
        except NoDocument:
            continue
        faults.append(f"{name} did not notice that the image is closed")
    if len(reader.pixels(rect)) != 64 or len(reader.selection(rect)) != 16:
        faults.append("the copy that is read went with the image")
    reader.close()
    writer.abort()
    if Gimp.get_images():
        faults.append("an image is left")
    return faults


def _check(image: Gimp.Image, layer: Gimp.Layer) -> list[str]:
    faults: list[str] = []
    nick = image.get_precision().value_nick
    info = GimpEditor(image).active_document()
    if info.format is not _EXPECTED[nick.split("-")[0]] or info.color is not ColorSpace.SRGB:
        faults.append(f"described as {info.format.value} {info.color.value}")
    code, babl_format, top = _CODES[info.format]
    is_gray = image.get_base_type() == Gimp.ImageBaseType.GRAY
    values = []
    for i in range(_SIDE * _SIDE):
        shares = [i / 255] * 3 if is_gray else [i / 255, 1 - i / 255, (i * 37 % 256) / 255]
        values += [_of(share, top) for share in (*shares, 1.0)]
    data = struct.pack(f"<{len(values)}{code}", *values)
    own = Babl.get_name(Babl.format_with_space(babl_format, layer.get_format()))
    _paint(layer, data, own)
    whole = Rect(0, 0, _SIDE, _SIDE)
    tolerance = _TOLERANCES.get(nick, _FLOAT_TOLERANCE if info.format.is_float else 0) * top
    faults += _compare("read", _read(image, whole), data, code, tolerance)
    rect = Rect(2, 3, _SIDE, 8)
    part = data[: rect.area * info.format.bytes_per_pixel]
    _insert(image, rect, part)
    result = image.get_layers()[0]
    place = Gegl.Rectangle.new(0, 0, rect.width, rect.height)
    kept = bytes(result.get_buffer().get(place, 1.0, own, Gegl.AbyssPolicy.NONE))
    faults += _compare("inserted", kept, part, code, tolerance)
    if tuple(result.get_offsets())[1:] != (2, 3):
        faults.append(f"the layer lies at {tuple(result.get_offsets())[1:]}")
    return faults


def _of(share: float, top: float) -> float:
    return share if top == 1.0 else round(share * top)


def _compare(what: str, found: bytes, expected: bytes, code: str, tolerance: float) -> list[str]:
    if len(found) != len(expected):
        return [f"{what}: {len(found)} bytes, expected {len(expected)}"]
    count = len(expected) // struct.calcsize(code)
    pairs = zip(
        struct.unpack(f"<{count}{code}", found), struct.unpack(f"<{count}{code}", expected), strict=True
    )
    worst = max(abs(a - b) for a, b in pairs)
    return [f"{what}: differs by up to {worst}"] if worst > tolerance else []


def _paint(layer: Gimp.Layer, data: bytes, babl_format: str = "R'G'B'A u8") -> None:
    buffer = layer.get_buffer()
    buffer.set(Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height()), babl_format, data)
    buffer.flush()
    layer.update(0, 0, layer.get_width(), layer.get_height())


def _read(image: Gimp.Image, rect: Rect) -> bytes:
    editor = GimpEditor(image)
    reader = editor.open_reader(editor.active_document().document_id, rect)
    try:
        return b"".join(bytes(reader.pixels(band)) for band in rect.bands(5))
    finally:
        reader.close()


def _insert(image: Gimp.Image, rect: Rect, data: bytes, margins: Margins | None = None) -> None:
    editor = GimpEditor(image)
    info = editor.active_document()
    plans = (LayerPlan(name="Result", rect=rect),)
    writer = editor.begin_insertion(info.document_id, Insertion(name="Result", layers=plans, margins=margins))
    row_bytes = rect.width * info.format.bytes_per_pixel
    for band in rect.bands(3):
        start = (band.y - rect.y) * row_bytes
        writer.write(0, band, memoryview(data)[start : start + band.height * row_bytes])
    writer.commit()
    size = Size(image.get_width(), image.get_height())
    if margins is None and size != info.canvas:
        raise AssertionError(f"the canvas became {size}")
