"""How much memory there is where engines compute."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import psutil

from overpaint_backend.models.tiers import HEADROOM_FRACTION

from .base import Device

__all__ = ["DeviceMemory", "device_kind", "device_memory", "is_lost", "main_memory"]


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """free_bytes: what a model can have of total_bytes now. is_main: editors and everything else live there as well."""

    free_bytes: int
    total_bytes: int
    is_main: bool

    @property
    def room_bytes(self) -> int:
        """What the weights of a model may take; the rest of what is free is for its steps."""
        return int(self.free_bytes * HEADROOM_FRACTION)


def main_memory() -> DeviceMemory:
    """The machine's memory."""
    memory = psutil.virtual_memory()
    return DeviceMemory(memory.available, memory.total, is_main=True)


def device_kind(device: Device) -> str:
    """What ``device`` turns out to be: ``cpu``, ``cuda`` or ``mps``; ``cpu`` before anything has imported torch."""
    if "torch" not in sys.modules:
        return "cpu"
    from .diffusion.memory import choose_device

    return choose_device(device).type


def is_lost(device: Device) -> bool:
    """Whether this process can compute on ``device`` no more, and another one could. Ask when an engine failed."""
    if "torch" not in sys.modules:
        return False
    from .diffusion import memory

    return memory.is_lost(memory.choose_device(device))


def device_memory(device: Device) -> DeviceMemory:
    """The memory of ``device``. Imports torch where it is installed, so ask when a model is about to be opened."""
    try:
        from .diffusion.memory import choose_device, memory_of
    except ImportError:  # nothing here computes anywhere but on the processor then
        return main_memory()
    return memory_of(choose_device(device))
