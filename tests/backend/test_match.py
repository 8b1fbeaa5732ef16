"""Meeting the picture: what ``match`` mends, what it leaves alone, and the figures it is measured by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.bench.distortions import (
    BLEED_PX,
    DISTORTIONS,
    DistortingSession,
    Distortion,
    blur,
    darker,
    gray_rim,
    passing_through,
    perfect,
    soft_rim,
    tinted,
)
from tests.bench.image import BOUNDS, EDGES, HIDDEN, alpha_of, fill_in, lay_over, load, selections
from tests.bench.seam_metrics import SeamFigures, delta_e, from_lab, to_lab

from overpaint_backend.imaging.bleed import Bleed, add_bleed
from overpaint_backend.imaging.mask import grow
from overpaint_backend.imaging.match import match
from overpaint_protocol.messages import Edges

CHINA = Path(__file__).parents[1] / "data" / "china.jpg"
SIDE_PX = 192
HARD = Edges(grow_px=0, blend_px=0)

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


def photograph() -> NDArray[np.float32]:
    """A part with sky and roofs, none of it so dark that a darker engine makes it all black."""
    return load(CHINA)[:320, :480]


def two_selections(truth: NDArray[np.float32]) -> list[NDArray[np.bool_]]:
    """A large round one and a small square one."""
    ellipse, *_, small = selections(*truth.shape[:2])
    return [ellipse, small]


def figures(
    truth: NDArray[np.float32],
    engine: Distortion,
    selection: NDArray[np.bool_],
    *,
    edges: Edges = EDGES,
    bleed_px: int = BLEED_PX,
) -> tuple[SeamFigures, SeamFigures]:
    """Before and after."""
    alpha = alpha_of(selection, edges)
    painted = engine(truth, alpha > 0).astype(np.float32)
    document = np.where(selection[..., None], HIDDEN, truth)
    composites = (
        lay_over(truth, painted, alpha),
        fill_in(document, selection, DistortingSession(truth, engine, bleed_px), edges),
    )
    before, after = (SeamFigures.measure(one, truth, selection, alpha > 0) for one in composites)
    return before, after


def assert_in_bounds(figures: SeamFigures) -> None:
    assert figures.median <= BOUNDS.median
    assert figures.p95 <= BOUNDS.p95
    assert figures.jump <= BOUNDS.jump


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_color_difference_is_the_published_one(first, second, expected):
    assert delta_e(np.array(first), np.array(second)) == pytest.approx(expected, abs=1e-4)
    assert delta_e(np.array(second), np.array(first)) == pytest.approx(expected, abs=1e-4)


def test_lab_and_back_gives_the_color():
    rgb = noise()
    assert np.allclose(from_lab(to_lab(rgb)), rgb, atol=1e-5)


@pytest.mark.parametrize("bleed_px", [0, BLEED_PX])
@pytest.mark.parametrize("edges", [EDGES, HARD], ids=["blended", "hard"])
@pytest.mark.parametrize("draw", DRAWN)
def test_perfect_paint_is_left_alone(draw, edges, bleed_px):
    before, after = figures(draw(), perfect, square(), edges=edges, bleed_px=bleed_px)
    assert after.median - before.median <= 0.1
    assert after.p95 - before.p95 <= 0.1
    assert after.jump <= 1.02


@pytest.mark.parametrize("bleed_px", [0, BLEED_PX])
def test_perfect_paint_in_a_photograph_is_left_alone(bleed_px):
    truth = load(CHINA)
    for selection in selections(*truth.shape[:2]):
        before, after = figures(truth, perfect, selection, bleed_px=bleed_px)
        assert after.median - before.median <= 0.1
        assert after.p95 - before.p95 <= 0.1


@pytest.mark.parametrize("edges", [EDGES, HARD], ids=["blended", "hard"])
@pytest.mark.parametrize("returned", ["own version", "surroundings kept"])
@pytest.mark.parametrize("name", [name for name in DISTORTIONS if name != "softer"])
def test_faults_in_a_photograph_are_mended(name, returned, edges):
    truth = photograph()
    distortion = DISTORTIONS[name]
    engine = distortion if returned == "own version" else passing_through(distortion)
    for selection in two_selections(truth):
        _, after = figures(truth, engine, selection, edges=edges)
        assert_in_bounds(after)


@pytest.mark.parametrize("name", ["darker", "tinted", "flatter", "steeper"])
def test_own_version_around_the_mask_tells_all_about_colors(name):
    truth = photograph()
    for selection in two_selections(truth):
        _, after = figures(truth, DISTORTIONS[name], selection, bleed_px=0)
        assert_in_bounds(after)


@pytest.mark.parametrize("passes", [False, True], ids=["own version", "surroundings kept"])
@pytest.mark.parametrize("shift", [darker, tinted])
@pytest.mark.parametrize("rim", [gray_rim, soft_rim])
def test_a_lost_rim_hides_no_shift(rim, shift, passes):
    def engine(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
        return rim(shift(truth, hole), hole)

    truth = photograph()
    for selection in two_selections(truth):
        _, after = figures(truth, passing_through(engine) if passes else engine, selection)
        assert_in_bounds(after)


@pytest.mark.parametrize("rim", [gray_rim, soft_rim])
def test_nothing_is_learnt_from_a_lost_rim(rim):
    truth = photograph()
    selection = next(selections(*truth.shape[:2]))
    shown = fill_in(truth, selection, DistortingSession(truth, rim))
    assert np.abs(shown - truth).max() < 2e-3


@pytest.mark.parametrize(
    ("draw", "name"),
    [(flat, "darker"), (flat, "tinted"), (gradient, "darker"), (noise, "darker"), (noise, "tinted")],
)
def test_jump_alone_tells_of_a_shift(draw, name):
    _, after = figures(draw(), passing_through(DISTORTIONS[name]), square(), edges=HARD, bleed_px=0)
    assert_in_bounds(after)


@pytest.mark.parametrize(
    ("engine", "edges"),
    [
        (DISTORTIONS["softer"], EDGES),
        (DISTORTIONS["softer"], HARD),
        (passing_through(DISTORTIONS["softer"]), EDGES),
    ],
    ids=["own version, blended", "own version, hard", "surroundings kept, blended"],
)
def test_soft_paint_becomes_the_truth(engine, edges):
    truth = photograph()
    for selection in two_selections(truth):
        _, after = figures(truth, engine, selection, edges=edges)
        assert_in_bounds(after)


def soft_in_8_bits(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return (np.rint(blur(truth, 1.0) * 255) / np.float32(255)).astype(np.float32)


def soft_and_dark(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    return blur(darker(truth, hole), 1.0)


@pytest.mark.parametrize("passes", [False, True], ids=["own version", "surroundings kept"])
def test_soft_paint_in_8_bits_is_sharpened_as_far_as_they_allow(passes):
    truth = photograph()
    engine = passing_through(soft_in_8_bits) if passes else soft_in_8_bits
    before, after = figures(truth, engine, next(selections(320, 480)))
    assert after.median < before.median
    assert after.p95 < 0.7 * before.p95
    assert after.jump <= BOUNDS.jump


@pytest.mark.parametrize("passes", [False, True], ids=["own version", "surroundings kept"])
def test_soft_paint_of_another_tone_is_sharpened(passes):
    truth = photograph()
    engine = passing_through(soft_and_dark) if passes else soft_and_dark
    for selection in two_selections(truth):
        _, after = figures(truth, engine, selection)
        assert_in_bounds(after)


def test_spoiled_rim_is_replaced_where_there_is_no_bleed():
    before, after = figures(gradient(), DISTORTIONS["gray_rim"], square(), bleed_px=0)
    assert before.p95 > BOUNDS.p95
    assert after.median <= 0.1
    assert after.p95 <= 0.5


def other_grain(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The picture with other detail in the same light."""
    smooth = blur(truth, 3.0)
    return smooth + np.roll(truth - smooth, (17, 29), (0, 1))


