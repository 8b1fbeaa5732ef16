"""The toy model means what it says: single words, negative prompts and seeds.

Every count is over forty seeds, each with its own mask and background. A color with a disc, a disc alone and nothing are asked
for in test_through_daemon.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from tests.toy_model.pictures import COLORS, clouds, color_of, color_shares

WEIGHTS = Path(__file__).parent / "weights"
SEEDS = 40
SIDE = 64
STEPS = 6  # as the tests in the editors
GUIDANCE = 4.0

Fill = Callable[..., list[np.ndarray]]


def make_scenes() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Forty (64, 64, 3) uint8 pictures without a colored thing, and forty (64, 64) bool masks."""
    rng = np.random.default_rng(7)
    pictures, masks = [], []
    for index in range(SEEDS):
        tall, wide = rng.integers(28, 56, 2)
        top, left = rng.integers(0, SIDE - tall + 1), rng.integers(0, SIDE - wide + 1)
        mask = np.zeros((SIDE, SIDE), bool)
        mask[top : top + tall, left : left + wide] = True
        picture = np.full((SIDE, SIDE, 3), (0.8, 0.5, 0.2, 0.95)[index % 4])
        if index % 2:
            picture = picture + 0.08 * clouds(rng, SIDE, SIDE)
        pictures.append((np.clip(picture, 0, 1) * 255).astype(np.uint8))
        masks.append(mask)
    return pictures, masks


PICTURES, MASKS = make_scenes()


@pytest.fixture(scope="module")
def fill() -> Fill:
    """A function that fills the forty scenes by a prompt, one seed each."""
    pipeline = diffusers.StableDiffusionInpaintPipeline.from_pretrained(
        WEIGHTS, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)

    def run(
        prompt: str,
        negative: str = "",
        *,
        guidance: float = GUIDANCE,
        first_seed: int = 0,
    ) -> list[np.ndarray]:
        result = pipeline(
            [prompt] * SEEDS,
            image=[Image.fromarray(picture) for picture in PICTURES],
            mask_image=[Image.fromarray(mask) for mask in MASKS],
            negative_prompt=[negative] * SEEDS,
            num_inference_steps=STEPS,
            guidance_scale=guidance,
            height=SIDE,
            width=SIDE,
            generator=[torch.Generator().manual_seed(first_seed + i) for i in range(SEEDS)],
        )
        return [np.asarray(image) for image in result.images]

    return run


def colors(pictures: list[np.ndarray]) -> list[str]:
    return [color_of(picture, mask) for picture, mask in zip(pictures, MASKS, strict=True)]


def test_committed_weights_stay_small():
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) <= 5_000_000


@pytest.mark.parametrize("color", COLORS)
def test_a_word_alone_is_enough(fill, color):
    assert colors(fill(color)).count(color) >= 38


def test_unknown_words_do_not_matter(fill):
    assert colors(fill("photo of a red disc, best")).count("red") >= 38


def test_stable_diffusion_guidance_works_too(fill):
    assert colors(fill("a red disc", guidance=7.5)).count("red") >= 38


@pytest.mark.parametrize("color", COLORS)
def test_a_negative_color_is_gone(fill, color):
    made = fill("a disc", color)
    # None at all: not even an eighth of the mask, the least that color_of calls a thing.
    without = [color_shares(picture, mask)[color] < 1 / 8 for picture, mask in zip(made, MASKS, strict=True)]
    assert sum(without) >= 36


def test_a_seed_repeats_itself_bit_for_bit(fill):
    first, again, other = fill("a red disc"), fill("a red disc"), fill("a red disc", first_seed=1000)
    for one, two, three in zip(first, again, other, strict=True):
        assert np.array_equal(one, two)
        assert not np.array_equal(one, three)
