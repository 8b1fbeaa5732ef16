"""What the engine makes of the toy model: strength that only leads away, and a thing from words alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.toy_model.pictures import COLORS, color_of, coverage
from tests.toy_model.test_toy_model import GUIDANCE, MASKS, PICTURES, SEEDS, SIDE, STEPS, WEIGHTS

from overpaint_backend.engines.base import Device, FillRequest, GenerationSettings, OperationName
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.importer import import_model
from overpaint_backend.models.store import ModelStore

STRENGTHS = (0.25, 0.5, 0.75, 1.0)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    store = ModelStore(Path(tmp_path_factory.mktemp("models")))
    model = import_model(store, WEIGHTS, link=True)
    opened = DiffusionEngine(model, FAMILIES[model.family], store).open(Device())
    yield opened
    opened.close()


def paint(session, picture, mask, *, seed, prompt="a red disc", strength=None, is_known=True):
    request = FillRequest(
        image=picture.astype(np.float32) / 255,
        mask=mask.astype(np.float32),
        known=np.full(mask.shape, is_known),
        operation=OperationName.FILL,
        prompt=prompt,
        settings=GenerationSettings(steps=STEPS, guidance=GUIDANCE, strength=strength),
        seed=seed,
    )
    return session.fill(request, lambda step: None).image


@pytest.mark.timeout(300)
def test_strength_leads_away_from_the_original_for_each_seed(session):
    rising = 0
    for seed, (picture, mask) in enumerate(zip(PICTURES, MASKS, strict=True)):
        rows, columns = np.nonzero(mask)
        cover = coverage(SIDE, SIDE, rows.mean() + 0.5, columns.mean() + 0.5, 22)[..., None]
        original = (picture * (1 - cover) + np.array(COLORS["blue"]) * 255 * cover).astype(np.uint8)
        distances = [
            np.abs(paint(session, original, mask, seed=seed, strength=strength) - original / 255)[mask].mean()
            for strength in STRENGTHS
        ]
        rising += distances == sorted(distances)
    assert rising >= SEEDS - 2


@pytest.mark.timeout(300)
@pytest.mark.parametrize("color", COLORS)
def test_words_alone_give_their_color(session, color):
    nothing = np.zeros((SIDE, SIDE, 3), np.uint8)
    everywhere = np.ones((SIDE, SIDE), bool)
    pictures = [
        paint(session, nothing, everywhere, seed=seed, prompt=f"a {color} disc", is_known=False)
        for seed in range(10)
    ]
    found = [color_of(np.rint(np.clip(one, 0, 1) * 255).astype(np.uint8), everywhere) for one in pictures]
    assert found.count(color) >= 9
