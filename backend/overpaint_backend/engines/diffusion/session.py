"""A loaded model that fills, removes, expands and edits.

The request is laid out at the model's working size, the hole gets something to start from, diffusers' pipeline does
the steps, and the result goes back to the request's size. What a family is like stands in ``models.families``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from overpaint_backend.engines.base import Device, FillRequest, FillResult, MakeRoom, OnStep
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

__all__ = ["DiffusionSession"]


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
        """Paint what the request's mask covers.

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
            return FillResult(request.image)
        painted = self._paint_within_memory(request, progress)
        if not np.isfinite(painted).all():
            raise EngineError(
                "The model calculated itself into nothing. Try another seed, or fewer steps and less guidance."
            )
        image = np.where(hole[..., None], painted, request.image).astype(np.float32, copy=False)
        progress.tell(1.0, lambda: image)
        return FillResult(image)

    def close(self) -> None:
        """Give back the weights' memory."""
        self._model = None
        self._starts.clear()
        free_unused()

    def _paint_within_memory(self, request: FillRequest, progress: Progress) -> NDArray[np.float32]:
        """Paint, each time with less memory until it works; (H, W, 3) of the request's size."""
        model = self._loaded()
        while True:
            try:
                return self._paint(model, request, progress)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                detail = f"{type(error).__name__}: {error}"
            # Outside of the except clause: the traceback there would keep the failed attempt's tensors alive.
            model.release()
            free_unused()
            if model.placement.save() is None:
                raise too_large(self._family, self._needed_bytes, self._device, detail)

    def _paint(self, model: Model, request: FillRequest, progress: Progress) -> NDArray[np.float32]:
        wanted = request.settings.loras
        loras = choose_loras(wanted, self._family, self._store.models()) if wanted else ()
        start = self._starts.make(request, model.placement.thrift.scale, progress.check)
        if start.strength == 0:
            return start.frame.leave(start.picture)
        return start.frame.leave(model.sample(request, start, loras, progress))

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
