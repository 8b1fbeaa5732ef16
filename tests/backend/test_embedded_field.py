"""What a correspondence field prefers among sources that fit equally well."""

import numpy as np
import pytest

from overpaint_backend.engines.embedded.agreement import agree
from overpaint_backend.engines.embedded.detail import copy_detail
from overpaint_backend.engines.embedded.field import Field, search
from overpaint_backend.engines.embedded.picture import Picture
from overpaint_backend.engines.embedded.targets import Targets


def grained(height, width):
    return np.random.default_rng(5).uniform(0.2, 0.8, (height, width, 3)).astype(np.float32)


def around_hole(rgb, hole):
    is_hole = np.zeros(rgb.shape[:2], np.bool_)
    is_hole[hole] = True
    return Picture(rgb, is_hole, ~is_hole)


@pytest.mark.parametrize("near_is_left", [True, False])
def test_of_two_equal_sources_the_nearer_is_taken(near_is_left):
    painted = grained(60, 200)
    thing = painted[25:45, 80:100].copy()
    near, far = (50, 170) if near_is_left else (130, 10)
    for left in (near, far):
        painted[25:45, left : left + 20] = thing
    picture = around_hole(painted, np.s_[30:40, 85:95])
    _, field = search(painted, picture, random=np.random.default_rng(0), on_pass=lambda share: None)
    columns = field.sources[32:38, 87:93] % 200
    assert np.array_equal(columns, np.tile(np.arange(87, 93) + near - 80, (6, 1)))


def test_one_dissenting_pixel_takes_what_its_neighbors_have():
    painted = grained(40, 160)
    thing = painted[10:30, 70:90]
    painted[10:30, 30:50] = thing + 0.1
    painted[10:30, 110:130] = thing - 0.1
    targets = Targets(painted, around_hole(painted, np.s_[17:23, 77:83]))
    brighter = targets.rows * 160 + targets.columns - 40
    found = brighter.copy()
    found[len(found) // 2] += 80  # as far away, and as wrong, but not the same
    assert np.array_equal(agree(targets, found, painted, lambda share: None), brighter)


def test_a_line_too_thin_for_the_draft_reads_nothing_it_must_not():
    rgb, hole = grained(120, 160), np.zeros((120, 160), np.bool_)
    hole[60:90, 90:130] = True
    hole[20, 90:130] = True
    sources = ~hole
    sources[:10, :10] = False
    filled = []
    for unread in (0, 1):
        rgb = rgb.copy()
        rgb[:10, :10] = unread
        picture = Picture(rgb, hole, sources)
        small = picture.shrink(2)
        _, field = search(small.rgb, small, random=np.random.default_rng(0), on_pass=lambda share: None)
        filled.append(copy_detail(picture, small.rgb, field, 2, lambda share: None)[hole])
    assert np.array_equal(*filled)
    assert filled[0].std() > 0


def test_what_the_hole_cuts_does_not_glow_into_the_fill():
    rgb = np.full((60, 80, 3), 0.3, np.float32)
    rgb[20:40, 30] = 1  # beside the hole, whose draft knows nothing of it
    picture = around_hole(rgb, np.s_[20:40, 31:60])
    draft = np.full_like(rgb, 0.3)
    sources = np.where(picture.hole, np.arange(60 * 80).reshape(60, 80) - 15 * 80, -1)
    sources[20:40, 30] = np.arange(5 * 80 + 30, 25 * 80 + 30, 80)
    filled = copy_detail(picture, draft, Field(sources), 1, lambda share: None)
    assert np.abs(filled[20:40, 31:60] - 0.3).max() < 0.07
    assert np.array_equal(filled[~picture.hole], rgb[~picture.hole])


def test_where_fill_and_picture_differ_softly_the_fill_is_moved_to_meet_it():
    rgb = np.full((60, 80, 3), 0.3, np.float32)
    rgb[:20] = 0.34
    picture = around_hole(rgb, np.s_[20:40, 30:60])
    sources = np.where(picture.hole, np.arange(60 * 80).reshape(60, 80) - 30, -1)
    sources[19, 30:60] = np.arange(20 * 80, 20 * 80 + 30)
    filled = copy_detail(picture, np.full_like(rgb, 0.3), Field(sources), 1, lambda share: None)
    assert filled[20, 45].max() > 0.33
    assert filled[39, 45].max() < 0.31
