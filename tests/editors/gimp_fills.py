"""Runs inside gimp-console: many fills through GimpEditor, a Controller and the daemon outside, each in a small image.

Prints a line for each: what was selected, where the new layer has alpha, and what of the originals changed.
"""

from __future__ import annotations

import base64
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gi.repository import Babl, Gegl, Gimp

from overpaint_client.controller import Controller
from overpaint_client.jobs import EditRequest, Job
from overpaint_client.settings import ClientSettings
from overpaint_gimp.editor import GimpEditor
from overpaint_gimp.net import GLibLoop
from overpaint_protocol.messages import Edges, Fill, Remove

_WIDTH, _HEIGHT = 72, 56


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """An image's precision, whether it is gray and has alpha, and its color profile; None is GIMP's own."""

    precision: Gimp.Precision
    is_gray: bool
    has_alpha: bool
    profile: Gimp.ColorProfile | None

    def __str__(self) -> str:
        color = "gray" if self.is_gray else "color"
        label = "own" if self.profile is None else self.profile.get_label()
        return f"{self.precision.value_nick} {color} {'with' if self.has_alpha else 'no'} alpha, {label}"


def fill_every_kind(seed: int) -> None:
    """A Remove in every kind of image, the selection and its edges drawn by lot.

    The engine inverts: it needs no surroundings and is the quickest, and nothing it is asked for stays as it was.
    """
    for number, kind in enumerate(_kinds()):
        lot = random.Random(f"{seed} {number}")
        image, layer = _image(kind, _WIDTH, _HEIGHT)
        _paint(layer, lot.randbytes(_WIDTH * _HEIGHT * Babl.format_get_bytes_per_pixel(layer.get_format())))
        name, select = lot.choice(_SELECTIONS)
        select(image, lot)
        reach = lot.choice((None, 0, 3, 9))
        edges = Edges() if reach is None else Edges(grow_px=reach // 3, blend_px=reach - reach // 3)
        before = [_state(one) for one in image.get_layers()]
        selection = _selection(image)
        job = _run(image, EditRequest(operation=Remove(), engine="test-invert", seed=number, edges=edges))
        layers = image.get_layers()
        _print(
            case=f"{number}: {kind}, {name}, reach {reach}",
            error="" if job.error is None else job.error.message,
            reach=reach,
            kept=[_state(one) for one in layers[len(layers) - len(before) :]] == before,
            selection_kept=_selection(image) == selection,
            added=len(layers) - len(before),
            same_format=_encoding(layers[0]) == _encoding(layer),
            selected=_packed(selection),
            painted=_packed(_alpha(layers[0])),
        )
        image.delete()


def fill_ramps() -> None:
    """A gradient of more than 256 levels, inverted by an engine that does it exactly: the levels in the new layer."""
    for kind in (one for one in _kinds() if one.precision == Gimp.Precision.U16_NON_LINEAR):
        width = 1024
        image, layer = _image(kind, width, 8)
        place = Gegl.Rectangle.new(0, 0, width, 8)
        row = b"".join(
            (20000 + 16 * x).to_bytes(2, "little") * (1 if kind.is_gray else 3) + b"\xff\xff" * kind.has_alpha
            for x in range(width)
        )
        _paint(layer, row * 8)
        image.select_rectangle(Gimp.ChannelOps.REPLACE, 0, 2, width, 4)
        job = _run(
            image, EditRequest(operation=Fill(prompt="ramp"), engine="test-invert", seed=0, edges=_HARD)
        )
        top = image.get_layers()[0]
        name = Babl.get_name(top.get_format())
        data = bytes(top.get_buffer().get(place, 1.0, name, Gegl.AbyssPolicy.NONE))
        step = Babl.format_get_bytes_per_pixel(top.get_format())
        found = {data[i : i + 2] for i in range(0, width * step, step)}
        _print(case=str(kind), error="" if job.error is None else job.error.message, levels=len(found))
        image.delete()


def fill_transparent() -> None:
    """An empty image, one whose layer cannot be transparent, and a cut-out with a hole in it."""
    for kind in _kinds():
        if kind.precision not in (Gimp.Precision.U8_NON_LINEAR, Gimp.Precision.U16_LINEAR):
            continue
        for name in ("empty", "cut-out") if kind.has_alpha else ("opaque",):
            image, layer = _image(kind, _WIDTH, _HEIGHT)
            if name != "empty":
                size = Babl.format_get_bytes_per_pixel(layer.get_format())
                _paint(layer, b"\xff" * (_WIDTH * _HEIGHT * size))
            image.select_rectangle(Gimp.ChannelOps.REPLACE, 20, 16, 24, 20)
            if name == "cut-out":
                layer.edit_clear()
            before = _state(layer)
            asked = Fill(prompt="a thing") if name == "empty" else Fill()
            engine = "test-invert" if name == "empty" else "embedded"
            job = _run(image, EditRequest(operation=asked, engine=engine, seed=0, edges=_HARD))
            top = image.get_layers()[0]
            _, left, upper = top.get_offsets()
            _print(
                case=f"{name}: {kind}",
                error="" if job.error is None else job.error.message,
                kept=_state(layer) == before,
                place=[left, upper, top.get_width(), top.get_height()],
                is_covered=bytes(
                    top.get_buffer().get(
                        Gegl.Rectangle.new(0, 0, top.get_width(), top.get_height()),
                        1.0,
                        "A u8",
                        Gegl.AbyssPolicy.NONE,
                    )
                ).count(255)
                == 480,
                shade=bytes(
                    top.get_buffer().get(
                        Gegl.Rectangle.new(12, 10, 1, 1), 1.0, "R'G'B' u8", Gegl.AbyssPolicy.NONE
                    )
                )[0],
            )
            image.delete()


def fill_tables(profile_path: str, *precisions: str) -> None:
    """An even image whose colors a table explains, inverted by an engine that does it exactly: what is seen of both.

    precisions: GIMP's names of those to try, such as ``u16-linear``; without any, all of them.
    """
    profile = Gimp.ColorProfile.new_from_icc_profile(Path(profile_path).read_bytes())
    whole = Gegl.Rectangle.new(0, 0, _WIDTH, _HEIGHT)
    for precision in Gimp.Precision.__enum_values__.values():
        for has_alpha in (True, False) if precision.value_nick in precisions or not precisions else ():
            kind = Kind(precision=precision, is_gray=False, has_alpha=has_alpha, profile=profile)
            image, layer = _image(kind, _WIDTH, _HEIGHT)
            # GIMP knows no curve of such a profile, and shows the bare numbers by it in every precision
            bare = _bare(precision)
            layer.get_buffer().set(whole, f"{bare} u8", bytes((150, 110, 90)) * (_WIDTH * _HEIGHT))
            layer.update(0, 0, _WIDTH, _HEIGHT)
            image.select_rectangle(Gimp.ChannelOps.REPLACE, 20, 16, 24, 20)
            state, before, selected = _state(layer), _merged(image), _selection(image)
            job = _run(
                image, EditRequest(operation=Fill(prompt="it"), engine="test-invert", seed=0, edges=_HARD)
            )
            after, kept = _merged(image), _state(layer) == state
            srgb = Gimp.ColorProfile.new_rgb_srgb()
            image.convert_color_profile(srgb, Gimp.ColorRenderingIntent.RELATIVE_COLORIMETRIC, False)
            one = Gegl.Rectangle.new(8, 8, 1, 1)
            seen = [
                list(shown.get_buffer().get(one, 1.0, f"{bare} u8", Gegl.AbyssPolicy.NONE))
                for shown in (layer, image.get_layers()[0])
            ]
            _print(
                case=f"{precision.value_nick} {'with' if has_alpha else 'no'} alpha",
                error="" if job.error is None else job.error.message,
                kept=kept,
                changed_outside=sum(
                    not is_selected and after[8 * i : 8 * i + 8] != before[8 * i : 8 * i + 8]
                    for i, is_selected in enumerate(selected)
                ),
                seen=seen,
            )
            image.delete()


_HARD = Edges(grow_px=0, blend_px=0, feather_px=0)


def _kinds() -> Iterator[Kind]:
    colors = (None, Gimp.ColorProfile.new_rgb_adobe(), _display_p3())
    grays = (None, Gimp.ColorProfile.new_d50_gray_lab_trc())
    for precision in Gimp.Precision.__enum_values__.values():
        for is_gray, profiles in ((False, colors), (True, grays)):
            for profile in profiles:
                for has_alpha in (True, False):
                    yield Kind(precision=precision, is_gray=is_gray, has_alpha=has_alpha, profile=profile)


def _display_p3() -> Gimp.ColorProfile:
    curve = Babl.trc("sRGB")
    white, red, green, blue = (0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)
    space = Babl.space_from_chromaticities(
        "display-p3", *white, *red, *green, *blue, curve, curve, curve, Babl.SpaceFlags.EQUALIZE
    )
    return Gimp.ColorProfile.new_from_icc_profile(Babl.space_get_icc(space))


def _image(kind: Kind, width: int, height: int) -> tuple[Gimp.Image, Gimp.Layer]:
    base = Gimp.ImageBaseType.GRAY if kind.is_gray else Gimp.ImageBaseType.RGB
    image = Gimp.Image.new_with_precision(width, height, base, kind.precision)
    if kind.profile is not None:
        image.set_color_profile(kind.profile)
    color = "GRAY" if kind.is_gray else "RGB"
    layer_kind = getattr(Gimp.ImageType, f"{color}{'A' if kind.has_alpha else ''}_IMAGE")
    layer = Gimp.Layer.new(image, "Background", width, height, layer_kind, 100.0, Gimp.LayerMode.NORMAL)
    image.insert_layer(layer, None, 0)
    return image, layer


def _paint(layer: Gimp.Layer, numbers: bytes) -> None:
    place = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    buffer = layer.get_buffer()
    buffer.set(place, Babl.get_name(layer.get_format()), numbers)
    buffer.flush()
    layer.update(0, 0, place.width, place.height)


def _one_pixel(image: Gimp.Image, lot: random.Random) -> None:
    place = lot.randrange(_WIDTH), lot.randrange(_HEIGHT)
    image.select_rectangle(Gimp.ChannelOps.REPLACE, *place, 1, 1)


def _at_an_edge(image: Gimp.Image, lot: random.Random) -> None:
    width, height = lot.randint(2, 20), lot.randint(2, 20)
    x, y = lot.choice((0, _WIDTH - width)), lot.choice((0, _HEIGHT - height))
    image.select_rectangle(Gimp.ChannelOps.REPLACE, x, y, width, height)


def _disjoint(image: Gimp.Image, lot: random.Random) -> None:
    Gimp.Selection.none(image)
    for left in (2, 40):
        size = lot.randint(1, 12)
        image.select_ellipse(
            Gimp.ChannelOps.ADD, left + lot.randint(0, 8), lot.randint(0, 30), size, lot.randint(1, 12)
        )


def _nearly_all(image: Gimp.Image, lot: random.Random) -> None:
    # more is left than results reach
    Gimp.Selection.all(image)
    image.select_rectangle(Gimp.ChannelOps.SUBTRACT, 0, 0, _WIDTH, lot.randint(12, 18))


def _feathered(image: Gimp.Image, lot: random.Random) -> None:
    image.select_ellipse(Gimp.ChannelOps.REPLACE, lot.randint(8, 24), lot.randint(8, 20), 24, 20)
    Gimp.Selection.feather(image, lot.randint(2, 14))


_SELECTIONS: tuple[tuple[str, Callable[[Gimp.Image, random.Random], None]], ...] = (
    ("one pixel", _one_pixel),
    ("at an edge", _at_an_edge),
    ("disjoint", _disjoint),
    ("nearly all", _nearly_all),
    ("feathered", _feathered),
)


def _run(image: Gimp.Image, request: EditRequest) -> Job:
    loop = GLibLoop()
    controller = Controller(GimpEditor(image), loop, ClientSettings.for_editor("gimp"))
    controller.start()
    try:
        job = controller.submit(request)
        loop.run_until(lambda: not job.phase.is_active)
        loop.run_until(lambda: controller.is_settled, 5.0)
        return job
    finally:
        controller.close()


def _state(layer: Gimp.Layer) -> tuple[object, ...]:
    """All that an artist would see change of a layer, its numbers to the last bit."""
    place = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    name = Babl.get_name(layer.get_format())
    numbers = bytes(layer.get_buffer().get(place, 1.0, name, Gegl.AbyssPolicy.NONE))
    return layer.get_id(), layer.get_name(), name, tuple(layer.get_offsets()), layer.get_visible(), numbers


def _bare(precision: Gimp.Precision) -> str:
    """babl's name of the encoding of a color image's numbers."""
    curve = precision.value_nick.partition("-")[2]
    return {"linear": "RGB", "non-linear": "R'G'B'", "perceptual": "R~G~B~"}[curve]


def _merged(image: Gimp.Image) -> bytes:
    """What is seen: 8 bytes a pixel, for GIMP itself rounds longer numbers when it lays layers over each other."""
    copy = image.duplicate()
    layer = copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
    place = Gegl.Rectangle.new(0, 0, _WIDTH, _HEIGHT)
    seen = bytes(layer.get_buffer().get(place, 1.0, "R'G'B'A u16", Gegl.AbyssPolicy.NONE))
    copy.delete()
    return seen


def _selection(image: Gimp.Image) -> bytes:
    place = Gegl.Rectangle.new(0, 0, _WIDTH, _HEIGHT)
    return bytes(image.get_selection().get_buffer().get(place, 1.0, "Y u8", Gegl.AbyssPolicy.NONE))


def _alpha(layer: Gimp.Layer) -> bytes:
    """A byte for each pixel of the canvas: 1 where the layer is not wholly transparent."""
    _, left, top = layer.get_offsets()
    place = Gegl.Rectangle.new(-left, -top, _WIDTH, _HEIGHT)
    data = bytes(layer.get_buffer().get(place, 1.0, "A float", Gegl.AbyssPolicy.NONE))
    return bytes(data[i : i + 4] != b"\0\0\0\0" for i in range(0, len(data), 4))


def _encoding(layer: Gimp.Layer) -> tuple[str, str, str]:
    name = Babl.get_name(layer.get_format())
    encoding = name.split(" ", 1)[0].replace("A", "")
    space = Babl.get_name(Babl.format_get_space(layer.get_format()))
    return encoding, Babl.get_name(Babl.format_get_type(layer.get_format(), 0)), space


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def _print(**case: object) -> None:
    print("CASE", json.dumps(case), flush=True)
