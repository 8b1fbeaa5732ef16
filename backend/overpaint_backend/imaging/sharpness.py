"""How much softer than a picture an engine's paint is, and sharpening it by that much.

Softness is the standard deviation in px of the Gaussian blur that would make the picture as soft. It is told by the finest
detail of small patches, and only believed when patches all around agree: a smooth thing beside a rough one is no blur.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .border import colors_at, squares_at

__all__ = ["DETAIL_RADIUS_PX", "PATCH_RADIUS_PX", "luma", "measure_softness", "patches", "sharpen"]

PATCH_RADIUS_PX = 4
"""Room for the widest blur that is told apart, and for the filter that looks for fine detail."""

DETAIL_RADIUS_PX = 1
"""Room for the filter alone."""

_GROUP_PX = 32
"""Patches within so many px agree on one softness."""

_SIGMAS_PX = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5])
_MIN_GROUPS = 8
_CLEAR_RATIO = 0.5
"""Fine detail of sharp paint has, over many patches, about the energy that it has beside it."""

_NO_DETAIL = 1e-7
"""Energy of less than an 8-bit step, of which rounding leaves nothing to compare."""

_NOISE_SHARE = 0.015
"""Bounds how far detail gets lifted, per axis: to 1 / (2 sqrt(share)) times."""

_TAPS_PX = 6


def luma(rgb: NDArray[np.floating], gain: NDArray[np.floating] | float = 1) -> NDArray[np.floating]:
    """(..., 3) to (...): a quick measure of lightness after a (3,) ``gain``, good for comparing detail."""
    return rgb @ (np.array([0.3, 0.6, 0.1], np.float32) * gain)


def patches(
    picture: NDArray[np.floating], centers: NDArray[np.intp], radius_px: int, allowed: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """(n, 2r + 1, 2r + 1, 3) around (2, n) ``centers``, and which of them lie wholly where it is ``allowed``."""
    rows, columns = squares_at(centers, radius_px, allowed.shape)
    valid = np.logical_and.reduce(allowed[rows, columns], axis=(1, 2))
    for places, length in zip(centers, allowed.shape, strict=True):
        valid &= (places >= radius_px) & (places < length - radius_px)
    return colors_at(picture, rows, columns), valid


def measure_softness(
    sharp: NDArray[np.floating], soft: NDArray[np.floating], places: NDArray[np.floating]
) -> float:
    """Compare patches of a picture with such of paint.

    Args:
        sharp: (n, 2r + 1, 2r + 1) float32 luma of the picture, r = ``PATCH_RADIUS_PX``.
        soft: the same of the paint, each patch near its counterpart, or only r = ``DETAIL_RADIUS_PX`` of it.
        places: (n, 2) row and column; patches that are near each other are to agree.

    Returns:
        Softness in px; 0 if there is none, or it is not clear.
    """
    detail = _laplacian()
    _, group = np.unique((places / _GROUP_PX).astype(np.intp) @ np.array([1 << 16, 1]), return_inverse=True)
    sharp_energy = np.bincount(group, _energy(sharp, detail))
    soft_energy = np.bincount(group, _energy(soft, detail))
    telling = sharp_energy > _NO_DETAIL * np.bincount(group)
    if telling.sum() < _MIN_GROUPS:
        return 0.0
    ratios = np.log(np.maximum(soft_energy[telling], 1e-12) / sharp_energy[telling])
    middle = np.median(ratios)
    spread = 1.5 * np.median(np.abs(ratios - middle))
    if middle + spread > np.log(_CLEAR_RATIO):
        return 0.0
    left = np.array([_energy(sharp, _convolve(detail, _blur(sigma))).sum() for sigma in _SIGMAS_PX])
    wanted = np.exp(middle) * sharp_energy.sum()
    return float(np.interp(-wanted, -left, _SIGMAS_PX))


def sharpen(picture: NDArray[np.floating], softness_px: float) -> NDArray[np.floating]:
    """Undo in a (H, W, C) float32 picture a blur of ``softness_px`` > 0 as far as noise allows."""
    for axis in (0, 1):
        pad = [(0, 0)] * 3
        pad[axis] = (_TAPS_PX, _TAPS_PX)
        padded = np.pad(picture, pad, mode="edge")
        picture = np.zeros_like(picture)
        for tap, weight in enumerate(_inverse(softness_px)):
            picture += weight * (
                padded[tap:][: len(picture)] if axis == 0 else padded[:, tap:][:, : picture.shape[1]]
            )
    return picture


def _energy(patches: NDArray[np.floating], kernel: NDArray) -> NDArray[np.floating]:
    """(n,) the square of a centered filter's answer in the middle of each patch."""
    size = patches.shape[1]
    pad = (size - len(kernel)) // 2
    placed = np.pad(kernel, pad).astype(np.float32).ravel()
    return np.square(patches.reshape(len(patches), size * size) @ placed)


def _laplacian() -> NDArray:
    return np.array([[-1, -2, -1], [-2, 12, -2], [-1, -2, -1]]) / 12


def _blur(sigma_px: float) -> NDArray:
    at = np.arange(-3, 4)
    line = np.exp(-(at**2) / (2 * sigma_px**2))
    line /= line.sum()
    return np.outer(line, line)


def _convolve(small: NDArray, large: NDArray) -> NDArray:
    """Two symmetric kernels as one."""
    result = np.zeros((len(large) + 2, len(large) + 2))
    for row in range(3):
        for column in range(3):
            result[row : row + len(large), column : column + len(large)] += small[row, column] * large
    return result


def _inverse(sigma_px: float) -> NDArray[np.floating]:
    """Taps of the Wiener filter for a Gaussian blur along one axis, summing to 1."""
    frequencies = np.fft.fftfreq(64) * 2 * np.pi
    passed = np.exp(-np.square(sigma_px * frequencies) / 2)
    taps = np.fft.ifft(passed / (passed**2 + _NOISE_SHARE)).real
    kernel = np.concatenate((taps[-_TAPS_PX:], taps[: _TAPS_PX + 1]))
    return (kernel / kernel.sum()).astype(np.float32)
