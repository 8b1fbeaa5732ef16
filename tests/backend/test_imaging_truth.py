"""The way through the path costs nothing: an engine that knows what was under the hole gives that back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from tests.backend import icc

from overpaint_backend.engines.base import FillRequest, FillResult, OnStep, Step
from overpaint_backend.imaging.decode import decode
from overpaint_backend.imaging.pipeline import FillJob, run_fill
from overpaint_backend.imaging.raster import component_dtype
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Fill
from overpaint_protocol.pixels import ColorSpace, PixelFormat

CANVAS = Size(96, 80)
SELECTED = Rect(24, 20, 40, 32)
HOLE = np.s_[SELECTED.top : SELECTED.bottom, SELECTED.left : SELECTED.right]
FORMATS = [pixel_format for pixel_format in PixelFormat if pixel_format is not PixelFormat.GRAY8]


@dataclass(frozen=True, slots=True)
class TruthSession:
    """Paints what is really there. truth: (H, W, 3) float32 in the working space."""

    truth: np.ndarray

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        on_step(Step(0.0))
        assert np.isfinite(request.image).all()
        on_step(Step(1.0))
        return FillResult(self.truth)

    def close(self) -> None:
        pass


def rgb(colorants, curve):
    return ColorSpace.ICC, icc.rgb_profile(colorants, curve)


def gray(curve):
    return ColorSpace.ICC, icc.gray_profile(curve)


COLOR_SPACES = {
    "sRGB": (ColorSpace.SRGB, None),
    "linear sRGB": (ColorSpace.LINEAR_SRGB, None),
    "Adobe RGB": rgb(icc.ADOBE_COLORANTS, icc.gamma(563 / 256)),
    "Display-P3": rgb(icc.P3_COLORANTS, icc.SRGB_CURVE),
    "linear Display-P3": rgb(icc.P3_COLORANTS, icc.identity()),
}
GRAYS = {
    "sRGB": (ColorSpace.SRGB, None),
    "linear sRGB": (ColorSpace.LINEAR_SRGB, None),
    "gamma 2.2": gray(icc.gamma(2.2)),
    "linear": gray(icc.identity()),
}
CASES = [
    (pixel_format, name)
    for pixel_format in FORMATS
    for name in (GRAYS if pixel_format.channels == 2 else COLOR_SPACES)
]


def scene(pixel_format: PixelFormat) -> np.ndarray:
    """(H, W, C) of an opaque document: shades from black to white, saturated colors, grain in the last bits."""
    rng = np.random.default_rng(11)
    across = np.linspace(0, 1, CANVAS.width)[None, :, None]
    down = np.linspace(0, 1, CANVAS.height)[:, None, None]
    phases = np.arange(pixel_format.channels) * 2.1
    waves = 0.5 + 0.5 * np.sin(9 * across + 7 * down + phases)
    shades = np.where(down > 0.5, across * np.ones_like(waves), waves)
    values = np.clip(shades + rng.normal(0, 0.004, waves.shape), 0, 1)
    dtype = component_dtype(pixel_format)
    if pixel_format.is_float:
        values[..., :-1] = values[..., :-1] * 3 - 0.5  # brighter than white, darker than black
        values[..., -1] = 1
        return values.astype(dtype)
    pixels = np.rint(values * np.iinfo(dtype).max).astype(dtype)
    pixels[..., -1] = np.iinfo(dtype).max
    return pixels


@pytest.mark.parametrize("own_primaries", [False, True], ids=["", "own primaries"])
@pytest.mark.parametrize(("pixel_format", "name"), CASES)
def test_a_perfect_engine_gives_the_truth_back(pixel_format: PixelFormat, name: str, own_primaries: bool):
    color, profile = (GRAYS if pixel_format.channels == 2 else COLOR_SPACES)[name]
    truth = scene(pixel_format)
    document = truth.copy()
    document[HOLE][..., :-1] = 0
    painted = fill_hole(document, pixel_format, color, profile, truth, own_primaries=own_primaries)
    expected = truth[HOLE].astype(np.float64)
    difference = np.abs(painted - expected)
    is_mixed = name == "Adobe RGB" and not own_primaries
    if pixel_format.is_float:
        size = np.abs(expected)
        if is_mixed:
            # A bare power: in float32 a dark component is as sure as the bright ones beside it.
            size = size.max(axis=-1, keepdims=True)
        assert (difference <= 1e-3 * np.maximum(size, 0.1)).all()
    elif is_mixed:
        # The same: what is left of a dark component are the last bits of the light beside it.
        light, meant = ((pixels / np.iinfo(truth.dtype).max) ** (563 / 256) for pixels in (painted, expected))
        lost = np.abs(light - meant) / meant[..., :-1].max(axis=-1, keepdims=True)
        assert ((difference <= 1) | (lost <= 2.0**-22)).all()
    else:
        assert difference.max() <= 1


@pytest.mark.parametrize(("pixel_format", "name"), [*CASES, (PixelFormat.RGBA16, "Display-P3 by tables")])
def test_what_an_engine_leaves_as_it_was_keeps_its_numbers(pixel_format: PixelFormat, name: str):
    tables = {"Display-P3 by tables": (ColorSpace.ICC, icc.table_profile(b"A2B0", b"B2A0"))}
    color, profile = ((GRAYS if pixel_format.channels == 2 else COLOR_SPACES) | tables)[name]
    truth = scene(pixel_format)
    painted = fill_hole(truth, pixel_format, color, profile, truth)
    assert np.array_equal(painted, truth[HOLE])


def fill_hole(document, pixel_format, color, profile, truth, own_primaries=False) -> np.ndarray:
    """What is in the hole of (H, W, C) ``document`` after a fill by an engine that knows the ``truth``."""
    raster = decode([truth.tobytes()], CANVAS, pixel_format, color, profile, own_primaries=own_primaries)
    session = TruthSession(raster.rgb)
    mask = np.zeros((CANVAS.height, CANVAS.width), np.uint8)
    mask[HOLE] = 255
    job = FillJob(
        canvas=CANVAS,
        context=Rect.from_size(CANVAS),
        operation=Fill(),
        image_bands=(document.tobytes(),),
        image_size=CANVAS,
        pixel_format=pixel_format,
        color=color,
        profile=profile,
        mask_bands=(mask.tobytes(),),
        seed=0,
    )
    output = run_fill(job, session, lambda step: None, own_primaries=own_primaries)
    shape = (output.target.height, output.target.width, pixel_format.channels)
    layer = np.frombuffer(output.data, component_dtype(pixel_format)).reshape(shape)
    inside = SELECTED.relative_to(output.target.origin)
    return layer[inside.top : inside.bottom, inside.left : inside.right]