@pytest.mark.parametrize("passes", [False, True], ids=["own version", "surroundings kept"])
def test_other_detail_than_the_truth_is_no_fault(passes):
    def paint(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
        # What a model returns of the surroundings is nearly the truth, whatever it painted.
        around = truth if passes else truth + np.float32(1e-3)
        return np.where(hole[..., None], other_grain(truth, hole), around)

    truth = photograph()
    for selection in two_selections(truth):
        shown = fill_in(truth, selection, DistortingSession(truth, paint), HARD)
        assert np.abs(shown - other_grain(truth, selection))[selection].mean() <= 0.01


def test_soft_paint_of_other_detail_is_sharpened_no_more_than_any():
    def paint(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.where(hole[..., None], blur(np.roll(truth, (17, 29), (0, 1)), 1.0), truth)

    truth, selection = noise(), square()
    shown = fill_in(truth, selection, DistortingSession(truth, paint))
    sharp = np.roll(truth, (17, 29), (0, 1))
    most, least = (detail(picture)[selection].mean() for picture in (sharp, blur(sharp, 1.0)))
    assert 1.2 * least < detail(shown)[selection].mean() < most


def detail(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.abs(picture - blur(picture, 1.0))


@pytest.mark.parametrize("color", [(0.86, 0.12, 0.12), (0.95, 0.85, 0.1), (0.05, 0.05, 0.05)])
@pytest.mark.parametrize("passes", [False, True], ids=["own version", "surroundings kept"])
@pytest.mark.parametrize("bleed_px", [0, BLEED_PX])
def test_another_thing_that_was_asked_for_keeps_its_color(color, passes, bleed_px):
    image = flat()
    grain = np.random.default_rng(5).normal(0, 0.003, image.shape).astype(np.float32)

    def paint(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.where(hole[..., None], np.array(color, np.float32), truth if passes else truth + grain)

    shown = fill_in(image, square(), DistortingSession(image, paint, bleed_px), HARD)
    assert np.abs(shown - np.array(color, np.float32))[square()].max() <= 0.01


@pytest.mark.parametrize("columns", [30, 90, 150])
def test_a_thing_in_part_of_the_bleed_neither_fades_nor_spreads(columns):
    image, red = flat(), np.array((0.86, 0.12, 0.12), np.float32)
    thing = np.zeros((SIDE_PX, SIDE_PX), bool)
    thing[:, :columns] = True

    def paint(truth: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
        return np.where(hole[..., None], np.where(thing[..., None], red, truth), truth)

    shown = fill_in(image, square(), DistortingSession(image, paint), HARD)
    assert np.abs(shown - red)[square() & thing].max(initial=0) <= 0.01
    assert np.abs(shown - image)[square() & ~thing].max(initial=0) <= 0.01


@pytest.mark.parametrize("bleed_px", [0, 3])
@pytest.mark.parametrize("side_px", [1, 2, 9, 20])
def test_numbers_of_any_size_end_in_numbers(side_px, bleed_px):
    random = np.random.default_rng(side_px)
    for _ in range(20):
        image = random.choice([-65504, -1e-30, 0, 0.3, 1e-9, 65504], (40, 50, 3)).astype(np.float32)
        top, left = random.integers(0, 40 - side_px), random.integers(0, 50 - side_px)
        mask = np.zeros((40, 50), np.float32)
        mask[top : top + side_px, left : left + side_px] = 1
        known = random.random(mask.shape) < 0.9
        wide, bleed = add_bleed(mask, known, bleed_px)
        painted = np.where(wide[..., None] > 0, random.random(image.shape), image).astype(np.float32)
        assert np.isfinite(match(painted, image, mask, known, bleed)).all()


def test_with_hardly_any_bleed_the_step_tells():
    truth, selection = flat(), square()
    hole, bleed = selection.copy(), np.zeros_like(selection)
    bleed[90:96, 144:156] = True
    painted = np.where((hole | bleed)[..., None], truth - np.float32(0.05), truth)
    mask, known = hole.astype(np.float32), np.ones_like(hole)
    assert np.abs(match(painted, truth, mask, known, Bleed(bleed, 6, 4)) - truth).max() < 0.01


def test_a_thing_painted_over_its_surroundings_keeps_its_color():
    truth, selection = noise(), square()
    green = np.array([0.12, 0.66, 0.2], np.float32)
    painted = np.where(grow(selection, 60)[..., None], green, truth)
    mask, known = selection.astype(np.float32), np.ones_like(selection)
    assert np.abs(match(painted, truth, mask, known)[selection] - green).max() < 0.02
