"""Tests of the engine that runs models. They need torch, and say so instead of being passed over."""

from __future__ import annotations

import gc
import hashlib
import importlib.util
from typing import ClassVar

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    raise pytest.UsageError(
        "tests/diffusion needs torch and diffusers: pip install -e '.[test,diffusion]' (or --ignore tests/diffusion)"
    )

import torch
from tests.diffusion.sessions import SMALL_EDITS
from tests.diffusion.toy_loras import install_toy_lora
from tests.diffusion.toys import install_toy

from overpaint_backend.engines.base import Device, FillResult, Step, no_room
from overpaint_backend.engines.diffusion.provider import DiffusionEngine
from overpaint_backend.engines.embedded import EmbeddedEngine
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.store import ModelStore

# Toys are so small that threads only wait for each other.
torch.set_num_threads(1)


class RememberingEngine(EmbeddedEngine):
    """The embedded engine, which gives what it is asked for again from memory: it would paint the same bits."""

    painted: ClassVar[dict[bytes, np.ndarray]] = {}

    def open(self, device, make_room=no_room):
        return _RememberingSession(super().open(device, make_room))


class _RememberingSession:
    def __init__(self, session):
        self._session = session

    def fill(self, request, on_step):
        asked = hashlib.blake2b(repr((request.mask.shape, request.operation, request.seed)).encode())
        for array in (request.image, request.mask, request.known):
            asked.update(np.ascontiguousarray(array).data)
        key = asked.digest()
        if key in RememberingEngine.painted:
            on_step(Step(1.0))
        else:
            RememberingEngine.painted[key] = self._session.fill(request, on_step).image
        return FillResult(RememberingEngine.painted[key].copy())

    def close(self):
        self._session.close()


@pytest.fixture(autouse=True)
def _remembered_starts(monkeypatch):
    """What models start from is painted once: the same few pictures for all families, and toys take a tenth of the time."""
    monkeypatch.setattr("overpaint_backend.engines.diffusion.start.EmbeddedEngine", RememberingEngine)


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory):
    """A folder for models that starts empty."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def toy(models_dir):
    """Gives the installed toy of a family, built at its first use."""

    def install(family_id):
        store = ModelStore(models_dir)
        if not store.has(f"toy-{family_id}"):
            install_toy(models_dir, family_id)
            # What its libraries brought stays, too (see tests/conftest.py).
            gc.collect()
            gc.freeze()
        return store.get(f"toy-{family_id}")

    return install


@pytest.fixture(scope="session")
def toy_loras(models_dir, toy):
    """Gives the ids of two installed LoRAs that a family shares with its kin, none if it takes none.

    The first changes the text encoders as well, where LoRAs of the family can.
    """

    def install(family_id):
        base = FAMILIES[family_id].lora_base
        if not base:
            return ()
        ids = (f"lora-{base}-words", f"lora-{base}.style")
        if not ModelStore(models_dir).has(ids[0]):
            model = toy(family_id)
            layout = "kohya" if FAMILIES[family_id].main == "unet" else "peft"
            install_toy_lora(models_dir, model, ids[0], in_text=True)
            install_toy_lora(models_dir, model, ids[1], layout=layout, seed=2)
        return ids

    return install


@pytest.fixture
def open_session(models_dir, toy):
    """Opens sessions of toys by family, and closes them after the test."""
    sessions = []

    def open_one(family_id="sd15-inpaint", make_room=no_room):
        engine = DiffusionEngine(toy(family_id), FAMILIES[family_id], ModelStore(models_dir))
        sessions.append(engine.open(Device(), make_room))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


@pytest.fixture
def small_edits(monkeypatch):
    """Lets Qwen's pipelines that edit work at the toys' size."""
    for module, size in SMALL_EDITS.items():
        monkeypatch.setattr(f"{module}.calculate_dimensions", lambda area, ratio, size=size: size)
