"""What the numbers of an image are: how they go over the wire, and how GIMP hands them out without a conversion.

A layer's format says how its numbers are encoded: with the curve of the image's color profile, with none, or with the
sRGB curve over the profile's primaries, as the image's precision is “non-linear”, “linear” or “perceptual”. They are
taken in that encoding and in the layer's own space; a plain name of babl, such as "R'G'B'A u16", would mean sRGB, and
convert and clip. What travels with them is a profile that says the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from gi.repository import Babl, Gegl, Gimp

from overpaint_protocol.pixels import ColorSpace, PixelFormat

__all__ = ["Encoding", "add_alpha", "encoding_of"]

_COMPONENTS = {
    "u8": ("u8", PixelFormat.RGBA8, PixelFormat.GRAYA8),
    "u16": ("u16", PixelFormat.RGBA16, PixelFormat.GRAYA16),
    "u32": ("float", PixelFormat.RGBAF32, PixelFormat.GRAYAF32),
    "half": ("half", PixelFormat.RGBAF16, PixelFormat.GRAYAF16),
    "float": ("float", PixelFormat.RGBAF32, PixelFormat.GRAYAF32),
    "double": ("float", PixelFormat.RGBAF32, PixelFormat.GRAYAF32),
}
"""By an image's components: those on the wire as babl calls them, and the formats in color and in gray. A float keeps 24
bits of a longer number, far more than can be seen."""

_MODELS = {"linear": ("RGBA", "YA"), "non-linear": ("R'G'B'A", "Y'A"), "perceptual": ("R~G~B~A", "Y~A")}
"""babl's names of the encodings in color and in gray."""

_PROFILE_DATE = slice(24, 36)
"""Where an ICC profile says when it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How an image's numbers are encoded.

    format, color, profile: as in DocumentInfo. babl: the name of ``format`` in this encoding, without a color space.
    """

    format: PixelFormat
    color: ColorSpace
    profile: bytes | None
    babl: str

    def in_space_of(self, layer: Gimp.Layer) -> str:
        """The babl format in which ``layer`` takes and gives pixels of ``format`` without converting their color."""
        return Babl.get_name(Babl.format_with_space(self.babl, layer.get_format()))


def encoding_of(image: Gimp.Image) -> Encoding:
    """The encoding of an image that is not indexed."""
    is_gray = image.get_base_type() == Gimp.ImageBaseType.GRAY
    components, _, curve = image.get_precision().value_nick.partition("-")
    sent, *formats = _COMPONENTS[components]
    color, profile = _color_of(image.get_color_profile(), curve, is_gray)
    return Encoding(
        format=formats[is_gray], color=color, profile=profile, babl=f"{_MODELS[curve][is_gray]} {sent}"
    )


def add_alpha(layer: Gimp.Layer) -> None:
    """Give an opaque layer an alpha channel and leave its numbers as they are.

    GIMP's own way, which it also takes for itself to merge the layer, is by way of linear light where there is a profile:
    16-bit numbers end up to 312 off, and negative ones are 0.
    """
    place = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    components = Babl.get_name(Babl.format_get_type(layer.get_format(), 0))
    # as if they were linear in sRGB, where another channel takes no arithmetic
    opaque, with_alpha = (
        f"{model} {components}" for model in (("Y", "YA") if layer.is_gray() else ("RGB", "RGBA"))
    )
    numbers = Gegl.Buffer.new(opaque, 0, 0, place.width, place.height)
    own = Babl.get_name(layer.get_format())
    numbers.set(place, opaque, layer.get_buffer().get(place, 1.0, own, Gegl.AbyssPolicy.NONE))
    layer.add_alpha()
    buffer = layer.get_buffer()
    buffer.set(
        place, Babl.get_name(layer.get_format()), numbers.get(place, 1.0, with_alpha, Gegl.AbyssPolicy.NONE)
    )
    buffer.flush()
    layer.update(0, 0, place.width, place.height)


def _color_of(
    profile: Gimp.ColorProfile | None, curve: str, is_gray: bool
) -> tuple[ColorSpace, bytes | None]:
    """What numbers with ``curve`` mean in an image with ``profile``, or with GIMP's own if that is None."""
    plain = ColorSpace.LINEAR_SRGB if curve == "linear" else ColorSpace.SRGB
    # gray has no primaries: what is not encoded with the profile's curve has nothing of the profile
    if profile is None or (is_gray and curve != "non-linear"):
        return plain, None
    if curve == "linear":
        derived = Gimp.ColorProfile.new_linear_from_color_profile(profile)
    elif curve == "perceptual":
        derived = Gimp.ColorProfile.new_srgb_trc_from_color_profile(profile)
    else:
        return ColorSpace.ICC, profile.get_icc_profile()
    # None of a profile that is a table: it has no curve that could be another
    return ColorSpace.ICC, _undated((derived or profile).get_icc_profile())


def _undated(profile: bytes) -> bytes:
    """Without when it was made, or one that was just derived would differ from that of a second before."""
    return profile[: _PROFILE_DATE.start] + bytes(12) + profile[_PROFILE_DATE.stop :]
