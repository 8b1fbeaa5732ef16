"""Between the color space of a document and the working space, in float and beyond the range of a display.

The working space has sRGB's primaries and curve and no ends (``color``): what lies outside sRGB is below 0 or above 1. A
document's colors are relative to its white, which becomes the white of sRGB (the relative colorimetric intent).

For engines that copy what they paint, it has the **document's own primaries** where its profile is a matrix. So no component
is mixed with others: in float32, one near black beside bright ones would lose its last bits by that.

Profiles of a matrix and three curves, and of one curve for grey, are computed here: exactly invertible, without the 16-bit
steps and the clipping that Little CMS has for curves given as samples, and many times as fast. Profiles of tables are
left to Little CMS; their two directions are measured apart by whoever made them, so a color comes back only about as it was.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol, Self

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from overpaint_protocol.errors import InvalidImage, UnsupportedFormat
from overpaint_protocol.pixels import ColorSpace

from .color import to_linear, to_srgb
from .tone_curves import FormulaCurve, ToneCurve, read_curve

__all__ = ["Conversion", "conversion"]

_CHANNELS = {b"GRAY": 1, b"RGB ": 3}
_OTHER_MODELS = {b"CMYK": "CMYK", b"Lab ": "Lab", b"XYZ ": "XYZ", b"YCbr": "YCbCr", b"HSV ": "HSV"}
_COLOR_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")

_SRGB_CURVE = FormulaCurve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_SRGB_COLORANTS = np.array(
    [
        [0.436065674, 0.385147095, 0.143066406],
        [0.222488403, 0.716873169, 0.060607910],
        [0.013916016, 0.097076416, 0.714096069],
    ]
)
"""XYZ of sRGB's primaries, in columns, adapted to D50 and rounded as in its profiles."""
_SRGB_TOLERANCE = 4e-4
"""A profile as near to sRGB as this, a tenth of an 8-bit step, is one of the many that try to be it."""

_LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""BT.709"""

_KEPT_PROFILES = 8

_Curves = tuple[ToneCurve, ToneCurve, ToneCurve]


class Conversion(Protocol):
    """From a document's color to the working space and back. Numbers are finite; none are clipped by it.

    ``components`` are (H, W, C) float32, without alpha, C = 1 for grey and 3 for RGB, where 0 to 1 is what the document's
    integers span. ``rgb`` is (H, W, 3) float32 in the working space.
    """

    @property
    def is_identity(self) -> bool:
        """Whether the numbers stay the same, so that they come back as they were."""
        ...

    @property
    def own_primaries(self) -> Conversion:
        """The conversion to and from a working space of the document's own primaries; itself where it knows none."""
        ...

    def to_working(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        """The rgb of components."""
        ...

    def to_document(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """The components of rgb."""
        ...

    def to_display(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is to be shown of rgb: the same colors with sRGB's primaries."""
        ...


def conversion(
    color: ColorSpace, profile: bytes | None, channels: int, *, own_primaries: bool = False
) -> Conversion:
    """How to convert a document's pixels.

    Args:
        color: what its components mean.
        profile: the ICC profile where that is ICC.
        channels: 1 for grey, 3 for RGB.
        own_primaries: whether the working space has the primaries of the document.

    Raises:
        InvalidImage: the profile is missing, damaged, or not for so many channels.
        UnsupportedFormat: it is for another color model, or describes one direction only.
    """
    if color is not ColorSpace.ICC:
        plain = _Srgb() if color is ColorSpace.SRGB else _Curved(FormulaCurve(1.0))
        return _Gray(plain) if channels == 1 else plain
    if profile is None:
        raise InvalidImage(
            "The document's color profile did not come with its pixels. Update Overpaint on both sides and try again."
        )
    made = _of_profile(profile, channels)
    return made.own_primaries if own_primaries else made


@lru_cache(_KEPT_PROFILES)
def _of_profile(profile: bytes, channels: int) -> Conversion:
    try:
        tags = _Tags(profile)
        _check_model(tags, channels)
        if tags.has_tables:
            return _Tabular(profile, channels)
        if channels == 1:
            curve = read_curve(tags["kTRC"])
            return _Gray(_Srgb() if _is_srgb_curve(curve) else _Curved(curve))
        red, green, blue = (read_curve(tags[name]) for name in ("rTRC", "gTRC", "bTRC"))
        curves = (red, green, blue)
        has_srgb_curves = all(map(_is_srgb_curve, curves))
        matrix = np.asarray(np.linalg.inv(_SRGB_COLORANTS) @ tags.colorants(), np.float64)
        if has_srgb_curves and np.abs(matrix - np.eye(3)).max() < _SRGB_TOLERANCE:
            return _Srgb()
        own_primaries = _OwnPrimaries(None if has_srgb_curves else curves, matrix)
        return _Matrix(curves, matrix, np.asarray(np.linalg.inv(matrix), np.float64), own_primaries)
    except (ValueError, struct.error, np.linalg.LinAlgError, imagecodecs.CmsError) as error:
        raise InvalidImage(
            "The document's color profile cannot be read. Assign another one, such as sRGB, and try again.",
            detail=str(error),
        ) from error


def _check_model(tags: _Tags, channels: int) -> None:
    if tags.model not in _CHANNELS or tags.device_class not in _COLOR_CLASSES:
        name = _OTHER_MODELS.get(tags.model, "another color model")
        raise UnsupportedFormat(
            f"The document's color profile is for {name}. Convert the document to RGB or grey and try again.",
            detail=f"{tags.model!r} {tags.device_class!r}",
        )
    if _CHANNELS[tags.model] != channels:
        kinds = {1: "grey", 3: "RGB"}
        raise InvalidImage(
            f"The document is {kinds[channels]} and its color profile is for {kinds[_CHANNELS[tags.model]]}. Assign a "
            f"profile for {kinds[channels]} to the document and try again."
        )


# ---------------------------------------------------------------- reading a profile


class _Tags:
    """The header and the tags of a profile (ICC.1:2022 §7).

    Raises:
        ValueError, struct.error: it is none.
    """

    def __init__(self, profile: bytes) -> None:
        if len(profile) < 132 or profile[36:40] != b"acsp":
            raise ValueError("not an ICC profile")
        self.device_class, self.model, self._pcs = profile[12:16], profile[16:20], profile[20:24]
        (count,) = struct.unpack_from(">I", profile, 128)
        if 132 + 12 * count > len(profile):
            raise ValueError(f"{count} tags in {len(profile)} bytes")
        self._tags: dict[str, bytes] = {}
        for name, offset, size in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count]):
            self._tags[name.decode("latin-1")] = profile[offset : offset + size]

    def __getitem__(self, name: str) -> bytes:
        if name not in self._tags:
            raise ValueError(f"no {name} tag")
        return self._tags[name]

    @property
    def has_tables(self) -> bool:
        """Whether it describes colors by tables, or by curves that are none of light.

        Raises:
            UnsupportedFormat: by tables for one direction only.
        """
        reads, writes = (any(f"{way}{intent}" in self._tags for intent in "012") for way in ("A2B", "B2A"))
        has_curves = "kTRC" in self._tags or "rTRC" in self._tags
        if not has_curves and not (reads and writes):
            raise UnsupportedFormat(
                "The document's color profile can be read from and not written to, as those of scanners. Convert the "
                "document to a working space such as sRGB and try again."
            )
        return (reads and writes) or self._pcs == b"Lab "

    def colorants(self) -> NDArray[np.float64]:
        """(3, 3), XYZ of red, green and blue in columns, relative to D50."""
        columns = []
        for name in ("rXYZ", "gXYZ", "bXYZ"):
            kind, *fixed = struct.unpack_from(">4s4x3i", self[name])
            if kind != b"XYZ ":
                raise ValueError(f"{name} is {kind!r}")
            columns.append(np.array(fixed) / 65536)
        return np.stack(columns, axis=1)


def _is_srgb_curve(curve: ToneCurve) -> bool:
    values = np.linspace(0, 1, 1024, dtype=np.float32)
    return bool(np.abs(_SRGB_CURVE.encode(curve.decode(values)) - values).max() < _SRGB_TOLERANCE)


# ---------------------------------------------------------------- the conversions


class _InSrgb:
    """What is shown as it is, and for whom no other primaries are known."""

    @property
    def own_primaries(self) -> Self:
        return self

    def to_display(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return rgb


class _Srgb(_InSrgb):
    """None to do."""

    is_identity = True

    def to_working(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        return components

    def to_document(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return rgb


@dataclass(frozen=True, slots=True)
class _Curved(_InSrgb):
    """sRGB's primaries, another curve."""

    curve: ToneCurve
    is_identity = False

    def to_working(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        return to_srgb(self.curve.decode(components))

    def to_document(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.curve.encode(to_linear(rgb))


@dataclass(frozen=True, slots=True)
class _Gray(_InSrgb):
    """One component for all three. Of a color, grey is the luma of its encoded values."""

    curve: _Srgb | _Curved

    @property
    def is_identity(self) -> bool:
        return self.curve.is_identity

    def to_working(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.repeat(self.curve.to_working(components), 3, axis=-1)

    def to_document(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.curve.to_document(_luma(rgb))


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A curve for each component, then a matrix to linear sRGB. back: its inverse. own_primaries: without it."""

    curves: _Curves
    matrix: NDArray[np.float64]
    back: NDArray[np.float64]
    own_primaries: _OwnPrimaries
    is_identity = False

    def to_working(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        return to_srgb(_mixed(self.matrix, _decoded(self.curves, components)))

    def to_document(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return _encoded(self.curves, _mixed(self.back, to_linear(rgb)))

    def to_display(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return rgb


@dataclass(frozen=True, slots=True)
class _OwnPrimaries:
    """A curve for each component, none where all have sRGB's. matrix: from their linear light to that of sRGB."""

    curves: _Curves | None
    matrix: NDArray[np.float64]

    @property
    def is_identity(self) -> bool:
        return self.curves is None

    @property
    def own_primaries(self) -> Self:
        return self

    def to_working(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        return components if self.curves is None else to_srgb(_decoded(self.curves, components))

    def to_document(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return rgb if self.curves is None else _encoded(self.curves, to_linear(rgb))

    def to_display(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        return to_srgb(_mixed(self.matrix, to_linear(rgb)))


@dataclass(frozen=True, slots=True)
class _Tabular(_InSrgb):
    """Whatever else Little CMS can read."""

    profile: bytes
    channels: int
    is_identity = False

    def __post_init__(self) -> None:
        pixel = np.full((1, 1, self.channels), 0.5, np.float32)
        self.to_document(self.to_working(pixel))  # raises CmsError where it cannot

    def to_working(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        return to_srgb(self._transform(components, self.profile, _linear_srgb(), self.channels, 3))

    def to_document(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.channels == 1:
            rgb = np.repeat(_luma(rgb), 3, axis=-1)
        return self._transform(to_linear(rgb), _linear_srgb(), self.profile, 3, self.channels)

    @staticmethod
    def _transform(
        pixels: NDArray[np.float32], source: bytes, target: bytes, channels: int, out_channels: int
    ) -> NDArray[np.float32]:
        models = {1: "gray", 3: "rgb"}
        height, width = pixels.shape[:2]
        made = imagecodecs.cms_transform(
            np.ascontiguousarray(pixels if channels == 3 else pixels[..., 0]),
            source,
            target,
            colorspace=models[channels],
            outcolorspace=models[out_channels],
            outdtype="float32",
            intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        )
        return np.nan_to_num(made.reshape(height, width, out_channels))


@cache
def _linear_srgb() -> bytes:
    return imagecodecs.cms_profile(
        "rgb",
        whitepoint=(0.3127, 0.329, 1.0),
        primaries=(0.64, 0.33, 1.0, 0.3, 0.6, 1.0, 0.15, 0.06, 1.0),
        gamma=1.0,
    )


def _decoded(curves: _Curves, components: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([curve.decode(components[..., index]) for index, curve in enumerate(curves)], axis=-1)


def _encoded(curves: _Curves, light: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([curve.encode(light[..., index]) for index, curve in enumerate(curves)], axis=-1)


def _mixed(matrix: NDArray[np.float64], light: NDArray[np.float32]) -> NDArray[np.float32]:
    """``matrix`` times each pixel. Plane by plane: a product of many small matrices takes a hundred times as long."""
    red, green, blue = (light[..., index] for index in range(3))
    return np.stack(
        [row[0] * red + row[1] * green + row[2] * blue for row in matrix.astype(np.float32)], axis=-1
    )


def _luma(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) to (H, W, 1). Written around green so that equal components pass unchanged."""
    red, green, blue = np.moveaxis(rgb, -1, 0)
    return (green + _LUMA[0] * (red - green) + _LUMA[2] * (blue - green))[..., None]
