"""Days on which memory is short: a finished fill or a clear error, nothing left behind, and the next job is fine."""

from __future__ import annotations

import numpy as np
import peft
import pytest
import torch
from tests.diffusion.sessions import STAGES, Starved, fill, live_bytes, part_of, request

from overpaint_backend.engines.base import Device, GenerationSettings, OperationName, Saving
from overpaint_backend.engines.devices import DeviceMemory
from overpaint_backend.engines.diffusion import memory
from overpaint_backend.engines.diffusion.memory import Placement
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.errors import OutOfMemory
from overpaint_protocol.messages import LoraWeight

SCHEDULE_BYTES = 512
"""What a scheduler may know of its last run: a few numbers for each step."""

POSITION_BYTES = 768
"""The tables of positions that Qwen-Image's class keeps of the two smaller sizes it was tried at."""


def mixing(*lora_ids):
    return {"settings": GenerationSettings(steps=2, loras=tuple(LoraWeight(id=one) for one in lora_ids))}


EMPTY = {"known": np.zeros((64, 64), np.bool_), **mixing()}
EDIT = {"operation": OperationName.EDIT, **mixing()}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("times", [1, 2, 4])
def test_short_memory_ends_in_a_finished_fill(open_session, stage, times):
    session = open_session()
    starved = Starved(session, STAGES[stage], times)
    fractions = []
    image = session.fill(request(), lambda step: fractions.append(step.fraction)).image
    assert starved.left == 0
    assert image.shape == (64, 64, 3)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert np.isfinite(fill(session)).all()


def test_a_model_that_painted_smaller_does_so_no_longer_than_memory_is_short(open_session, monkeypatch):
    session = open_session()
    free_bytes = 8 << 30
    monkeypatch.setattr(memory, "memory_of", lambda device: DeviceMemory(free_bytes, 16 << 30, is_main=True))
    starved = Starved(session, "unet", times=2)
    in_full = fill(session)
    assert session.saving() is Saving.OFFLOADED
    starved.left = 1
    smaller = fill(session)
    assert session.saving() is Saving.SMALLER
    assert not np.array_equal(smaller, in_full)
    free_bytes = 9 << 30
    assert np.array_equal(fill(session), smaller), "there is not clearly more"
    free_bytes = 11 << 30
    assert np.array_equal(fill(session), in_full)
    assert session.saving() is Saving.OFFLOADED


@pytest.mark.parametrize("stage", STAGES)
def test_no_memory_at_all_is_an_error_that_says_what_to_do_and_the_next_fill_works(open_session, stage):
    session = open_session()
    starved = Starved(session, STAGES[stage], 1000)
    with pytest.raises(OutOfMemory, match=r"about 4 GB.*smaller"):
        fill(session)
    starved.left = 0
    assert np.isfinite(fill(session)).all()


@pytest.mark.parametrize(
    ("job", "stage"),
    [
        *(("fill", stage) for stage in STAGES),
        *(("loras", stage) for stage in STAGES),
        *(("empty canvas", stage) for stage in STAGES if stage != "encode"),
    ],
)
def test_a_failed_attempt_leaves_nothing_alive(open_session, toy_loras, job, stage):
    session = open_session("sd15")
    changes = {"fill": mixing(), "empty canvas": EMPTY, "loras": mixing(*toy_loras("sd15"))}[job]
    fill(session, **changes)
    session._model.release()
    before = live_bytes()
    starved = Starved(session, STAGES[stage], 1000)
    with pytest.raises(OutOfMemory):
        fill(session, **changes)
    assert live_bytes() <= before + SCHEDULE_BYTES
    starved.left = 0
    assert np.isfinite(fill(session, **changes)).all()


@pytest.mark.parametrize("stage", ["text_encoder", "vae.encoder", "transformer", "vae.decoder.up_blocks.0"])
def test_a_failed_edit_leaves_nothing_alive(open_session, small_edits, stage):
    session = open_session("qwen-image-edit")
    fill(session, **EDIT)
    session._model.release()
    before = live_bytes()
    starved = Starved(session, stage, 1000)
    with pytest.raises(OutOfMemory):
        fill(session, **EDIT)
    assert live_bytes() <= before + SCHEDULE_BYTES + POSITION_BYTES
    starved.left = 0
    assert np.isfinite(fill(session, **EDIT)).all()


@pytest.mark.parametrize("times", [1, 1000])
def test_no_memory_for_a_lora_leaves_nothing_of_it(open_session, toy_loras, monkeypatch, times):
    session = open_session("sd15")
    plain = fill(session)
    session._model.release()
    before = live_bytes()
    starved = Starved(session, "unet", times)
    starved.hook.remove()
    put_in = peft.set_peft_model_state_dict

    def put_in_if_there_is_room(*arguments, **options):
        starved.fail()
        return put_in(*arguments, **options)

    monkeypatch.setattr(peft, "set_peft_model_state_dict", put_in_if_there_is_room)
    if times == 1:
        fill(session, **mixing(*toy_loras("sd15")))
    else:
        with pytest.raises(OutOfMemory):
            fill(session, **mixing(*toy_loras("sd15")))
    assert starved.left in (0, times - 5)  # tried once on each step of the ladder
    session._model.release()
    assert live_bytes() <= before + SCHEDULE_BYTES
    if times == 1:
        assert np.array_equal(plain, fill(session))


def test_no_memory_for_the_model_leaves_nothing_of_it(toy, monkeypatch):
    model = toy("sd15")
    before = live_bytes()

    def fail(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. (not really)")

    monkeypatch.setattr(Placement, "__init__", fail)
    with pytest.raises(OutOfMemory, match="about 4 GB"):
        DiffusionEngine(model, FAMILIES["sd15"]).open(Device())
    assert live_bytes() <= before


def test_pipelines_of_one_model_share_its_weights(open_session):
    session = open_session("sd15")
    before = live_bytes()
    fill(session, **EMPTY)
    session._model.release()
    weights = sum(weight.nbytes for weight in part_of(session, "unet").parameters())
    assert live_bytes() - before < weights / 10


def test_a_closed_session_gives_its_memory_back(open_session, toy_loras):
    before = live_bytes()
    session = open_session("sd15")
    fill(session, **mixing(*toy_loras("sd15")))
    fill(session, **EMPTY)
    session.close()
    assert live_bytes() <= before
