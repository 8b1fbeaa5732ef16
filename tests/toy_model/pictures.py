"""The toy model's world: pictures of one disc, where it goes, and how to read it back.

The trainer draws from here and the tests measure with the functions here, so that "red" and "disc" mean
one thing. Needs NumPy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.12),
    "green": (0.12, 0.66, 0.20),
    "blue": (0.14, 0.24, 0.86),
    "yellow": (0.95, 0.85, 0.10),
}
"""Every color word the model knows, as sRGB in 0..1."""

THING = "disc"
"""The word for a thing of any color."""

NOTHING = "background"
"""The word for continuing the surroundings, without a thing in them."""

WORDS = (*COLORS, THING, NOTHING)
"""Every word the model knows that says what to paint."""

_HUES = {"red": 0.0, "yellow": 54.0, "green": 129.0, "blue": 232.0}


@dataclass(frozen=True)
class Example:
    """One picture to learn from.

    Attributes:
        picture: (height, width, 3) float32 in 0..1, finished.
        mask: (height, width) float32, 1 where the picture is to be made.
        color: the disc's color word, "" when there is no disc.
    """

    picture: np.ndarray
    mask: np.ndarray
    color: str


def example(rng: np.random.Generator, height: int, width: int) -> Example:
    """Draw a random background with, four times in five, one disc inside a random mask.

    Args:
        rng: where the randomness comes from.
        height: in pixels.
        width: in pixels.
    """
    mask, box, is_frame = _mask(rng, height, width)
    picture = _background(rng, height, width, mask)
    if is_frame or rng.random() < 0.2:
        return Example(picture, mask, "")
    color = str(rng.choice(list(COLORS)))
    top, left, bottom, right = box
    side = min(bottom - top, right - left)
    is_whole = side > 0.9 * min(height, width)
    size = side * rng.uniform(0.5 if is_whole else 0.7, 0.85 if is_whole else 0.97)
    y = rng.uniform(top + size / 2, bottom - size / 2)
    x = rng.uniform(left + size / 2, right - size / 2)
    cover = (coverage(height, width, y, x, size) * mask)[..., None]
    paint = np.clip(np.array(COLORS[color]) + rng.uniform(-0.07, 0.07, 3), 0, 1)
    picture = picture * (1 - cover) + paint.astype(np.float32) * cover
    return Example(picture.astype(np.float32), mask, color)


def coverage(height: int, width: int, y: float, x: float, size: float) -> np.ndarray:
    """How much of each pixel a disc covers, (height, width) float32 in 0..1.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        y: its middle, in pixels from the top.
        x: its middle, in pixels from the left.
        size: its diameter, in pixels.
    """
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5 - y
    columns = np.arange(width, dtype=np.float32)[None, :] + 0.5 - x
    distance = np.hypot(rows, columns)
    return np.clip(size / 2 - distance + 0.5, 0, 1).astype(np.float32)


def color_shares(picture: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """The share of the masked pixels that each color word describes.

    A pixel counts for the nearest of the four hues when its saturation and value are at least 0.4;
    grey, pale and dark pixels count for none.

    Args:
        picture: (height, width, 3) uint8.
        mask: (height, width), true where to look.
    """
    pixels = picture[np.asarray(mask) > 0].astype(np.float64) / 255
    value = pixels.max(axis=1)
    chroma = value - pixels.min(axis=1)
    is_colored = (value >= 0.4) & (chroma >= 0.4 * value)
    red, green, blue = pixels.T
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(
        value == red,
        (green - blue) / safe % 6,
        np.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    names = list(_HUES)
    turn = np.abs(hue[:, None] * 60 - np.array([_HUES[name] for name in names])) % 360
    nearest = np.minimum(turn, 360 - turn).argmin(axis=1)
    return {name: float(np.mean(is_colored & (nearest == i))) for i, name in enumerate(names)}


def color_of(picture: np.ndarray, mask: np.ndarray) -> str:
    """The color word for the thing inside the mask, or "" when there is none.

    It must cover an eighth of the mask and make up two thirds of everything colored there.
    """
    shares = color_shares(picture, mask)
    name = max(shares, key=lambda key: shares[key])
    return name if shares[name] >= 1 / 8 and shares[name] >= 2 / 3 * sum(shares.values()) else ""


def shows(word: str, picture: np.ndarray, mask: np.ndarray) -> bool:
    """Whether what is inside the mask is what ``word``, one of WORDS, says: that color, a thing of any, or no thing.

    A thing covers an eighth of the mask.
    """
    if word == THING:
        return sum(color_shares(picture, mask).values()) >= 1 / 8
    return color_of(picture, mask) == ("" if word == NOTHING else word)


def _mask(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, tuple[int, int, int, int], bool]:
    """A random mask, the box a thing may stand in, and whether it is a frame without room for one."""
    mask = np.zeros((height, width), np.float32)
    kind = rng.choice(["box", "ellipse", "whole", "band", "frame"], p=[0.45, 0.23, 0.12, 0.15, 0.05])
    if kind == "whole":
        return mask + 1, (0, 0, height, width), False
    if kind == "frame":
        margin = rng.integers(6, 16)
        mask[:] = 1
        mask[margin : height - margin, margin : width - margin] = 0
        return mask, (0, 0, height, width), True
    if kind == "band":
        share = rng.uniform(0.35, 0.7)
        top, left, bottom, right = 0, 0, height, width
        match int(rng.integers(4)):
            case 0:
                bottom = round(height * share)
            case 1:
                top = round(height * (1 - share))
            case 2:
                right = round(width * share)
            case _:
                left = round(width * (1 - share))
        mask[top:bottom, left:right] = 1
        return mask, (top, left, bottom, right), False
    tall, wide = (int(rng.integers(22, side - 3)) for side in (height, width))
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    if kind == "box":
        mask[top : top + tall, left : left + wide] = 1
        return mask, (top, left, top + tall, left + wide), False
    rows = (np.arange(height)[:, None] + 0.5 - top - tall / 2) / (tall / 2)
    columns = (np.arange(width)[None, :] + 0.5 - left - wide / 2) / (wide / 2)
    mask[rows**2 + columns**2 <= 1] = 1
    inset = round(0.1 * min(tall, wide))
    return mask, (top + inset, left + inset, top + tall - inset, left + wide - inset), False


def _background(rng: np.random.Generator, height: int, width: int, mask: np.ndarray) -> np.ndarray:
    """A flat, graded, striped or cloudy background, at times with things that reach out of the mask."""
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = _background_color(rng)
    style = rng.random()
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along = (rows * np.sin(angle) + columns * np.cos(angle)) / max(height, width)
    if style < 0.3:
        weight = (along - along.min()) / np.ptp(along)
        picture += weight[..., None] * (_background_color(rng) - picture)
    elif style < 0.42:
        weight = (np.sin(along * rng.uniform(15, 40)) > 0).astype(np.float32)
        picture += weight[..., None] * (_background_color(rng) - picture)
    elif style < 0.7:
        picture += clouds(rng, height, width) * rng.uniform(0.05, 0.2)
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 3))):
            size = rng.uniform(12, 36)
            y, x = rng.uniform(0, height), rng.uniform(0, width)
            cover = coverage(height, width, y, x, size)
            # A thing hidden by the mask cannot be guessed from outside it: it would teach "background" to
            # invent things.
            if (cover * (1 - mask)).sum() >= 0.4 * cover.sum():
                paint = np.array(list(COLORS.values())[rng.integers(len(COLORS))], np.float32)
                picture += cover[..., None] * (paint - picture)
    if rng.random() < 0.3:
        picture += rng.normal(0, rng.uniform(0.005, 0.03), picture.shape)
    return np.clip(picture, 0, 1).astype(np.float32)


def _background_color(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.2:
        return rng.random(3).astype(np.float32)
    grey = rng.choice([rng.uniform(0, 1), 1.0, 0.0, 0.5], p=[0.76, 0.14, 0.05, 0.05])
    return np.clip(grey + rng.normal(0, 0.06, 3), 0, 1).astype(np.float32)


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Colored noise with a natural picture's 1/f spectrum, (height, width, 3), of mean 0 and deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(size=(3, height, width))) / frequency ** rng.uniform(1.3, 2.0)
    noise = np.fft.irfft2(spectrum, s=(height, width))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    grey = noise[:1]
    return np.moveaxis(grey + 0.4 * (noise - grey), 0, -1).astype(np.float32)
