"""Small ICC profiles, written from their numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

SRGB_COLORANTS = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE_COLORANTS = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
P3_COLORANTS = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
PROPHOTO_COLORANTS = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491))
"""XYZ of red, green and blue, relative to D50."""

_D50 = (0.9642, 1.0, 0.8249)
_XYZ_SCALE = 32768 / 65535
"""What 1.0 of XYZ is in a table of 16 bits."""


def gamma(exponent: float) -> bytes:
    return struct.pack(">4s4xIH2x", b"curv", 1, round(exponent * 256))


def identity() -> bytes:
    return struct.pack(">4s4xI", b"curv", 0)


def sampled(curve: Callable[[np.ndarray], np.ndarray], count: int) -> bytes:
    samples = np.rint(curve(np.linspace(0, 1, count)) * 65535).astype(">u2")
    padding = bytes(-2 * count % 4)
    return struct.pack(">4s4xI", b"curv", count) + samples.tobytes() + padding


def parametric(formula: int, *numbers: float) -> bytes:
    return struct.pack(">4s4xHxx", b"para", formula) + b"".join(map(_fixed, numbers))


def srgb_decoded(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def rgb_profile(colorants: tuple[tuple[float, float, float], ...], curve: bytes) -> bytes:
    tags = {f"{name}XYZ".encode(): _xyz(place) for name, place in zip("rgb", colorants, strict=True)}
    return profile(b"RGB ", tags | {f"{name}TRC".encode(): curve for name in "rgb"})


def gray_profile(curve: bytes, pcs: bytes = b"XYZ ") -> bytes:
    return profile(b"GRAY", {b"kTRC": curve}, pcs=pcs)


def table_profile(*ways: bytes) -> bytes:
    """Display-P3 by tables, for the directions ``A2B0`` and ``B2A0``."""
    matrix = np.array(P3_COLORANTS).T
    codes = np.linspace(0, 1, 4096)
    linear = srgb_decoded(codes)
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    to_xyz = _table(np.eye(3), linear, np.clip(corners @ matrix.T, 0, None) * _XYZ_SCALE)
    back = np.interp(codes, linear, codes)
    from_xyz = _table(np.linalg.inv(matrix) / _XYZ_SCALE, back, corners)
    tags = {b"A2B0": to_xyz, b"B2A0": from_xyz}
    return profile(b"RGB ", {way: tags[way] for way in ways})


def profile(
    model: bytes, tags: dict[bytes, bytes], *, pcs: bytes = b"XYZ ", device_class: bytes = b"mntr"
) -> bytes:
    tags = tags | {b"wtpt": _xyz(_D50)}
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(tag))
        data += tag + bytes(-len(tag) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sI4s4s8sI12s4s44x",
        128 + len(body),
        b"",
        0x04200000 if b"para" in data else 0x02200000,
        device_class,
        model,
        pcs,
        b"",
        b"acsp",
        b"",
        0,
        b"",
        b"",
        b"",
        1,
        b"".join(map(_fixed, _D50)),
        b"",
    )
    return header + body


def _table(matrix: np.ndarray, curve: np.ndarray, corners: np.ndarray) -> bytes:
    """A ``mft2`` tag: the matrix, one curve for all inputs, a cube of 2 x 2 x 2, nothing more."""
    numbers = np.concatenate([np.tile(curve, 3), corners.ravel(), np.tile([0, 1], 3)])
    head = struct.pack(">4s4x4B", b"mft2", 3, 3, 2, 0) + b"".join(map(_fixed, matrix.ravel()))
    sizes = struct.pack(">HH", len(curve), 2)
    return head + sizes + np.rint(np.clip(numbers, 0, 1) * 65535).astype(">u2").tobytes()


def _xyz(place: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, place))


def _fixed(number: float) -> bytes:
    return struct.pack(">i", round(number * 65536))


SRGB_CURVE = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
