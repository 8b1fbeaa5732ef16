"""Meeting the picture: what ``match`` mends, what it leaves alone, and the figures it is measured by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.bench.distortions import DISTORTIONS, Distortion, darker, passing_through, perfect
from tests.bench.image import BOUNDS, lay_over, load, selections, soft_alpha
from tests.bench.mean_std import match_mean_std
from tests.bench.seam_metrics import SeamFigures, delta_e, from_lab, to_lab

from overpaint_backend.imaging.match import match

CHINA = Path(__file__).parents[1] / "data" / "china.jpg"
SIDE_PX = 192

# Pairs 1, 4, 7, 13, 17, 20, 25, 31 and 34 of the data that Sharma, Wu and Dalal (2005) publish with the formula.
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, -0.0010, 2.4900), (50, 0.0009, -2.4900), 4.8045),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


def flat() -> NDArray[np.float32]:
    return np.full((SIDE_PX, SIDE_PX, 3), (0.5, 0.6, 0.7), np.float32)


def white() -> NDArray[np.float32]:
    return np.ones((SIDE_PX, SIDE_PX, 3), np.float32)


def gradient() -> NDArray[np.float32]:
    ramp = np.linspace(0.2, 0.8, SIDE_PX, dtype=np.float32)
    return np.stack(np.broadcast_arrays(ramp, ramp[:, None], 1 - ramp), axis=-1).astype(np.float32)


def noise() -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0.3, 0.7, (SIDE_PX, SIDE_PX, 3)).astype(np.float32)


def edges() -> NDArray[np.float32]:
    """Bars that run into the selection from all sides, and one along its border."""
    bars = (np.arange(SIDE_PX) // 12) % 2
    picture = np.where((bars ^ bars[:, None])[..., None] > 0, np.float32(0.75), np.float32(0.25))
    return np.broadcast_to(picture, (SIDE_PX, SIDE_PX, 3)).copy()


DRAWN = [flat, white, gradient, noise, edges]


def square() -> NDArray[np.bool_]:
    selection = np.zeros((SIDE_PX, SIDE_PX), bool)
    selection[48:144, 48:144] = True
    return selection


def figures(
    truth: NDArray[np.float32], engine: Distortion, selection: NDArray[np.bool_], *, soft: bool = True
) -> tuple[SeamFigures, SeamFigures]:
    """Before and after."""
    alpha = soft_alpha(selection) if soft else selection.astype(np.float32)
    hole = alpha > 0
    image = np.where(selection[..., None], np.float32(0.1), truth)
    painted = engine(truth, hole).astype(np.float32)
    matched = match(painted, image, alpha, np.ones_like(hole))
    return tuple(
        SeamFigures.measure(lay_over(truth, picture, alpha), truth, selection, hole)
        for picture in (painted, matched)
    )


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_color_difference_is_the_published_one(first, second, expected):
    assert delta_e(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)
    assert delta_e(np.array(second), np.array(first)) == pytest.approx(expected, abs=1e-4)


def test_lab_and_back_gives_the_color():
    rgb = noise()
    assert np.allclose(from_lab(to_lab(rgb)), rgb, atol=1e-5)


@pytest.mark.parametrize("soft", [True, False], ids=["blended", "hard"])
@pytest.mark.parametrize("draw", DRAWN)
def test_perfect_paint_is_left_alone(draw, soft):
    before, after = figures(draw(), perfect, square(), soft=soft)
    assert after.median - before.median <= 0.1
    assert after.p95 - before.p95 <= 0.1
    assert after.jump <= 1.02


def test_perfect_paint_in_a_photograph_is_left_alone():
    truth = load(CHINA)
    for selection in selections(*truth.shape[:2]):
        before, after = figures(truth, perfect, selection)
        assert after.median - before.median <= 0.1
        assert after.p95 - before.p95 <= 0.1


@pytest.mark.parametrize("name", ["darker", "tinted", "flatter", "steeper"])
def test_own_version_around_the_mask_tells_all_about_colors(name):
    truth = load(CHINA)
    for selection in selections(*truth.shape[:2]):
        _, after = figures(truth, DISTORTIONS[name], selection)
        assert after.median <= BOUNDS.median
        assert after.p95 <= BOUNDS.p95
        assert after.jump <= BOUNDS.jump


@pytest.mark.parametrize(
    ("draw", "name"),
    [(flat, "darker"), (flat, "tinted"), (gradient, "darker"), (noise, "darker"), (noise, "tinted")],
)
def test_jump_alone_tells_of_a_shift(draw, name):
    _, after = figures(draw(), passing_through(DISTORTIONS[name]), square(), soft=False)
    assert after.median <= BOUNDS.median
    assert after.p95 <= BOUNDS.p95
    assert after.jump <= BOUNDS.jump


def test_soft_paint_is_sharpened():
    truth = load(CHINA)[:320, :480]
    selection = next(selections(320, 480))
    before, after = figures(truth, DISTORTIONS["softer"], selection)
    assert after.median < before.median
    assert after.p95 < before.p95 - 1


def test_spoiled_rim_is_replaced():
    before, after = figures(gradient(), DISTORTIONS["gray_rim"], square())
    assert before.p95 > BOUNDS.p95
    assert after.median <= 0.1
    assert after.p95 <= 0.5


def test_usual_recipe_leaves_what_ours_mends():
    truth = load(CHINA)
    selection = next(selections(*truth.shape[:2]))
    painted = darker(truth, selection)
    ours = match(painted, truth, selection.astype(np.float32), np.ones_like(selection))
    usual = match_mean_std(painted, truth, selection)
    off = [np.median(delta_e(to_lab(one[selection]), to_lab(truth[selection]))) for one in (ours, usual)]
    assert off[0] < 0.5 < off[1]


@pytest.mark.parametrize("ring_px", [0, 1, 2, 10])
def test_ring_of_few_pixels_is_enough(ring_px):
    truth = gradient()
    selection = np.ones((SIDE_PX, SIDE_PX), bool)
    selection[ring_px : SIDE_PX - ring_px, ring_px : SIDE_PX - ring_px] = False
    selection = ~selection
    painted = (truth - np.float32(0.05)).astype(np.float32)
    matched = match(painted, truth, selection.astype(np.float32), np.ones_like(selection))
    if ring_px == 0:
        assert np.array_equal(matched, painted)
    else:
        assert np.abs(matched - truth).max() < 0.01


def test_clipped_ring_tells_nothing_wrong():
    truth, selection = white(), square()
    painted = truth.copy()
    painted[60:130, 60:130] = 0.4
    matched = match(painted, truth, selection.astype(np.float32), np.ones_like(selection))
    assert np.abs(matched - painted).max() < 1e-3


def test_nothing_is_learnt_from_what_is_unknown_or_masked():
    truth, selection = noise(), square()
    known = np.ones_like(selection)
    known[:, :40] = False
    painted = passing_through(darker)(truth, selection).astype(np.float32)
    results = []
    for junk in (0.0, 0.9):
        image = np.where((selection | ~known)[..., None], np.float32(junk), truth)
        results.append(match(painted, image, selection.astype(np.float32), known))
    assert np.array_equal(*results)


def test_known_pixels_outside_the_mask_come_back_as_they_were():
    truth, selection = noise(), square()
    painted = darker(truth, selection)
    before = painted.copy()
    matched = match(painted, truth, selection.astype(np.float32), np.ones_like(selection))
    assert np.array_equal(matched[~selection], truth[~selection])
    assert np.array_equal(painted, before)
    assert matched.dtype == np.float32


@pytest.mark.parametrize("count", [0, 1])
def test_masks_of_hardly_anything_are_no_trouble(count):
    truth = noise()
    mask = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    mask.flat[5 : 5 + count] = 1
    assert np.array_equal(match(truth, truth, mask, mask < 1), truth)


def test_colors_beyond_white_pass():
    truth = gradient() * np.float32(3)
    selection = square()
    matched = match(truth, truth, selection.astype(np.float32), np.ones_like(selection))
    assert np.allclose(matched, truth, atol=1e-3)


@pytest.mark.parametrize("color", [(0.86, 0.12, 0.12), (0.95, 0.85, 0.1), (0.05, 0.05, 0.05)])
@pytest.mark.parametrize("make_own", [False, True], ids=["surroundings kept", "own version"])
def test_another_thing_that_was_asked_for_keeps_its_color(color, make_own):
    image = flat()
    mask = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    mask[50:140, 60:150] = 1
    grain = np.random.default_rng(5).normal(0, 0.003, image.shape).astype(np.float32)
    painted = np.where(mask[..., None] > 0, np.array(color, np.float32), image + grain if make_own else image)
    matched = match(painted.astype(np.float32), image, mask, np.ones(mask.shape, bool))
    assert np.abs(matched - painted)[mask > 0].max() <= 0.01


@pytest.mark.parametrize("side_px", [1, 2, 9])
def test_numbers_of_any_size_end_in_numbers(side_px):
    random = np.random.default_rng(side_px)
    for _ in range(20):
        image = random.choice([-65504, -1e-30, 0, 0.3, 1e-9, 65504], (40, 50, 3)).astype(np.float32)
        top, left = random.integers(0, 40 - side_px), random.integers(0, 50 - side_px)
        mask = np.zeros((40, 50), np.float32)
        mask[top : top + side_px, left : left + side_px] = 1
        painted = np.where(mask[..., None] > 0, random.random(image.shape), image).astype(np.float32)
        known = random.random(mask.shape) < 0.9
        assert np.isfinite(match(painted, image, mask, known)).all()
