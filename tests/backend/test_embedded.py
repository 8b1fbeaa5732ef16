"""What the embedded engine promises of its pictures, on scenes whose continuation is known."""

import dataclasses

import numpy as np
import patchmatch
import pytest

from overpaint_backend.engines.base import Cancelled, Device, FillRequest, OperationName
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.engines.embedded.session import EmbeddedSession


def fill(image, hole, on_step=lambda step: None, *, seed=0, operation=OperationName.REMOVE):
    mask = np.zeros(image.shape[:2], np.float32)
    mask[hole] = 1
    soiled = np.where(mask[..., None] > 0, np.float32(0.5), image)
    known = np.ones(mask.shape, np.bool_)
    request = FillRequest(image=soiled, mask=mask, known=known, operation=operation, seed=seed)
    return EmbeddedSession(patchmatch).fill(request, on_step).image


def bricks(height, width):
    """Rows of 16 px, bricks of 32 px, each row shifted by half a brick; grained."""
    rows, columns = np.mgrid[:height, :width]
    mortar = (rows % 16 < 2) | ((columns + rows // 16 % 2 * 16) % 32 < 2)
    color = np.where(mortar[..., None], np.float32(0.8), np.array([0.6, 0.3, 0.2], np.float32))
    grain = np.random.default_rng(3).normal(0, 0.02, (height, width, 1))
    return (color + grain).astype(np.float32)


def gradient(height, width):
    rows, columns = np.mgrid[:height, :width]
    ramp = 0.3 + 0.2 * rows / height + 0.1 * columns / width
    return np.repeat(ramp[..., None], 3, axis=2).astype(np.float32)


def grained(height, width):
    return np.random.default_rng(5).uniform(0.2, 0.8, (height, width, 3)).astype(np.float32)


def boards(height, width, slope):
    """Boards of 5 to 15 px and random shades, grained."""
    rows, columns = np.mgrid[:height, :width]
    seams = np.cumsum(np.random.default_rng(4).integers(5, 16, 200)) - 800
    shades = np.random.default_rng(2).uniform(0.2, 0.8, (201, 3)).astype(np.float32)
    grain = np.random.default_rng(3).normal(0, 0.02, (height, width, 1)).astype(np.float32)
    return shades[np.searchsorted(seams, rows - slope * columns)] + grain


def test_bricks_continue_in_phase():
    image, hole = bricks(256, 320), np.s_[90:160, 120:200]
    painted = fill(image, hole)[hole]
    matches = np.abs(painted - image[hole]).max(axis=-1) < 0.15
    assert matches.mean() > 0.9


@pytest.mark.parametrize("hole", [np.s_[60:130, 80:160], np.s_[:, 200:]])
def test_a_gradient_goes_on_without_steps(hole):
    image = gradient(200, 260)
    painted = fill(image, hole)
    assert np.abs(painted - image)[hole].max() < 0.06
    for axis in (0, 1):
        assert np.abs(np.diff(painted, axis=axis)).max() < 0.02


@pytest.mark.parametrize("slope", [0, 0.12, -0.31])
@pytest.mark.parametrize("hole", [np.s_[40:200, 100:200], np.s_[:, 220:]])
def test_boards_go_on_straight(hole, slope):
    image = boards(240, 320, slope)
    painted = fill(image, hole)
    # Where a seam is further than a pixel there is but one shade that is right.
    plain = np.abs(image - np.roll(image, 2, axis=0)).max(axis=-1) < 0.1
    plain &= np.abs(image - np.roll(image, -2, axis=0)).max(axis=-1) < 0.1
    # A board that begins in the hole cannot be known.
    rows, columns = np.mgrid[:240, :320]
    begins = rows - slope * columns
    plain &= (begins > begins[:, :100].min() + 15) & (begins < begins[:, :100].max() - 15)
    right = np.abs(painted - image).max(axis=-1) < 0.15
    assert right[hole][plain[hole]].mean() > 0.99


def test_courses_of_large_bricks_go_on_straight_and_in_step():
    rows, columns = np.mgrid[:360, :480]
    course = rows // 36
    along = columns + course % 2 * 45
    mortar = (rows % 36 < 5) | (along % 90 < 5)
    random = np.random.default_rng(3)
    shades = random.uniform(0.7, 1, (10, 7)).astype(np.float32)[course, along // 90]
    brick = shades[..., None] * np.array([0.6, 0.3, 0.2], np.float32)
    image = np.where(mortar[..., None], np.float32(0.8), brick)
    image = image + random.normal(0, 0.02, (360, 480, 1)).astype(np.float32)
    hole = np.hypot((rows - 190) / 2, columns - 230) < 50
    painted = fill(image, hole)
    pale = painted[..., 2] > 0.5
    assert (pale == mortar)[hole].mean() > 0.99


def test_a_line_crosses_the_hole():
    image = np.full((200, 260, 3), 0.7, np.float32)
    image[96:102] = 0.1
    hole = np.s_[60:140, 90:170]
    painted = fill(image, hole)
    assert painted[97:101, 90:170].max() < 0.3
    assert painted[60:92, 90:170].min() > 0.6
    assert painted[106:140, 90:170].min() > 0.6


def test_no_eight_bits_between_a_smooth_picture_and_its_fill():
    image, hole = gradient(200, 260), np.s_[60:130, 80:160]
    painted = fill(image, hole)[hole].astype(np.float64) * 255
    away_from_codes = np.abs(painted - np.rint(painted))
    assert away_from_codes.mean() > 0.15  # a quarter if every value is as likely as another
    assert len(np.unique(painted)) > 1000


def test_detail_of_a_large_hole_is_that_of_the_picture():
    image, hole = grained(460, 480), np.s_[70:390, 80:400]  # more than a draft has at full resolution
    painted = fill(image, hole)

    def roughness(picture):
        return np.abs(np.diff(picture, axis=1)).mean()

    assert roughness(painted[hole]) > 0.7 * roughness(image)


def test_values_beyond_white_are_copied():
    image = grained(160, 200)
    image[::7, ::5] = 4
    painted = fill(image, np.s_[50:110, 60:130])[50:110, 60:130]
    assert painted.max() > 3
    assert 0.2 < (painted > 2).mean() / (image > 2).mean() < 5


def test_nothing_outside_the_hole_changes():
    image, hole = grained(461, 481), np.s_[70:391, 80:401]
    image *= 1.5
    outside = np.ones(image.shape[:2], np.bool_)
    outside[hole] = False
    assert np.array_equal(fill(image, hole)[outside], image[outside])


@pytest.mark.parametrize("image", [grained(120, 140), boards(120, 140, 0.12)])
def test_progress_is_told_in_many_steps_and_each_can_be_the_last(image):
    hole = np.s_[30:90, 30:100]
    fractions = []
    whole = fill(image, hole, lambda step: fractions.append(step.fraction), seed=3)
    assert fractions == sorted(set(fractions))
    assert len(fractions) >= 8
    assert fractions[-1] == 1
    for last in range(1, len(fractions), 4):
        heard = []

        def stop(step, heard=heard, last=last):
            heard.append(step)
            if len(heard) == last:
                raise Cancelled

        with pytest.raises(Cancelled):
            fill(image, hole, stop, seed=3)
        assert len(heard) == last
    assert np.array_equal(fill(image, hole, seed=3), whole)


def test_what_must_not_be_read_changes_nothing_at_a_smaller_draft():
    image, hole = grained(420, 560), np.s_[50:370, 50:370]
    mask = np.zeros(image.shape[:2], np.float32)
    mask[hole] = 1
    known = np.ones(mask.shape, np.bool_)
    known[:, 440:] = False
    request = FillRequest(image=image, mask=mask, known=known, operation=OperationName.FILL)
    unread = (mask > 0) | ~known
    other = dataclasses.replace(request, image=np.where(unread[..., None], 1 - image, image))
    opened = EmbeddedEngine().open(Device())
    one, two = (opened.fill(asked, lambda step: None).image[hole] for asked in (request, other))
    assert np.array_equal(one, two)
