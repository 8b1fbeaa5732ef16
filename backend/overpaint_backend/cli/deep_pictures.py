"""Pictures with more than 8 bits a channel: 16-bit PNG, and TIFF of 16-bit integers, half or single precision.

Pillow cuts these to 8 bits or does not know them. Alpha comes out straight; where a TIFF has its colors multiplied by it, they
are divided by it once, to the nearest value.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from overpaint_protocol.errors import ImageError, RequestError, UnsupportedFormat
from overpaint_protocol.geometry import Size

__all__ = ["DeepPicture", "is_deep", "read_deep", "write_deep"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_END = 33
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 0x0112
_INCHES_PER_METER = 1 / 0.0254
_READERS_ERRORS = (OSError, RuntimeError, ValueError, TypeError, LookupError, struct.error, zlib.error)
"""What imagecodecs, tifffile and Pillow raise for damaged files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepPicture:
    """pixels: (H, W, C) as the file has them, uint16, float16 or float32, C = 1 to 4; straight alpha last if ``has_alpha``.

    orientation: 1 to 8 as in Exif, not applied. exif, icc_profile, dpi: None if absent.
    """

    pixels: NDArray
    has_alpha: bool
    orientation: int = 1
    exif: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None


def is_deep(path: Path) -> bool:
    """Whether a file is one for this module; False for one that cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(26)
        if start.startswith(_PNG_SIGNATURE):
            return len(start) > 24 and start[24] == 16
        if not start.startswith(_TIFF_SIGNATURES):
            return False
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            return page.dtype is not None and page.dtype not in (np.uint8, np.bool_)
    except _READERS_ERRORS:
        return False


def read_deep(path: Path, max_pixels: int) -> DeepPicture:
    """Read a picture that ``is_deep``.

    Raises:
        RequestError: it has more than ``max_pixels``.
        UnsupportedFormat: it holds something that could not be given back as it was.
        ImageError: it is damaged.
    """
    try:
        with path.open("rb") as file:
            is_png = file.read(len(_PNG_SIGNATURE)) == _PNG_SIGNATURE
        return _read_png(path, max_pixels) if is_png else _read_tiff(path, max_pixels)
    except _READERS_ERRORS as error:
        raise ImageError(
            f"{path.name} is damaged and cannot be read to its end. Save it again from the program it came from.",
            detail=repr(error),
        ) from error


def write_deep(path: Path, kind: str, picture: DeepPicture) -> None:
    """Write a PNG or a TIFF.

    Raises:
        UnsupportedFormat: this kind of file has no room for such pixels.
        OSError: it cannot be written.
    """
    if kind == "TIFF":
        _write_tiff(path, picture)
    elif kind == "PNG" and picture.pixels.dtype == np.uint16:
        path.write_bytes(_png(picture))
    else:
        raise UnsupportedFormat(
            f"A {kind} has no room for {picture.pixels.dtype.itemsize * 8} bits a channel. Write the result to a .tif."
        )


def _read_png(path: Path, max_pixels: int) -> DeepPicture:
    with Image.open(path) as image:
        _check(path, Size(*image.size), getattr(image, "n_frames", 1), max_pixels)
        if "transparency" in image.info:
            raise UnsupportedFormat(
                f"{path.name} has 16 bits a channel and a transparent shade. Save it with an alpha channel."
            )
        icc_profile, dpi, exif = (image.info.get(name) for name in ("icc_profile", "dpi", "exif"))
    pixels = imagecodecs.png_decode(path.read_bytes())
    tags = Image.Exif()
    if exif:
        tags.load(exif)
    orientation = tags.pop(_ORIENTATION, 1)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return DeepPicture(
        pixels=pixels,
        has_alpha=pixels.shape[2] in (2, 4),
        orientation=orientation,
        exif=tags.tobytes() if exif and tags else None,
        icc_profile=icc_profile,
        dpi=None if dpi is None else (float(dpi[0]), float(dpi[1])),
    )


def _read_tiff(path: Path, max_pixels: int) -> DeepPicture:
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        _check(path, Size(page.imagewidth, page.imagelength), len(file.pages), max_pixels)
        if page.photometric not in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB):
            raise UnsupportedFormat(
                f"{path.name} is neither an RGB nor a grey picture, and Overpaint could not give it back unchanged. "
                "Convert it to RGB or grey first.",
                detail=str(page.photometric),
            )
        if page.dtype not in (np.uint16, np.float16, np.float32):
            raise UnsupportedFormat(
                f"{path.name} holds {page.dtype} numbers. Save it with 16 bits a channel, or as 32-bit floating point."
            )
        extra = page.extrasamples
        if len(extra) > 1 or tifffile.EXTRASAMPLE.UNSPECIFIED in extra:
            raise UnsupportedFormat(
                f"{path.name} has channels besides its colors and transparency, which would be lost. Save it without "
                "them."
            )
        pixels = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        if tifffile.EXTRASAMPLE.ASSOCALPHA in extra:
            pixels = _straight(pixels)
        orientation = page.tags.get(274)
        return DeepPicture(
            pixels=pixels.astype(pixels.dtype.newbyteorder("=")),
            has_alpha=bool(extra),
            orientation=1 if orientation is None else int(orientation.value),
            icc_profile=page.iccprofile,
            dpi=_dpi(page),
        )


def _check(path: Path, size: Size, pages: int, max_pixels: int) -> None:
    if pages > 1:
        raise UnsupportedFormat(
            f"{path.name} holds {pages} pages or frames, and only one can be kept. Save the one you want on its own."
        )
    if size.area > max_pixels:
        raise RequestError(
            f"{path.name} has {size} px; the command line opens pictures of up to {max_pixels // 1_000_000} megapixels. "
            "Crop it or scale it down."
        )


def _straight(pixels: NDArray) -> NDArray:
    """Undo the multiplication by alpha."""
    top = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    alpha = pixels[..., -1:].astype(np.float64) / top
    color = np.divide(pixels[..., :-1], alpha, out=np.zeros(pixels[..., :-1].shape), where=alpha > 0)
    if pixels.dtype.kind != "f":
        color = np.rint(np.minimum(color, top))
    return np.concatenate([color.astype(pixels.dtype), pixels[..., -1:]], axis=-1)


def _dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    across, down, unit = (page.tags.get(number) for number in (282, 283, 296))
    if across is None or down is None or unit is None or unit.value not in (2, 3):
        return None
    per_inch = 1.0 if unit.value == 2 else 2.54
    return tuple(per_inch * tag.value[0] / (tag.value[1] or 1) for tag in (across, down))


def _png(picture: DeepPicture) -> bytes:
    """A PNG file; its chunks of metadata go right behind the header."""
    pixels = picture.pixels
    encoded = imagecodecs.png_encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    chunks = b""
    if picture.icc_profile:
        chunks += _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(picture.icc_profile))
    if picture.dpi:
        chunks += _chunk(
            b"pHYs", struct.pack(">IIB", *(round(d * _INCHES_PER_METER) for d in picture.dpi), 1)
        )
    if picture.exif:
        chunks += _chunk(b"eXIf", picture.exif.removeprefix(b"Exif\0\0"))
    return bytes(encoded[:_PNG_HEADER_END]) + chunks + encoded[_PNG_HEADER_END:]


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _write_tiff(path: Path, picture: DeepPicture) -> None:
    pixels = picture.pixels
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels if pixels.shape[2] > 1 else pixels[..., 0],
        photometric="rgb" if pixels.shape[2] > 2 else "minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"] if picture.has_alpha else None,
        compression="adobe_deflate",
        predictor=True,
        iccprofile=picture.icc_profile,
        resolution=picture.dpi,
        resolutionunit=2 if picture.dpi else None,
        metadata=None,
        software=False,
    )
    path.write_bytes(file.getbuffer())
