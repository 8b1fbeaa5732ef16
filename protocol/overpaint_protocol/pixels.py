"""How pixels lie in memory and on the wire (spec §4).

Pixels are row-major with no padding, little-endian, channels interleaved, **straight** (not premultiplied) alpha.
Integer formats span 0..2^bits-1 for 0..1; float formats hold 0..1 for the displayable range and may exceed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .errors import InvalidImage
from .geometry import Rect, Size

__all__ = [
    "MAX_BAND_BYTES",
    "MAX_PROFILE_BYTES",
    "Bytes",
    "ColorSpace",
    "ImageHeader",
    "PixelFormat",
    "band_rows",
    "split_bands",
]

Bytes = bytes | bytearray | memoryview
"""What pixels are handed around in; a memoryview must be C-contiguous."""

MAX_BAND_BYTES = 4 * 1024 * 1024
"""Largest payload frame a peer sends. Measured: bands of 1-4 MiB beat one big frame in speed and keep
allocations and the reach of a cancel bounded."""

MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""Largest ICC profile. Those of displays and working spaces have some kilobytes, those with tables up to 3 MB."""

_CHANNELS = {"gray": 1, "graya": 2, "rgba": 4, "bgra": 4}


class PixelFormat(str, Enum):
    """Channel order and depth. Grey and alpha formats are named in the order of their bytes."""

    GRAY8 = "gray8"
    GRAYA8 = "graya8"
    GRAYA16 = "graya16"
    GRAYAF16 = "grayaf16"
    GRAYAF32 = "grayaf32"
    RGBA8 = "rgba8"
    BGRA8 = "bgra8"
    RGBA16 = "rgba16"
    BGRA16 = "bgra16"
    RGBAF16 = "rgbaf16"
    RGBAF32 = "rgbaf32"

    @property
    def is_float(self) -> bool:
        """True for IEEE 754 half or single components, false for unsigned integers."""
        return "f" in self.value

    @property
    def bits(self) -> int:
        """Bits of one component: 8, 16 or 32."""
        return int(self.value.lstrip("abfgry"))

    @property
    def channels(self) -> int:
        """Number of components, alpha included."""
        return _CHANNELS[self.value.rstrip("0123456789f")]

    @property
    def bytes_per_pixel(self) -> int:
        """Size of one pixel in bytes."""
        return self.channels * self.bits // 8


class ColorSpace(str, Enum):
    """What the color components mean: the sRGB primaries with the sRGB curve or with none, or what a profile says.

    Grey has the curve of the space and no primaries; with ``ICC`` the profile is one for grey.
    """

    SRGB = "srgb"
    LINEAR_SRGB = "linear-srgb"
    ICC = "icc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """Describes an image whose bytes travel in payload frames of the same message.

    size: width and height in px, each at least 1.
    format: channel order and depth.
    color: color space of the components; without meaning for a mask.
    frames: indices of the payload frames that hold the rows, top to bottom. Their lengths sum to
        ``byte_length`` exactly. Frames may be cut anywhere; a sender keeps each within MAX_BAND_BYTES.
    profile: index of the payload frame that holds the ICC profile, of at most MAX_PROFILE_BYTES, where ``color`` is
        ``icc``; None otherwise, and where the receiver has the profile already.

    Raises:
        InvalidImage: the size is empty, or there is a profile for a color space that needs none.
    """

    size: Size
    format: PixelFormat
    color: ColorSpace = ColorSpace.SRGB
    frames: tuple[int, ...] = ()
    profile: int | None = None

    def __post_init__(self) -> None:
        if self.size.area == 0:
            raise InvalidImage(f"An image of {self.size} px holds no pixels.")
        if self.profile is not None and self.color is not ColorSpace.ICC:
            raise InvalidImage(f"An image in {self.color.value} has no profile.")

    @property
    def byte_length(self) -> int:
        """Bytes of all rows together."""
        return self.size.area * self.format.bytes_per_pixel

    def take(self, payload: Sequence[Bytes]) -> tuple[Bytes, ...]:
        """Pick this image's frames out of a message's payload, without copying.

        Raises:
            InvalidImage: a frame is missing or named twice, or the bytes are too few or too many.
        """
        if len(set(self.frames)) != len(self.frames) or any(not 0 <= i < len(payload) for i in self.frames):
            raise InvalidImage(f"The image names frames {self.frames}, the message has {len(payload)}.")
        picked = tuple(payload[i] for i in self.frames)
        length = sum(len(frame) for frame in picked)
        if length != self.byte_length:
            raise InvalidImage(
                f"An image of {self.size} px in {self.format.value} needs {self.byte_length} bytes, "
                f"the message has {length}."
            )
        return picked

    def take_profile(self, payload: Sequence[Bytes]) -> bytes | None:
        """The ICC profile from a message's payload; None if the image has none.

        Raises:
            InvalidImage: its frame is missing, one of the rows', empty or too large.
        """
        if self.profile is None:
            return None
        if not 0 <= self.profile < len(payload) or self.profile in self.frames:
            raise InvalidImage(
                f"The image names frame {self.profile} as its color profile, which is not there."
            )
        profile = payload[self.profile]
        if not 0 < len(profile) <= MAX_PROFILE_BYTES:
            raise InvalidImage(
                f"The image's color profile has {len(profile)} bytes; 1 to {MAX_PROFILE_BYTES} can be used. "
                "Assign a smaller profile, such as sRGB, to the document and try again."
            )
        return bytes(profile)


def band_rows(width: int, pixel_format: PixelFormat, max_bytes: int = MAX_BAND_BYTES) -> int:
    """How many whole rows of ``width`` px fit into ``max_bytes``; at least 1."""
    return max(1, max_bytes // max(1, width * pixel_format.bytes_per_pixel))


def split_bands(data: Bytes, rect: Rect, pixel_format: PixelFormat) -> list[memoryview]:
    """Cut the rows of ``rect`` into views of at most MAX_BAND_BYTES (a single row may exceed it)."""
    view = memoryview(data).cast("B")
    step = band_rows(rect.width, pixel_format) * rect.width * pixel_format.bytes_per_pixel
    return [view[start : start + step] for start in range(0, len(view), step)]
