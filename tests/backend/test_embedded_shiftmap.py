"""Pictures that come again, as walls do: at which shifts, and what is filled of them."""

import numpy as np
import patchmatch
import pytest

from overpaint_backend.engines.base import Cancelled, FillRequest, OperationName
from overpaint_backend.engines.embedded.lattice import find_lattice
from overpaint_backend.engines.embedded.patches import touching, whole
from overpaint_backend.engines.embedded.picture import Picture
from overpaint_backend.engines.embedded.session import EmbeddedSession
from overpaint_backend.engines.embedded.shiftmap import map_shifts

HEIGHT, WIDTH = 200, 260
HOLE = np.s_[60:130, 80:150]


def around_hole(rgb, hole=HOLE, soiled=0.5):
    is_hole = np.zeros(rgb.shape[:2], np.bool_)
    is_hole[hole] = True
    return Picture(
        np.where(is_hole[..., None], np.float32(soiled), rgb).astype(np.float32), is_hole, ~is_hole
    )


def wall(height=HEIGHT, width=WIDTH, *, course=16, brick=34.0, shades=0.3):
    """Bricks of shades that differ by so much, every other course half a brick further; and which brick each pixel is of, 0 for mortar."""
    rows, columns = np.mgrid[:height, :width]
    along = columns + rows // course % 2 * brick / 2
    number = rows // course * 100 + (along // brick).astype(int) + 1
    number = np.where((rows % course < 3) | (along % brick < 3), 0, number)
    random = np.random.default_rng(3)
    shade = 1 - shades * random.random(number.max() + 1)
    color = np.where(
        (number > 0)[..., None], shade[number][..., None] * np.array([0.6, 0.3, 0.2]), np.array([0.8] * 3)
    )
    return (color + random.normal(0, 0.01, (height, width, 1))).astype(np.float32), number


def tiles(first, second):
    """A picture that comes again after these two shifts."""
    cells = np.linalg.inv(np.array([first, second], float))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    u, v = np.moveaxis(np.stack([rows, columns], -1) @ cells, -1, 0) % 1
    pattern = np.where((u < 0.15) | (v < 0.15), 0.8, 0.3 + 0.2 * (u > 0.6))
    grain = np.random.default_rng(3).normal(0, 0.02, (HEIGHT, WIDTH))
    return np.repeat((pattern + grain)[..., None], 3, axis=2).astype(np.float32)


def grained():
    return np.random.default_rng(5).uniform(0.2, 0.8, (HEIGHT, WIDTH, 3)).astype(np.float32)


