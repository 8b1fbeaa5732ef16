"""A contact sheet of fill cases at 100 %, to judge by eye what a score cannot.

Each case is a row: what is to be filled, outlined, then one engine after the other, all cropped to the hole and some of
its surroundings. The caption names the case, the scores, and whose picture it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from overpaint_backend.imaging.mask import bounds, grow
from overpaint_protocol.geometry import Rect

__all__ = ["draw_sheet"]

_SURROUNDINGS_PX = 60
_GAP_PX = 6
_CAPTION_PX = 18
_OUTLINE = (255, 0, 160)
_QUALITY = 86


@dataclass(frozen=True, slots=True)
class _Case:
    id: str
    image: Path
    mask: Path
    credit: str
    license: str

    @property
    def is_free(self) -> bool:
        """Whether the picture may be shown in the repository; CC BY asks for the caption's credit."""
        return self.license.startswith(("CC0-", "CC-BY-")) and not self.license.startswith(
            ("CC-BY-SA", "CC-BY-NC", "CC-BY-ND")
        )


def draw_sheet(
    cases: Path,
    results: Sequence[Path],
    scores: Mapping[str, Mapping[str, float]],
    out: Path,
    *,
    only_free: bool,
) -> None:
    """Draw all cases, or only those whose pictures are CC BY or CC0.

    Args:
        cases: a folder with ``manifest.json`` and what it names.
        results: folders of one engine each, named after it, with a PNG for each case.
        scores: by engine, then by case.
        out: an image file; JPEG by its suffix.
    """
    chosen = [case for case in _read(cases) if case.is_free or not only_free]
    rows = [_row(case, results, scores) for case in chosen]
    width = max(row.width for row in rows)
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(out, quality=_QUALITY, optimize=True)


def _read(cases: Path) -> list[_Case]:
    manifest = json.loads((cases / "manifest.json").read_text())
    found: list[_Case] = []
    for case in manifest["cases"]:
        image = manifest["images"][case["image"]]
        credit = f"{case['image']}: {image['author']}, {image['licence']}"
        found.append(_Case(case["id"], cases / image["file"], cases / case["mask"], credit, image["licence"]))
    return found


def _row(case: _Case, results: Sequence[Path], scores: Mapping[str, Mapping[str, float]]) -> Image.Image:
    hole = np.asarray(Image.open(case.mask).convert("L")) > 127
    height, width = hole.shape
    box = bounds(hole)
    window = (box or Rect(0, 0, width, height)).grow(_SURROUNDINGS_PX).intersect(Rect(0, 0, width, height))
    # What a case shows is the picture itself, so that what belongs in the hole can be seen; the engines never see it.
    pictures = [_outlined(np.asarray(Image.open(case.image).convert("RGB")), hole)]
    pictures += [np.asarray(Image.open(folder / f"{case.id}.png").convert("RGB")) for folder in results]
    rated = ", ".join(f"{folder.name} {scores[folder.name][case.id]:.1f}" for folder in results)
    caption = f"{case.id}   Q: {rated}   {case.credit}"
    font = ImageFont.load_default(12)
    across = max(len(pictures) * (window.width + _GAP_PX), int(font.getlength(caption)) + 2 * _GAP_PX)
    row = Image.new("RGB", (across, window.height + _CAPTION_PX + _GAP_PX), "white")
    ImageDraw.Draw(row).text((2, 2), caption, fill="black", font=font)
    for index, picture in enumerate(pictures):
        part = picture[window.top : window.bottom, window.left : window.right]
        row.paste(Image.fromarray(part), (index * (window.width + _GAP_PX), _CAPTION_PX))
    return row


def _outlined(rgb: NDArray[np.uint8], hole: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The picture with the border of the hole drawn inside it, 2 px wide."""
    border = hole & grow(~hole, 2)
    return np.where(border[..., None], np.uint8(_OUTLINE), rgb)
