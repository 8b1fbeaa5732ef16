"""Points, sizes and rectangles in whole pixels, with the arithmetic nobody should write by hand.

Conventions: the origin is the top-left corner, x grows to the right and y downwards, and rectangles are
half-open: ``right`` and ``bottom`` are the first column and row outside. Any rectangle without area is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Margins", "Point", "Rect", "Size"]


@dataclass(frozen=True, slots=True)
class Point:
    """A pixel position, in px."""

    x: int
    y: int

    def __add__(self, other: Point) -> Point:
        return Point(self.x + other.x, self.y + other.y)

    def __sub__(self, other: Point) -> Point:
        return Point(self.x - other.x, self.y - other.y)


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in px, both at least 0."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 0 or self.height < 0:
            raise ValueError(f"a size cannot be negative: {self.width} x {self.height}")

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width} × {self.height}"


@dataclass(frozen=True, slots=True)
class Margins:
    """What an Expand adds on each side, in px, each at least 0."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __post_init__(self) -> None:
        if min(self.left, self.top, self.right, self.bottom) < 0:
            raise ValueError(f"a margin cannot be negative: {self}")

    @property
    def is_empty(self) -> bool:
        """True if nothing is added on any side."""
        return not (self.left or self.top or self.right or self.bottom)


@dataclass(frozen=True, slots=True)
class Rect:
    """A half-open rectangle of pixels; width and height are at least 0, x and y may be negative."""

    x: int
    y: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 0 or self.height < 0:
            raise ValueError(f"a rectangle cannot have a negative size: {self.width} x {self.height}")

    @classmethod
    def from_edges(cls, left: int, top: int, right: int, bottom: int) -> Rect:
        """The rectangle between four edges; empty (at left, top) if they cross."""
        return cls(left, top, max(0, right - left), max(0, bottom - top))

    @classmethod
    def from_size(cls, size: Size) -> Rect:
        """The rectangle of ``size`` with its corner at the origin."""
        return cls(0, 0, size.width, size.height)

    @property
    def left(self) -> int:
        """First column inside."""
        return self.x

    @property
    def top(self) -> int:
        """First row inside."""
        return self.y

    @property
    def right(self) -> int:
        """First column outside."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row outside."""
        return self.y + self.height

    @property
    def origin(self) -> Point:
        """The top-left corner."""
        return Point(self.x, self.y)

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def is_empty(self) -> bool:
        """True if it holds no pixel."""
        return self.width == 0 or self.height == 0

    def intersect(self, other: Rect) -> Rect:
        """The pixels in both; an empty rectangle if there are none."""
        return Rect.from_edges(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def union(self, other: Rect) -> Rect:
        """The smallest rectangle that holds both; an empty one adds nothing."""
        if self.is_empty:
            return other
        if other.is_empty:
            return self
        return Rect.from_edges(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def translate(self, dx: int, dy: int) -> Rect:
        """The rectangle moved by (dx, dy)."""
        return Rect(self.x + dx, self.y + dy, self.width, self.height)

    def relative_to(self, origin: Point) -> Rect:
        """The same pixels with ``origin`` as the new origin."""
        return self.translate(-origin.x, -origin.y)

    def grow(self, px: int) -> Rect:
        """The rectangle with ``px`` more on every side (fewer if negative, down to empty)."""
        return Rect.from_edges(self.left - px, self.top - px, self.right + px, self.bottom + px)

    def expand(self, margins: Margins) -> Rect:
        """The rectangle with ``margins`` added."""
        return Rect.from_edges(
            self.left - margins.left,
            self.top - margins.top,
            self.right + margins.right,
            self.bottom + margins.bottom,
        )

    def contains(self, other: Rect) -> bool:
        """True if every pixel of ``other`` is inside; an empty rectangle is inside any."""
        return other.is_empty or self.intersect(other) == other

    def bands(self, max_rows: int) -> Iterator[Rect]:
        """Cut into full-width bands of at most ``max_rows`` rows (at least 1), top to bottom."""
        rows = max(1, max_rows)
        for top in range(self.top, self.bottom, rows):
            yield Rect(self.x, top, self.width, min(rows, self.bottom - top))

    def __str__(self) -> str:
        return f"{self.width} × {self.height} at ({self.x}, {self.y})"
