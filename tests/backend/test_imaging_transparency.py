"""Transparent places: their hidden color is seen by nobody, and paint closes them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from overpaint_backend.engines.base import Device, FillResult, Step
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.engines.testing import InvertEngine
from overpaint_backend.imaging.pipeline import FillJob, prepare, preview_backdrop, run_fill
from overpaint_backend.imaging.raster import Raster, component_dtype
from overpaint_backend.imaging.transparency import known_pixels, over_gray, without_hidden
from overpaint_protocol.errors import NothingToSample
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Edges, Fill
from overpaint_protocol.pixels import ColorSpace, PixelFormat

CANVAS = Size(72, 64)
GREEN = (0.2, 0.6, 0.3)
MAGENTA = (1.0, 0.0, 1.0)
FORMATS = [PixelFormat.RGBA8, PixelFormat.BGRA8, PixelFormat.RGBA16, PixelFormat.RGBAF16, PixelFormat.RGBAF32]


def cut_out(pixel_format: PixelFormat, *, alpha_inside: float = 1.0) -> np.ndarray:
    """(H, W, C), a green disk with grain and a hole in it; poisoned with magenta where it is transparent."""
    rows, columns = np.indices((CANVAS.height, CANVAS.width))
    from_center = np.hypot(rows - 32, columns - 36)
    is_there = (from_center < 28) & (np.hypot(rows - 30, columns - 34) > 6)
    grain = np.random.default_rng(3).normal(0, 0.02, (*is_there.shape, 1))
    color = np.where(is_there[..., None], np.array(GREEN) + grain, MAGENTA)
    values = np.concatenate([color, np.where(is_there, alpha_inside, 0)[..., None]], axis=-1)
    if pixel_format is PixelFormat.BGRA8:
        values = values[..., [2, 1, 0, 3]]
    dtype = component_dtype(pixel_format)
    top = 1 if pixel_format.is_float else np.iinfo(dtype).max
    scaled = np.clip(values, 0, 1) * top
    return (scaled if pixel_format.is_float else np.rint(scaled)).astype(dtype)


def selected(rect: Rect) -> np.ndarray:
    mask = np.zeros((CANVAS.height, CANVAS.width), np.uint8)
    mask[rect.top : rect.bottom, rect.left : rect.right] = 255
    return mask


def job(pixels: np.ndarray, pixel_format: PixelFormat, mask: np.ndarray) -> FillJob:
    return FillJob(
        canvas=CANVAS,
        context=Rect.from_size(CANVAS),
        operation=Fill(),
        image_bands=(pixels.tobytes(),),
        image_size=CANVAS,
        pixel_format=pixel_format,
        color=ColorSpace.SRGB,
        mask_bands=(mask.tobytes(),),
        seed=0,
        edges=Edges(grow_px=0, blend_px=0),
    )


def painted(output) -> np.ndarray:
    """(n, 4) in [0, 1], red first: the pixels of a layer that show."""
    dtype = component_dtype(output.pixel_format)
    layer = np.frombuffer(output.data, dtype).reshape(-1, 4)
    shown = layer[layer[:, 3] > 0] / (1 if dtype.kind == "f" else np.iinfo(dtype).max)
    return shown[:, [2, 1, 0, 3]] if output.pixel_format is PixelFormat.BGRA8 else shown


def is_poisoned(rgb: np.ndarray) -> np.ndarray:
    """Whether red has come close to, or over, green: the disk has three times as much green."""
    return rgb[..., 0] > 0.5 * rgb[..., 1]


HOLE = Rect(26, 22, 17, 17)
EDGE = Rect(2, 20, 20, 24)


@pytest.mark.parametrize("place", [HOLE, EDGE])
@pytest.mark.parametrize("pixel_format", FORMATS)
def test_a_cut_out_is_filled_with_itself(pixel_format: PixelFormat, place: Rect):
    fill = job(cut_out(pixel_format), pixel_format, selected(place))
    shown = painted(run_fill(fill, EmbeddedEngine().open(Device()), lambda step: None))
    assert len(shown) >= place.area
    assert (shown[:, 3] == 1).sum() == place.area
    assert not is_poisoned(shown).any()


class SmoothSession:
    """Paints a blur of all it is given, as a model does that sees the whole picture."""

    def fill(self, request, on_step):
        on_step(Step(0.0))
        small = Image.fromarray(np.rint(np.clip(request.image, 0, 1) * 255).astype(np.uint8)).resize((6, 6))
        blurred = np.asarray(small.resize((CANVAS.width, CANVAS.height))).astype(np.float32) / 255
        on_step(Step(1.0))
        return FillResult(blurred)

    def close(self):
        pass


def test_an_engine_that_looks_everywhere_sees_no_hidden_color():
    fill = job(cut_out(PixelFormat.RGBA8), PixelFormat.RGBA8, selected(EDGE))
    assert not is_poisoned(prepare(fill).request.image).any()
    assert not is_poisoned(painted(run_fill(fill, SmoothSession(), lambda step: None))).any()


def test_previews_show_transparent_places_in_light_grey():
    fill = job(cut_out(PixelFormat.RGBA8), PixelFormat.RGBA8, selected(HOLE))
    preview = preview_backdrop(prepare(fill)).show(np.full((8, 8, 3), GREEN, np.float32), 50_000)
    with Image.open(io.BytesIO(preview.jpeg)) as image:
        shown = np.asarray(image) / 255
    assert shown[3, 3] == pytest.approx([0.8] * 3, abs=0.02)
    assert shown[30, 34] == pytest.approx(GREEN, abs=0.04)
    assert not (shown[..., 0] > 1.3 * shown[..., 1]).any()


def test_paint_over_half_transparent_surroundings_is_opaque():
    pixels = cut_out(PixelFormat.RGBA8, alpha_inside=0.5)
    output = run_fill(
        job(pixels, PixelFormat.RGBA8, selected(EDGE)), EmbeddedEngine().open(Device()), lambda step: None
    )
    shown = painted(output)
    assert (shown[:, 3] == 1).sum() == EDGE.area
    assert not is_poisoned(shown).any()


def test_an_empty_document_is_neither_black_nor_white():
    empty = np.zeros((CANVAS.height, CANVAS.width, 4), np.uint8)
    fill = job(empty, PixelFormat.RGBA8, selected(HOLE))
    request = prepare(fill).request
    assert not request.known.any()
    assert (request.image == 0.5).all()
    shown = painted(run_fill(fill, InvertEngine().open(Device()), lambda step: None))
    assert len(shown) == HOLE.area
    assert (shown[:, 3] == 1).all()
    with pytest.raises(NothingToSample):
        run_fill(fill, EmbeddedEngine().open(Device()), lambda step: None)


def test_faint_pixels_teach_nothing():
    alpha = np.array([[0, 15 / 255, 16 / 255, 1]], np.float32)
    assert known_pixels(alpha).tolist() == [[False, False, True, True]]


def test_what_is_hidden_continues_what_is_not():
    rgb = np.zeros((1, 4, 3), np.float32)
    rgb[0, :2], rgb[0, 2:] = 0.25, 9
    seen = without_hidden(rgb, np.array([[True, True, False, False]]))
    assert (seen == 0.25).all()


def test_what_is_looked_at_lies_over_grey():
    rgb = np.full((1, 2, 3), [1, 0, np.nan], np.float32)
    rgb[0, 1] = [1, 0, 0.5]
    seen = over_gray(Raster(rgb, np.array([[0, 0.5]], np.float32)))
    assert seen[0] == pytest.approx(np.array([[0.8] * 3, [0.9, 0.4, 0.65]]))
