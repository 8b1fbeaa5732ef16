"""The bleed: how far an engine paints beyond what shows, and that nothing else changes with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.bench.image import fill_in

from overpaint_backend.engines.base import FillRequest, FillResult, OnStep
from overpaint_backend.imaging.bleed import add_bleed
from overpaint_backend.imaging.mask import distance
from overpaint_protocol.messages import Edges

HEIGHT, WIDTH = 80, 100
EVERYWHERE = np.ones((HEIGHT, WIDTH), np.bool_)
HARD = Edges(grow_px=0, blend_px=0)


def marked(where: tuple[slice, slice], level: float = 1.0) -> NDArray[np.float32]:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[where] = level
    return mask


def noisy(seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    level = random.random((HEIGHT // 10, WIDTH // 10), np.float32)
    return np.where(level > 0.5, level, 0).repeat(10, axis=0).repeat(10, axis=1)


masks = st.integers(0, 99).map(noisy) | st.builds(
    lambda top, left, height, width: marked(np.s_[top : top + height, left : left + width]),
    st.integers(0, HEIGHT - 1),
    st.integers(0, WIDTH - 1),
    st.integers(1, HEIGHT),
    st.integers(1, WIDTH),
)


@given(masks, st.integers(0, 40), st.integers(0, 99))
def test_a_bleed_is_taken_from_known_surroundings_and_leaves_some(mask, bleed_px, seed):
    known = noisy(seed) > 0
    before = mask.copy()
    widened, bleed = add_bleed(mask, known, bleed_px)
    assert np.array_equal(mask, before)
    hole, sources = mask > 0, known & (mask <= 0)
    assert np.array_equal(widened[~bleed.region], mask[~bleed.region])
    assert not (bleed.region & ~sources).any()
    assert not (bleed.region & (distance(hole, bleed_px) > bleed_px)).any()
    if bleed.region.any():
        levels = mask[hole]
        assert widened[bleed.region].min() >= levels.min()
        assert widened[bleed.region].max() <= levels.max()
        assert (sources & ~bleed.region).any()
    assert 0 <= bleed.trusted_px <= bleed_px


def test_a_large_thing_gets_the_bleed_that_is_wanted():
    mask = marked(np.s_[20:60, 20:80])
    widened, bleed = add_bleed(mask, EVERYWHERE, 6)
    assert np.array_equal(widened > 0, distance(mask > 0, 6) <= 6)
    assert bleed.trusted_px == 2


def test_a_small_thing_does_not_become_several_times_as_large():
    widened, bleed = add_bleed(marked(np.s_[40:50, 40:50]), EVERYWHERE, 12)
    assert np.array_equal(widened > 0, distance(marked(np.s_[40:50, 40:50]) > 0, 2) <= 2)
    assert bleed.trusted_px == 0


@pytest.mark.parametrize("left_px", [0, 1, 5, 9])
def test_narrow_surroundings_stay(left_px):
    mask = marked(np.s_[left_px : HEIGHT - left_px, left_px : WIDTH - left_px])
    widened, bleed = add_bleed(mask, EVERYWHERE, 10)
    assert np.array_equal(widened, mask)
    assert not bleed.region.any()


def test_only_where_surroundings_are_narrow_they_stay():
    widened, bleed = add_bleed(marked(np.s_[5:50, 30:70]), EVERYWHERE, 8)
    assert not widened[:5, 45:55].any()
    assert widened[50:58, 45:55].all()
    assert bleed.region[50:58, 45:55].all()


def test_the_bleed_goes_on_as_softly_as_the_mask_ends():
    mask = marked(np.s_[20:60, 20:80])
    mask[20:60, 20:40] = np.linspace(0.1, 1, 20, dtype=np.float32)
    widened, _ = add_bleed(mask, EVERYWHERE, 6)
    assert widened[40, 15:20].max() < 0.4
    assert widened[40, 80:85].min() > 0.8


class _Session:
    """Paints red what it is asked to, and remembers what that was."""

    def __init__(self) -> None:
        self.masks: list[NDArray[np.float32]] = []

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        self.masks.append(request.mask)
        red = np.array((0.9, 0.1, 0.1), np.float32)
        return FillResult(np.where(request.mask[..., None] > 0, red, request.image))

    def close(self) -> None:
        pass


class _BleedSession(_Session):
    def bleed_px(self, request: FillRequest) -> int:
        return 6


@pytest.mark.parametrize("edges", [HARD, Edges()], ids=["hard", "derived"])
def test_the_engine_paints_further_and_the_layer_is_the_same(edges):
    document = np.random.default_rng(2).random((HEIGHT, WIDTH, 3), np.float32)
    selection = marked(np.s_[20:60, 20:80]) > 0
    plain, wanting = _Session(), _BleedSession()
    shown = [fill_in(document, selection, session, edges) for session in (plain, wanting)]
    changed = [(one != document).any(axis=-1) for one in shown]
    assert np.array_equal(*changed)
    before, after = plain.masks[0] > 0, wanting.masks[0] > 0
    assert np.array_equal(after, distance(before, 6) <= 6)
    if edges is HARD:
        assert np.array_equal(changed[1], selection)
