"""A picture painted at a coarser size, refined at its own: sources searched and colors voted for, in turns.

This is the expectation maximization of Wexler et al. 2007 (Space-Time Completion of Video). What goes where is settled already,
by what sees further: each pixel begins with what it had there and looks around no further than the coarser size is vague.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .field import Field, Finder, settle
from .lines import Lines
from .patches import PATCH_RADIUS_PX
from .picture import Picture
from .targets import Targets

__all__ = ["refine"]

_ROUNDS = 2
"""With three or five, the same cases come out no better."""

_PASSES = (4, 2, 1), (2, 1)
"""The distances in px at which neighbors are asked, in each pass of a round."""

_REACH_PX = 16
"""How far to look around a find. At 80 fills come out no better, and what the coarser size settled may be lost."""

_SHARPNESS = 8.0
"""How much less a patch counts the worse it fits, as an exponent over what three quarters fit within. With 2 votes are too
soft, and so is what resembles them; with 30 there is no better detail, but more breaks."""

_LEAST = np.float32(1e-6)
"""What any patch counts, so that there is a vote everywhere."""

_REFINED = 0.9
"""The rounds' share of the time; the rest is agreement's."""


def refine(
    painted: NDArray[np.float32],
    picture: Picture,
    start: Field,
    random: np.random.Generator,
    on_share: Callable[[float], None],
    lines: Lines | None = None,
) -> tuple[NDArray[np.float32], Field]:
    """Paint the hole anew from patches that fit together, beginning with ``start``.

    Args:
        painted: (H, W, 3) float32, which is ``picture`` with its hole filled.
        picture: with a hole and at least one whole patch of sources.
        start: a field of ``painted``; it may miss some pixels.
        random: where to look around.
        on_share: called with the share that is done, up to 1; it may raise.
        lines: which go on straight.

    Returns:
        The picture with its hole filled better, and its field.
    """
    field = start
    for done in range(_ROUNDS):
        targets = Targets(painted, picture, lines)
        finder = Finder(targets, random, field)
        for number, strides_px in enumerate(_PASSES, 1):
            finder.search(strides_px, _REACH_PX)
            on_share(_REFINED * (done + number / (len(_PASSES) + 1)) / _ROUNDS)
        field = Field.of(targets, finder.found)
        painted = _vote(painted, picture, targets, finder)
        on_share(_REFINED * (done + 1) / _ROUNDS)
    return settle(painted, picture, field, lambda share: on_share(_REFINED + (1 - _REFINED) * share), lines)


def _vote(
    painted: NDArray[np.float32], picture: Picture, targets: Targets, finder: Finder
) -> NDArray[np.float32]:
    """``painted`` with each pixel of the hole the mean of what the patches around it would put there.

    The better a patch fits, the more it counts.
    """
    width = targets.shape[1]
    numbers = np.pad(targets.numbers, PATCH_RADIUS_PX, constant_values=-1)
    rows, columns = np.nonzero(picture.hole)
    usual = np.percentile(finder.misfit, 75) + _LEAST
    counts = np.exp(-_SHARPNESS * finder.misfit / usual).astype(np.float32) + _LEAST
    colors = picture.rgb.reshape(-1, 3)
    total = np.zeros((len(rows), 3), np.float32)
    weight = np.zeros(len(rows), np.float32)
    offsets = range(-PATCH_RADIUS_PX, PATCH_RADIUS_PX + 1)
    for down, right in product(offsets, offsets):
        voters = numbers[rows + PATCH_RADIUS_PX + down, columns + PATCH_RADIUS_PX + right]
        # Beyond the picture's edge there is none.
        votes = np.flatnonzero(voters >= 0)
        voters = voters[votes]
        total[votes] += counts[voters, None] * colors[finder.found[voters] - down * width - right]
        weight[votes] += counts[voters]
    result = painted.copy()
    result[rows, columns] = total / weight[:, None]
    return result
