"""A hole filled in whole periods: each pixel copies what lies one of few shifts away.

Which shift each pixel takes is a shift map (Pritch et al. 2009, Shift-Map Image Editing): the known pixels along the hole want to be
copied as they are, and where two shifts meet the picture must not break. So bricks are copied whole and meet in their joints.
The map of least cost is looked for by loopy belief propagation, in sweeps across the whole hole (Tappen and Freeman 2003).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .field import Field, Finder, settle
from .patches import touching, whole
from .picture import Picture
from .targets import Targets

__all__ = ["map_shifts", "redraw"]

_MAX_SHIFTS = 32
"""As many and those without which some pixels would have nothing."""

_MAX_COSTS = 25_000_000
"""Pixels times the square of shifts: 100 MB."""

_LEFT_OUT = 0.25
"""Which share of the shifts is not tried, so that another seed finds another map."""

_MIN_SERVED = 0.05
"""Which share of the pixels a shift must have something for, unless some have nothing else."""

_BREAK = np.float32(2)
"""What a break between two pixels costs against a known pixel copied wrongly; both are squared differences of color. At 0.5, some
bricks are of two shades."""

_SWEEPS = 4
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))

_ASTRAY_PX = 2
_SAMPLES = 8000
"""How far from twice a shift the one in a picture twice as large may be, and how many pixels to compare to find it."""


def map_shifts(
    picture: Picture,
    shifts: NDArray[np.int64],
    random: np.random.Generator,
    on_share: Callable[[float], None],
) -> tuple[NDArray[np.float32], Field] | None:
    """Fill the hole of ``picture``.

    Args:
        picture: with a hole.
        shifts: (M, 2), in px down and right, those to be preferred first.
        random: which not to try.
        on_share: called with the share that is done, up to 1; it may raise.

    Returns:
        The picture with its hole filled, (H, W, 3) float32, and the field it is copied along; None if part of the hole has nothing to
        copy at any of the shifts.
    """
    height, width = picture.hole.shape
    targets = np.argwhere(touching(picture.hole))
    usable = _usable(targets, shifts, whole(picture.sources))
    chosen = _choose(usable, random)
    if chosen is None:
        return None
    usable = usable[:, chosen]
    places = np.where(usable, (targets @ (width, 1))[:, None] + shifts[chosen] @ (width, 1), 0)
    # What must not be copied must not be read either.
    offered = np.where(usable[..., None], picture.rgb.reshape(-1, 3)[places], np.float32(0))
    costs = np.where(usable, np.float32(0), np.float32(np.inf))
    rows, columns = targets.T
    known = picture.sources[rows, columns]
    off = offered[known] - picture.rgb[rows[known], columns[known]][:, None]
    costs[known] += np.einsum("nlc,nlc->nl", off, off)
    labels = _Propagation(targets, costs, _breaks(offered)).settle(on_share)
    sources = np.full((height, width), -1, np.int64)
    sources[rows, columns] = places[np.arange(len(targets)), labels]
    return _copied(picture.rgb, picture, sources), Field(sources)


def redraw(
    painted: NDArray[np.float32],
    picture: Picture,
    start: Field,
    random: np.random.Generator,
    on_share: Callable[[float], None],
) -> tuple[NDArray[np.float32], Field]:
    """Copy along the map of a picture half as large, as ``refine`` does of others, but from what lies exactly a period away.

    Args:
        painted: (H, W, 3) float32, which is ``picture`` with its hole filled by ``start``.
        picture: with a hole and at least one whole patch of sources.
        start: the field of the smaller picture, enlarged; it may miss some pixels.
        random: where to look for those.
        on_share: called with the share that is done, up to 1; it may raise.
    """
    sources = start.sources.copy()
    rows, columns = np.nonzero(sources >= 0)
    places = np.stack([rows, columns], axis=1)
    shifts = np.stack(np.divmod(sources[rows, columns], picture.size.width), axis=1) - places
    apart, which = np.unique(shifts, axis=0, return_inverse=True)
    exact = places + _align(picture, apart)[which]
    inside = ((exact >= 0) & (exact < picture.hole.shape)).all(axis=1)
    sources[rows, columns] = np.where(inside, exact @ (picture.size.width, 1), -1)
    usable = whole(picture.sources).ravel()[sources] & (sources >= 0)
    sources[~usable] = -1
    painted = _copied(painted, picture, sources)
    targets = Targets(painted, picture)
    finder = Finder(targets, random, Field(sources))
    finder.search((1,), 0)  # what is lost takes over what its neighbors have
    _, field = settle(painted, picture, Field.of(targets, finder.found), on_share)
    return _copied(painted, picture, field.sources), field


def _align(picture: Picture, shifts: NDArray[np.int64]) -> NDArray[np.int64]:
    """``shifts``, (M, 2), each moved by a px or two to where the picture is most like itself."""
    known = np.argwhere(picture.sources)
    known = known[:: -(-len(known) // _SAMPLES)]
    colors = picture.rgb[known[:, 0], known[:, 1]]
    steps = np.array(sorted(product(range(-_ASTRAY_PX, _ASTRAY_PX + 1), repeat=2), key=np.linalg.norm))
    aligned = []
    for shift in shifts:
        differences = []
        for step in steps:
            there = known + shift + step
            inside = ((there >= 0) & (there < picture.hole.shape)).all(axis=1)
            seen = np.flatnonzero(inside)
            seen = seen[picture.sources[there[seen, 0], there[seen, 1]]]
            off = picture.rgb[there[seen, 0], there[seen, 1]] - colors[seen]
            differences.append(np.square(off).mean() if len(seen) else np.inf)
        aligned.append(shift + steps[int(np.argmin(differences))])
    return np.array(aligned, np.int64).reshape(-1, 2)


def _copied(
    painted: NDArray[np.float32], picture: Picture, sources: NDArray[np.int64]
) -> NDArray[np.float32]:
    """``painted`` with each pixel of the hole that has a source a copy of it."""
    result = painted.copy()
    found = picture.hole & (sources >= 0)
    result[found] = picture.rgb.reshape(-1, 3)[sources[found]]
    return result


def _usable(
    targets: NDArray[np.int64], shifts: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(N, M), whether what is so far from a target is in the picture and one of the pixels ``allowed``, (H, W)."""
    usable = np.zeros((len(targets), len(shifts)), np.bool_)
    for number, shift in enumerate(shifts):
        there = targets + shift
        inside = np.flatnonzero(((there >= 0) & (there < allowed.shape)).all(axis=1))
        usable[inside, number] = allowed[there[inside, 0], there[inside, 1]]
    return usable


