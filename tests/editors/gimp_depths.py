"""Runs inside gimp-console: GimpEditor with every kind of image and stack of layers.

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
_WHOLE = Rect(0, 0, _SIDE, _SIDE)
_FORMATS = {
    "u8": (PixelFormat.RGBA8, PixelFormat.GRAYA8),
    "u16": (PixelFormat.RGBA16, PixelFormat.GRAYA16),
    "u32": (PixelFormat.RGBAF32, PixelFormat.GRAYAF32),
    "half": (PixelFormat.RGBAF16, PixelFormat.GRAYAF16),
    "float": (PixelFormat.RGBAF32, PixelFormat.GRAYAF32),
    "double": (PixelFormat.RGBAF32, PixelFormat.GRAYAF32),
}
_CODES = {"u8": "B", "u16": "H", "u32": "I", "half": "e", "float": "f", "double": "d"}
_LONGEST = {"B": 255, "H": 65535, "I": 2**32 - 1}
_FLOAT_STEP = 2**-21
"""What numbers may lose on the way through floats if they are longer."""


def check_depths() -> list[str]:
    """Every precision in color and gray, with and without alpha, in GIMP's own space and in another, is read and written
    in its own numbers."""
    faults: list[str] = []
    for precision in Gimp.Precision.__enum_values__.values():
        for base in (Gimp.ImageBaseType.RGB, Gimp.ImageBaseType.GRAY):
            for profile in (None, _other_profile(base)):
                for has_alpha in (True, False):
                    image, layer = _image(base, precision, profile, has_alpha)
                    case = f"{Babl.get_name(layer.get_format())}: "
                    faults += [case + fault for fault in _check_numbers(image, layer)]
                    image.delete()
    return faults


def check_colors() -> list[str]:
    """What an image says its numbers mean is what GIMP itself converts them by."""
    faults: list[str] = []
    linear, srgb, icc = ColorSpace.LINEAR_SRGB, ColorSpace.SRGB, ColorSpace.ICC
    for precision in Gimp.Precision.__enum_values__.values():
        curve = precision.value_nick.partition("-")[2]
        for base in (Gimp.ImageBaseType.RGB, Gimp.ImageBaseType.GRAY):
            is_gray = base == Gimp.ImageBaseType.GRAY
            plain = linear if curve == "linear" else srgb
            for profile, expected in (
                (None, plain),
                (_other_profile(base), plain if is_gray and curve != "non-linear" else icc),
            ):
                image, layer = _image(base, precision, profile, has_alpha=True)
                info = GimpEditor(image).active_document()
                if info.color is not expected:
                    faults.append(f"{Babl.get_name(layer.get_format())}: {info.color.value}")
                if info != GimpEditor(image).active_document():
                    faults.append(f"{Babl.get_name(layer.get_format())}: not the same twice")
                if expected is icc:
                    faults += _check_meaning(layer, info.profile, precision.value_nick)
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


def _other_profile(base: Gimp.ImageBaseType) -> Gimp.ColorProfile:
    """One that is not GIMP's own: other primaries, another curve."""
    of_gray = Gimp.ColorProfile.new_d50_gray_lab_trc
    return of_gray() if base == Gimp.ImageBaseType.GRAY else Gimp.ColorProfile.new_rgb_adobe()


def _image(
    base: Gimp.ImageBaseType,
    precision: Gimp.Precision,
    profile: Gimp.ColorProfile | None,
    has_alpha: bool,
) -> tuple[Gimp.Image, Gimp.Layer]:
    """An image with one layer that covers it."""
    image = Gimp.Image.new_with_precision(_SIDE, _SIDE, base, precision)
    if profile is not None:
        image.set_color_profile(profile)
    color = "GRAY" if base == Gimp.ImageBaseType.GRAY else "RGB"
    kind = getattr(Gimp.ImageType, f"{color}{'A' if has_alpha else ''}_IMAGE")
    layer = Gimp.Layer.new(image, "Background", _SIDE, _SIDE, kind, 100.0, Gimp.LayerMode.NORMAL)
    image.insert_layer(layer, None, 0)
    return image, layer


