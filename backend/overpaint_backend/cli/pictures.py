"""Picture files in and out: PNG, JPEG, WebP and TIFF, without losing a bit where the format does not.

With 8 bits by Pillow, with more by ``deep_pictures``. What cannot be kept is refused with a sentence rather than converted
quietly: CMYK and Lab, several pages or frames.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from overpaint_protocol.errors import EmptySelection, ImageError, RequestError, UnsupportedFormat
from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import ColorSpace, PixelFormat

from .deep_pictures import DeepPicture, is_deep, read_deep, write_deep
from .file_editor import Pixels

__all__ = ["MAX_PICTURE_PIXELS", "Picture", "check_output", "load_mask", "load_picture", "save_pixels"]

MAX_PICTURE_PIXELS = 256 * 1024 * 1024
"""Largest picture the command line opens: it holds all of it in memory, several times, at 4 bytes a pixel."""

_READABLE = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WebP", "TIFF": "TIFF"}
_WRITABLE = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
_LONGEST_SIDE_PX = {"JPEG": 65_500, "WEBP": 16_383}
_LARGEST_JPEG_EXIF_BYTES = 65_533
_DEEP_FORMATS = {
    (True, np.dtype("<u2")): PixelFormat.GRAYA16,
    (True, np.dtype("<f2")): PixelFormat.GRAYAF16,
    (True, np.dtype("<f4")): PixelFormat.GRAYAF32,
    (False, np.dtype("<u2")): PixelFormat.RGBA16,
    (False, np.dtype("<f2")): PixelFormat.RGBAF16,
    (False, np.dtype("<f4")): PixelFormat.RGBAF32,
}
"""By whether they are grey, and the type of a component."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture as it is shown, turned as its camera says.

    pixels: see Pixels, in ``format``. has_alpha: the file has an alpha channel or a transparent color.
    is_turned: the camera's orientation was applied. exif, icc_profile, dpi: go into the output, None if absent.
    """

    path: Path
    pixels: Pixels
    format: PixelFormat
    has_alpha: bool
    is_turned: bool = False
    exif: bytes | None = None
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None

    @property
    def size(self) -> Size:
        """Width and height in px."""
        return Size(self.pixels.shape[1], self.pixels.shape[0])

    @property
    def color(self) -> ColorSpace:
        """What its components mean. Without a profile integers are sRGB, floats linear light, as programs write them."""
        if self.icc_profile:
            return ColorSpace.ICC
        return ColorSpace.LINEAR_SRGB if self.format.is_float else ColorSpace.SRGB


def load_picture(path: Path) -> Picture:
    """Read a picture.

    Raises:
        ImageError: the file is missing, unreadable or damaged.
        UnsupportedFormat: it holds something that could not be given back as it was.
        RequestError: it has more than MAX_PICTURE_PIXELS.
    """
    if is_deep(path):
        return _of_deep(path, read_deep(path, MAX_PICTURE_PIXELS))
    with _opened(path, _check_keepable) as opened:
        is_turned = opened.getexif().get(0x0112, 1) in range(2, 9)
        has_alpha = opened.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in opened.info
        image = ImageOps.exif_transpose(opened)
        exif = image.getexif().tobytes() if opened.format != "TIFF" and image.getexif() else None
        pixels, pixel_format = _to_pixels(image, path, has_alpha=has_alpha)
        dpi = opened.info.get("dpi")
        return Picture(
            path=path,
            pixels=pixels,
            format=pixel_format,
            has_alpha=has_alpha,
            is_turned=is_turned,
            exif=exif,
            icc_profile=opened.info.get("icc_profile"),
            dpi=(float(dpi[0]), float(dpi[1])) if dpi else None,
        )


def load_mask(path: Path, picture: Picture) -> NDArray[np.uint8]:
    """Read a mask: white changes, black stays, grey blends; transparent counts as black.

    Returns:
        (H, W) uint8 of the picture's size.

    Raises:
        ImageError: the file is missing, unreadable or damaged.
        UnsupportedFormat: it is not a PNG, JPEG, WebP or TIFF.
        RequestError: it has another size than the picture.
        EmptySelection: it is black all over.
    """
    if is_deep(path):
        mask = _deep_mask(_of_deep(path, read_deep(path, MAX_PICTURE_PIXELS)).pixels)
    else:
        with _opened(path, lambda image, path: None) as opened:
            gray = np.asarray(ImageOps.exif_transpose(opened).convert("LA"), dtype=np.uint16)
            mask = ((gray[..., 0] * gray[..., 1] + 127) // 255).astype(np.uint8)
    size = Size(mask.shape[1], mask.shape[0])
    if size != picture.size:
        turned = " The picture was turned as its camera says; turn the mask too." if picture.is_turned else ""
        raise RequestError(
            f"The mask is {size} px and the picture {picture.size} px. Make the mask the size of the picture.{turned}"
        )
    if not mask.any():
        raise EmptySelection("The mask is black all over. Paint what should change white.")
    return mask


def check_output(
    path: Path, picture: Picture, canvas: Size, inputs: tuple[Path, ...], *, force: bool
) -> None:
    """Find out before the work whether its result can be written.

    Args:
        path: where it shall go.
        picture: what it is made from.
        canvas: size of the result.
        inputs: files that must not be overwritten unless ``force``.
        force: the artist said that they may be.

    Raises:
        UnsupportedFormat: the file format cannot hold the result.
        RequestError: an input would be overwritten.
        ImageError: the folder cannot be written.
    """
    kind = _output_kind(path)
    limit = _LONGEST_SIDE_PX.get(kind)
    if limit is not None and max(canvas.width, canvas.height) > limit:
        raise UnsupportedFormat(
            f"The result has {canvas} px and {path.suffix} files end at {limit} px a side. Write a .png instead."
        )
    bits, is_float = picture.format.bits, picture.format.is_float
    if kind != "TIFF" and (is_float or (bits > 8 and kind != "PNG")):
        numbers = f"{bits}-bit floating-point numbers" if is_float else f"{bits} bits a channel"
        raise UnsupportedFormat(
            f"{picture.path.name} has {numbers}, which {path.suffix} files cannot hold. Write a "
            f"{'.tif' if is_float else '.png or .tif'}."
        )
    if kind == "JPEG" and picture.has_alpha and _is_transparent(picture.pixels):
        raise UnsupportedFormat(
            f"{picture.path.name} has transparent pixels, which {path.suffix} files cannot hold. Write a .png."
        )
    if kind == "JPEG" and len(picture.exif or b"") > _LARGEST_JPEG_EXIF_BYTES:
        raise UnsupportedFormat(
            f"{picture.path.name} carries more camera data (Exif) than {path.suffix} files can hold. Write a .png."
        )
    if path.is_dir():
        raise ImageError(f"{path} is a folder. Name a file to write.")
    if not force and any(_is_same_file(path, other) for other in inputs):
        raise RequestError(
            f"{path} is one of the pictures you gave. Choose another name, or add --force to replace it."
        )
    folder = path.parent
    if not folder.is_dir():
        raise ImageError(f"There is no folder {folder}. Make it first.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=folder)
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def save_pixels(path: Path, pixels: Pixels, picture: Picture) -> None:
    """Write pixels made from ``picture``, whole or not at all; lossless unless it is a JPEG.

    Raises:
        ImageError: the file cannot be written.
        UnsupportedFormat: its format cannot hold the pixels.
    """
    kind = _output_kind(path)
    if pixels.dtype != np.uint8:
        _save_deep(path, kind, pixels, picture)
        return
    image = _to_image(pixels, keep_alpha=picture.has_alpha and kind != "JPEG")
    if image.mode in ("LA", "RGBA") and kind == "JPEG":
        raise UnsupportedFormat(f"The result has transparent pixels, which {path.suffix} files cannot hold.")
    options: dict[str, object] = {"icc_profile": picture.icc_profile} if picture.icc_profile else {}
    if picture.dpi and kind != "WEBP":
        options["dpi"] = picture.dpi
    if picture.exif and kind != "TIFF":
        options["exif"] = picture.exif
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    elif kind == "WEBP":
        options |= {"lossless": True, "exact": True}
    elif kind == "TIFF":
        options["compression"] = "tiff_adobe_deflate"
    try:
        with _replacing(path) as new:
            image.save(new, format=kind, **options)
    except OSError as error:
        raise _unwritable(path, error) from error


def _save_deep(path: Path, kind: str, pixels: Pixels, picture: Picture) -> None:
    has_alpha = picture.has_alpha or _is_transparent(pixels)
    deep = DeepPicture(
        pixels=np.ascontiguousarray(pixels if has_alpha else pixels[..., :-1]),
        has_alpha=has_alpha,
        exif=picture.exif,
        icc_profile=picture.icc_profile,
        dpi=picture.dpi,
    )
    try:
        with _replacing(path) as new:
            write_deep(new, kind, deep)
    except OSError as error:
        raise _unwritable(path, error) from error


# ---------------------------------------------------------------- reading


@contextmanager
def _opened(path: Path, check: Callable[[Image.Image, Path], None]) -> Iterator[Image.Image]:
    """Open, ``check`` what the header says, and decode; every way in which that fails becomes a sentence."""
    # Pillow's own limit speaks of attacks; ours is checked below, before anything is decoded.
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            if image.format not in _READABLE:
                raise UnsupportedFormat(
                    f"{path.name} is a {image.format} file. Overpaint reads PNG, JPEG, WebP and TIFF."
                )
            size = Size(*image.size)
            if size.area > MAX_PICTURE_PIXELS:
                raise RequestError(
                    f"{path.name} has {size} px; the command line opens pictures of up to "
                    f"{MAX_PICTURE_PIXELS // 1_000_000} megapixels. Crop it or scale it down."
                )
            check(image, path)
            image.load()
            yield image
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {path}.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder, not a picture.") from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read by you. Change its permissions.") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path.name} is not a picture Overpaint can read. Give a PNG, JPEG, WebP or TIFF."
        ) from error
    # Pillow's decoders raise all of these for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError) as error:
        raise ImageError(
            f"{path.name} is damaged and cannot be read to its end. Save it again from the program it came from.",
            detail=repr(error),
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_keepable(image: Image.Image, path: Path) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # an MPO's further frames are a camera's own previews
        raise UnsupportedFormat(
            f"{path.name} holds {frames} pages or frames, and only one can be kept. Save the one you want on its own."
        )
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise UnsupportedFormat(
            f"{path.name} is a {_color_model(image.mode)} picture, which Overpaint cannot give back unchanged. "
            "Convert it to RGB or grey first."
        )


def _color_model(mode: str) -> str:
    return {"F": "floating-point", "I": "32-bit grey", "YCbCr": "YCbCr", "LAB": "Lab"}.get(mode, mode)


def _to_pixels(image: Image.Image, path: Path, *, has_alpha: bool) -> tuple[Pixels, PixelFormat]:
    is_gray = image.mode in ("1", "L", "LA")
    try:
        converted = image.convert("LA" if is_gray else "RGBA")
    except ValueError as error:
        raise UnsupportedFormat(
            f"{path.name} marks a color as transparent in an unusual way. Save it with an alpha channel.",
            detail=f"{image.mode}, alpha {has_alpha}: {error}",
        ) from error
    return np.array(converted), PixelFormat.GRAYA8 if is_gray else PixelFormat.RGBA8


def _of_deep(path: Path, deep: DeepPicture) -> Picture:
    pixels = _turned(deep.pixels, deep.orientation)
    if not deep.has_alpha:
        opaque = np.full_like(pixels[..., :1], _top(pixels.dtype))
        pixels = np.concatenate([pixels, opaque], axis=-1)
    return Picture(
        path=path,
        pixels=np.ascontiguousarray(pixels),
        format=_DEEP_FORMATS[pixels.shape[2] == 2, pixels.dtype],
        has_alpha=deep.has_alpha,
        is_turned=deep.orientation in range(2, 9),
        exif=deep.exif,
        icc_profile=deep.icc_profile,
        dpi=deep.dpi,
    )


def _turned(pixels: NDArray, orientation: int) -> NDArray:
    """As a camera with this Exif orientation means its pixels to be shown."""
    if orientation in range(5, 9):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _deep_mask(pixels: Pixels) -> NDArray[np.uint8]:
    values = np.clip(np.nan_to_num(pixels.astype(np.float64)) / _top(pixels.dtype), 0, 1)
    gray = values[..., 0] if values.shape[2] == 2 else values[..., :3] @ [0.299, 0.587, 0.114]
    return np.rint(gray * values[..., -1] * 255).astype(np.uint8)


# ---------------------------------------------------------------- writing


def _output_kind(path: Path) -> str:
    kind = _WRITABLE.get(path.suffix.lower())
    if kind is None:
        raise UnsupportedFormat(
            f"{path.name} does not say what kind of file it is. End it in .png, .jpg, .webp or .tif."
        )
    return kind


def _to_image(pixels: Pixels, *, keep_alpha: bool) -> Image.Image:
    """Drop an alpha channel that says nothing, unless the original had one."""
    has_alpha = keep_alpha or _is_transparent(pixels)
    kept = pixels if has_alpha else pixels[..., :-1]
    return Image.fromarray(np.ascontiguousarray(kept[..., 0] if kept.shape[2] == 1 else kept))


def _is_transparent(pixels: Pixels) -> bool:
    return bool((pixels[..., -1] != _top(pixels.dtype)).any())


def _top(dtype: np.dtype) -> int:
    """What stands for white, and for opaque."""
    return 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)


def _is_same_file(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return path.absolute() == other.absolute()


def _unwritable(path: Path, error: OSError) -> ImageError:
    return ImageError(
        f"{path} cannot be written: {error.strerror or error}. Choose another folder.", detail=repr(error)
    )


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file to write that takes ``path``'s place when all went well."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    new = Path(name)
    try:
        yield new
        new.chmod(_mode_for(path))
        with new.open("rb+") as stream:
            os.fsync(stream.fileno())
        new.replace(path)
    finally:
        with suppress(OSError):
            new.unlink()


def _mode_for(path: Path) -> int:
    """The mode of the file that is replaced, else what the umask leaves of rw-rw-rw-."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
