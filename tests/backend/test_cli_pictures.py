"""Picture files: what is read, what is kept, what is refused and in which words."""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from overpaint_backend.cli.deep_pictures import DeepPicture, write_deep
from overpaint_backend.cli.edit import margins_for_ratio
from overpaint_backend.cli.pictures import Picture, check_output, load_mask, load_picture, save_pixels
from overpaint_protocol.errors import (
    EmptySelection,
    ImageError,
    OverpaintError,
    RequestError,
    UnsupportedFormat,
)
from overpaint_protocol.geometry import Size
from overpaint_protocol.pixels import ColorSpace, PixelFormat

ORIENTATION = 0x0112
LOSSLESS = [".png", ".tif", ".webp"]


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(7).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def make_png(size: tuple[int, int], depth: int, color_type: int, rows: bytes) -> bytes:
    """A PNG from raw rows, for depths Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, depth, color_type, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def opened(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Picture:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return load_picture(path)


def as_saved(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_rgb_is_read_exactly(tmp_path: Path, suffix: str):
    array = noise(9, 7, 3)
    picture = opened(tmp_path / f"a{suffix}", array, **({"lossless": True} if suffix == ".webp" else {}))
    assert picture.format is PixelFormat.RGBA8
    assert np.array_equal(picture.pixels[..., :3], array)
    assert (picture.pixels[..., 3] == 255).all()
    assert not picture.has_alpha
    assert picture.size == Size(7, 9)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_is_read_as_pillow_decodes_it(tmp_path: Path, suffix: str):
    picture = opened(tmp_path / f"a{suffix}", noise(16, 24, 3))
    assert np.array_equal(picture.pixels[..., :3], as_saved(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_alpha_is_kept(tmp_path: Path, suffix: str):
    array = noise(9, 7, 4)
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    picture = opened(tmp_path / f"a{suffix}", array, **options)
    assert picture.has_alpha
    assert np.array_equal(picture.pixels, array)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_grey_stays_grey(tmp_path: Path, suffix: str):
    picture = opened(tmp_path / f"a{suffix}", noise(9, 7))
    assert picture.format is PixelFormat.GRAYA8
    assert np.array_equal(picture.pixels[..., 0], as_saved(tmp_path / f"a{suffix}"))


def test_grey_with_alpha_is_kept(tmp_path: Path):
    array = noise(9, 7, 2)
    picture = opened(tmp_path / "a.png", array)
    assert (picture.format, picture.has_alpha) == (PixelFormat.GRAYA8, True)
    assert np.array_equal(picture.pixels, array)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_read_exactly(tmp_path: Path, suffix: str):
    array = noise(9, 7, dtype=np.uint16)
    picture = opened(tmp_path / f"a{suffix}", array)
    assert picture.format is PixelFormat.GRAYA16
    assert np.array_equal(picture.pixels[..., 0], array)
    assert (picture.pixels[..., 1] == 65535).all()


def test_black_and_white_becomes_grey(tmp_path: Path):
    picture = opened(tmp_path / "a.png", noise(9, 7), "1")
    assert picture.format is PixelFormat.GRAYA8
    assert set(np.unique(picture.pixels[..., 0])) == {0, 255}


def test_a_palette_is_resolved(tmp_path: Path):
    image = Image.fromarray(noise(9, 7, 3)).quantize(17)
    image.save(tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png")
    assert picture.format is PixelFormat.RGBA8
    assert np.array_equal(picture.pixels[..., :3], np.asarray(image.convert("RGB")))


def test_a_transparent_palette_entry_becomes_alpha(tmp_path: Path):
    image = Image.fromarray(noise(9, 7, 3)).quantize(5)
    image.save(tmp_path / "a.png", transparency=2)
    picture = load_picture(tmp_path / "a.png")
    assert picture.has_alpha
    assert np.array_equal(picture.pixels[..., 3] == 0, np.asarray(image) == 2)


def test_a_transparent_color_becomes_alpha(tmp_path: Path):
    array = noise(9, 7, 3)
    picture = opened(tmp_path / "a.png", array, transparency=tuple(int(v) for v in array[4, 4]))
    assert picture.has_alpha
    assert picture.pixels[4, 4, 3] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_orientation_is_applied_and_cleared(tmp_path: Path, orientation: int):
    array = noise(6, 10, 3)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "Camera"
    turned = {1: array, 2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1]}
    across = array.transpose(1, 0, 2)
    turned |= {5: across, 6: across[:, ::-1], 7: across[::-1, ::-1], 8: across[::-1]}
    picture = opened(tmp_path / "a.png", array, exif=exif)
    assert np.array_equal(picture.pixels[..., :3], turned[orientation])
    assert picture.is_turned == (orientation > 1)
    save_pixels(tmp_path / "b.png", picture.pixels, picture)
    again = load_picture(tmp_path / "b.png")
    assert np.array_equal(again.pixels, picture.pixels)
    with Image.open(tmp_path / "b.png") as image:
        assert image.getexif().get(ORIENTATION, 1) == 1
        assert image.getexif()[0x010F] == "Camera"


def test_a_turned_tiff_is_turned_once(tmp_path: Path):
    array = noise(6, 10, 3)
    Image.fromarray(array).save(tmp_path / "a.tif", tiffinfo={ORIENTATION: 6})
    picture = load_picture(tmp_path / "a.tif")
    assert np.array_equal(picture.pixels[..., :3], array.transpose(1, 0, 2)[:, ::-1])


DEEP = [("png", np.uint16)] + [("tif", dtype) for dtype in (np.uint16, np.float16, np.float32)]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def deep_noise(channels: int, dtype: type) -> np.ndarray:
    if dtype is np.uint16:
        return noise(9, 7, channels, dtype=dtype)
    values = np.random.default_rng(7).uniform(-0.5, 6, (9, 7, channels)).astype(dtype)
    if channels in (2, 4):
        values[..., -1] = np.clip(values[..., -1], 0, 1)
    return values


def saved_deep(path: Path, pixels: np.ndarray, **metadata: object) -> Path:
    has_alpha = pixels.shape[2] in (2, 4)
    kind = "PNG" if path.suffix == ".png" else "TIFF"
    write_deep(path, kind, DeepPicture(pixels=pixels, has_alpha=has_alpha, **metadata))
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("suffix", "dtype"), DEEP)
def test_deep_pictures_come_back_bit_for_bit_with_their_profile(tmp_path: Path, suffix, dtype, channels):
    pixels = deep_noise(channels, dtype)
    source = saved_deep(tmp_path / f"a.{suffix}", pixels, icc_profile=PROFILE, dpi=(300.0, 300.0))
    picture = load_picture(source)
    assert np.array_equal(picture.pixels[..., :channels], pixels)
    assert picture.has_alpha == (channels in (2, 4))
    assert picture.color is ColorSpace.ICC
    save_pixels(tmp_path / f"b.{suffix}", picture.pixels, picture)
    again = load_picture(tmp_path / f"b.{suffix}")
    assert np.array_equal(again.pixels, picture.pixels)
    assert (again.format, again.has_alpha) == (picture.format, picture.has_alpha)
    assert again.icc_profile == PROFILE
    assert again.dpi == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_others_read_what_is_written_deep(tmp_path: Path, channels: int):
    pixels = deep_noise(channels, np.uint16)
    with Image.open(saved_deep(tmp_path / "a.png", pixels, icc_profile=PROFILE)) as image:
        image.load()
        assert image.info["icc_profile"] == PROFILE
        shown = np.asarray(image).reshape(pixels.shape)
    assert np.array_equal(shown, pixels if channels == 1 else pixels >> 8)


def test_what_floats_mean_without_a_profile(tmp_path: Path):
    light = load_picture(saved_deep(tmp_path / "a.tif", deep_noise(3, np.float32)))
    codes = load_picture(saved_deep(tmp_path / "b.tif", deep_noise(3, np.uint16)))
    assert (light.color, codes.color) == (ColorSpace.LINEAR_SRGB, ColorSpace.SRGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_as_flat_ones(tmp_path: Path, orientation: int):
    flat = noise(6, 10, 3)
    Image.fromarray(flat).save(tmp_path / "flat.tif", tiffinfo={ORIENTATION: orientation})
    deep = flat.astype(np.uint16) * 257
    extra = [(ORIENTATION, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", metadata=None, extratags=extra)
    turned = load_picture(tmp_path / "deep.tif")
    assert np.array_equal(turned.pixels[..., :3] >> 8, load_picture(tmp_path / "flat.tif").pixels[..., :3])
    assert turned.is_turned == (orientation > 1)


def test_colors_multiplied_by_alpha_are_divided_by_it(tmp_path: Path):
    pixels = np.array([[[10_000, 30_000, 0, 40_000], [0, 0, 0, 0]]], np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"], metadata=None
    )
    assert load_picture(tmp_path / "a.tif").pixels.tolist() == [[[16384, 49151, 0, 40_000], [0, 0, 0, 0]]]


@pytest.mark.parametrize(("suffix", "dtype"), DEEP)
def test_masks_may_be_deep(tmp_path: Path, picture: Picture, suffix: str, dtype: type):
    top = 65535 if dtype is np.uint16 else 1
    mask = np.zeros((picture.size.height, picture.size.width, 1), dtype)
    mask[2, 3], mask[4, 5] = top, 0.5 if top == 1 else 32768
    read = load_mask(saved_deep(tmp_path / f"mask.{suffix}", mask), picture)
    assert (int(read[2, 3]), int(read[4, 5]), int(read.sum())) == (255, 128, 383)


# ---------------------------------------------------------------- refusing


def cmyk(path: Path) -> None:
    Image.new("CMYK", (4, 4)).save(path, format="JPEG")


def lab_16(path: Path) -> None:
    tifffile.imwrite(path, noise(4, 4, 3, dtype=np.uint16), photometric="cielab", metadata=None)


def integers_32(path: Path) -> None:
    tifffile.imwrite(path, noise(4, 4, dtype=np.uint32), photometric="minisblack", metadata=None)


def more_channels(path: Path) -> None:
    tifffile.imwrite(
        path, noise(9, 7, 5, dtype=np.uint16), photometric="rgb", planarconfig="contig", metadata=None
    )


def deep_pages(path: Path) -> None:
    tifffile.imwrite(path, noise(2, 4, 4, dtype=np.uint16), photometric="minisblack", metadata=None)


def two_pages(path: Path) -> None:
    pages = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    pages[0].save(path, format="TIFF", save_all=True, append_images=pages[1:])


def animation(path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(path, format="PNG", save_all=True, append_images=frames[1:])


def bitmap(path: Path) -> None:
    Image.new("RGB", (4, 4)).save(path, format="BMP")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (cmyk, "CMYK picture"),
        (lab_16, "neither an RGB nor a grey picture"),
        (integers_32, "holds uint32 numbers"),
        (more_channels, "channels besides its colors"),
        (deep_pages, "2 pages or frames"),
        (two_pages, "2 pages or frames"),
        (animation, "2 pages or frames"),
        (bitmap, "is a BMP file"),
    ],
)
def test_what_cannot_be_given_back_is_refused(tmp_path: Path, make, words: str):
    make(tmp_path / "a")
    with pytest.raises(UnsupportedFormat, match=words):
        load_picture(tmp_path / "a")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ImageError, match=r"There is no file .*nothing\.png"):
        load_picture(tmp_path / "nothing.png")


def test_a_folder_is_no_picture(tmp_path: Path):
    with pytest.raises(ImageError, match=r"is a folder|may not be read"):
        load_picture(tmp_path)


def test_text_is_no_picture(tmp_path: Path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(ImageError, match="is not a picture"):
        load_picture(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_truncated_file_is_damaged(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise(64, 64, 3)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of a damaged TIFF before it raises
        with pytest.raises(ImageError, match=r"damaged|not a picture"):
            load_picture(path)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(make_png((30_000, 30_000), 8, 2, b""))
    with pytest.raises(RequestError, match=r"30000 × 30000 px.*up to 268 megapixels"):
        load_picture(tmp_path / "a.png")


@pytest.mark.parametrize("seed", range(40))
def test_bytes_changed_at_random_give_only_sentences(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    suffix = (".png", ".jpg", ".webp", ".tif")[seed % 4]
    buffer = io.BytesIO()
    formats = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF"}
    Image.fromarray(noise(24, 24, 3)).save(buffer, format=formats[suffix])
    data = bytearray(buffer.getvalue())
    for at in rng.integers(0, len(data), 12):
        data[at] = rng.integers(0, 256)
    (tmp_path / "a").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load_picture(tmp_path / "a")
        except OverpaintError as error:
            assert error.message.endswith(".")


# ---------------------------------------------------------------- masks


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    return opened(tmp_path / "picture.png", noise(9, 7, 3))


def test_a_mask_is_read_as_it_is(tmp_path: Path, picture: Picture):
    mask = noise(9, 7)
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert np.array_equal(load_mask(tmp_path / "m.png", picture), mask)


def test_a_16_bit_mask_is_rounded(tmp_path: Path, picture: Picture):
    mask = noise(9, 7, dtype=np.uint16)
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert np.array_equal(load_mask(tmp_path / "m.png", picture), np.rint(mask / 257))


def test_white_on_transparent_is_a_mask(tmp_path: Path, picture: Picture):
    mask = np.full((9, 7, 4), 255, np.uint8)
    mask[..., 3] = noise(9, 7)
    Image.fromarray(mask).save(tmp_path / "m.png")
    assert np.array_equal(load_mask(tmp_path / "m.png", picture), mask[..., 3])


def test_a_mask_of_another_size_is_refused_with_both(tmp_path: Path, picture: Picture):
    Image.new("L", (8, 9), 255).save(tmp_path / "m.png")
    with pytest.raises(RequestError, match=r"8 × 9 px and the picture 7 × 9 px"):
        load_mask(tmp_path / "m.png", picture)


def test_a_mask_of_a_turned_picture_gets_advice(tmp_path: Path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = opened(tmp_path / "a.png", noise(6, 10, 3), exif=exif)
    Image.new("L", (10, 6), 255).save(tmp_path / "m.png")
    with pytest.raises(RequestError, match="turn the mask too"):
        load_mask(tmp_path / "m.png", turned)


def test_a_black_mask_is_empty(tmp_path: Path, picture: Picture):
    Image.new("L", (7, 9), 0).save(tmp_path / "m.png")
    with pytest.raises(EmptySelection, match="black all over"):
        load_mask(tmp_path / "m.png", picture)


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_lossless_output_is_bit_identical(tmp_path: Path, suffix: str, channels: int):
    array = noise(9, 7, channels)
    source = opened(tmp_path / "in.png", array)
    save_pixels(tmp_path / f"out{suffix}", source.pixels, source)
    again = load_picture(tmp_path / f"out{suffix}")
    as_rgba = [
        np.asarray(Image.fromarray(p.pixels).convert("RGBA")) for p in (source, again)
    ]  # a WebP has no grey
    assert np.array_equal(*as_rgba)
    assert again.has_alpha == source.has_alpha


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_written_exactly(tmp_path: Path, suffix: str):
    source = opened(tmp_path / "in.png", noise(9, 7, dtype=np.uint16))
    save_pixels(tmp_path / f"out{suffix}", source.pixels, source)
    again = load_picture(tmp_path / f"out{suffix}")
    assert again.format is PixelFormat.GRAYA16
    assert np.array_equal(again.pixels, source.pixels)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_the_color_profile_is_kept(tmp_path: Path, suffix: str):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = opened(tmp_path / "in.png", noise(9, 7, 3), icc_profile=profile)
    save_pixels(tmp_path / f"out{suffix}", source.pixels, source)
    assert load_picture(tmp_path / f"out{suffix}").icc_profile == profile


def test_a_replaced_file_keeps_its_mode(tmp_path: Path, picture: Picture):
    out = tmp_path / "out.png"
    out.write_bytes(b"old")
    out.chmod(0o640)
    save_pixels(out, picture.pixels, picture)
    assert stat.S_IMODE(out.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "picture.png"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, picture: Picture):
    out = tmp_path / "out.jpg"
    out.write_bytes(b"old")
    with pytest.raises(UnsupportedFormat, match="transparent pixels"):
        save_pixels(out, np.zeros((9, 7, 4), np.uint8), picture)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jpg", "picture.png"]


def check(path: Path, source: Picture, canvas: Size | None = None, *, force: bool = False) -> None:
    check_output(path, source, canvas or source.size, (source.path,), force=force)


def test_outputs_that_cannot_be_are_refused_beforehand(tmp_path: Path, picture: Picture):
    with pytest.raises(UnsupportedFormat, match="does not say what kind of file"):
        check(tmp_path / "out", picture)
    with pytest.raises(ImageError, match="There is no folder"):
        check(tmp_path / "missing" / "out.png", picture)
    with pytest.raises(ImageError, match="There is no folder"):
        check(tmp_path / "picture.png" / "out.png", picture)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="is a folder"):
        check(tmp_path / "folder.png", picture)
    with pytest.raises(UnsupportedFormat, match="16383 px a side"):
        check(tmp_path / "out.webp", picture, Size(16_384, 9))
    check(tmp_path / "out.webp", picture, Size(16_383, 9))


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such mode")
def test_a_folder_that_cannot_be_written_is_refused_beforehand(tmp_path: Path, picture: Picture):
    folder = Path("/proc/self") if os.geteuid() == 0 else tmp_path / "locked"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o500)
    with pytest.raises(ImageError, match="cannot be written"):
        check(folder / "out.png", picture)


def test_more_exif_than_a_jpeg_holds_is_refused_beforehand(tmp_path: Path):
    exif = Image.Exif()
    exif[0x9286] = b"x" * 70_000
    picture = opened(tmp_path / "picture.png", noise(9, 7, 3), exif=exif)
    with pytest.raises(UnsupportedFormat, match="camera data"):
        check_output(tmp_path / "o.jpg", picture, picture.size, (), force=False)
    save_pixels(tmp_path / "o.webp", picture.pixels, picture)


@pytest.mark.parametrize("ratio", ["1e300:1e-300", "inf:1", "nan:1", "0:1", "-1:2", "16", "a:b", "1:2:3"])
def test_what_is_no_ratio_is_refused(ratio: str):
    with pytest.raises(RequestError, match="such as 16:9"):
        margins_for_ratio(Size(40, 30), ratio)


def test_transparency_has_no_place_in_a_jpeg(tmp_path: Path):
    see_through = opened(tmp_path / "a.png", noise(9, 7, 4))
    with pytest.raises(UnsupportedFormat, match="transparent pixels"):
        check(tmp_path / "out.jpg", see_through)
    opaque = opened(tmp_path / "b.png", np.full((9, 7, 4), 255, np.uint8))
    check(tmp_path / "out.jpg", opaque)
    save_pixels(tmp_path / "out.jpg", opaque.pixels, opaque)


def test_16_bits_have_no_place_in_a_jpeg(tmp_path: Path):
    deep = opened(tmp_path / "a.png", noise(9, 7, dtype=np.uint16))
    for suffix in (".jpg", ".webp"):
        with pytest.raises(UnsupportedFormat, match="16 bits a channel"):
            check(tmp_path / f"out{suffix}", deep)


def test_an_input_is_replaced_only_by_force(tmp_path: Path, picture: Picture):
    with pytest.raises(RequestError, match="--force"):
        check(picture.path, picture)
    (tmp_path / "link.png").symlink_to(picture.path)
    with pytest.raises(RequestError, match="--force"):
        check(tmp_path / "link.png", picture)
    check(picture.path, picture, force=True)
