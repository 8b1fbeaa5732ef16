"""Where a model computes, in which numbers, and what to try when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import torch

from overpaint_backend.engines.base import Device
from overpaint_backend.models.families import Family
from overpaint_protocol.errors import OutOfMemory
from overpaint_protocol.geometry import Size

__all__ = [
    "Placement",
    "Thrift",
    "choose_device",
    "choose_dtype",
    "free_unused",
    "is_out_of_memory",
    "too_large",
]

_SMALL_MODEL_BYTES = 512 << 20
_HEADROOM_FRACTION = 0.8
"""Of the free memory; the rest is for what the steps themselves need."""


class Thrift(IntEnum):
    """Steps of a ladder: each saves more memory and costs more time or quality than the one before."""

    NONE = 0
    TILED = 1
    """The autoencoder works in tiles, one picture at a time."""
    OFFLOADED = 2
    """Components wait in main memory for their turn."""
    SMALLER = 3
    """The model paints at 0.75 of its side and the result is scaled up."""
    SMALLEST = 4
    """The same at half."""

    @property
    def scale(self) -> float:
        """How much of its side the model paints at."""
        return {Thrift.SMALLER: 0.75, Thrift.SMALLEST: 0.5}.get(self, 1.0)


class Placement:
    """Where a loaded pipeline lies. Only gets thriftier.

    Args:
        pipeline: a diffusers pipeline, in main memory.
        family: what is known of it.
        device: where to compute.
        dtype: of its weights.
    """

    def __init__(self, pipeline: Any, family: Family, device: torch.device, dtype: torch.dtype) -> None:
        self._pipeline = pipeline
        self._device = device
        self._autoencoder = getattr(pipeline, family.autoencoder)
        self.thrift = Thrift.NONE
        self._picture_bytes: dict[Size, int] = {}
        self._is_offloaded = False
        if device.type != "cuda" or _fits(pipeline, device, dtype):
            pipeline.to(device)
        else:
            self._offload()

    def save(self) -> Thrift | None:
        """Take the next step of the ladder; None if there is none left."""
        if self.thrift is Thrift.SMALLEST:
            return None
        self.thrift = Thrift(self.thrift + 1)
        if self.thrift is Thrift.TILED:
            for name in ("enable_tiling", "enable_slicing"):
                if hasattr(self._autoencoder, name):
                    getattr(self._autoencoder, name)()
        elif self.thrift is Thrift.OFFLOADED and self._device.type == "cuda":
            self._offload()
        return self.thrift

    @contextmanager
    def watched(self, work: Size, pictures: int) -> Iterator[None]:
        """Measure what sampling so many pictures of the size ``work`` takes beside the weights, on CUDA."""
        if self._device.type != "cuda":
            yield
            return
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        yield
        taken = torch.cuda.max_memory_allocated(self._device) - before
        self._picture_bytes[work] = max(self._picture_bytes.get(work, 0), taken // pictures)

    def room_for(self, work: Size) -> int:
        """How many pictures of the size ``work`` can be sampled together; 1 until one was.

        Only on CUDA: there a batch takes little longer than one picture, while a processor has nothing left to share.
        """
        picture_bytes = self._picture_bytes.get(work, 0)
        if picture_bytes == 0 or self.thrift is not Thrift.NONE or self._is_offloaded:
            return 1
        free, _ = torch.cuda.mem_get_info(self._device)
        free += torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return max(1, int(free * _HEADROOM_FRACTION) // picture_bytes)

    def tidy(self) -> None:
        """Put all offloaded parts back into main memory, whatever became of the call that used them."""
        self._pipeline.maybe_free_model_hooks()

    def _offload(self) -> None:
        self._is_offloaded = True
        self._pipeline.enable_model_cpu_offload(device=self._device)


def choose_device(device: Device) -> torch.device:
    """Torch's name for ``device``; for ``auto`` the best there is."""
    kind = device.kind
    if kind == "auto":
        if torch.cuda.is_available():
            kind = "cuda"
        elif torch.backends.mps.is_available():
            kind = "mps"
        else:
            kind = "cpu"
    return torch.device("cpu") if kind == "cpu" else torch.device(kind, device.index)


def choose_dtype(device: torch.device, weight_bytes: int) -> torch.dtype:
    """The numbers to compute in.

    Half as many bits are about twice as fast and need half the memory where the machine knows bfloat16. In float16
    some autoencoders overflow, so that comes last. A small model gains nothing and keeps float32.
    """
    if weight_bytes <= _SMALL_MODEL_BYTES:
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out, in one of the ways torch does."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text
    )


def too_large(family: Family, dtype: torch.dtype, detail: str) -> OutOfMemory:
    """The error for a model that found no room, with what it needs."""
    needed = family.memory_bytes(str(dtype).removeprefix("torch.")) / 1e9
    return OutOfMemory(
        f"There is not enough memory for {family.title}, also not with every way to save some. Its weights alone are "
        f"about {needed:.0f} GB. Close other programs, select a smaller area, or choose a smaller model.",
        detail=detail,
    )


def free_unused() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _fits(pipeline: Any, device: torch.device, dtype: torch.dtype) -> bool:
    modules = (part for part in pipeline.components.values() if isinstance(part, torch.nn.Module))
    weights = sum(weight.numel() for module in modules for weight in module.parameters()) * dtype.itemsize
    free, _ = torch.cuda.mem_get_info(device)
    return weights <= free * _HEADROOM_FRACTION
