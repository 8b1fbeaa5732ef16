"""The layer of a fill: only the selection changes, exactly as much as it says."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.backend import icc

from overpaint_backend.engines.base import Cancelled, Device, FillResult
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.engines.testing import InvertEngine
from overpaint_backend.imaging.composite import cut_layer
from overpaint_backend.imaging.mask import distance, feather
from overpaint_backend.imaging.pipeline import FillJob, prepare, preview_backdrop, render, run_fill
from overpaint_backend.imaging.raster import component_dtype
from overpaint_protocol.errors import EmptySelection, EngineError, InvalidImage
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edges, Expand, Fill, Remove
from overpaint_protocol.pixels import ColorSpace, PixelFormat

LAYER_FORMATS = [pixel_format for pixel_format in PixelFormat if pixel_format is not PixelFormat.GRAY8]
WIDTH, HEIGHT = 14, 11
EVERYTHING = Rect(0, 0, WIDTH, HEIGHT)
PROTECTED = Edges(grow_px=0, blend_px=0)


def ignore(step):
    pass


def selections():
    one_pixel = st.builds(
        lambda y, x: mark(np.s_[y : y + 1, x : x + 1]), st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1)
    )
    shapes = st.sampled_from(
        [
            mark(np.s_[:, :]),
            mark(np.s_[:3, :]),
            mark(np.s_[:, 12:]),
            mark(np.s_[::4, ::5]),
            np.maximum(mark(np.s_[1:3, 1:4]), mark(np.s_[7:10, 9:13])),
            (feather(mark(np.s_[1:10, 2:13]).astype(np.float32) / 255, 3) * 255).astype(np.uint8),
        ]
    )
    noise = st.integers(0, 99).map(lambda seed: noisy(seed))
    return one_pixel | shapes | noise


def mark(where):
    selection = np.zeros((HEIGHT, WIDTH), np.uint8)
    selection[where] = 255
    return selection


def noisy(seed):
    rng = np.random.default_rng(seed)
    selection = rng.integers(6, 256, (HEIGHT, WIDTH)) * (rng.random((HEIGHT, WIDTH)) < 0.4)
    selection[5, 4:6] = 255, 1
    return selection.astype(np.uint8)


def document(pixel_format, seed=3):
    """(H, W, C) pixels of an opaque document."""
    rng = np.random.default_rng(seed)
    dtype = component_dtype(pixel_format)
    shape = (HEIGHT, WIDTH, pixel_format.channels)
    if pixel_format.is_float:
        pixels = rng.random(shape).astype(dtype)
        pixels[..., -1] = 1
    else:
        pixels = rng.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
        pixels[..., -1] = np.iinfo(dtype).max
    return pixels


def job_for(
    pixels,
    selection,
    pixel_format=PixelFormat.RGBA8,
    color=ColorSpace.SRGB,
    operation=None,
    edges=PROTECTED,
    profile=None,
):
    return FillJob(
        canvas=EVERYTHING.size,
        context=EVERYTHING,
        operation=operation or Fill(),
        image_bands=(pixels.tobytes(),),
        image_size=EVERYTHING.size,
        pixel_format=pixel_format,
        color=color,
        profile=profile,
        mask_bands=None if selection is None else (selection.tobytes(),),
        seed=0,
        edges=edges,
    )


def layer_pixels(output):
    dtype = component_dtype(output.pixel_format)
    shape = (output.target.height, output.target.width, output.pixel_format.channels)
    return np.frombuffer(output.data, dtype).reshape(shape)


def lay_over(pixels, output):
    """What an editor shows after the layer is put at its place: straight-alpha over in real numbers, rounded."""
    dtype = pixels.dtype
    top = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    layer = layer_pixels(output).astype(np.float64)
    target = np.s_[output.target.top : output.target.bottom, output.target.left : output.target.right]
    below = pixels[target].astype(np.float64)
    alpha = layer[..., -1:] / top
    blended = layer[..., :-1] * alpha + below[..., :-1] * (1 - alpha)
    shown = pixels.copy()
    shown[target][..., :-1] = blended if dtype.kind == "f" else np.rint(blended)
    return shown


@given(selections(), st.sampled_from(LAYER_FORMATS), st.sampled_from(list(ColorSpace)))
def test_unselected_pixels_stay_bit_for_bit(selection, pixel_format, color):
    pixels = document(pixel_format)
    job = job_for(pixels, selection, pixel_format, color)
    if color is ColorSpace.ICC:
        curve = icc.gamma(2.2)
        is_gray = pixel_format.channels == 2
        profile = icc.gray_profile(curve) if is_gray else icc.rgb_profile(icc.ADOBE_COLORANTS, curve)
        job = replace(job, profile=profile)
    output = run_fill(job, InvertEngine().open(Device()), ignore)
    shown = lay_over(pixels, output)
    assert np.array_equal(shown[selection == 0], pixels[selection == 0])
    layer = layer_pixels(output)
    unselected = (
        selection[
            output.target.top : output.target.bottom,
            output.target.left : output.target.right,
        ]
        == 0
    )
    assert not layer[unselected].any()


@given(
    selections(),
    st.sampled_from(LAYER_FORMATS),
    st.builds(
        Edges,
        grow_px=st.integers(0, 4),
        blend_px=st.integers(0, 4),
        feather_px=st.none() | st.integers(0, 4),
    ),
    st.sampled_from([Fill(), Remove()]),
)
def test_pixels_beyond_the_stated_band_stay_bit_for_bit(selection, pixel_format, edges, operation):
    pixels = document(pixel_format)
    job = job_for(pixels, selection, pixel_format, operation=operation, edges=edges)
    output = run_fill(job, InvertEngine().open(Device()), ignore)
    beyond = distance(selection > 0, 50) > edges.grow_px + edges.blend_px
    assert np.array_equal(lay_over(pixels, output)[beyond], pixels[beyond])
    target = output.target
    assert not layer_pixels(output)[beyond[target.top : target.bottom, target.left : target.right]].any()


@given(selections())
def test_alpha_is_the_selection(selection):
    pixels = document(PixelFormat.RGBA8)
    output = run_fill(job_for(pixels, selection), InvertEngine().open(Device()), ignore)
    whole = np.zeros((HEIGHT, WIDTH), np.uint8)
    whole[output.target.top : output.target.bottom, output.target.left : output.target.right] = layer_pixels(
        output
    )[..., 3]
    assert np.array_equal(whole, selection)


@given(selections())
def test_the_target_is_no_larger_than_the_selection(selection):
    layer = cut_layer(np.ones((HEIGHT, WIDTH, 3), np.float32), selection.astype(np.float32) / 255)
    for edge in (
        layer.raster.alpha[0],
        layer.raster.alpha[-1],
        layer.raster.alpha[:, 0],
        layer.raster.alpha[:, -1],
    ):
        assert edge.any()


def test_what_the_engine_paints_arrives():
    pixels = document(PixelFormat.BGRA8)
    output = run_fill(
        job_for(pixels, mark(np.s_[2:5, 3:9]), PixelFormat.BGRA8), InvertEngine().open(Device()), ignore
    )
    assert output.target == Rect(3, 2, 6, 3)
    assert np.array_equal(layer_pixels(output)[..., :3], 255 - pixels[2:5, 3:9, :3])
    assert set(output.timings_ms) == {"decode", "mask", "bleed", "engine", "match", "composite", "encode"}


def test_the_target_is_in_canvas_coordinates():
    canvas, context = Size(100, 90), Rect(40, 30, WIDTH, HEIGHT)
    job = replace(job_for(document(PixelFormat.RGBA8), mark(np.s_[2:5, 3:9])), canvas=canvas, context=context)
    assert run_fill(job, InvertEngine().open(Device()), ignore).target == Rect(43, 32, 6, 3)


@pytest.mark.parametrize("engine", [InvertEngine(), EmbeddedEngine()])
def test_an_expand_covers_the_new_area_and_no_more(engine):
    pixels = document(PixelFormat.RGBA8)
    job = replace(
        job_for(pixels, None, operation=Expand(margins=Margins(left=6, bottom=4))),
        context=Rect(-6, 0, WIDTH + 6, HEIGHT + 4),
    )
    output = run_fill(job, engine.open(Device()), ignore)
    assert output.target == Rect(-6, 0, WIDTH + 6, HEIGHT + 4)
    alpha = layer_pixels(output)[..., 3]
    assert not alpha[:HEIGHT, 6:].any()
    assert (alpha[HEIGHT:] == 255).all()
    assert (alpha[:, :6] == 255).all()


def test_pixels_outside_the_canvas_and_transparent_ones_are_not_known():
    pixels = document(PixelFormat.RGBA8)
    pixels[0, :, 3] = 0
    job = replace(
        job_for(
            pixels, None, operation=Expand(margins=Margins(right=2), prompt="sea", negative_prompt="sky")
        ),
        context=Rect(0, 0, WIDTH + 2, HEIGHT),
    )
    request = prepare(job).request
    assert request.known.shape == (HEIGHT, WIDTH + 2)
    assert not request.known[0].any()
    assert not request.known[:, WIDTH:].any()
    assert request.known[1:, :WIDTH].all()
    assert (request.prompt, request.negative_prompt) == ("sea", "sky")


def test_growing_and_blending_change_what_the_engine_paints_and_where_the_layer_ends():
    job = job_for(
        document(PixelFormat.RGBA8),
        mark(np.s_[4:6, 4:6]),
        edges=Edges(grow_px=1, blend_px=1),
        operation=Remove(),
    )
    prepared = prepare(job)
    assert set(np.unique(prepared.request.mask)) == {0, 1}
    assert prepared.request.mask.sum() == 24
    output = render(prepared, (0,), InvertEngine().open(Device()), ignore)[0]
    assert output.target == Rect(2, 2, 6, 6)
    alpha = layer_pixels(output)[..., 3]
    assert (alpha[2:4, 1:5] == 255).all()
    assert (alpha[2:4, 0] == 128).all()


def test_an_expand_reaches_into_the_original_as_far_as_it_says():
    job = replace(
        job_for(
            document(PixelFormat.RGBA8),
            None,
            operation=Expand(margins=Margins(left=6)),
            edges=Edges(grow_px=1, blend_px=2),
        ),
        context=Rect(-6, 0, WIDTH + 6, HEIGHT),
    )
    output = run_fill(job, InvertEngine().open(Device()), ignore)
    assert output.target == Rect(-6, 0, 9, HEIGHT)


def test_what_was_left_out_is_noted():
    selection = mark(np.s_[2:5, 3:9])
    assert prepare(job_for(document(PixelFormat.RGBA8), selection)).area.notes == ()
    selection[10, 13] = 3
    assert len(prepare(job_for(document(PixelFormat.RGBA8), selection)).area.notes) == 1


def test_variants_share_what_was_prepared():
    prepared = prepare(job_for(document(PixelFormat.RGBA8), mark(np.s_[2:9, 3:9])))
    session = InvertEngine().open(Device())
    first, second, again = (render(prepared, (seed,), session, ignore)[0].data for seed in (1, 2, 1))
    assert first == again
    assert first != second


def test_previews_show_the_fill_in_its_place():
    prepared = prepare(job_for(document(PixelFormat.RGBA8), mark(np.s_[2:9, 3:9])))
    backdrop = preview_backdrop(prepared)
    preview = backdrop.show(np.zeros((4, 5, 3), np.float32), 50_000)
    assert preview is not None
    assert preview.size == EVERYTHING.size
    assert backdrop.show(np.zeros((4, 5, 3), np.float32), 0) is None


def test_previews_have_the_colors_of_a_display():
    profile = icc.rgb_profile(icc.ADOBE_COLORANTS, icc.gamma(563 / 256))
    job = job_for(document(PixelFormat.RGBA8), mark(np.s_[2:9, 3:9]), color=ColorSpace.ICC, profile=profile)
    shown = []
    for own_primaries in (False, True):
        prepared = prepare(job, own_primaries=own_primaries)
        preview = preview_backdrop(prepared).show(prepared.request.image, 50_000)
        assert preview is not None
        shown.append(np.asarray(Image.open(io.BytesIO(preview.jpeg)), np.int16))
    assert np.abs(shown[0] - shown[1]).max() <= 2
    as_numbers = document(PixelFormat.RGBA8)[..., :3].astype(np.int16)
    assert np.abs(shown[0] - as_numbers).max() > 20


@pytest.mark.parametrize("selection", [mark(np.s_[0:0, 0:0]), None])
def test_an_empty_selection_is_refused(selection):
    with pytest.raises(EmptySelection, match="Select the area"):
        prepare(job_for(document(PixelFormat.RGBA8), selection))
    with pytest.raises(EmptySelection):
        cut_layer(np.zeros((3, 3, 3), np.float32), np.zeros((3, 3), np.float32))


def test_an_image_of_another_size_is_refused():
    job = job_for(document(PixelFormat.RGBA8), mark(np.s_[2:9, 3:9]))
    with pytest.raises(InvalidImage, match="context shows"):
        prepare(replace(job, canvas=Size(WIDTH - 1, HEIGHT)))
    with pytest.raises(InvalidImage, match="bytes"):
        prepare(replace(job, mask_bands=(bytes(5),)))


class WrongSizeSession:
    def fill(self, request, on_step):
        return FillResult(request.image[:-1])

    def close(self):
        pass


def test_an_engine_that_returns_another_size_is_an_error():
    with pytest.raises(EngineError, match="another size"):
        run_fill(job_for(document(PixelFormat.RGBA8), mark(np.s_[:2, :2])), WrongSizeSession(), ignore)


def test_how_an_engine_lays_its_picture_out_in_memory_makes_no_difference():
    class Plain(WrongSizeSession):
        def fill(self, request, on_step):
            return FillResult(request.image * np.float32(0.9))

    class Planar(WrongSizeSession):
        def fill(self, request, on_step):
            planes = np.ascontiguousarray(np.moveaxis(request.image * np.float32(0.9), -1, 0))
            return FillResult(np.moveaxis(planes, 0, -1))

    job = job_for(document(PixelFormat.RGBA8), mark(np.s_[2:8, 3:9]))
    assert run_fill(job, Planar(), ignore).data == run_fill(job, Plain(), ignore).data


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_engine_that_returns_no_colors_is_an_error(number):
    class Broken(WrongSizeSession):
        def fill(self, request, on_step):
            picture = request.image.copy()
            picture[0, 0, 0] = number
            return FillResult(picture)

    with pytest.raises(EngineError, match="no colors"):
        run_fill(job_for(document(PixelFormat.RGBA8), mark(np.s_[:2, :2])), Broken(), ignore)


def test_a_cancel_ends_the_fill():
    def cancel(step):
        raise Cancelled

    with pytest.raises(Cancelled):
        run_fill(
            job_for(document(PixelFormat.RGBA8), mark(np.s_[:2, :2])), InvertEngine().open(Device()), cancel
        )


def test_a_flat_document_stays_flat():
    pixels = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    pixels[..., 3] = 255
    output = run_fill(job_for(pixels, mark(np.s_[3:8, 3:11])), EmbeddedEngine().open(Device()), ignore)
    assert np.array_equal(lay_over(pixels, output), pixels)
