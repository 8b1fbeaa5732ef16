"""A loaded model that fills, removes, expands and edits.

The request is laid out at the model's working size, or window by window where it is far larger. The hole gets something to
start from, diffusers' pipeline does the steps, and the result goes back to the request's size. What a family is like stands
in ``models.families``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import (
    Device,
    FillRequest,
    FillResult,
    MakeRoom,
    OnStep,
    OperationName,
    Saving,
)
from overpaint_backend.models.companions import Companions
from overpaint_backend.models.families import Family
from overpaint_backend.models.loras import choose_loras
from overpaint_backend.models.store import InstalledModel, ModelStore
from overpaint_protocol.errors import EngineError

from .loading import load_pipeline
from .memory import choose_device, choose_dtype, free_unused, is_out_of_memory, too_large
from .model import Model
from .progress import Progress
from .start import StartMaker
from .windows import paint_windows

__all__ = ["DiffusionSession"]

_BLEED_WORK_PX = 12
"""Autoencoders take 8 px for one: they lose that much along what they paint, and a half more is good evidence."""


class DiffusionSession:
    """One model on one device.

    Args:
        model: the installed model.
        family: what it is like.
        store: where the LoRAs of jobs are.
        device: where to compute.
        make_room: closes what else is loaded.
        companions: what it is run with.

    Raises:
        EngineError: it cannot be loaded.
        OutOfMemory: there is no room for it.
    """

    def __init__(
        self,
        model: InstalledModel,
        family: Family,
        store: ModelStore,
        device: Device,
        make_room: MakeRoom,
        companions: Companions,
    ) -> None:
        self._family = family
        self._store = store
        self._device = choose_device(device)
        self._dtype = choose_dtype(self._device, model.total_bytes + companions.total_bytes)
        controlnet_bytes = 0 if companions.controlnet is None else companions.controlnet.total_bytes
        self._needed_bytes = family.memory_bytes(str(self._dtype).removeprefix("torch.")) + controlnet_bytes
        self._model, self._starts = self._load(model, companions, make_room)

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Paint what the request's mask covers; raises as ``fill_batch`` does."""
        return self.fill_batch(request, (request.seed,), on_step)[0]

    def bleed_px(self, request: FillRequest) -> int:
        """See BleedSession. None for an edit: what that changes beside the hole is meant, too."""
        if request.operation is OperationName.EDIT or not (request.mask > 0).any():
            return 0
        scale = self._loaded().placement.thrift.scale
        return round(_BLEED_WORK_PX * self._starts.px_per_work_px(request, scale))

    def saving(self) -> Saving | None:
        """See ThriftySession."""
        return self._loaded().placement.thrift.saving

    def batch_limit(self, request: FillRequest) -> int:
        """For how many variants there is room at once; 1 until one was painted at this working size."""
        model = self._loaded()
        if not model.makes_batches or len(self._starts.windows(request, model.placement.thrift.scale)) > 1:
            return 1
        return model.placement.room_for(self._starts.frame(request, model.placement.thrift.scale).work)

    def fill_batch(self, request: FillRequest, seeds: Sequence[int], on_step: OnStep) -> list[FillResult]:
        """Paint what the request's mask covers, once for each of ``seeds``.

        Raises:
            Cancelled: ``on_step`` did.
            RequestError: a LoRA that is not installed.
            UnsupportedOperation: a strength, an edit or a LoRA that the model cannot do.
            NothingToSample: an edit of nothing.
            OutOfMemory: also the smallest working size is too large.
            EngineError: a LoRA cannot be loaded, or the model gave nothing usable.
        """
        progress = Progress(on_step)
        progress.check()
        hole = request.mask > 0
        if not hole.any():
            progress.tell(1.0)
            return [FillResult(request.image) for _ in seeds]
        self._loaded().placement.recover()
        painted = self._paint_all(request, seeds, progress)
        if not all(np.isfinite(picture).all() for picture in painted):
            raise EngineError(
                "The model calculated itself into nothing. Try another seed, or fewer steps and less guidance."
            )
        own = self._own(request)
        images = [
            np.where(own[..., None], picture, request.image).astype(np.float32, copy=False)
            for picture in painted
        ]
        progress.tell(1.0, lambda: images[0])
        return [FillResult(image) for image in images]

    def close(self) -> None:
        """Give back the weights' memory."""
        self._model = None
        self._starts.clear()
        free_unused()

    def _own(self, request: FillRequest) -> NDArray[np.bool_]:
        """Where the result shows what the model made, (H, W): the hole, and around it what it saw in the same pass.

        Its version of the surroundings tells its shifts. What an edit changes there is meant, so it tells nothing.
        """
        own = request.mask > 0
        scale = self._loaded().placement.thrift.scale
        if request.operation is not OperationName.EDIT and len(self._starts.windows(request, scale)) == 1:
            seen = self._starts.frame(request, scale).window
            own[seen.top : seen.bottom, seen.left : seen.right] = True
        return own

    def _paint_all(
        self, request: FillRequest, seeds: Sequence[int], progress: Progress
    ) -> list[NDArray[np.float32]]:
        """Paint at once or in windows; (H, W, 3) of the request's size for each seed."""
        windows = self._starts.windows(request, self._loaded().placement.thrift.scale)
        if len(windows) == 1:
            return self._paint_within_memory(request, seeds, progress)

        def paint(part: FillRequest, progress: Progress) -> NDArray[np.float32]:
            return self._paint_within_memory(part, (part.seed,), progress)[0]

        can_refine = self._starts.can_refine(request)
        return [
            paint_windows(replace(request, seed=seed), windows, paint, part, can_refine=can_refine)
            for (seed,), part in _in_parts(seeds, 1, progress)
        ]

    def _paint_within_memory(
        self, request: FillRequest, seeds: Sequence[int], progress: Progress
    ) -> list[NDArray[np.float32]]:
        """Paint, each time with less memory until it works; (H, W, 3) of the request's size for each seed."""
        model = self._loaded()
        while True:
            try:
                return self._paint(model, request, seeds, progress)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                detail = f"{type(error).__name__}: {error}"
            # Outside of the except clause: the traceback there would keep the failed attempt's tensors alive.
            model.release()
            free_unused()
            if len(seeds) > 1:
                return [
                    picture
                    for some, part in _in_parts(seeds, (len(seeds) + 1) // 2, progress)
                    for picture in self._paint_within_memory(request, some, part)
                ]
            if model.placement.save() is None:
                raise too_large(self._family, self._needed_bytes, self._device, detail)

    def _paint(
        self, model: Model, request: FillRequest, seeds: Sequence[int], progress: Progress
    ) -> list[NDArray[np.float32]]:
        wanted = request.settings.loras
        loras = choose_loras(wanted, self._family, self._store.models()) if wanted else ()
        start = self._starts.make(request, model.placement.thrift.scale, progress.check)
        if start.strength == 0:
            return [start.frame.leave(start.picture)] * len(seeds)
        at_once = len(seeds) if model.makes_batches else 1
        return [
            start.frame.leave(picture)
            for some, part in _in_parts(seeds, at_once, progress)
            for picture in model.sample(request, some, start, loras, part)
        ]

    def _load(
        self, model: InstalledModel, companions: Companions, make_room: MakeRoom
    ) -> tuple[Model | None, StartMaker]:
        family = self._family
        try:
            loaded = load_pipeline(model, family, self._dtype, companions)
            return (
                Model(loaded, family, self._device, self._dtype, make_room),
                StartMaker(family, loaded.native_px, loaded.is_controlled),
            )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            detail = f"{type(error).__name__}: {error}"
        # Outside of the except clause: the traceback there would keep what was loaded alive.
        free_unused()
        raise too_large(family, self._needed_bytes, self._device, detail)

    def _loaded(self) -> Model:
        if self._model is None:
            raise EngineError("The model was unloaded. Try again.")
        return self._model


def _in_parts(
    seeds: Sequence[int], size: int, progress: Progress
) -> Iterator[tuple[Sequence[int], Progress]]:
    """The seeds, ``size`` of them at a time, each time with its part of the progress."""
    for done in range(0, len(seeds), size):
        some = seeds[done : done + size]
        yield some, progress.part(done, len(some), len(seeds))