def boards():
    shades = np.random.default_rng(2).uniform(0.2, 0.8, (HEIGHT // 10, 3))
    return shades[np.arange(HEIGHT) // 10][:, None] + 0.1 * (grained() - 0.5)


def mapped(picture, shifts, seed=0, on_share=lambda share: None):
    return map_shifts(picture, np.array(shifts), np.random.default_rng(seed), on_share)


def fill(rgb, hole, seed=0, soiled=0.5):
    picture = around_hole(rgb, hole, soiled)
    request = FillRequest(
        image=picture.rgb,
        mask=picture.hole.astype(np.float32),
        known=np.ones_like(picture.hole),
        operation=OperationName.FILL,
        seed=seed,
    )
    return EmbeddedSession(patchmatch).fill(request, lambda step: None).image


# ---------------------------------------------------------------- lattices


@pytest.mark.parametrize(
    ("first", "second"), [((0, 20), (24, 0)), ((5, 22), (-18, 7)), ((13.5, 0), (6.75, 17.3))]
)
def test_the_shifts_after_which_tiles_come_again_are_the_sums_of_two(first, second):
    shifts = find_lattice(around_hole(tiles(first, second)))
    assert shifts is not None
    times = shifts @ np.linalg.inv(np.array([first, second]))
    off = np.abs((times - np.rint(times)) @ np.array([first, second]))
    assert off.max() <= 1
    assert len(shifts) > 20
    lengths = np.hypot(*shifts.T)
    assert np.array_equal(lengths, np.sort(lengths))
    assert lengths[0] <= 1 + max(np.hypot(*first), np.hypot(*second))


def test_bricks_come_again_in_the_next_course():
    shifts = find_lattice(around_hole(wall()[0]))
    assert shifts is not None
    assert {(16, 17), (16, -17), (0, 34), (32, 0)} <= set(map(tuple, shifts.tolist()))


@pytest.mark.parametrize(
    "rgb",
    [boards(), grained(), np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)],
    ids=["boards", "grain", "one color"],
)
def test_what_does_not_come_again_in_two_directions_has_no_lattice(rgb):
    assert find_lattice(around_hole(rgb)) is None


def test_what_is_in_the_hole_does_not_matter_to_the_lattice():
    picture = around_hole(wall()[0])
    other = np.where(picture.hole[..., None], grained(), picture.rgb)
    shifts = find_lattice(picture)
    assert shifts is not None
    assert np.array_equal(find_lattice(Picture(other, picture.hole, picture.sources)), shifts)


def test_a_picture_smaller_than_two_periods_has_none():
    rgb = wall(40, 60, course=30, brick=50)[0]
    assert find_lattice(around_hole(rgb, np.s_[15:25, 20:30])) is None


# ---------------------------------------------------------------- shift maps


@pytest.mark.parametrize(
    "rgb", [wall()[0], 100 * wall()[0], 100 * (0.8 - wall()[0])], ids=["", "bright", "dark joints"]
)
def test_each_pixel_copies_what_is_one_of_the_shifts_away(rgb):
    picture = around_hole(rgb)
    shifts = find_lattice(picture)
    assert shifts is not None
    result = mapped(picture, shifts)
    assert result is not None
    painted, field = result
    rows, columns = np.nonzero(touching(picture.hole))
    there = np.stack(np.divmod(field.sources[rows, columns], WIDTH), 1)
    assert {*map(tuple, (there - np.stack([rows, columns], 1)).tolist())} <= {*map(tuple, shifts.tolist())}
    assert whole(picture.sources)[there[:, 0], there[:, 1]].all()
    hole = picture.hole
    assert np.array_equal(painted[hole], picture.rgb.reshape(-1, 3)[field.sources[hole]])
    assert np.array_equal(painted[~hole], picture.rgb[~hole])


@pytest.mark.parametrize("brightness", [1, 100])
def test_what_is_in_the_hole_is_not_read(brightness):
    picture = around_hole(brightness * wall()[0])
    other = np.where(picture.hole[..., None], brightness * grained(), picture.rgb)
    shifts = find_lattice(picture)
    results = [mapped(each, shifts) for each in (picture, Picture(other, picture.hole, picture.sources))]
    assert np.array_equal(results[0][1].sources, results[1][1].sources)
    image = brightness * wall()[0]
    assert np.array_equal(fill(image, HOLE), fill(image, HOLE, soiled=0.9))


def test_without_anything_to_copy_for_some_pixels_there_is_no_map():
    picture = around_hole(wall()[0])
    assert mapped(picture, [(0, 34)]) is None
    assert mapped(picture, [(0, 34), (0, -34), (0, 102), (0, -102)]) is not None


def test_a_map_tells_its_progress_and_can_be_cancelled():
    shares = []
    picture = around_hole(wall()[0])
    mapped(picture, [(0, 102), (0, -102), (64, 0), (-64, 0)], on_share=shares.append)
    assert len(shares) > 8
    assert shares == sorted(shares)
    assert shares[-1] == 1

    def cancel(share):
        if share > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        mapped(picture, [(0, 102), (0, -102)], on_share=cancel)


@pytest.mark.parametrize("hole", [np.s_[150:270, 200:310], np.s_[:, 400:], np.s_[300:, :]], ids=repr)
@pytest.mark.parametrize(("brick", "seed"), [(60.0, 0), (63.5, 1)])
def test_bricks_are_filled_whole(hole, brick, seed):
    image, number = wall(400, 520, course=30, brick=brick)
    painted = fill(image, hole, seed)
    pale = painted[..., 2] > 0.45
    assert (pale == (number == 0))[hole].mean() > 0.97
    # Away from the joints, whose blur is half a pixel's of the smaller picture, a brick is of one shade.
    apart = []
    for each in np.unique(number[hole])[1:]:
        inside = whole(number == each)
        if np.count_nonzero(inside) > 400:
            rows, columns = np.nonzero(inside)
            left = columns < np.median(columns)
            shade = painted[rows, columns, 0]
            apart.append(abs(shade[left].mean() - shade[~left].mean()))
    assert len(apart) > 5
    # Shades of one brick and the next differ by .06 on average.
    assert np.mean(apart) < 0.015


def test_another_seed_fills_a_wall_with_other_bricks():
    image, _ = wall(400, 520, course=30, brick=60)
    first, second = (fill(image, np.s_[150:270, 200:310], seed) for seed in (0, 4))
    assert np.abs(first - second)[150:270, 200:310].mean() > 0.003
    assert np.array_equal(first, fill(image, np.s_[150:270, 200:310], 0))
