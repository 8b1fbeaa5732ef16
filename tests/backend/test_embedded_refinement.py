"""What becomes of a coarse fill at a finer size."""

import numpy as np
import pytest

from overpaint_backend.engines.base import Cancelled
from overpaint_backend.engines.embedded.field import Field
from overpaint_backend.engines.embedded.patches import soften, touching
from overpaint_backend.engines.embedded.picture import Picture
from overpaint_backend.engines.embedded.refinement import refine

HEIGHT, WIDTH = 90, 200
HOLE = np.s_[30:60, 90:130]
AWAY_PX = 60


def twice_the_same():
    """Grain that comes again after 60 px, with a hole in it."""
    grain = np.random.default_rng(5).uniform(0.2, 0.8, (HEIGHT, AWAY_PX, 3)).astype(np.float32)
    rgb = np.tile(soften(grain, 0.7), (1, 4, 1))[:, :WIDTH]
    hole = np.zeros((HEIGHT, WIDTH), np.bool_)
    hole[HOLE] = True
    return Picture(rgb, hole, ~hole)


def from_the_left(picture):
    """The field that copies all from a period further left."""
    places = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) - AWAY_PX
    return np.where(touching(picture.hole), places, -1)


def refined(picture, painted, start, on_share=lambda share: None):
    return refine(painted, picture, Field(start), np.random.default_rng(0), on_share)


def test_blurred_grain_becomes_that_of_its_sources():
    picture = twice_the_same()
    blurred = np.where(picture.hole[..., None], soften(picture.rgb, 2), picture.rgb)
    painted, field = refined(picture, blurred, from_the_left(picture))
    assert np.abs(blurred - picture.rgb)[HOLE].mean() > 0.04
    assert np.abs(painted - picture.rgb)[HOLE].mean() < 0.004
    found = field.sources >= 0
    assert np.array_equal(found, touching(picture.hole))
    assert picture.sources.ravel()[field.sources[found]].all()


def test_a_start_that_is_lost_in_places_is_found_again_from_around():
    picture = twice_the_same()
    start = from_the_left(picture)
    start[40:50, 100:120] = -1
    start[35:40, 100:120] = HEIGHT * WIDTH // 2 + 100  # in the hole, which must not be copied
    blurred = np.where(picture.hole[..., None], soften(picture.rgb, 1), picture.rgb)
    painted, _ = refined(picture, blurred, start)
    assert np.abs(painted - picture.rgb)[HOLE].mean() < 0.004


def test_what_was_put_there_stays_there():
    picture = twice_the_same()
    # Of two things that fit equally well to the grain around, the start has the bright one.
    rgb = picture.rgb.copy()
    rgb[40:50, 100 - AWAY_PX : 120 - AWAY_PX] += 0.3
    picture = Picture(rgb, picture.hole, picture.sources)
    start = from_the_left(picture)
    painted = rgb.copy()
    painted[HOLE] = soften(np.roll(rgb, AWAY_PX, axis=1), 1)[HOLE]
    result, _ = refined(picture, painted, start)
    assert np.abs(result[40:50, 100:120] - rgb[40:50, 100 - AWAY_PX : 120 - AWAY_PX]).mean() < 0.02


def test_nothing_outside_the_hole_changes_and_it_can_be_stopped_at_each_share():
    picture = twice_the_same()
    painted = np.where(picture.hole[..., None], np.float32(0.5), picture.rgb)
    shares = []
    result, _ = refined(picture, painted, from_the_left(picture), shares.append)
    assert np.array_equal(result[~picture.hole], painted[~picture.hole])
    assert shares == sorted(set(shares))
    assert shares[-1] == pytest.approx(1)

    def stop(share):
        raise Cancelled

    with pytest.raises(Cancelled):
        refined(picture, painted, from_the_left(picture), stop)


def test_a_field_enlarged_copies_the_same_from_the_same_and_nothing_beyond_the_end():
    small = np.full((3, 4), -1, np.int64)
    small[1, 1] = 0 * 4 + 2
    small[2, 0] = 2 * 4 + 3  # of its four pixels, the picture has but the left ones of its first row
    large = Field(small).enlarge(2, (5, 7)).sources
    assert np.array_equal(large[2:4, 2:4], np.array([[4, 5], [7 + 4, 7 + 5]]))
    assert np.array_equal(large[4, :2], [4 * 7 + 6, -1])
    assert (np.delete(large.ravel(), [16, 17, 23, 24, 28]) == -1).all()
