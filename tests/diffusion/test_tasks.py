"""What a session does beside filling holes: an empty canvas, and edits by instruction."""

from __future__ import annotations

import numpy as np
import pytest
from tests.diffusion.sessions import HOLE, count_encodings, fill, part_of, request

from overpaint_backend.engines.base import GenerationSettings, OperationName
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.errors import NothingToSample, UnsupportedOperation

EMPTY = np.zeros((64, 64), np.bool_)


@pytest.mark.parametrize("family_id", ["sd15", "sd15-inpaint", "flux1-dev"])
def test_on_an_empty_canvas_the_selection_is_the_picture(open_session, family_id):
    session = open_session(family_id)
    part = fill(session, known=EMPTY)
    side = HOLE[0].stop - HOLE[0].start
    whole = fill(
        session,
        image=np.zeros((side, side, 3), np.float32),
        mask=np.ones((side, side), np.float32),
        known=np.zeros((side, side), np.bool_),
    )
    assert np.array_equal(part[HOLE], whole)


def test_all_of_a_picture_selected_is_an_empty_canvas(open_session):
    session = open_session("sd15")
    everything = np.ones((64, 64), np.float32)
    assert np.array_equal(fill(session, mask=everything), fill(session, mask=everything, known=EMPTY))


@pytest.mark.parametrize(("strength", "counts"), [(0.5, True), (None, False)])
def test_what_is_there_counts_only_for_a_strength_although_all_is_selected(open_session, strength, counts):
    session = open_session("sd15")
    changes = {
        "mask": np.ones((64, 64), np.float32),
        "settings": GenerationSettings(steps=4, strength=strength),
    }
    first = fill(session, **changes)
    other = fill(session, image=1 - request().image, **changes)
    assert np.array_equal(first, other) is not counts


def test_a_preview_of_a_selection_on_an_empty_canvas_shows_it_in_its_place(open_session):
    session = open_session("sd15")
    previews = []

    def look(step):
        if 0 < step.fraction < 1:
            previews.append(step.preview())

    session.fill(request(known=EMPTY, settings=GenerationSettings(steps=2)), look)
    assert previews
    for preview in previews:
        height, width = preview.shape[:2]
        assert abs(height - width) <= 1
        hole = preview[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4]
        assert hole.any()
        assert np.count_nonzero(preview) == np.count_nonzero(hole)


def test_another_seed_on_an_empty_canvas_encodes_nothing_again(open_session):
    session = open_session("sd15")
    calls = count_encodings(session)
    fill(session, known=EMPTY)
    assert calls["text_encoder"] > 0
    calls["text_encoder"] = 0
    fill(session, known=EMPTY, seed=6)
    assert calls == {"text_encoder": 0, "vae": 0}


def test_an_edit_by_a_model_that_cannot_names_those_that_can(open_session):
    with pytest.raises(UnsupportedOperation, match=r"follows no instructions.*Qwen-Image-Edit.*fill instead"):
        fill(open_session("sd15"), operation=OperationName.EDIT)


def test_an_edit_of_nothing_says_so(open_session):
    with pytest.raises(NothingToSample, match="nothing here to change"):
        fill(open_session("flux2-klein"), operation=OperationName.EDIT, known=EMPTY)


def test_an_edit_knows_no_strength(open_session):
    near = GenerationSettings(steps=2, strength=0.5)
    with pytest.raises(UnsupportedOperation, match=r"as far as it says.*100 %"):
        fill(open_session("flux2-klein"), operation=OperationName.EDIT, settings=near)


@pytest.mark.parametrize("operation", [OperationName.FILL, OperationName.EDIT])
def test_what_works_at_a_megapixel_alone_gives_back_the_size_asked_for(open_session, operation):
    """As Qwen's pipelines that edit do, but where ``small_edits`` keeps the toy from it."""
    session = open_session("qwen-image-edit")
    mask = np.zeros((64, 64), np.float32)
    mask[30:34, 30:34] = 1
    sizes = []
    part_of(session, "vae.encoder").register_forward_pre_hook(
        lambda module, arguments: sizes.append(arguments[0].shape[-2:])
    )
    image = fill(session, operation=operation, mask=mask, settings=GenerationSettings(steps=2))
    assert image.shape == (64, 64, 3)
    assert np.isfinite(image).all()
    assert max(height * width for height, width in sizes) >= 2**20


def test_only_families_that_edit_offer_it(toy):
    editing = {
        family_id
        for family_id, family in FAMILIES.items()
        if OperationName.EDIT in DiffusionEngine(toy(family_id), family).info().operations
    }
    assert editing == {"flux2-klein", "qwen-image-edit"}


@pytest.mark.parametrize(
    ("family_id", "expected"),
    [
        ("sd15", GenerationSettings(steps=25, guidance=7.5, strength=1.0)),
        ("sdxl-inpaint", GenerationSettings(steps=25, guidance=7.5, strength=1.0)),
        ("flux1-schnell", GenerationSettings(steps=4, guidance=None, strength=1.0)),
        ("qwen-image", GenerationSettings(steps=30, guidance=4.0, strength=None)),
        ("kandinsky22", GenerationSettings(steps=50, guidance=4.0, strength=None)),
    ],
)
def test_defaults_are_told_and_chosen(toy, open_session, family_id, expected):
    assert DiffusionEngine(toy(family_id), FAMILIES[family_id]).info().defaults == expected
    session = open_session(family_id)
    assert np.array_equal(fill(session, settings=GenerationSettings()), fill(session, settings=expected))
