"""Tests of the engine that runs models. They need torch, and say so instead of being passed over."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("torch") is None:
    raise pytest.UsageError(
        "tests/diffusion needs torch and diffusers: pip install -e '.[test,diffusion]' (or --ignore tests/diffusion)"
    )

import torch
from tests.diffusion.toys import install_toy

from overpaint_backend.models.store import ModelStore

# Toys are so small that threads only wait for each other.
torch.set_num_threads(1)


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
        return store.get(f"toy-{family_id}")

    return install
