"""What a session does beyond the promises of engines: steps, strength, settings, and its errors."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest
from tests.diffusion.sessions import HOLE, STAGES, Starved, fill, part_of, request
from transformers import CLIPTextConfig, CLIPTextModel

from overpaint_backend.engines.base import Cancelled, Device, GenerationSettings, OperationName, Saving
from overpaint_backend.engines.diffusion.memory import Thrift
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.errors import EngineError, OutOfMemory, UnsupportedOperation


@pytest.mark.parametrize("stage", STAGES)
def test_other_models_leave_before_anything_is_saved_at_the_price_of_quality(open_session, stage):
    others = ["one model", "another"]

    def make_room():
        had_any = bool(others)
        others.clear()
        return had_any

    session = open_session(make_room=make_room)
    starved = Starved(session, STAGES[stage], 1)
    hungry = fill(session)
    assert starved.left == 0
    assert np.array_equal(hungry, fill(session))
    assert others == []
    assert session._model.placement.thrift is Thrift.NONE
    starved.left = 1
    session._model.forget()
    fill(session)
    assert session._model.placement.thrift is Thrift.TILED
    assert session.saving() is Saving.TILED


def test_the_error_says_what_there_is(open_session):
    session = open_session()
    Starved(session, STAGES["sample"], 1000)
    total_gb = psutil.virtual_memory().total / 1e9
    with pytest.raises(OutOfMemory, match=rf"This machine has {total_gb:.0f} GB, \d+\.\d GB of it free"):
        fill(session)


def test_other_failures_are_not_taken_for_a_lack_of_memory(open_session):
    session = open_session()

    def fail(module, arguments):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    part_of(session, "unet").register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="mat1"):
        fill(session)


def test_a_cancel_in_the_middle_stops_within_one_step(open_session):
    session = open_session()
    steps = []
    part_of(session, "unet").register_forward_pre_hook(lambda module, arguments: steps.append(1))
    heard = []

    def stop(step):
        heard.append(step.fraction)
        if step.fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        session.fill(request(settings=GenerationSettings(steps=20)), stop)
    assert len(steps) == len([fraction for fraction in heard if fraction > 0])
    assert len(steps) < 10


def test_steps_are_those_asked_for(open_session):
    session = open_session()
    steps = []
    part_of(session, "unet").register_forward_pre_hook(lambda module, arguments: steps.append(1))
    fill(session, settings=GenerationSettings(steps=7))
    assert len(steps) == 7


@pytest.mark.parametrize("family_id", ["sd15-inpaint", "sd15", "flux1-dev"])
def test_strength_leads_away_from_what_is_there(open_session, family_id):
    session = open_session(family_id)
    before = request().image[HOLE]
    distances = []
    for strength in (0.0, 0.3, 0.6, 1.0):
        settings = GenerationSettings(steps=10, strength=strength)
        images = [fill(session, settings=settings, seed=seed)[HOLE] for seed in range(4)]
        distances.append(np.mean([np.abs(image - before).mean() for image in images]))
    assert distances[0] < 1e-3  # the working size is the request's here
    assert all(np.isfinite(distances))


def test_full_strength_is_what_no_strength_means(open_session):
    session = open_session("sd15")
    anew = GenerationSettings(steps=4, strength=1.0)
    assert np.array_equal(fill(session), fill(session, settings=anew))


def test_a_model_without_strength_says_so(open_session):
    with pytest.raises(UnsupportedOperation, match=r"always paints the selection anew.*100 %"):
        fill(open_session("kandinsky22"), settings=GenerationSettings(strength=0.5))


def test_guidance_and_the_negative_prompt_count(open_session):
    session = open_session("sd15")
    plain = fill(session)
    assert not np.array_equal(plain, fill(session, negative_prompt="people"))
    assert not np.array_equal(plain, fill(session, settings=GenerationSettings(steps=4, guidance=2.0)))
    unguided = GenerationSettings(steps=4, guidance=1.0)
    assert np.array_equal(
        fill(session, settings=unguided), fill(session, settings=unguided, negative_prompt="people")
    )


@pytest.mark.parametrize(("side_px", "detail", "bleed_px"), [(64, None, 12), (128, 0.5, 24), (32, None, 6)])
def test_the_bleed_is_so_many_pixels_of_what_the_model_paints(open_session, side_px, detail, bleed_px):
    mask = np.zeros((side_px, side_px), np.float32)
    mask[: side_px // 2] = 1
    changes = {
        "image": np.full((side_px, side_px, 3), 0.5, np.float32),
        "mask": mask,
        "known": np.ones((side_px, side_px), np.bool_),
        "settings": GenerationSettings(detail=detail),
    }
    session = open_session()
    assert session.bleed_px(request(**changes)) == bleed_px
    assert session.bleed_px(request(**changes, operation=OperationName.EDIT)) == 0


def test_what_is_hidden_does_not_show(open_session):
    session = open_session("sd15")
    other = request().image.copy()
    other[HOLE] = 1 - other[HOLE]
    assert np.array_equal(fill(session), fill(session, image=other))


def test_a_closed_session_says_so(open_session):
    session = open_session()
    session.close()
    with pytest.raises(EngineError, match="unloaded"):
        fill(session)


def test_a_closed_session_gives_its_memory_back_to_other_programs(toy, tmp_path):
    model = toy("sd15")
    shutil.copytree(model.path, tmp_path / "files")
    large = CLIPTextConfig.from_pretrained(model.path / "text_encoder", intermediate_size=100_000)
    CLIPTextModel(large).save_pretrained(tmp_path / "files" / "text_encoder")
    engine = DiffusionEngine(
        replace(model, path=tmp_path / "files", base=tmp_path / "files"), FAMILIES["sd15"]
    )
    weights = engine.weight_bytes(Device())
    process = psutil.Process()
    held = []
    for seed in range(4):
        session = engine.open(Device())
        session.fill(request(seed=seed), lambda step: None)
        session.close()
        held.append(process.memory_info().rss)
    assert weights > 50_000_000
    assert max(held) - held[0] < weights / 2


def test_a_folder_with_something_missing_is_an_error_in_a_sentence(models_dir):
    from tests.diffusion.toys import install_toy

    from overpaint_backend.models.store import ModelStore

    install_toy(models_dir, "sd15", model_id="holey")
    model = ModelStore(models_dir).get("holey")
    shutil.rmtree(model.path / "vae")
    with pytest.raises(EngineError, match="overpaint models verify holey"):
        DiffusionEngine(model, FAMILIES["sd15"]).open(Device())
    shutil.rmtree(models_dir / "holey")


@pytest.mark.parametrize(
    "statement",
    [
        "import overpaint_backend.cli.app",
        "import overpaint_backend.daemon",
        "import overpaint_backend.engines.diffusion.provider",
        "from overpaint_backend.engines.registry import EngineRegistry; EngineRegistry.installed().infos()",
    ],
)
def test_torch_is_only_imported_where_a_model_is_opened(statement, models_dir, toy):
    toy("sd15")
    check = "import sys; assert not {'torch', 'diffusers', 'transformers'} & sys.modules.keys()"
    subprocess.run(
        [sys.executable, "-c", f"{statement}; {check}"],
        check=True,
        env={
            "PYTHONPATH": ":".join(path for path in sys.path if path),
            "OVERPAINT_MODELS_DIR": str(models_dir),
            "PATH": "",
        },
    )
