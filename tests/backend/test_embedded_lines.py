"""Which pictures have lines that go on in a hole, and where those lines run."""

import numpy as np
import pytest

from overpaint_backend.engines.embedded.lines import Lines, find_lines
from overpaint_backend.engines.embedded.picture import Picture
from overpaint_backend.engines.embedded.targets import Targets

HEIGHT, WIDTH = 200, 260
HOLE = np.s_[60:140, 90:170]


def around_hole(rgb, hole=HOLE):
    is_hole = np.zeros(rgb.shape[:2], np.bool_)
    is_hole[hole] = True
    soiled = np.where(is_hole[..., None], np.float32(0.5), rgb)
    return Picture(soiled.astype(np.float32), is_hole, ~is_hole)


def boards(slope=0.0, turn=0.0):
    """Boards of 5 to 15 px and random shades; their seams are ``Lines`` around the middle of the hole."""
    lines = Lines(False, (99.5, 129.5), slope, turn)
    seams = np.cumsum(np.random.default_rng(4).integers(5, 16, 200)) - 800
    which = np.searchsorted(seams, lines.numbers((HEIGHT, WIDTH)))
    shades = np.random.default_rng(2).uniform(0.2, 0.8, (201, 3)).astype(np.float32)
    return grained(shades[which])


def grained(picture):
    return picture + np.random.default_rng(3).normal(0, 0.02, (*picture.shape[:2], 1)).astype(np.float32)


def blobs():
    """Spots of some 10 px, of any color."""
    noise = np.random.default_rng(6).normal(0, 1, (HEIGHT, WIDTH, 3))
    for axis in (0, 1):
        for _ in range(3):
            noise = np.mean([np.roll(noise, shift, axis) for shift in range(-4, 5)], axis=0)
    return (0.5 + 0.15 * noise / noise.std()).astype(np.float32)


def ends_apart_px(lines, slope, turn, number):
    """How far ``lines`` are, at the sides of the hole, from the line of that number with that slope."""
    columns = np.array([90.0, 170.0])
    rows = 99.5 + number + (slope + turn * number) * (columns - 129.5)
    return np.abs(np.ptp(lines.number(rows.astype(np.float32), columns.astype(np.float32))))


@pytest.mark.parametrize(
    ("slope", "turn"), [(0, 0), (0.12, 0), (-0.31, 0), (0.7, 0), (0.05, 0.001), (0, -0.0015)]
)
def test_boards_are_followed_within_a_pixel_across_the_hole(slope, turn):
    lines = find_lines(around_hole(boards(slope, turn)))
    assert lines is not None
    assert not lines.are_steep
    for number in (-30, 0, 30):
        assert ends_apart_px(lines, slope, turn, number) < 1


def test_steep_lines_are_followed_too():
    turned = np.ascontiguousarray(boards(0.12).transpose(1, 0, 2))
    lines = find_lines(around_hole(turned, np.s_[90:170, 60:140]))
    assert lines is not None
    assert lines.are_steep
    assert lines.slope == pytest.approx(0.12, abs=0.01)


def test_one_line_across_a_plain_wall_is_enough():
    wall = np.full((HEIGHT, WIDTH, 3), 0.7, np.float32)
    wall[96:102] = 0.1
    assert find_lines(around_hole(wall)) is not None


def leaves():
    """Blobs, and over them three stalks that start and end anywhere."""
    picture = blobs()
    picture[20:24, 10:120] = 0.1
    picture[30:190, 200:204] = 0.1
    for step in range(100):
        picture[80 + step, 20 + step // 2 : 24 + step // 2] = 0.9
    return picture


@pytest.mark.parametrize(
    "picture", [blobs(), leaves(), grained(np.full((HEIGHT, WIDTH, 3), 0.5, np.float32))]
)
def test_no_lines_in_what_has_none(picture):
    assert find_lines(around_hole(picture)) is None


def test_nothing_is_found_in_a_shaded_wall():
    shaded = np.linspace(0.3, 0.5, WIDTH, dtype=np.float32)[None, :, None] * np.ones(
        (HEIGHT, 1, 3), np.float32
    )
    assert find_lines(around_hole(shaded)) is None


def test_lines_that_pass_the_hole_by_do_not_count():
    picture = blobs()
    picture[:50] = boards()[:50]
    picture[150:] = boards()[150:]
    assert find_lines(around_hole(picture)) is None


def test_lines_that_cannot_be_seen_outside_do_not_count():
    assert find_lines(around_hole(boards(), np.s_[:, 100:])) is not None
    assert find_lines(around_hole(boards(), np.s_[100:, :])) is None


def test_what_is_in_the_hole_does_not_matter():
    picture = around_hole(boards(0.12))
    other = np.where(picture.hole[..., None], 1 - picture.rgb, picture.rgb)
    other[HOLE][::3] = 0
    assert find_lines(Picture(other, picture.hole, picture.sources)) == find_lines(picture)


def test_places_near_the_line_are_moved_onto_it_and_others_stay():
    picture = around_hole(boards(0.12))
    lines = Lines(False, (99.5, 129.5), 0.12, 0)
    targets = Targets(picture.rgb, picture, lines)
    there = (targets.rows + np.rint(0.12 * -60).astype(int)) * WIDTH + targets.columns - 60
    whole = targets.allowed[there] & targets.allowed[there + 2 * WIDTH] & targets.allowed[there + 6 * WIDTH]
    off = np.where(whole, there, targets.rows[0] * WIDTH + targets.columns[0])
    moved = targets.straighten(off + 2 * WIDTH)
    on_line = lines.numbers(picture.hole.shape).ravel()
    missed = np.abs(on_line[moved] - on_line[targets.rows * WIDTH + targets.columns])[whole]
    # Some are too near the end of what may be copied to find a place where the line runs through a pixel's middle.
    assert missed.max() <= 0.51
    assert (missed < 0.1).mean() > 0.9
    assert np.abs(moved % WIDTH - there % WIDTH)[whole].max() <= 24
    far = off + 6 * WIDTH
    assert np.array_equal(targets.straighten(far)[whole], far[whole])


def test_of_two_places_on_the_same_line_the_one_it_runs_alike_through_fits_better():
    flat = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    picture = around_hole(flat)
    targets = Targets(flat, picture, Lines(False, (99.5, 129.5), 0.12, 0))
    middle = np.array([len(targets.rows) // 2])
    here = targets.rows[middle] * WIDTH + targets.columns[middle]
    alike, uneven = here - 75 - 9 * WIDTH, here - 70 - 8 * WIDTH  # 9.0 and 8.4 px higher after 75 and 70 px
    assert targets.misfit(middle, alike) < targets.misfit(middle, uneven)


@pytest.mark.parametrize("are_steep", [False, True])
def test_lines_run_through_the_same_places_of_a_smaller_picture(are_steep):
    lines = Lines(are_steep, (99.5, 129.5), 0.12, 0.0004)
    small = lines.shrink(2)
    there = np.indices((HEIGHT // 2, WIDTH // 2), np.float32)
    # The middle of a small pixel is the corner between four.
    assert np.allclose(small.number(*there) * 2, lines.number(*(2 * there + 0.5)), atol=1e-3)
