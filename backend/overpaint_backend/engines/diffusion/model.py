"""A loaded model: its pipelines, which share all weights, and what belongs to them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from overpaint_backend.engines.base import FillRequest, MakeRoom
from overpaint_backend.models.families import Family
from overpaint_backend.models.loras import ChosenLora

from .adapters import Adapters
from .arguments import call_arguments
from .graded import GradedMask
from .loading import Loaded, quiet, share_pipeline
from .memo import Memo, memoize
from .memory import Placement
from .preview import LatentPreview
from .progress import Progress, StepListener
from .settled import SettledSchedulers, settle
from .start import Start, Task

__all__ = ["Model"]

_KEPT_PROMPTS = 8
_KEPT_PICTURES = 4


class Model:
    """A model on a device, ready to sample.

    Args:
        loaded: the model in main memory.
        family: what it is like.
        device: where to compute.
        dtype: of its weights.
        make_room: closes what else is loaded.

    Attributes:
        makes_batches: whether ``sample`` can take several seeds.
    """

    def __init__(
        self,
        loaded: Loaded,
        family: Family,
        device: torch.device,
        dtype: torch.dtype,
        make_room: MakeRoom,
    ) -> None:
        self._family = family
        self._is_controlled = loaded.is_controlled
        self.makes_batches = family.makes_batches(loaded.is_controlled)
        autoencoder = getattr(loaded.pipeline, family.autoencoder)
        self._preview = LatentPreview(autoencoder, autoencoder.encode, family.layout, device)
        with quiet():
            self.placement = Placement(loaded.pipeline, family, device, dtype, make_room)
        settle(autoencoder)
        self._schedulers = SettledSchedulers(loaded.pipeline)
        self._pictures = memoize(autoencoder, "encode", _KEPT_PICTURES)
        self._pipeline = loaded.pipeline
        self._callables = {Task.PAINT: _Callable(loaded.pipeline, family)}
        self._adapters = Adapters(loaded.pipeline, family)

    def forget(self) -> None:
        """Drop what was encoded, and what an autoencoder that was interrupted holds on to."""
        self._pictures.clear()
        autoencoder = getattr(self._pipeline, self._family.autoencoder)
        if hasattr(autoencoder, "clear_cache"):
            autoencoder.clear_cache()
        for pipeline in self._callables.values():
            pipeline.prompts.clear()

    def release(self) -> None:
        """Drop all that no fill needs: what was encoded, and LoRAs."""
        self.forget()
        self._adapters.clear()

    def sample(
        self,
        request: FillRequest,
        seeds: Sequence[int],
        start: Start,
        loras: Sequence[ChosenLora],
        progress: Progress,
    ) -> NDArray[np.float32]:
        """Run the pipeline for the start's task, once for all ``seeds``; (seeds, h, w, 3) of the working size."""
        pipeline = self._callable(start.task)
        self._mix_in(loras, progress)
        pipeline.prompts.scope = self._adapters.in_text()
        arguments = call_arguments(
            request,
            seeds,
            start,
            self._family,
            pipeline.accepted,
            is_controlled=self._is_controlled and start.task is Task.PAINT,
        )
        if "prior_callback_on_step_end" in pipeline.accepted:
            arguments["prior_callback_on_step_end"] = StepListener(progress, None, start.frame)
        graded = None if start.levels is None else GradedMask(start.levels)
        arguments["callback_on_step_end"] = StepListener(progress, self._preview, start.frame, graded)
        self._schedulers.restore()
        masking = nullcontext() if graded is None else graded.applied_to(pipeline.call)
        try:
            with quiet(), _seeded(seeds[0]), masking, self.placement.watched(start.frame.work, len(seeds)):
                images = pipeline.call(**arguments).images
        finally:
            # A pipeline that was stopped between its steps does not put offloaded parts back.
            self.placement.tidy()
        return np.asarray(images, np.float32)

    def _callable(self, task: Task) -> _Callable:
        if task not in self._callables:
            name = getattr(self._family.pipelines, task.value)
            with quiet():
                self._callables[task] = _Callable(share_pipeline(self._pipeline, name), self._family)
        return self._callables[task]

    def _mix_in(self, loras: Sequence[ChosenLora], progress: Progress) -> None:
        try:
            with quiet():
                self._adapters.use(loras, progress.check)
        except BaseException:
            # A loader that fails does not offload again what it took into main memory.
            self.placement.tidy()
            raise


class _Callable:
    """A pipeline of diffusers for one task. accepted: names of its call's arguments. prompts: what it encoded of them."""

    def __init__(self, call: Any, family: Family) -> None:
        self.call = call
        self.accepted = frozenset(inspect.signature(type(call).__call__).parameters)
        self.prompts: Memo = memoize(call, family.text_encoding, _KEPT_PROMPTS)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Fix also what pipelines draw from the process's own generator, and leave that as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
