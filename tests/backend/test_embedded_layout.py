"""How far a fill departs from what another one shows at large."""

import numpy as np
import pytest

from overpaint_backend.engines.embedded.layout import departure
from overpaint_backend.engines.embedded.picture import Picture

HOLE = np.s_[50:110, 60:130]


def ramp():
    columns = np.indices((160, 200))[1] / 200
    return np.repeat((0.2 + 0.5 * columns)[..., None], 3, axis=2).astype(np.float32)


def departs(inside, picture=None):
    picture = ramp() if picture is None else picture
    other = picture.copy()
    other[HOLE] = inside[HOLE]
    hole = np.zeros(picture.shape[:2], np.bool_)
    hole[HOLE] = True
    return departure(other, picture, Picture(picture, hole, ~hole))


def test_a_fill_does_not_depart_from_itself():
    assert departs(ramp()) == 0


def test_other_grain_departs_little_and_other_things_far():
    grain = np.random.default_rng(1).normal(0, 0.1, (160, 200, 3)).astype(np.float32)
    assert departs(ramp() + grain) < 0.15
    assert departs(ramp()[:, ::-1]) > 0.5
    assert departs(ramp() + np.float32(0.2)) > 1


def test_the_more_the_colors_around_vary_the_less_a_departure_counts():
    def departs_by_a_tenth(picture):
        return departs(picture + np.float32(0.1), picture)

    assert departs_by_a_tenth(ramp()) < 0.3 * departs_by_a_tenth(np.full_like(ramp(), 0.5))


def test_a_trace_of_shading_beside_a_flat_wall_hardly_departs():
    wall = np.full_like(ramp(), 0.5)
    assert departs(wall + np.float32(0.004), wall) == pytest.approx(0.2, abs=0.01)


def test_a_hole_thinner_than_a_cell_is_told_too():
    picture, hole = ramp(), np.zeros((160, 200), np.bool_)
    hole[80, 10:190] = True
    painted = picture.copy()
    painted[hole] += np.float32(0.2)
    assert departure(painted, picture, Picture(picture, hole, ~hole)) > 0
