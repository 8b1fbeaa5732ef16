"""What other machines make different, as far as this one can tell: no oneDNN, Apple's graphics, parts that wait, what cards
round otherwise, cards that fail."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.diffusion.sessions import fill, part_of

from overpaint_backend.engines.base import GenerationSettings
from overpaint_backend.engines.diffusion.memory import (
    choose_dtype,
    free_unused,
    is_lost,
    is_out_of_memory,
    memory_of,
)
from overpaint_backend.engines.diffusion.preview import LatentPreview
from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import LoraWeight

CPU, CARD = torch.device("cpu"), torch.device("cuda")
LARGE = 4 << 30


def test_a_build_without_one_dnn_computes_in_whole_numbers(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", None)  # what it would be asked is not there either
    assert choose_dtype(CPU, LARGE) is torch.float32


def test_what_apples_graphics_keep_is_given_back_as_well(monkeypatch):
    given_back = []
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: given_back.append(True))
    free_unused()
    assert given_back


@pytest.mark.parametrize("family_id", ["sd15", "qwen-image"])
def test_the_chart_of_a_preview_goes_where_the_autoencoder_works(open_session, family_id):
    session, family = open_session(family_id), FAMILIES[family_id]
    autoencoder = part_of(session, family.autoencoder)  # waits on the processor
    seen = []

    def encode(pixels):
        seen.append(pixels.device.type)
        return autoencoder.encode(torch.zeros(pixels.shape))

    elsewhere = torch.device("meta")
    preview = LatentPreview(autoencoder, encode, family.layout, elsewhere)
    cells = {"sd15": torch.zeros(1, 4, 8, 8), "qwen-image": torch.zeros(1, 64, 16)}[family_id]
    preview.picture(cells, Size(64, 64))
    assert seen == ["meta"]


@pytest.mark.parametrize("family_id", ["sd15-inpaint", "kandinsky22"])
def test_a_table_that_was_moved_to_a_card_is_not_what_the_next_fill_begins_with(open_session, family_id):
    session = open_session(family_id)
    before = fill(session)
    schedulers = [
        part for part in session._model._pipeline.components.values() if hasattr(part, "alphas_cumprod")
    ]
    assert schedulers
    for scheduler in schedulers:
        scheduler.alphas_cumprod = scheduler.alphas_cumprod * 0.99  # rounded otherwise, for all to see
    assert np.array_equal(fill(session), before)


def test_whether_torch_could_learn_is_the_same_before_and_after_a_lora(open_session, toy_loras):
    """It decides between two ways to multiply, which on a card are rounded differently."""
    loras = toy_loras("sdxl")
    session = open_session("sdxl")

    def learning():
        parts = session._model._pipeline.components.values()
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        return [weight for module in modules for weight in module.parameters() if weight.requires_grad]

    assert not learning()
    mix = tuple(LoraWeight(id=lora) for lora in loras)
    fill(session, settings=GenerationSettings(steps=1, loras=mix))
    fill(session)
    assert not learning()


NO_ROOM = "CUDA error: out of memory"
FAULT = "CUDA error: device-side assert triggered"


@pytest.mark.parametrize(
    ("words", "is_it"),
    [
        (NO_ROOM, True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`", False),
        (FAULT, False),
    ],
)
def test_lack_of_memory_is_told_from_other_faults_of_a_card(words, is_it):
    assert is_out_of_memory(RuntimeError(words)) is is_it


def raising(words):
    def fail(*arguments):
        raise RuntimeError(words)

    return fail


def test_a_card_too_full_to_be_asked_has_no_room_and_other_faults_are_not_taken_for_that(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=8))
    monkeypatch.setattr(torch.cuda, "mem_get_info", raising(NO_ROOM))
    memory = memory_of(CARD)
    assert (memory.free_bytes, memory.total_bytes, memory.is_main) == (0, 8, False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", raising(FAULT))
    with pytest.raises(RuntimeError, match="assert"):
        memory_of(CARD)


def test_a_card_is_lost_to_a_process_after_a_fault_and_not_after_lack_of_memory(monkeypatch):
    assert not is_lost(CPU)
    for words, lost in ((FAULT, True), (NO_ROOM, False)):
        monkeypatch.setattr(torch.cuda, "synchronize", raising(words))
        assert is_lost(CARD) is lost
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    assert not is_lost(CARD)
