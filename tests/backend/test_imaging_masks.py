"""Growing, softening and placing selections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint_backend.imaging.expand import expand_selection
from overpaint_backend.imaging.mask import bounds, distance, feather, grow
from overpaint_protocol.geometry import Margins, Rect, Size

supports = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda shape: st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda bits: np.array(bits).reshape(shape)
    )
)


@given(supports, st.integers(0, 9))
def test_distances_are_those_of_the_nearest_true_pixel(support, cap):
    ys, xs = np.nonzero(support)
    rows, columns = np.indices(support.shape)
    expected = np.full(support.shape, np.inf)
    for y, x in zip(ys, xs, strict=True):
        expected = np.minimum(expected, np.hypot(rows - y, columns - x))
    expected[expected > cap] = np.inf
    assert np.allclose(distance(support, cap), expected)


@given(supports, st.integers(0, 9))
def test_growing_is_a_disk_around_every_selected_pixel(support, px):
    grown = grow(support.astype(np.float32) * 0.1, px)
    assert np.array_equal(grown, distance(support, px) <= px)
    assert grown[support].all()


def test_distances_are_the_same_however_large_the_picture_is():
    support = np.random.default_rng(5).random((300, 450)) < 0.0005
    ys, xs = np.nonzero(support)
    rows, columns = np.indices(support.shape)
    expected = np.hypot(rows[..., None] - ys, columns[..., None] - xs).min(axis=-1)
    expected[expected > 20] = np.inf
    assert np.allclose(distance(support, 20), expected)


def test_growing_by_a_lot_covers_everything():
    selection = np.zeros((50, 30), np.float32)
    selection[0, 0] = 0.01
    assert grow(selection, 500).all()
    assert not grow(np.zeros((5, 5), np.float32), 500).any()


@given(supports, st.integers(0, 9), st.floats(0.125, 1, width=16))
def test_feathering_only_takes_away(support, px, level):
    selection = support.astype(np.float32) * np.float32(level)
    soft = feather(selection, px)
    assert np.array_equal(soft > 0, selection > 0)
    assert (soft <= selection).all()
    far = distance(~support, px + 1) >= px + 1
    assert np.allclose(soft[far & support], selection[far & support])


def test_feathering_ramps_inwards_and_spares_the_border_of_the_picture():
    selection = np.ones((1, 8), np.float32)
    selection[0, 0] = 0
    assert feather(selection, 3)[0] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


def test_bounds():
    selection = np.zeros((9, 7))
    assert bounds(selection) is None
    selection[3, 2] = 0.004
    assert bounds(selection) == Rect(2, 3, 1, 1)
    selection[8, 6] = 1
    assert bounds(selection) == Rect(2, 3, 5, 6)


CANVAS = Size(20, 10)
RIGHT_AND_BOTTOM = Margins(right=5, bottom=3)


def test_an_expand_selects_what_it_adds():
    selection = expand_selection(CANVAS, RIGHT_AND_BOTTOM, Rect(0, 0, 25, 13))
    assert selection.shape == (13, 25)
    assert not selection[:10, :20].any()
    assert (selection[10:] == 1).all()
    assert (selection[:, 20:] == 1).all()


def test_an_expand_may_show_a_part_of_the_canvas_only():
    selection = expand_selection(CANVAS, Margins(left=4), Rect(-4, 2, 10, 5))
    assert (selection[:, :4] == 1).all()
    assert not selection[:, 4:].any()


def test_nothing_is_selected_outside_the_grown_canvas():
    selection = expand_selection(CANVAS, RIGHT_AND_BOTTOM, Rect(-3, -2, 40, 20))
    assert not selection[:2].any()
    assert not selection[:, :3].any()
    assert not selection[:, 28:].any()
    assert not selection[15:].any()
    assert selection.sum() == 25 * 13 - 20 * 10
