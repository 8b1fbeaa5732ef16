"""ICC profiles: the same colors as Little CMS, without its ends, and back again."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from PIL import ImageCms
from tests.backend import icc

from overpaint_backend.imaging.decode import decode
from overpaint_backend.imaging.encode import encode
from overpaint_backend.imaging.profiles import conversion
from overpaint_backend.imaging.raster import component_dtype
from overpaint_protocol.errors import InvalidImage, UnsupportedFormat
from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import ColorSpace, PixelFormat

PILLOWS_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SRGB = icc.rgb_profile(icc.SRGB_COLORANTS, icc.SRGB_CURVE)
SRGB_BY_SAMPLES = icc.rgb_profile(icc.SRGB_COLORANTS, icc.sampled(icc.srgb_decoded, 1024))
LINEAR = icc.rgb_profile(icc.SRGB_COLORANTS, icc.identity())
ADOBE = icc.rgb_profile(icc.ADOBE_COLORANTS, icc.gamma(563 / 256))
P3 = icc.rgb_profile(icc.P3_COLORANTS, icc.SRGB_CURVE)
P3_BY_SAMPLES = icc.rgb_profile(icc.P3_COLORANTS, icc.sampled(icc.srgb_decoded, 4096))
P3_BY_TABLES = icc.table_profile(b"A2B0", b"B2A0")
PROPHOTO = icc.rgb_profile(icc.PROPHOTO_COLORANTS, icc.gamma(1.8))
ROMM = icc.rgb_profile(icc.PROPHOTO_COLORANTS, icc.parametric(3, 1.8, 1, 0, 1 / 16, 0.031248))
GRAY_GAMMA = icc.gray_profile(icc.gamma(2.2))
GRAY_DOT_GAIN = icc.gray_profile(icc.sampled(lambda x: 0.3 * x + 0.7 * x**2.6, 256))

RGB_PROFILES = {
    "Pillow's sRGB": PILLOWS_SRGB,
    "sRGB": SRGB,
    "sRGB by samples": SRGB_BY_SAMPLES,
    "linear": LINEAR,
    "Adobe RGB": ADOBE,
    "Display-P3": P3,
    "Display-P3 by samples": P3_BY_SAMPLES,
    "ProPhoto": PROPHOTO,
    "ROMM": ROMM,
}
GRAY_PROFILES = {"gamma": GRAY_GAMMA, "dot gain": GRAY_DOT_GAIN}
FORMULAS = {
    "gamma": icc.parametric(0, 2.2),
    "CIE 122": icc.parametric(1, 2.2, 0.9, 0.1),
    "IEC 61966-3": icc.parametric(2, 2.2, 0.9, 0.05, 0.05),
    "sRGB": icc.SRGB_CURVE,
    "lifted": icc.parametric(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.02, 0.02),
    "samples": icc.sampled(lambda x: 0.02 + 0.98 * x**1.5, 300),
}
BARE_POWERS = {"Adobe RGB": 563 / 256, "ProPhoto": 1.8}
FLOAT32_LIGHT = 3e-7
"""Of the brightest component of a pixel: what sums in float32 leave unsure of the others. Where a curve is a bare power, and so
without end steep at black, that is more than a step of 16 bits there."""


def noise(channels: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((64, 64, channels), dtype=np.float32)


def by_little_cms(values: np.ndarray, profile: bytes) -> np.ndarray:
    """In linear light: its curves of negative numbers differ."""
    linear = icc.rgb_profile(icc.SRGB_COLORANTS, icc.identity())
    return imagecodecs.cms_transform(
        values, profile, linear, colorspace="rgb", outcolorspace="rgb", outdtype="float32", intent=1
    )


def light(rgb: np.ndarray) -> np.ndarray:
    return np.sign(rgb) * icc.srgb_decoded(np.abs(rgb.astype(np.float64)))


@pytest.mark.parametrize("name", [*RGB_PROFILES])
def test_colors_are_those_of_little_cms(name: str):
    values = noise(3)
    working = conversion(ColorSpace.ICC, RGB_PROFILES[name], 3).to_working(values)
    assert np.abs(light(working) - by_little_cms(values, RGB_PROFILES[name])).max() < 1.5e-3


def test_tables_give_the_colors_they_were_made_from():
    values = noise(3) * 0.8 + 0.1
    by_tables = conversion(ColorSpace.ICC, P3_BY_TABLES, 3)
    expected = conversion(ColorSpace.ICC, P3, 3).to_working(values)
    assert np.abs(light(by_tables.to_working(values)) - light(expected)).max() < 2e-3
    assert np.abs(by_tables.to_document(expected) - values).max() < 5e-3


def test_a_wider_gamut_lies_outside_0_to_1():
    green = np.array([[[0, 1, 0]]], np.float32)
    working = conversion(ColorSpace.ICC, P3, 3).to_working(green)
    assert working[0, 0] == pytest.approx([-0.512, 1.018, -0.311], abs=2e-3)


@pytest.mark.parametrize("name", [*RGB_PROFILES])
def test_with_its_own_primaries_a_color_is_shown_as_the_same(name: str):
    profile, values = RGB_PROFILES[name], noise(3)
    own = conversion(ColorSpace.ICC, profile, 3, own_primaries=True)
    shown = own.to_display(own.to_working(values))
    assert shown == pytest.approx(conversion(ColorSpace.ICC, profile, 3).to_working(values), abs=2e-4)


@pytest.mark.parametrize("name", ["Adobe RGB", "Display-P3", "ProPhoto"])
def test_with_its_own_primaries_no_color_lies_outside_0_to_1(name: str):
    green = np.array([[[0, 1, 0]]], np.float32)
    own = conversion(ColorSpace.ICC, RGB_PROFILES[name], 3, own_primaries=True).to_working(green)
    assert own == pytest.approx(green, abs=1e-6)


def test_grey_has_its_curve():
    gray = conversion(ColorSpace.ICC, GRAY_GAMMA, 1).to_working(np.full((1, 1, 1), 0.5, np.float32))
    assert gray.shape == (1, 1, 3)
    assert light(gray)[0, 0] == pytest.approx([0.5**2.2] * 3, rel=2e-3)


@pytest.mark.parametrize("name", [*FORMULAS])
def test_every_formula_comes_back_below_0_and_above_1(name: str):
    made = conversion(ColorSpace.ICC, icc.gray_profile(FORMULAS[name]), 1)
    values = np.linspace(-0.5, 4, 5001, dtype=np.float32).reshape(1, -1, 1)
    working = made.to_working(values)
    assert (np.diff(working[0, :, 0]) >= 0).all()
    back = made.to_document(working)
    assert np.abs(back - values).max() < 2e-4


# ---------------------------------------------------------------- whole documents


def integers(pixel_format: PixelFormat) -> np.ndarray:
    """Every value of every channel, next to any other."""
    dtype = component_dtype(pixel_format)
    top = np.iinfo(dtype).max
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, top, (256, 256, pixel_format.channels), dtype, endpoint=True)
    grays = np.linspace(0, top, 256).astype(dtype)
    pixels[0] = grays[:, None]
    return pixels


def came_back(pixels: np.ndarray, pixel_format: PixelFormat, color: ColorSpace, profile: bytes | None):
    size = Size(pixels.shape[1], pixels.shape[0])
    raster = decode([pixels.tobytes()], size, pixel_format, color, profile)
    data = encode(raster, pixel_format, color, profile)
    return np.frombuffer(data, component_dtype(pixel_format)).reshape(pixels.shape)


def profiles_for(pixel_format: PixelFormat) -> dict[str, bytes]:
    return GRAY_PROFILES if pixel_format.channels == 2 else RGB_PROFILES


LAYER_FORMATS = [pixel_format for pixel_format in PixelFormat if pixel_format is not PixelFormat.GRAY8]
CASES = [(pixel_format, name) for pixel_format in LAYER_FORMATS for name in profiles_for(pixel_format)]
INTEGERS = [case for case in CASES if not case[0].is_float]
FLOATS = [case for case in CASES if case[0].is_float]


def is_same_light(before: np.ndarray, after: np.ndarray, exponent: float) -> np.ndarray:
    """For each component of color."""
    was, now = (np.copysign(np.abs(a[..., :-1]) ** exponent, a[..., :-1]) for a in (before, after))
    return np.abs(now - was) <= FLOAT32_LIGHT * np.abs(was).max(axis=-1, keepdims=True)


@pytest.mark.parametrize(("pixel_format", "name"), [case for case in INTEGERS if case[0].bits == 8])
def test_8_bits_come_back_bit_for_bit(pixel_format: PixelFormat, name: str):
    pixels = integers(pixel_format)
    back = came_back(pixels, pixel_format, ColorSpace.ICC, profiles_for(pixel_format)[name])
    assert np.array_equal(back, pixels)


@pytest.mark.parametrize(("pixel_format", "name"), [case for case in INTEGERS if case[0].bits == 16])
def test_16_bits_come_back_bit_for_bit_where_float32_tells_them_apart(pixel_format: PixelFormat, name: str):
    pixels = integers(pixel_format)
    profile = profiles_for(pixel_format)[name]
    back = came_back(pixels, pixel_format, ColorSpace.ICC, profile)
    differs = (back != pixels)[..., :-1]
    assert np.array_equal(back[..., -1], pixels[..., -1])
    if name in BARE_POWERS:
        differs &= ~is_same_light(pixels / 65535, back / 65535, BARE_POWERS[name])
    assert not differs.any()


@pytest.mark.parametrize(("pixel_format", "name"), FLOATS)
def test_floats_come_back_also_beyond_white_and_below_black(pixel_format: PixelFormat, name: str):
    rng = np.random.default_rng(6)
    pixels = rng.uniform(-0.5, 8, (64, 64, pixel_format.channels)).astype(component_dtype(pixel_format))
    pixels[..., -1] = rng.random((64, 64))
    back = came_back(pixels, pixel_format, ColorSpace.ICC, profiles_for(pixel_format)[name])
    before, after = pixels.astype(np.float64), back.astype(np.float64)
    near = np.abs(after - before) <= 1e-3 * np.abs(before) + 1e-4
    if name in BARE_POWERS:
        near[..., :-1] |= is_same_light(before, after, BARE_POWERS[name])
    assert near.all()


@pytest.mark.parametrize("profile", [None, ADOBE, P3_BY_TABLES])
def test_floats_that_are_no_numbers_do_no_harm(profile: bytes | None):
    color = ColorSpace.SRGB if profile is None else ColorSpace.ICC
    pixels = np.array([[[np.nan, np.inf, -np.inf, np.nan], [3e38, -3e38, 0.5, np.inf]]], "<f4")
    raster = decode([pixels.tobytes()], Size(2, 1), PixelFormat.RGBAF32, color, profile)
    assert np.isfinite(raster.rgb).all()
    assert raster.alpha.tolist() == [[0, 1]]
    written = np.frombuffer(encode(raster, PixelFormat.RGBAF16, color, profile), "<f2")
    assert np.isfinite(written).all()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("profile", "channels", "error", "words"),
    [
        (b"no profile at all", 3, InvalidImage, "cannot be read. Assign another one"),
        (P3[:200], 3, InvalidImage, "cannot be read"),
        (icc.profile(b"RGB ", {b"rTRC": icc.identity()}), 3, InvalidImage, "cannot be read"),
        (icc.rgb_profile(icc.P3_COLORANTS, icc.gamma(0)), 3, InvalidImage, "cannot be read"),
        (icc.rgb_profile(((0, 0, 0),) * 3, icc.identity()), 3, InvalidImage, "cannot be read"),
        (icc.gray_profile(icc.sampled(lambda x: 1 - x, 16)), 1, InvalidImage, "cannot be read"),
        (icc.profile(b"CMYK", {}, device_class=b"prtr"), 3, UnsupportedFormat, "is for CMYK. Convert"),
        (icc.profile(b"Lab ", {}, device_class=b"spac"), 3, UnsupportedFormat, "is for Lab. Convert"),
        (P3, 1, InvalidImage, "document is grey and its color profile is for RGB"),
        (GRAY_GAMMA, 3, InvalidImage, "document is RGB and its color profile is for grey"),
        (icc.table_profile(b"A2B0"), 3, UnsupportedFormat, "not written to"),
        (None, 3, InvalidImage, "did not come"),
    ],
)
def test_profiles_that_cannot_be_used_are_refused(profile, channels, error, words):
    with pytest.raises(error, match=words):
        conversion(ColorSpace.ICC, profile, channels)