def _choose(usable: NDArray[np.bool_], random: np.random.Generator) -> NDArray[np.int64] | None:
    """Which shifts to try, of (N, M) that say which of them each pixel can use; None if one can use none."""
    if not usable.any(axis=1).all():
        return None
    most = min(_MAX_SHIFTS, int((_MAX_COSTS / len(usable)) ** 0.5))
    tried = random.random(usable.shape[1]) >= _LEFT_OUT
    serving = np.flatnonzero(tried & (usable.mean(axis=0) >= _MIN_SERVED))[:most]
    served = usable[:, serving].any(axis=1)
    chosen = list(serving)
    while not served.all():
        most_helpful = int(usable[~served].sum(axis=0).argmax())
        chosen.append(most_helpful)
        served |= usable[:, most_helpful]
    return np.array(chosen)


def _breaks(offered: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, L, L), by how much what each two shifts offer a pixel, (N, L, 3), differs."""
    count, shifts, _ = offered.shape
    costs = np.zeros((count, shifts, shifts), np.float32)
    for channel in np.moveaxis(offered, -1, 0):
        costs += (channel[:, :, None] - channel[:, None, :]) ** 2
    return _BREAK * costs


class _Propagation:
    """What each of N pixels takes of L labels, so that the costs of labels and of breaks are low together.

    Args:
        places: (N, 2), where the pixels are. costs: (N, L), of a label; infinite, but not for all of a pixel's. breaks: (N, L, L), what it costs that a pixel and its
            neighbor have these two, of which the neighbor's adds as much.
    """

    def __init__(
        self, places: NDArray[np.int64], costs: NDArray[np.float32], breaks: NDArray[np.float32]
    ) -> None:
        self._breaks = breaks
        self._beliefs = costs.copy()
        self._messages = {direction: np.zeros_like(costs) for direction in _DIRECTIONS}
        self._steps = {direction: _steps(places, *direction) for direction in _DIRECTIONS}

    def settle(self, on_share: Callable[[float], None]) -> NDArray[np.int64]:
        """(N,) the label of each."""
        for sweep in range(_SWEEPS):
            for number, direction in enumerate(_DIRECTIONS, 1):
                for senders, receivers in self._steps[direction]:
                    self._send(direction, senders, receivers)
                on_share((sweep + number / len(_DIRECTIONS)) / _SWEEPS)
        return self._beliefs.argmin(axis=1)

    def _send(
        self, direction: tuple[int, int], senders: NDArray[np.int64], receivers: NDArray[np.int64]
    ) -> None:
        """Tell neighbors what each of their labels would cost on this side of them."""
        back = self._messages[-direction[0], -direction[1]][senders]
        believed = (self._beliefs[senders] - back)[:, :, None]
        message = (believed + self._breaks[senders] + self._breaks[receivers]).min(axis=1)
        message -= message.min(axis=1, keepdims=True)
        before = self._messages[direction]
        self._beliefs[receivers] += message - before[receivers]
        before[receivers] = message


def _steps(
    places: NDArray[np.int64], down: int, right: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The pixels that have a neighbor that way, with those neighbors: a row or column at a time, in its order."""
    shape = places.max(axis=0) + 2  # an empty row and column more, which -1 is, too
    numbers = np.full(shape, -1, np.int64)
    numbers[places[:, 0], places[:, 1]] = np.arange(len(places))
    others = numbers[places[:, 0] + down, places[:, 1] + right]
    senders = np.flatnonzero(others >= 0)
    along = places[senders] @ (down, right)
    senders = senders[np.argsort(along, kind="stable")]
    ends = np.flatnonzero(np.diff(np.sort(along))) + 1
    return [(group, others[group]) for group in np.split(senders, ends)]
