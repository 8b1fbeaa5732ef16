"""Figures for seams: how far colors are off near a border, and whether the border itself can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.imaging.color import to_linear
from overpaint_backend.imaging.mask import distance

RING_PX = 16
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_TO_RGB = np.linalg.inv(_TO_XYZ)
_WHITE = _TO_XYZ.sum(axis=1)
_INVISIBLE = 1 / 255
"""A step of 8 bits; keeps the ratio of gradients finite on flat pictures."""


@dataclass(frozen=True, slots=True)
class SeamFigures:
    """What a composite looks like beside the truth.

    median, p95: CIEDE2000 within ``RING_PX`` of the selection's border, on either side as far as the layer reaches.
    jump: mean step between neighbors across the border, as a multiple of the truth's there: of the selection's border
        or that of the layer, whichever is worse.
    """

    median: float
    p95: float
    jump: float

    @classmethod
    def measure(
        cls, composite: NDArray, truth: NDArray, selection: NDArray[np.bool_], layer: NDArray[np.bool_]
    ) -> SeamFigures:
        """From (H, W, 3) sRGB pictures and (H, W) bool, what is selected and where the layer has alpha."""
        inner = distance(~selection, RING_PX) <= RING_PX
        outer = distance(selection, RING_PX) <= RING_PX
        ring = inner & outer & layer
        off = delta_e(to_lab(composite[ring]), to_lab(truth[ring]))
        jump = max(_steps(composite, edge) / _steps(truth, edge) for edge in (selection, layer))
        return cls(float(np.median(off)), float(np.percentile(off, 95)), float(jump))


def _steps(picture: NDArray, region: NDArray[np.bool_]) -> float:
    """Mean absolute step between neighbors of which one lies in ``region``."""
    across = np.abs(np.diff(picture, axis=1)).mean(axis=-1)[region[:, 1:] != region[:, :-1]]
    down = np.abs(np.diff(picture, axis=0)).mean(axis=-1)[region[1:] != region[:-1]]
    steps = np.concatenate((across, down))
    return float(steps.mean() if steps.size else 0) + _INVISIBLE


def to_lab(rgb: NDArray) -> NDArray[np.float64]:
    """(..., 3) sRGB in [0, 1] to CIE Lab under D65."""
    linear = to_linear(np.clip(rgb, 0, 1).astype(np.float32)).astype(np.float64)
    ratio = linear @ _TO_XYZ.T / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def from_lab(lab: NDArray) -> NDArray[np.float32]:
    """Undo ``to_lab``; colors that sRGB does not hold are clipped."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack((y + lab[..., 1] / 500, y, y - lab[..., 2] / 200), axis=-1)
    ratio = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29))
    linear = np.clip((ratio * _WHITE) @ _TO_RGB.T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)


def delta_e(first: NDArray, second: NDArray) -> NDArray[np.float64]:
    """CIEDE2000 of (..., 3) Lab colors, after Sharma, Wu and Dalal (2005)."""
    l1, a1, b1 = np.moveaxis(np.asarray(first, np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(second, np.float64), -1, 0)
    chroma = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(chroma / (chroma + 25.0**7))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1 = np.degrees(np.arctan2(b1, a1 * stretch)) % 360
    h2 = np.degrees(np.arctan2(b2, a2 * stretch)) % 360
    gray = c1 * c2 == 0
    turn = np.where(gray, 0, (h2 - h1 + 180) % 360 - 180)
    # Halfway around by the shorter way; hues just opposite meet where their plain mean says.
    opposite = np.abs(h2 - h1) <= 180
    mean_h = np.where(gray, h1 + h2, np.where(opposite, (h1 + h2) / 2, ((h1 + h2 + 360) / 2) % 360))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    r_c = 2 * np.sqrt(mean_c**7 / (mean_c**7 + 25.0**7))
    r_t = -np.sin(np.radians(60 * np.exp(-(((mean_h - 275) / 25) ** 2)))) * r_c
    lightness, chroma_part, hue = (l2 - l1) / s_l, (c2 - c1) / s_c, delta_h / s_h
    return np.sqrt(lightness**2 + chroma_part**2 + hue**2 + r_t * chroma_part * hue)
