"""Toys for the tests on a graphics card, and the devices they run on: the processor checks the tests themselves."""

from __future__ import annotations

import pytest
import torch
from tests.diffusion.conftest import *  # noqa: F403 - its fixtures are used here as well

from overpaint_backend.engines.base import Device


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Device:
    return Device(request.param)


@pytest.fixture(autouse=True)
def whole_card():
    """A card without limits before and after each test."""
    yield
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
