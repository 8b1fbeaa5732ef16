"""Models on a graphics card: loading, halved numbers, fills, parts that take turns, memory that runs out, previews.

What can be, also runs on the processor, for one family: so the tests themselves are tried where there is no card.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
import torch
from tests.diffusion import test_families
from tests.diffusion.sessions import HOLE, Starved, part_of, request
from tests.diffusion.toys import install_toy

from overpaint_backend.engines.base import Cancelled, Device, GenerationSettings
from overpaint_backend.engines.diffusion import memory
from overpaint_backend.engines.diffusion.memory import Thrift, choose_device, choose_dtype
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.imaging.preview import encode_preview
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.store import ModelStore
from overpaint_protocol.errors import OutOfMemory

PREVIEW_BYTES = 32768
SLACK_BYTES = 1 << 20


@contextmanager
def opened(model, device):
    session = DiffusionEngine(model, FAMILIES[model.family]).open(device)
    try:
        yield session
    finally:
        session.close()


def fill(session, on_step=lambda step: None, **changes):
    image = session.fill(request(**changes), on_step).image
    assert np.isfinite(image).all()
    return image


def devices_of(session):
    parts = part_of(session, "components").values()
    modules = [part for part in parts if isinstance(part, torch.nn.Module)]
    return {weight.device.type for module in modules for weight in module.parameters()}


def memory_in_use(device):
    gc.collect()
    if device.kind == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


@pytest.fixture
def halved(monkeypatch):
    """Toys computed in the numbers of real models; as small as they are, they would keep their own."""
    monkeypatch.setattr(memory, "_SMALL_MODEL_BYTES", 0)


@pytest.mark.usefixtures("halved")
def test_weights_lie_on_the_device_in_its_numbers(toy, device):
    with opened(toy("sd15-inpaint"), device) as session:
        assert devices_of(session) == {device.kind}
        dtype = part_of(session, "unet").dtype
        assert dtype == choose_dtype(choose_device(device), 1)
        if device.kind == "cuda":
            assert dtype in (torch.bfloat16, torch.float16)
        image = fill(session)
        assert not np.array_equal(image[HOLE], request().image[HOLE])
        assert image.shape == request().image.shape
        assert np.isfinite(image).all(), "also around the hole, where it is the model's version"


@pytest.mark.gpu
@pytest.mark.usefixtures("halved")
@pytest.mark.parametrize("family_id", FAMILIES)
def test_every_family_fills_in_halved_numbers(toy, family_id, monkeypatch):
    monkeypatch.setattr(
        "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_inpaint.calculate_dimensions",
        lambda area, ratio: (64, 64, None),
    )
    with opened(toy(family_id), Device("cuda")) as session:
        assert devices_of(session) == {"cuda"}
        fill(session)


@pytest.mark.gpu
class TestEachFamilyOnACard(test_families.TestEachFamily):
    """Every family keeps the promises of engines on a card as well."""

    device = Device("cuda")
    rounding = 2e-2  # cards shorten the numbers of convolutions


def test_previews_are_small_and_the_first_comes_early(toy, device):
    shown = []

    def look(step):
        if step.preview is not None:
            shown.append((step.fraction, encode_preview(step.preview(), PREVIEW_BYTES)))

    with opened(toy("sd15-inpaint"), device) as session:
        fill(session, look, settings=GenerationSettings(steps=8))
    assert shown[0][0] <= 0.25
    for _, preview in shown:
        assert preview is not None
        assert len(preview.jpeg) <= PREVIEW_BYTES


def test_a_cancel_stops_within_one_step_and_the_next_fill_is_the_same(toy, device):
    with opened(toy("sd15-inpaint"), device) as session:
        before = fill(session)
        steps, heard = [], []
        hook = part_of(session, "unet").register_forward_pre_hook(lambda module, arguments: steps.append(1))

        def stop(step):
            heard.append(step.fraction)
            if step.fraction > 0.3:
                raise Cancelled

        with pytest.raises(Cancelled):
            fill(session, stop, settings=GenerationSettings(steps=20))
        assert len(steps) == len([fraction for fraction in heard if fraction > 0])
        hook.remove()
        assert np.array_equal(fill(session), before)


@pytest.mark.gpu
@pytest.mark.parametrize("family_id", ["sd15-inpaint", "flux2-klein", "z-image-turbo", "qwen-image"])
def test_parts_take_turns_where_the_card_is_too_small_for_all(toy, family_id, monkeypatch):
    """The last two have a ControlNet, which the network must find whole beside it."""
    card = Device("cuda")
    with opened(toy(family_id), card) as session:
        whole = fill(session)
    memory_in_use(card)
    total = torch.cuda.get_device_properties(0).total_memory
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (0, total))
    monkeypatch.setattr(
        torch.cuda, "memory_reserved", torch.cuda.memory_allocated
    )  # torch keeps nothing either
    with opened(toy(family_id), card) as session:
        assert devices_of(session) == {"cpu"}
        for _ in range(2):
            # Between the steps a preview is made, for which the autoencoder has its turn.
            turns = fill(session, lambda step: step.preview and step.preview())
            assert np.allclose(turns, whole, atol=2e-2)
            assert devices_of(session) == {"cpu"}


@pytest.mark.gpu
def test_a_preview_finds_the_autoencoder_wherever_it_waits(toy, monkeypatch):
    """On an empty canvas nothing was encoded before the first preview."""
    monkeypatch.setattr(memory, "_fits", lambda *arguments: False)
    with opened(toy("sd15"), Device("cuda")) as session:
        fill(session, lambda step: step.preview and step.preview(), known=np.zeros((64, 64), np.bool_))


@contextmanager
def short_memory(session, device):
    """No room but for what is there already; on the processor the network says so instead, four times."""
    if device.kind == "cuda":
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction((memory_in_use(device) + SLACK_BYTES) / total)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        return
    starved = Starved(session, "unet", times=4)
    try:
        yield
    finally:
        starved.hook.remove()


@pytest.mark.parametrize(
    ("device", "native_px"),
    [
        (Device("cpu"), 64),
        pytest.param(Device("cuda"), 256, marks=pytest.mark.gpu),
        pytest.param(Device("cuda"), 1024, marks=pytest.mark.gpu),
    ],
    ids=["cpu", "cuda-256", "cuda-1024"],
)
def test_real_lack_of_memory_ends_well_and_leaves_nothing_behind(tmp_path, device, native_px):
    """A fill that finishes with less memory, or a clear error; then the next one as if nothing had been."""
    install_toy(tmp_path, "sd15-inpaint", native_px=native_px)
    with opened(ModelStore(tmp_path).get("toy-sd15-inpaint"), device) as session:
        fill(session)
        baseline = memory_in_use(device)
        ended = "finished"
        with short_memory(session, device):
            try:
                fill(session, seed=6)
            except OutOfMemory as error:
                ended = error.message
        assert session._model.placement.thrift > Thrift.NONE, "memory did not run out"
        assert ended == "finished" or "smaller" in ended
        assert memory_in_use(device) <= baseline + (SLACK_BYTES if device.kind == "cuda" else 48 << 20)
        fill(session)
