"""Where a model computes, in which numbers, and what to try when memory runs out."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from math import prod
from pathlib import Path
from typing import Any

import torch

from overpaint_backend.engines.base import Device, MakeRoom, Saving
from overpaint_backend.engines.devices import DeviceMemory, main_memory
from overpaint_backend.models.companions import Companions
from overpaint_backend.models.errors import ModelRefused
from overpaint_backend.models.families import Family
from overpaint_backend.models.safetensors_header import read_header
from overpaint_backend.models.store import InstalledModel
from overpaint_protocol.errors import OutOfMemory
from overpaint_protocol.geometry import Size

__all__ = [
    "Placement",
    "Thrift",
    "choose_device",
    "choose_dtype",
    "free_unused",
    "is_lost",
    "is_out_of_memory",
    "memory_of",
    "too_large",
    "weight_bytes",
]

_CLEARLY_MORE = 1.25
_SMALL_MODEL_BYTES = 512 << 20
_NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "status_alloc_failed",  # cuBLAS's and cuDNN's, for what they need themselves
    "allocation_failed",
)


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

    @property
    def saving(self) -> Saving | None:
        """What it costs, as for ``ThriftySession``."""
        return (None, Saving.TILED, Saving.OFFLOADED, Saving.SMALLER, Saving.SMALLER)[self]


class Placement:
    """Where a loaded pipeline lies. Gets thriftier, and paints at full size again when there is more memory.

    Args:
        pipeline: a diffusers pipeline, in main memory.
        family: what is known of it.
        device: where to compute.
        dtype: of its weights.
        make_room: closes what else is loaded.
    """

    def __init__(
        self,
        pipeline: Any,
        family: Family,
        device: torch.device,
        dtype: torch.dtype,
        make_room: MakeRoom,
    ) -> None:
        self._make_room = make_room
        self._pipeline = pipeline
        self._device = device
        self._autoencoder = getattr(pipeline, family.autoencoder)
        self.thrift = Thrift.NONE
        self._picture_bytes: dict[Size, int] = {}
        self._is_offloaded = False
        self._too_little_bytes = 0
        if device.type != "cuda" or _fits(pipeline, device, dtype):
            pipeline.to(device)
        else:
            self._offload()

    def save(self) -> Thrift | None:
        """Make room, or take the next step of the ladder where there is none to make; None if no step is left."""
        if self._make_room():
            return self.thrift
        if self.thrift is Thrift.SMALLEST:
            return None
        self.thrift = Thrift(self.thrift + 1)
        if self.thrift is Thrift.TILED:
            for name in ("enable_tiling", "enable_slicing"):
                if hasattr(self._autoencoder, name):
                    getattr(self._autoencoder, name)()
        elif self.thrift is Thrift.OFFLOADED and self._device.type == "cuda":
            self._offload()
        self._too_little_bytes = memory_of(self._device).free_bytes
        return self.thrift

    def recover(self) -> None:
        """Take back the steps that cost quality, if clearly more memory is free than when the last was taken. Call it before a fill."""
        if (
            self.thrift.scale < 1
            and memory_of(self._device).free_bytes > self._too_little_bytes * _CLEARLY_MORE
        ):
            self.thrift = Thrift.OFFLOADED

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
        return max(1, memory_of(self._device).room_bytes // picture_bytes)

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
    # Builds without oneDNN, as for Apple's processors, lack the question too.
    knows_bfloat16 = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if knows_bfloat16 else torch.float32


def memory_of(device: torch.device) -> DeviceMemory:
    """What there is on ``device``; what torch keeps for later use counts as free."""
    if device.type != "cuda":
        return main_memory()
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        # Other programs left less than CUDA itself needs, so it cannot be asked. That it is there is known without.
        return DeviceMemory(0, torch.cuda.get_device_properties(device).total_memory, is_main=False)
    spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return DeviceMemory(free + spare, total, is_main=False)


def is_lost(device: torch.device) -> bool:
    """Whether this process can compute on ``device`` no more, after what it was asked for last.

    After some faults, such as an access outside of its memory, a graphics card answers every call of a process with the same
    error until that ends. Other processes are not concerned.
    """
    if device.type != "cuda":
        return False
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        return not is_out_of_memory(error)
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out, in one of the ways torch and CUDA's libraries do."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)


def too_large(family: Family, needed_bytes: int, device: torch.device, detail: str) -> OutOfMemory:
    """The error for a model that found no room for ``needed_bytes`` of weights, with what there is."""
    needed = needed_bytes / 1e9
    memory = memory_of(device)
    place = "This machine" if memory.is_main else "The graphics card"
    return OutOfMemory(
        f"There is not enough memory for {family.title}, also not with every way to save some. Its weights alone are "
        f"about {needed:.0f} GB. {place} has {memory.total_bytes / 1e9:.0f} GB, {memory.free_bytes / 1e9:.1f} GB of it "
        "free. Close other programs, select a smaller area, or choose a smaller model.",
        detail=detail,
    )


def weight_bytes(model: InstalledModel, family: Family, companions: Companions, device: Device) -> int:
    """Bytes of all weights once loaded on ``device``; judged by the headers of the files."""
    dtype = choose_dtype(choose_device(device), model.total_bytes + companions.total_bytes)
    weights = 0
    for each in (model, *companions.models):
        # A bare network stands in for that of its base.
        left_out = f"{family.main}/" if each is companions.base else None
        weights += sum(
            _weights_in(each.base / file.path)
            for file in each.files
            if left_out is None or not file.path.startswith(left_out)
        )
    return weights * dtype.itemsize


def free_unused() -> None:
    """Give back what nothing refers to any more, to other programs as well."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if sys.platform == "linux":
        # Without being asked, glibc keeps the memory of freed weights. Other C libraries lack the function.
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _fits(pipeline: Any, device: torch.device, dtype: torch.dtype) -> bool:
    modules = (part for part in pipeline.components.values() if isinstance(part, torch.nn.Module))
    weights = sum(weight.numel() for module in modules for weight in module.parameters()) * dtype.itemsize
    return weights <= memory_of(device).room_bytes


def _weights_in(path: Path) -> int:
    """How many numbers a safetensors file holds; none in a file of another kind. A damaged one is for loading to refuse."""
    try:
        return sum(prod(tensor.shape) for tensor in read_header(path).tensors.values())
    except ModelRefused:
        return 0
