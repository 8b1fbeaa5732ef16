"""Which of two fills looks stranger among its surroundings."""

import numpy as np
import pytest

from overpaint_backend.engines.embedded.picture import Picture
from overpaint_backend.engines.embedded.texture import strangeness

HOLE = np.s_[50:110, 60:130]


def waves(period_px, axis):
    places = np.indices((160, 200))[axis] / period_px
    grain = np.random.default_rng(2).normal(0, 0.02, (160, 200, 1))
    return (0.5 + 0.2 * np.sin(2 * np.pi * places)[..., None] + grain).repeat(3, axis=2).astype(np.float32)


def strange(inside, outside=None):
    outside = waves(8, 1) if outside is None else outside
    painted = outside.copy()
    painted[HOLE] = inside[HOLE]
    hole = np.zeros(painted.shape[:2], np.bool_)
    hole[HOLE] = True
    return strangeness(painted, Picture(outside, hole, ~hole))


@pytest.mark.parametrize(
    "inside",
    [np.full((160, 200, 3), 0.5, np.float32), waves(5, 1), waves(8, 0), 0.5 + 2 * (waves(8, 1) - 0.5)],
    ids=["flat", "finer", "turned", "stronger"],
)
def test_what_goes_on_elsewhere_in_the_picture_is_less_strange(inside):
    assert strange(np.roll(waves(8, 1), 3, axis=1)) < 0.5 * strange(inside)


def test_another_color_is_not_strange():
    assert strange(waves(8, 1) + np.array([0.2, -0.1, 0], np.float32)) < 0.01 + strange(waves(8, 1))


def test_a_trace_of_grain_beside_a_flat_wall_is_hardly_strange():
    wall = np.full((160, 200, 3), 0.5, np.float32)
    grain = np.random.default_rng(1).normal(0, 0.002, wall.shape).astype(np.float32)
    assert strange(wall + grain, wall) < 0.1 < strange(waves(8, 1), wall)


def test_what_is_far_away_does_not_count():
    outside = waves(8, 1)
    other = outside.copy()
    other[:, :30] = 0
    assert strange(waves(8, 0), other) == pytest.approx(strange(waves(8, 0), outside))
