"""What a session does beyond the promises of engines: steps, strength, settings, and its errors."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from tests.diffusion.sessions import HOLE, fill, part_of, request

from overpaint_backend.engines.base import Cancelled, Device, GenerationSettings
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.errors import EngineError, UnsupportedOperation


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


def test_a_folder_with_something_missing_is_an_error_in_a_sentence(models_dir):
    import shutil

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
