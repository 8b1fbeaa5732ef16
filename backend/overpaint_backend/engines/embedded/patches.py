"""What a patch and a pixel look like, in few numbers, and where whole patches are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["PATCH_RADIUS_PX", "convolve", "describe", "detail_of", "soften", "touching", "whole"]

PATCH_RADIUS_PX = 3
"""The library's default of 15 takes many times as long and looks no better."""

_DIAMETER = 2 * PATCH_RADIUS_PX + 1

_DETAIL_RADIUS_PX = 12
"""Detail is what differs from the mean of a square so many px around."""

_OPPONENT = np.array([[3**-0.5] * 3, [2**-0.5, -(2**-0.5), 0], [6**-0.5, 6**-0.5, -2 * 6**-0.5]], np.float32)
"""Brightness and two hues, as an orthonormal basis, so that distances stay those of RGB."""

_FREQUENCIES = (
    *((0, row, column) for row in range(4) for column in range(4 - row)),
    *((hue, row, column) for hue in (1, 2) for row, column in ((0, 0), (0, 1), (1, 0))),
)
"""Which cosines of a patch count: (axis of _OPPONENT, vertical, horizontal). The finer ones add time and little else."""


def describe(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sixteen numbers for the patch around each pixel, (H, W, 16) float32.

    The squared distance of two descriptions is about three times the mean squared difference of the two patches.
    """
    margin = ((PATCH_RADIUS_PX, PATCH_RADIUS_PX),) * 2
    planes = np.pad(rgb, (*margin, (0, 0)), mode="edge") @ _OPPONENT.T
    kernels = _cosines()
    described = np.empty((*rgb.shape[:2], len(_FREQUENCIES)), np.float32)
    for index, (axis, row, column) in enumerate(_FREQUENCIES):
        described[..., index] = convolve(planes[..., axis], kernels[row], kernels[column])
    return described


def detail_of(rgb: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """By how much each pixel of ``known``, (H, W), is brighter than what is known around it; (H, W) float32, elsewhere 0."""
    gray = np.where(known, rgb.mean(axis=-1), 0).astype(np.float32)
    share = _mean(known.astype(np.float32), _DETAIL_RADIUS_PX)
    return np.where(known, gray - _mean(gray, _DETAIL_RADIUS_PX) / np.maximum(share, 1e-6), 0)


def whole(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the center of a patch may be that lies in ``region`` wholly; the array's edge ends the region."""
    eroded = Image.fromarray(np.pad(region, PATCH_RADIUS_PX).astype(np.uint8))
    inner = np.asarray(eroded.filter(ImageFilter.MinFilter(_DIAMETER))) > 0
    return inner[PATCH_RADIUS_PX:-PATCH_RADIUS_PX, PATCH_RADIUS_PX:-PATCH_RADIUS_PX]


def touching(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the center of a patch may be that has any of ``region`` in it."""
    return np.asarray(Image.fromarray(region.astype(np.uint8)).filter(ImageFilter.MaxFilter(_DIAMETER))) > 0


def convolve(
    padded: NDArray[np.float32], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Weigh (H, W, ...) float32 over a window, down by ``rows`` and across by ``columns``; smaller by the window less 1."""
    height, width = padded.shape[0] - len(rows) + 1, padded.shape[1] - len(columns) + 1
    across = columns[0] * padded[:, :width]
    for shift in range(1, len(columns)):
        across += columns[shift] * padded[:, shift : shift + width]
    total = rows[0] * across[:height]
    for shift in range(1, len(rows)):
        total += rows[shift] * across[shift : shift + height]
    return total


def soften(rgb: NDArray[np.float32], deviation_px: float) -> NDArray[np.float32]:
    """Blur (H, W, C) float32 with a Gaussian of that standard deviation; the edge continues."""
    radius = int(3 * deviation_px + 0.5)
    places = np.arange(-radius, radius + 1)
    weights = np.exp(-(places**2) / (2 * deviation_px**2))
    weights = (weights / weights.sum()).astype(np.float32)
    padded = np.pad(rgb, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    return convolve(padded, weights, weights)


def _mean(plane: NDArray[np.float32], radius_px: int) -> NDArray[np.float32]:
    """Of the square around each pixel; beyond the edge it is 0."""
    side = 2 * radius_px + 1
    weights = np.full(side, 1 / side, np.float32)
    return convolve(np.pad(plane, radius_px), weights, weights)


def _cosines() -> NDArray[np.float32]:
    """The first four cosines over a patch's side, each row of unit mean square."""
    places = np.arange(_DIAMETER) + 0.5
    rows = np.array([np.cos(np.pi * places * frequency / _DIAMETER) for frequency in range(4)])
    return (rows / np.sqrt((rows**2).sum(axis=1, keepdims=True) * _DIAMETER)).astype(np.float32)
