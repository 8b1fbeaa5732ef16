"""Kinds of documents, and pixels of any format as numbers, for checks that need no array library."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import Bytes, ColorSpace, PixelFormat

__all__ = ["DocumentKind", "difference", "pack", "ramp", "swap_red_and_blue", "unpack"]


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """What a document's pixels are.

    format, color, profile: as ``DocumentInfo`` has them. composite_error: how far off the editor's own composite of two
        layers may be, as a share of the range 0 to 1; 0 where it lays opaque pixels over others unchanged.
    """

    format: PixelFormat
    color: ColorSpace = ColorSpace.SRGB
    profile: bytes | None = None
    composite_error: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        profile = "" if self.profile is None else f", a profile of {len(self.profile)} bytes"
        return f"{self.format.value} in {self.color.value}{profile}"


def unpack(data: Bytes, pixel_format: PixelFormat) -> tuple[float, ...]:
    """The components of ``data``, in its order."""
    return struct.unpack(_layout(len(data) * 8 // pixel_format.bits, pixel_format), data)


def pack(numbers: Iterable[float], pixel_format: PixelFormat) -> bytes:
    """Components as bytes; rounded where the format has integers, which must hold them."""
    values = list(numbers) if pixel_format.is_float else [round(value) for value in numbers]
    return struct.pack(_layout(len(values), pixel_format), *values)


def difference(found: Bytes, expected: Bytes, pixel_format: PixelFormat) -> float:
    """How far any two components are apart, as a share of the range 0 to 1; infinite if they are not as many."""
    if len(found) != len(expected):
        return float("inf")
    top = 1 if pixel_format.is_float else 2**pixel_format.bits - 1
    pairs = zip(unpack(found, pixel_format), unpack(expected, pixel_format), strict=True)
    return max(abs(a - b) for a, b in pairs) / top


def ramp(size: Size, pixel_format: PixelFormat) -> bytes:
    """An opaque picture that uses the format: steps finer than 8 bits and, in floats, values beyond 1."""
    top = 1.25 if pixel_format.is_float else 2**pixel_format.bits - 1
    opaque = 1.0 if pixel_format.is_float else top
    numbers: list[float] = []
    for i in range(size.area):
        numbers += [
            top * ((i * 97 + channel * 331) % 1009) / 1008 for channel in range(pixel_format.channels - 1)
        ]
        numbers.append(opaque)
    return pack(numbers, pixel_format)


def swap_red_and_blue(data: Bytes, pixel_format: PixelFormat) -> bytes:
    """8-bit RGBA from what an editor gives, and back.

    Raises:
        ValueError: the pixels are not 8-bit RGB.
    """
    if pixel_format not in (PixelFormat.BGRA8, PixelFormat.RGBA8):
        raise ValueError(f"{pixel_format.value} is no 8-bit RGB")
    out = bytearray(data)
    if pixel_format is PixelFormat.BGRA8:
        out[0::4], out[2::4] = out[2::4], out[0::4]
    return bytes(out)


def _layout(count: int, pixel_format: PixelFormat) -> str:
    codes = {16: "e", 32: "f"} if pixel_format.is_float else {8: "B", 16: "H"}
    return f"<{count}{codes[pixel_format.bits]}"