def _check_numbers(image: Gimp.Image, layer: Gimp.Layer) -> list[str]:
    faults: list[str] = []
    own = image.get_precision().value_nick.partition("-")[0]
    is_gray = image.get_base_type() == Gimp.ImageBaseType.GRAY
    info = GimpEditor(image).active_document()
    if info.format is not _FORMATS[own][is_gray]:
        faults.append(f"described as {info.format.value}")
    shares = _shares(colors=1 if is_gray else 3, is_float=own in ("half", "float", "double"))
    stored = [pixel if layer.has_alpha() else pixel[:-1] for pixel in shares]
    _paint(layer, _packed(stored, _CODES[own]), Babl.get_name(layer.get_format()))
    sent = [pixel if layer.has_alpha() else (*pixel[:-1], 1.0) for pixel in shares]
    code = _code_of(info.format)
    data = _packed(sent, code)
    tolerance = _FLOAT_STEP if own in ("u32", "double") else 0.0
    faults += _compare("read", _read(image, _WHOLE), data, code, tolerance)
    rect = Rect(2, 3, _SIDE, 8)
    part = data[: rect.area * info.format.bytes_per_pixel]
    _insert(image, rect, part)
    result = image.get_layers()[0]
    if image.get_precision().value_nick not in _precision_of(result):
        faults.append(f"the layer is in {Babl.get_name(result.get_format())}")
    place = Gegl.Rectangle.new(0, 0, rect.width, rect.height)
    format_name = Babl.get_name(result.get_format())
    kept = bytes(result.get_buffer().get(place, 1.0, format_name, Gegl.AbyssPolicy.NONE))
    expected = _packed(sent[: rect.area], _CODES[own])
    faults += _compare("inserted", kept, expected, _CODES[own], tolerance * _LONGEST.get(_CODES[own], 1))
    if tuple(result.get_offsets())[1:] != (2, 3):
        faults.append(f"the layer lies at {tuple(result.get_offsets())[1:]}")
    return faults


def _check_meaning(layer: Gimp.Layer, profile: bytes, precision: str) -> list[str]:
    """Numbers that the profile gives a meaning have the same one in the layer's own format."""
    space = Gimp.ColorProfile.new_from_icc_profile(profile).get_space(
        Gimp.ColorRenderingIntent.RELATIVE_COLORIMETRIC
    )
    is_gray = layer.is_gray()
    model = "Y'A" if is_gray else "R'G'B'A"
    data = struct.pack(
        "<8f" if is_gray else "<16f", *(i / 17 if i % 4 != 3 else 1.0 for i in range(8 if is_gray else 16))
    )
    by_profile = _converted(data, Babl.get_name(Babl.format_with_space(f"{model} float", space)))
    encoded = {
        "linear": ("RGBA", "YA"),
        "non-linear": ("R'G'B'A", "Y'A"),
        "perceptual": ("R~G~B~A", "Y~A"),
    }[precision.partition("-")[2]][is_gray]
    name = Babl.get_name(Babl.format_with_space(f"{encoded} float", layer.get_format()))
    return _compare(f"{precision}: what the profile says", _converted(data, name), by_profile, "f", 1e-4)


def _converted(data: bytes, babl_format: str) -> bytes:
    """Pixels of ``babl_format`` as GIMP converts them to linear sRGB."""
    place = Gegl.Rectangle.new(0, 0, 4, 1)
    buffer = Gegl.Buffer.new(babl_format, 0, 0, 4, 1)
    buffer.set(place, babl_format, data)
    return bytes(buffer.get(place, 1.0, "RGBA float", Gegl.AbyssPolicy.NONE))


def _shares(colors: int, is_float: bool) -> list[tuple[float, ...]]:
    """Pixels whose numbers use what the depth has; floats lie beyond 0 to 1, too. Alpha is mostly whole."""
    lowest, span = (-0.25, 1.5) if is_float else (0.0, 1.0)
    pixels = []
    for i in range(_WHOLE.area):
        color = [lowest + span * ((i * 97 + channel * 331) % 1009) / 1008 for channel in range(colors)]
        pixels.append((*color, 1.0 if i % 3 else (i % 7 + 1) / 7))
    return pixels


def _packed(pixels: list[tuple[float, ...]], code: str) -> bytes:
    top = _LONGEST.get(code)
    values = [share if top is None else round(share * top) for pixel in pixels for share in pixel]
    return struct.pack(f"<{len(values)}{code}", *values)


def _code_of(pixel_format: PixelFormat) -> str:
    return {8: "B", 16: "e" if pixel_format.is_float else "H", 32: "f"}[pixel_format.bits]


def _precision_of(layer: Gimp.Layer) -> tuple[str, ...]:
    """Nicks of the precisions whose layers have the format of ``layer``."""
    encoding, components = Babl.get_name(layer.get_format()).split("-space")[0].split(" ", 1)
    curve = {"'": "non-linear", "~": "perceptual"}.get(encoding[1], "linear")
    return (f"{components}-{curve}",)


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
