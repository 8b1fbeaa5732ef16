"""Every family, as a toy with random weights, keeps the promises of engines."""

from __future__ import annotations

import json

import diffusers
import numpy as np
import pytest
import torch
from tests.diffusion.sessions import count_encodings

from overpaint_backend.engines.base import GenerationSettings
from overpaint_backend.engines.diffusion.loading import quiet
from overpaint_backend.engines.diffusion.provider import DiffusionEngine, DiffusionProvider
from overpaint_backend.engines.testing import EngineConformance
from overpaint_backend.models.families import FAMILIES, family_of_index
from overpaint_backend.models.store import ModelStore


@pytest.mark.parametrize("family_id", FAMILIES)
class TestEachFamily(EngineConformance):
    """The suite for each family in turn, at two steps."""

    @pytest.fixture(autouse=True)
    def engine(self, family_id, models_dir, toy, toy_loras, small_edits):
        model, self._loras = toy(family_id), toy_loras(family_id)
        store = ModelStore(models_dir)
        self._engine = DiffusionEngine(model, FAMILIES[family_id], store, installed=store.models())

    def make_engine(self):
        return self._engine

    def make_request(self, height, width, hole, **changes):
        return super().make_request(
            height,
            width,
            hole,
            **{"settings": GenerationSettings(steps=2), "prompt": "a red door", **changes},
        )

    def test_its_own_loras_are_announced(self):
        assert {lora.id for lora in self._engine.info().loras} == set(self._loras)

    def test_words_alone_are_painted_as_diffusers_does(self, family_id, toy):
        family = FAMILIES[family_id]
        if not family.pipelines.text:
            return
        side = toy(family_id).native_px
        session = self._engine.open(self.device)
        direct = getattr(diffusers, family.pipelines.text).from_pipe(session._model._pipeline)
        direct.set_progress_bar_config(disable=True)
        arguments = {
            "prompt": "a red door",
            "height": side,
            "width": side,
            "num_inference_steps": 2,
            "generator": torch.Generator().manual_seed(3),
            "output_type": "np",
        }
        if family.guidance_argument:
            arguments[family.guidance_argument] = family.guidance
        if family.takes_negative:
            arguments["negative_prompt"] = "people"
        request = self.make_request(
            side,
            side,
            np.s_[:, :],
            known=np.zeros((side, side), np.bool_),
            negative_prompt="people",
            seed=3,
        )
        with quiet():
            expected = direct(**arguments).images[0]
        assert np.array_equal(session.fill(request, lambda step: None).image, expected)
        session.close()

    def test_a_re_roll_encodes_nothing_again(self):
        session = self._engine.open(self.device)
        calls = count_encodings(session)
        first = self.make_request(48, 64, np.s_[12:36, 20:44], seed=1)
        session.fill(first, lambda step: None)
        assert min(calls.values()) > 0
        calls.update(dict.fromkeys(calls, 0))
        previews = []
        session.fill(
            self.make_request(48, 64, np.s_[12:36, 20:44], seed=2), lambda step: previews.append(step.preview)
        )
        assert set(calls.values()) == {0}
        session.close()

    def test_what_it_weighs_is_told_before_it_is_loaded(self):
        told = self._engine.weight_bytes(self.device)
        session = self._engine.open(self.device)
        parts = session._model._pipeline.components.values()
        modules = [part for part in parts if isinstance(part, torch.nn.Module)]
        tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        session.close()
        assert told == pytest.approx(held, rel=0.02)

    def test_steps_are_shown_as_they_come(self):
        shown = []

        def look(step):
            if step.preview is not None:
                shown.append((step.fraction, step.preview()))

        self.fill(self.make_request(48, 64, np.s_[12:36, 20:44], settings=GenerationSettings(steps=4)), look)
        assert shown[0][0] <= 0.25
        for _, picture in shown:
            assert picture.min() >= -1e-3 or picture is shown[-1][1]
            assert 0.5 < (picture.shape[1] / picture.shape[0]) / (64 / 48) < 2


@pytest.mark.parametrize("family_id", FAMILIES)
def test_the_folder_tells_the_family(family_id, toy):
    folder = toy(family_id).path

    def read_config(component):
        name = "scheduler_config.json" if component == "scheduler" else "config.json"
        return json.loads((folder / component / name).read_text())

    index = json.loads((folder / "model_index.json").read_text())
    assert family_of_index(index, read_config) is FAMILIES[family_id]


def test_unknown_pipelines_have_no_family():
    assert family_of_index({"_class_name": "StableVideoDiffusionPipeline"}, lambda name: {}) is None
    assert family_of_index({"_class_name": "FluxKontextPipeline"}, lambda name: {}) is None
    assert family_of_index({}, lambda name: {}) is None


def test_installed_models_are_offered_by_their_titles(models_dir, toy):
    toy("flux1-schnell")
    toy("sd15")
    infos = {
        engine.info().id: engine.info() for engine in DiffusionProvider(ModelStore(models_dir)).engines()
    }
    assert infos["toy-sd15"].name == "Toy Stable Diffusion 1.5"
    assert infos["toy-sd15"].follows_negative_prompt
    assert not infos["toy-flux1-schnell"].follows_negative_prompt
