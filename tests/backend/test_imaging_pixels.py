"""Pixels in and out: what was not changed comes back bit for bit, in every format."""

import itertools

import numpy as np
import pytest

from overpaint_backend.imaging.decode import decode, decode_mask
from overpaint_backend.imaging.encode import encode
from overpaint_backend.imaging.preview import encode_preview
from overpaint_backend.imaging.raster import Raster, component_dtype
from overpaint_backend.imaging.resample import bounded_size, extend, resize, resize_known
from overpaint_protocol.errors import InvalidImage
from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import ColorSpace, PixelFormat

LAYER_FORMATS = [pixel_format for pixel_format in PixelFormat if pixel_format is not PixelFormat.GRAY8]
INTEGER_FORMATS = [pixel_format for pixel_format in LAYER_FORMATS if not pixel_format.is_float]


@pytest.mark.parametrize("color", [ColorSpace.SRGB, ColorSpace.LINEAR_SRGB])
@pytest.mark.parametrize("pixel_format", INTEGER_FORMATS)
def test_integers_come_back_bit_for_bit(pixel_format, color):
    dtype = component_dtype(pixel_format)
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    shifted = [np.roll(values, 37 * channel) for channel in range(pixel_format.channels)]
    data = np.stack(shifted, axis=-1).tobytes()
    size = Size(values.size // 16, 16)
    assert encode(decode([data], size, pixel_format, color), pixel_format, color) == data


@pytest.mark.parametrize("pixel_format", [f for f in LAYER_FORMATS if f.is_float])
def test_floats_in_range_come_back_bit_for_bit(pixel_format):
    dtype = component_dtype(pixel_format)
    data = np.linspace(0, 1, 64 * 4 * pixel_format.channels).astype(dtype).tobytes()
    raster = decode([data], Size(64, 4), pixel_format, ColorSpace.SRGB)
    assert encode(raster, pixel_format, ColorSpace.SRGB) == data


@pytest.mark.parametrize("pixel_format", [PixelFormat.RGBAF32, PixelFormat.GRAYAF32])
def test_linear_floats_come_back_close(pixel_format):
    values = np.linspace(0, 1, 4096 * pixel_format.channels, dtype="<f4")
    raster = decode([values.tobytes()], Size(64, 64), pixel_format, ColorSpace.LINEAR_SRGB)
    back = np.frombuffer(encode(raster, pixel_format, ColorSpace.LINEAR_SRGB), "<f4")
    assert np.abs(back - values).max() < 2e-6


def test_linear_light_is_encoded_for_the_engine():
    pixel = np.array([0.214041, 0, 1, 0.5], "<f4").tobytes()
    raster = decode([pixel], Size(1, 1), PixelFormat.RGBAF32, ColorSpace.LINEAR_SRGB)
    assert raster.rgb[0, 0] == pytest.approx([0.5, 0, 1], abs=1e-5)
    assert raster.alpha[0, 0] == 0.5


def test_channel_orders():
    size = Size(1, 1)
    rgba = decode([bytes([255, 0, 51, 102])], size, PixelFormat.RGBA8, ColorSpace.SRGB)
    bgra = decode([bytes([51, 0, 255, 102])], size, PixelFormat.BGRA8, ColorSpace.SRGB)
    graya = decode([bytes([51, 102])], size, PixelFormat.GRAYA8, ColorSpace.SRGB)
    gray = decode([bytes([51])], size, PixelFormat.GRAY8, ColorSpace.SRGB)
    assert rgba.rgb[0, 0] == pytest.approx([1, 0, 0.2])
    assert np.array_equal(rgba.rgb, bgra.rgb)
    assert graya.rgb[0, 0] == pytest.approx([0.2, 0.2, 0.2])
    assert [raster.alpha[0, 0] for raster in (rgba, bgra, graya)] == pytest.approx([0.4] * 3)
    assert gray.alpha[0, 0] == 1


def test_16_bit_is_little_endian():
    raster = decode([bytes([0, 128, 255, 255])], Size(1, 1), PixelFormat.GRAYA16, ColorSpace.SRGB)
    assert raster.rgb[0, 0, 0] == pytest.approx(0x8000 / 0xFFFF)


def test_color_becomes_gray_by_luma():
    raster = Raster(np.array([[[1, 0.5, 0]]], np.float32), np.ones((1, 1), np.float32))
    luma = 255 * (0.2126 + 0.7152 * 0.5)
    assert encode(raster, PixelFormat.GRAYA8, ColorSpace.SRGB) == bytes([round(luma), 255])


@pytest.mark.parametrize("color", [ColorSpace.SRGB, ColorSpace.LINEAR_SRGB])
def test_floats_beyond_the_range_are_kept(color):
    pixels = np.array([[2.5, -1, 0.5, 1], [-0.001, 400, 1.25, 7]], "<f4")
    raster = decode([pixels.tobytes()], Size(2, 1), PixelFormat.RGBAF32, color)
    back = np.frombuffer(encode(raster, PixelFormat.RGBAF32, color), "<f4").reshape(2, 4)
    assert back[:, :3] == pytest.approx(pixels[:, :3], rel=1e-5)
    assert back[:, 3].tolist() == [1, 1]


def test_light_beyond_the_range_goes_on_with_the_curve():
    pixels = np.array([[4, -0.214041, 1, 1]], "<f4")
    raster = decode([pixels.tobytes()], Size(1, 1), PixelFormat.RGBAF32, ColorSpace.LINEAR_SRGB)
    assert raster.rgb[0, 0] == pytest.approx([1.055 * 4 ** (1 / 2.4) - 0.055, -0.5, 1], abs=1e-5)


def test_integers_are_clipped_to_their_range():
    wild = Raster(np.array([[[1.5, -0.5, 0.5]]], np.float32), np.array([[2]], np.float32))
    assert encode(wild, PixelFormat.RGBA8, ColorSpace.SRGB) == bytes([255, 0, 128, 255])


@pytest.mark.parametrize("cuts", [(), (1,), (3, 24, 25)])
def test_bands_may_be_cut_anywhere(cuts):
    data = bytes(range(60))
    edges = [0, *cuts, 60]
    bands = [memoryview(data)[start:stop] for start, stop in itertools.pairwise(edges)]
    whole = decode([data], Size(5, 3), PixelFormat.RGBA8, ColorSpace.SRGB)
    assert np.array_equal(decode(bands, Size(5, 3), PixelFormat.RGBA8, ColorSpace.SRGB).rgb, whole.rgb)


@pytest.mark.parametrize("length", [0, 59, 61])
def test_wrong_lengths_are_refused_with_both_numbers(length):
    with pytest.raises(InvalidImage, match=f"needs 60 bytes, {length} came"):
        decode([bytes(length)], Size(5, 3), PixelFormat.RGBA8, ColorSpace.SRGB)
    with pytest.raises(InvalidImage):
        decode_mask([bytes(length)], Size(20, 3))


def test_a_layer_without_alpha_is_refused():
    raster = Raster(np.zeros((1, 1, 3), np.float32), np.ones((1, 1), np.float32))
    with pytest.raises(InvalidImage, match="alpha"):
        encode(raster, PixelFormat.GRAY8, ColorSpace.SRGB)


def test_masks():
    assert decode_mask([bytes([0, 255]), bytes([51])], Size(3, 1)).tolist() == [[0, 1, pytest.approx(0.2)]]


@pytest.mark.parametrize(
    ("size", "limit", "bounded"),
    [
        (Size(10, 10), 100, Size(10, 10)),
        (Size(20, 20), 100, Size(10, 10)),
        (Size(100_000, 1), 100, Size(3162, 1)),
    ],
)
def test_bounded_size(size, limit, bounded):
    assert bounded_size(size, limit) == bounded


def test_resize_keeps_floats_and_shapes():
    ramp = np.linspace(-1, 2, 300, dtype=np.float32).reshape(10, 10, 3)
    assert resize(ramp, Size(10, 10)) is ramp
    assert resize(ramp, Size(20, 5)).shape == (5, 20, 3)
    assert resize(np.full((4, 6), 0.3, np.float32), Size(9, 9)) == pytest.approx(0.3)


def test_unknown_pixels_do_not_bleed_when_shrinking():
    rgb = np.full((8, 8, 3), 0.5, np.float32)
    known = np.ones((8, 8), np.bool_)
    rgb[:, 3:] = 100
    known[:, 3:] = False
    small, known_small = resize_known(rgb, known, Size(4, 4))
    assert small[known_small] == pytest.approx(0.5)
    assert known_small.tolist() == [[True, True, False, False]] * 4
    _, lonely = resize_known(rgb, np.eye(8, dtype=np.bool_) & (np.arange(8) == 0), Size(2, 2))
    assert lonely.tolist() == [[True, False], [False, False]]


def test_extending_keeps_what_is_known_and_stays_within_its_range():
    rgb = np.random.default_rng(2).random((37, 53, 3), np.float32)
    known = np.zeros((37, 53), np.bool_)
    known[:, :3] = True
    extended = extend(rgb, known)
    assert np.array_equal(extended[known], rgb[known])
    assert extended.min() >= rgb[known].min() - 1e-6
    assert extended.max() <= rgb[known].max() + 1e-6


@pytest.mark.parametrize("budget", [700, 2_000, 20_000, 200_000])
def test_previews_keep_their_budget(budget):
    noise = np.random.default_rng(1).random((700, 900, 3), np.float32)
    preview = encode_preview(noise, budget)
    assert preview is not None
    assert 0 < len(preview.jpeg) <= budget
    assert preview.jpeg.startswith(b"\xff\xd8")
    assert preview.size.width > preview.size.height


@pytest.mark.parametrize("budget", [0, 10])
def test_no_preview_without_a_budget_for_one(budget):
    assert encode_preview(np.zeros((4, 4, 3), np.float32), budget) is None


def test_previews_of_slivers():
    preview = encode_preview(np.zeros((1, 30_000, 3), np.float32), 20_000)
    assert preview is not None
    assert preview.size.height == 1
