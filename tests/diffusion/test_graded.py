"""Soft masks in models that only have their latents masked: what is selected in part changes in part."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from tests.diffusion.sessions import fill, request
from tests.diffusion.toys import install_toy

from overpaint_backend.engines.base import Device, GenerationSettings, OperationName
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.models.families import FAMILIES, MaskConvention
from overpaint_backend.models.store import ModelStore

LATENTS = [family_id for family_id, family in FAMILIES.items() if family.mask is MaskConvention.LATENTS]
LEVELS = (1.0, 0.6, 0.3, 0.05)
FROM_WHAT_IS_THERE = GenerationSettings(steps=8, strength=0.999)
"""Begins with what is under the mask, so that seeds differ by what is let go alone."""


def graded_mask():
    """Four columns of a quarter of the picture each, by LEVELS."""
    return np.repeat(np.array(LEVELS, np.float32), 16)[None].repeat(64, axis=0)


@contextmanager
def decoded(session, family_id):
    """Collects the latents that are decoded."""
    autoencoder = getattr(session._model._pipeline, FAMILIES[family_id].autoencoder)
    decode = autoencoder.decode
    latents = []

    def note(z, *args, **kwargs):
        latents.append(z.float().numpy().reshape(-1, *z.shape[-2:]))
        return decode(z, *args, **kwargs)

    autoencoder.decode = note
    yield latents
    del autoencoder.decode


@pytest.mark.parametrize("family_id", LATENTS)
def test_cells_differ_from_seed_to_seed_as_far_as_they_are_selected(tmp_path, small_edits, family_id):
    # a ControlNet would tell the model what surrounds the hole
    model = ModelStore(tmp_path).get(install_toy(tmp_path, family_id, without=("controlnet",)))
    session = DiffusionEngine(model, FAMILIES[family_id]).open(Device())
    with decoded(session, family_id) as latents:
        for seed in (1, 2):
            fill(session, mask=graded_mask(), settings=FROM_WHAT_IS_THERE, seed=seed)
    session.close()
    apart = np.abs(latents[0] - latents[1]).mean(axis=(0, 1))
    by_level = apart.reshape(4, -1).mean(axis=1)
    assert by_level[0] > by_level[1] > by_level[2] > by_level[3]
    assert by_level[3] == 0  # its turn would come after the last step


def test_only_proportions_count(open_session):
    session = open_session("sd15")
    whole = request().mask
    options = {"settings": GenerationSettings(steps=2)}
    assert np.array_equal(
        fill(session, mask=whole, **options), fill(session, mask=whole * np.float32(0.4), **options)
    )


def test_what_is_removed_goes_as_a_whole(open_session):
    session = open_session("sd15")
    soft = np.where(request().mask > 0, graded_mask(), np.float32(0))
    options = {"operation": OperationName.REMOVE, "settings": GenerationSettings(steps=2)}
    assert np.array_equal(fill(session, mask=soft, **options), fill(session, mask=np.ceil(soft), **options))


def test_a_model_trained_to_fill_paints_all_that_is_selected(open_session):
    session = open_session("sd15-inpaint")
    soft = np.where(request().mask > 0, graded_mask(), np.float32(0))
    options = {"settings": GenerationSettings(steps=2)}
    assert np.array_equal(fill(session, mask=soft, **options), fill(session, mask=np.ceil(soft), **options))


def test_the_pipeline_is_left_as_it_was(open_session):
    session = open_session("sd15")
    before = fill(session)
    fill(session, mask=graded_mask())
    assert "prepare_mask_latents" not in vars(session._model._pipeline)
    assert np.array_equal(before, fill(session))


def test_what_is_selected_in_part_everywhere_still_counts(open_session):
    """A gradient over the whole picture leaves nothing beside the selection, and is no empty canvas for that."""
    session = open_session("sd15")
    options = {"mask": graded_mask(), "settings": GenerationSettings(steps=8)}
    with decoded(session, "sd15") as latents:
        fill(session, **options)
        fill(session, seed=6, **options)
        fill(session, image=1 - request().image, **options)
    by_seed, by_picture = (np.abs(latents[0] - other).mean(axis=(0, 1)) for other in latents[1:])
    full, faint = np.s_[: len(by_seed) // 4], np.s_[-len(by_seed) // 4 :]
    assert by_seed[faint].mean() == 0
    assert by_picture[faint].mean() > 0
    assert by_seed[full].mean() > by_picture[full].mean()
