"""Engines that know the truth and spoil it, each in a way of its own.

Every distortion takes the truth, (H, W, 3) float32 encoded with the sRGB curve, and the (H, W) bool hole it is asked to
paint, and returns a picture of the whole: what an engine's own version of everything looks like. ``passing_through``
makes of it one that leaves alone what it was not asked for. ``DistortingSession`` is either as an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import FillRequest, FillResult, OnStep
from overpaint_backend.imaging.mask import distance

from .seam_metrics import from_lab, to_lab

Distortion = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]

RIM_PX = 8
BLEED_PX = 12
"""What a diffusion model wants that works at the scale of the canvas."""


def perfect(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return truth


def darker(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return from_lab(to_lab(truth) - np.array((5, 0, 0)))


def tinted(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return from_lab(to_lab(truth) + np.array((0, 4, 5)))


def flatter(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    middle = truth.mean(axis=(0, 1))
    return middle + np.float32(0.9) * (truth - middle)


def steeper(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    middle = truth.mean(axis=(0, 1))
    return np.clip(middle + np.float32(1.1) * (truth - middle), 0, 1)


def softer(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return blur(truth, 1.0)


def soft_rim(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(_rim(hole), blur(truth, 4.0), truth)


def gray_rim(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(_rim(hole), np.float32(0.5), truth)


DISTORTIONS: Mapping[str, Distortion] = {
    one.__name__: one for one in (perfect, darker, tinted, flatter, steeper, softer, soft_rim, gray_rim)
}


def passing_through(distortion: Distortion) -> Distortion:
    """The same by an engine that returns what it was not asked to paint as it was."""

    def only_inside(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.where(hole[..., None], distortion(truth, hole), truth)

    return only_inside


class DistortingSession:
    """An engine that paints a distorted truth."""

    def __init__(self, truth: NDArray[np.float32], distortion: Distortion, bleed_px: int = BLEED_PX) -> None:
        self._truth = truth
        self._distortion = distortion
        self._bleed_px = bleed_px

    def bleed_px(self, request: FillRequest) -> int:
        """See BleedSession."""
        return self._bleed_px

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """See EngineSession."""
        return FillResult(self._distortion(self._truth, request.mask > 0).astype(np.float32))

    def close(self) -> None:
        """Nothing is held."""


def blur(picture: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    """A Gaussian blur of (H, W, C); the edge pixels go on outside."""
    reach = int(np.ceil(3 * sigma_px))
    line = np.exp(-np.square(np.arange(-reach, reach + 1) / sigma_px) / 2)
    line = (line / line.sum()).astype(np.float32)
    for axis in (0, 1):
        pad = [(0, 0)] * picture.ndim
        pad[axis] = (reach, reach)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(picture, pad, mode="edge"), len(line), axis)
        picture = windows @ line
    return picture


def _rim(hole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return (hole & (distance(~hole, RIM_PX) <= RIM_PX))[..., None]
