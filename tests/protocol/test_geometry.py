import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overpaint_protocol.geometry import Margins, Point, Rect, Size

coordinates = st.integers(-1000, 1000)
lengths = st.integers(0, 1000)
rects = st.builds(Rect, coordinates, coordinates, lengths, lengths)


@given(rects, rects)
def test_an_intersection_lies_in_both(a, b):
    shared = a.intersect(b)
    assert a.contains(shared)
    assert b.contains(shared)
    assert shared.area == b.intersect(a).area


@given(rects, rects)
def test_a_union_holds_both(a, b):
    assert a.union(b).contains(a)
    assert a.union(b).contains(b)


@given(rects, st.integers(-5, 400))
def test_bands_cover_every_row_once(rect, rows):
    bands = list(rect.bands(rows))
    assert sum(band.area for band in bands) == (rect.area if rect.width else 0)
    assert all(band.height <= max(1, rows) for band in bands)
    for above, below in itertools.pairwise(bands):
        assert above.bottom == below.top


@given(rects, st.integers(0, 50))
def test_growing_and_shrinking_back(rect, px):
    assert rect.grow(px).grow(-px) == rect


@given(rects, coordinates, coordinates)
def test_moving_there_and_back(rect, x, y):
    assert rect.relative_to(Point(x, y)).translate(x, y) == rect


def test_expand_adds_margins():
    assert Rect(0, 0, 10, 8).expand(Margins(left=1, top=2, right=3, bottom=4)) == Rect(-1, -2, 14, 14)


def test_negative_sizes_are_refused():
    for make in (lambda: Size(-1, 0), lambda: Rect(0, 0, -1, 0), lambda: Margins(left=-1)):
        with pytest.raises(ValueError, match="negative"):
            make()
