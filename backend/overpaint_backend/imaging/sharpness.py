"""How much softer than a picture an engine's paint is, and sharpening it by that much.

Softness is the standard deviation in px of the Gaussian blur that would make the picture as soft. It is told by the finest
detail of small patches, and only believed when patches all around agree: a smooth thing beside a rough one is no blur.

What undoes it is a kernel. Of a Gaussian blur it is Wiener's, with room for noise. Where soft and sharp lie at the same pixels,
the kernel that turns one into the other best is fitted instead: it knows the real blur, and how much noise there really is.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .border import colors_at, squares_at

__all__ = [
    "DETAIL_RADIUS_PX",
    "PATCH_RADIUS_PX",
    "has_room",
    "luma",
    "measure_softness",
    "patches",
    "sharpen",
    "sharpened_at",
    "sharpening_kernel",
    "wiener_kernel",
]

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

_KERNEL_RADIUS_PX = 6

_LEAST_NOISE = 1e-5
"""What a fitted kernel takes paint to be off by at least: less than a step of 16 bits."""

_EXPLAINED = 0.5
"""Of the squared differences that no tone explains, a kernel that makes the truth of soft paint leaves less than this."""

_LEAST_PART = 3e-5
"""A line of a kernel that weighs less changes no value by a step of 8 bits."""


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


def wiener_kernel(softness_px: float) -> NDArray[np.floating]:
    """What undoes a Gaussian blur of ``softness_px`` > 0 as far as noise allows: symmetric, and it sums to 1."""
    frequencies = np.fft.fftfreq(64) * 2 * np.pi
    passed = np.exp(-np.square(softness_px * frequencies) / 2)
    taps = np.fft.ifft(passed / (passed**2 + _NOISE_SHARE)).real
    line = np.concatenate((taps[-_KERNEL_RADIUS_PX:], taps[: _KERNEL_RADIUS_PX + 1]))
    line /= line.sum()
    return np.outer(line, line)


def sharpening_kernel(
    soft: NDArray[np.floating],
    sharp: NDArray[np.floating],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    softness_px: float,
) -> NDArray[np.floating]:
    """The kernel that brings soft paint nearest to the sharp truth, by least squares, whatever tone lies between them.

    Where the engine painted other detail than the truth, the best that a kernel can do is to flatten it: then it is Wiener's.

    Args:
        soft: (H, W, 3) float32, the paint.
        sharp: (N, 3), what should come out.
        rows: (N,) where.
        columns: (N,) where.
        softness_px: as measured.

    Returns:
        (2r + 1, 2r + 1) that sums to 1 and is the same upside down, mirrored and turned by a quarter.
    """
    center = colors_at(soft, rows, columns)
    # How what lies around a pixel differs from it: then any weights leave an even color as it is.
    around = {ring: np.zeros_like(center) for ring in _rings()}
    for ring, steps in _rings().items():
        for down, right in steps:
            around[ring] += _colors_near(soft, rows + down, columns + right)
        around[ring] /= len(steps)
        around[ring] -= center
    # A gain and an offset for each component, which the kernel would try to imitate otherwise.
    tones = [part * np.eye(3)[channel] for channel in range(3) for part in (center, np.ones_like(center))]
    causes = np.stack([each.ravel() for each in (*tones, *around.values())]).astype(np.float64)
    change = (sharp - center).ravel().astype(np.float64)
    fitted, left = _least_squares(causes, change)
    if left > _EXPLAINED * _least_squares(causes[: len(tones)], change)[1]:
        return wiener_kernel(softness_px)
    gains = 1 + fitted[: len(tones) : 2]
    weights = fitted[len(tones) :] / gains.mean()
    kernel = np.zeros((2 * _KERNEL_RADIUS_PX + 1,) * 2)
    for weight, steps in zip(weights, _rings().values(), strict=True):
        for down, right in steps:
            kernel[_KERNEL_RADIUS_PX + down, _KERNEL_RADIUS_PX + right] = weight / len(steps)
    kernel[_KERNEL_RADIUS_PX, _KERNEL_RADIUS_PX] = 1 - weights.sum()
    return kernel


def _least_squares(
    causes: NDArray[np.float64], change: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """(K,) how much of each of (K, N) causes makes (N,) ``change``, and the mean square of what is left."""
    products = causes @ causes.T
    products[np.diag_indices(len(products))] += causes.shape[1] * _LEAST_NOISE**2
    fitted = np.asarray(np.linalg.solve(products, causes @ change), np.float64)
    return fitted, float(np.square(change - fitted @ causes).mean())


def has_room(
    rows: NDArray[np.intp], columns: NDArray[np.intp], painted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(N,) where a kernel lies wholly in what is ``painted``, (H, W) of an array that may be cut from a larger one."""
    places = np.stack((rows, columns))
    squares = painted[squares_at(places, _KERNEL_RADIUS_PX, painted.shape)]
    inside = np.asarray(squares.all(axis=(1, 2)), np.bool_)
    for along, length in zip(places, painted.shape, strict=True):
        inside &= (along >= _KERNEL_RADIUS_PX) & (along < length - _KERNEL_RADIUS_PX)
    return inside


def sharpened_at(
    picture: NDArray[np.floating],
    kernel: NDArray[np.floating],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
) -> NDArray[np.floating]:
    """(..., 3) of ``sharpen`` at ``rows`` and ``columns`` alone."""
    result = np.zeros((*rows.shape, picture.shape[2]), np.float32)
    for (down, right), weight in np.ndenumerate(kernel.astype(np.float32)):
        places = rows + (down - _KERNEL_RADIUS_PX), columns + (right - _KERNEL_RADIUS_PX)
        result += weight * _colors_near(picture, *places)
    return result


def sharpen(picture: NDArray[np.floating], kernel: NDArray[np.floating]) -> NDArray[np.floating]:
    """Weigh a (H, W, C) float32 picture with a symmetric ``kernel``; beyond its edge, the edge goes on."""
    # Its eigenvectors are lines that go down and across, which is much less to do than a square.
    shares, lines = np.linalg.eigh(kernel)
    result = np.zeros_like(picture)
    for share, line in zip(shares, lines.T, strict=True):
        if abs(share) > _LEAST_PART:
            result += np.float32(share) * _weigh(_weigh(picture, line, 0), line, 1)
    return result


def _weigh(picture: NDArray[np.floating], line: NDArray[np.floating], axis: int) -> NDArray[np.floating]:
    """Weigh a picture along one axis."""
    reach = len(line) // 2
    pad = [(0, 0)] * 3
    pad[axis] = (reach, reach)
    padded = np.pad(picture, pad, mode="edge")
    result = np.zeros_like(picture)
    for tap, weight in enumerate(line.astype(np.float32)):
        result += weight * (
            padded[tap:][: len(picture)] if axis == 0 else padded[:, tap:][:, : picture.shape[1]]
        )
    return result


@cache
def _rings() -> dict[tuple[int, int], list[tuple[int, int]]]:
    """The steps to the pixels within a kernel's reach, by how far they go along either axis; not those to the center."""
    reach = range(-_KERNEL_RADIUS_PX, _KERNEL_RADIUS_PX + 1)
    rings: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for down in reach:
        for right in reach:
            if down or right:
                near, far = sorted((abs(down), abs(right)))
                rings.setdefault((near, far), []).append((down, right))
    return rings


def _colors_near(
    picture: NDArray[np.floating], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.floating]:
    """Colors at places that may lie beyond the picture's edge, where the edge goes on."""
    height, width = picture.shape[:2]
    return colors_at(picture, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1))


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
