"""Regions of a field that hold together: where two copies meet, the picture may break, so they should meet seldom and unseen.

A search looks at each pixel by itself and leaves a field in crumbs: many sources fit about equally well. Here neighbors
settle on one, as labels do in a Markov random field; the cost of two meeting is that of Kwatra et al. 2003 (Graphcut
Textures), and each pixel takes the best of its neighbors' offsets in turn, which is Besag's 1986 iterated conditional modes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .targets import Targets

__all__ = ["agree"]

_ROUNDS = 3
_WEIGHT = np.float32(0.5)
"""What a break between two pixels costs against a misfit of their patches; both are squared differences of color."""

_SIDEWAYS = np.float32(0.7)
"""How much less it costs across a corner, where two pixels are further apart."""

_AROUND = tuple(
    (down, right, _SIDEWAYS * _WEIGHT if down and right else _WEIGHT)
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
    if down or right
)


def agree(
    targets: Targets, found: NDArray[np.int64], rgb: NDArray[np.float32], on_round: Callable[[float], None]
) -> NDArray[np.int64]:
    """Settle where neighbors copy from.

    Args:
        targets: whose sources these are.
        found: (N,) a place for each target; all allowed.
        rgb: (H, W, 3), what is copied.
        on_round: called with the share that is done, up to 1; it may raise.

    Returns:
        A better place for each, which is one that a neighbor had, shifted back.
    """
    found = found.copy()
    colors = rgb.reshape(-1, rgb.shape[-1])
    # No two pixels of a group touch, so a group can choose at once.
    groups = [
        _Group(targets, np.flatnonzero((targets.rows % 2 == odd_row) & (targets.columns % 2 == odd_column)))
        for odd_row in (0, 1)
        for odd_column in (0, 1)
    ]
    for done in range(1, _ROUNDS + 1):
        for group in groups:
            group.choose(found, colors)
        on_round(done / _ROUNDS)
    return found


@dataclass(frozen=True, slots=True)
class _Neighbor:
    step: int
    """How far it is from each member, as a difference of places."""
    weight: np.float32
    numbers: NDArray[np.int64]
    """(M,) its number; -1 where that pixel is no target."""


class _Group:
    """Targets that do not touch each other, and who touches them."""

    def __init__(self, targets: Targets, members: NDArray[np.int64]) -> None:
        self._targets = targets
        self._members = members
        self._neighbors: list[_Neighbor] = []
        for down, right, weight in _AROUND:
            has, others = targets.neighbors(members, down, right)
            numbers = np.full(len(members), -1, np.int64)
            numbers[has] = others
            self._neighbors.append(_Neighbor(down * targets.shape[1] + right, weight, numbers))

    def choose(self, found: NDArray[np.int64], colors: NDArray[np.float32]) -> None:
        """Let each member take over, in ``found``, what costs least: its own place or one like a neighbor's."""
        places = found[self._members]
        lowest = self._cost(np.arange(len(places)), places, found, colors)
        for neighbor in self._neighbors:
            offered = found[neighbor.numbers] - neighbor.step
            # Whole patches are allowed only, so one pixel from an allowed place is still in the picture.
            news = np.flatnonzero((neighbor.numbers >= 0) & (offered != places))
            news = news[self._targets.allowed[offered[news]]]
            cost = self._cost(news, offered[news], found, colors)
            better = cost < lowest[news]
            places[news[better]] = offered[news[better]]
            lowest[news[better]] = cost[better]
        found[self._members] = places

    def _cost(
        self,
        which: NDArray[np.int64],
        places: NDArray[np.int64],
        found: NDArray[np.int64],
        colors: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Of members ``which`` with ``places``: their misfit, and how the picture breaks towards their neighbors."""
        cost = self._targets.misfit(self._members[which], places)
        for neighbor in self._neighbors:
            numbers = neighbor.numbers[which]
            theirs = found[numbers]
            apart = np.flatnonzero((numbers >= 0) & (theirs != places + neighbor.step))
            mine, theirs = places[apart], theirs[apart]
            here = colors[mine] - colors[theirs - neighbor.step]
            there = colors[mine + neighbor.step] - colors[theirs]
            cost[apart] += neighbor.weight * (
                np.einsum("ij,ij->i", here, here) + np.einsum("ij,ij->i", there, there)
            )
        return cost
