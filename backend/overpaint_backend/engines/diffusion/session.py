"""A loaded model that fills, removes and expands.

The request is laid out at the model's working size, the hole gets something to start from, diffusers' pipeline does
the steps, and the result goes back to the request's size. What a family is like stands in ``models.families``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from overpaint_backend.engines.base import Device, FillRequest, FillResult, OnStep, Step
from overpaint_backend.models.companions import ALONE, Companions
from overpaint_backend.models.families import Family
from overpaint_backend.models.store import InstalledModel
from overpaint_protocol.errors import EngineError
from overpaint_protocol.geometry import Size

from .frame import Frame
from .loading import Loaded, load_pipeline, quiet
from .memo import memoize
from .memory import Placement, choose_device, choose_dtype, free_unused, is_out_of_memory, too_large
from .preview import LatentPreview
from .start import Start, StartMaker

__all__ = ["DiffusionSession"]

_KEPT_PROMPTS = 8
_KEPT_PICTURES = 4
_NEUTRAL_GREY = 128


class DiffusionSession:
    """One model on one device.

    Args:
        model: the installed model.
        family: what it is like.
        device: where to compute.
        companions: what it is run with.

    Raises:
        EngineError: it cannot be loaded.
        OutOfMemory: there is no room for it.
    """

    def __init__(
        self, model: InstalledModel, family: Family, device: Device, companions: Companions = ALONE
    ) -> None:
        self._family = family
        self._device = choose_device(device)
        self._dtype = choose_dtype(self._device, model.total_bytes + companions.total_bytes)
        try:
            loaded = load_pipeline(model, family, self._dtype, companions)
            self._model: _Model | None = _Model(loaded, family, self._device, self._dtype)
        except (MemoryError, RuntimeError) as error:
            free_unused()
            if not is_out_of_memory(error):
                raise
            raise too_large(family, self._dtype, str(error)) from None
        self._starts = StartMaker(family, loaded.is_controlled)

    def fill(self, request: FillRequest, on_step: OnStep) -> FillResult:
        """Paint what the request's mask covers.

        Raises:
            Cancelled: ``on_step`` did.
            UnsupportedOperation: a strength for a model that knows none.
            OutOfMemory: also the smallest working size is too large.
            EngineError: the model gave nothing usable.
        """
        progress = _Progress(on_step)
        progress.tell(0.0)
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

    def _paint_within_memory(self, request: FillRequest, progress: _Progress) -> NDArray[np.float32]:
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
            model.forget()
            free_unused()
            if model.placement.save() is None:
                raise too_large(self._family, self._dtype, detail)

    def _paint(self, model: _Model, request: FillRequest, progress: _Progress) -> NDArray[np.float32]:
        height, width = request.mask.shape
        frame = Frame.plan(
            Size(width, height), model.native_px, self._family.multiple_px, model.placement.thrift.scale
        )
        start = self._starts.make(request, frame, lambda: progress.tell(0.0))
        if start.strength == 0:
            return frame.leave(start.picture)
        painted = model.sample(request, start, frame, progress)
        return frame.leave(painted)

    def _loaded(self) -> _Model:
        if self._model is None:
            raise EngineError("The model was unloaded. Try again.")
        return self._model


class _Progress:
    """Tells ``on_step``, never going back when an attempt is repeated."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._fraction = 0.0

    def tell(self, fraction: float, preview: Any = None) -> None:
        self._fraction = max(self._fraction, min(1.0, fraction))
        self._on_step(Step(self._fraction, preview))


class _Model:
    """The pipeline and what belongs to it."""

    def __init__(self, loaded: Loaded, family: Family, device: torch.device, dtype: torch.dtype) -> None:
        self._pipeline = loaded.pipeline
        self._family = family
        self._is_controlled = loaded.is_controlled
        self.native_px = loaded.native_px
        autoencoder = getattr(loaded.pipeline, family.autoencoder)
        self._preview = LatentPreview(autoencoder, autoencoder.encode, family.layout)
        self._parameters = frozenset(inspect.signature(type(loaded.pipeline).__call__).parameters)
        with quiet():
            self.placement = Placement(loaded.pipeline, family, device, dtype)
        self._memos = (
            memoize(loaded.pipeline, family.text_encoding, _KEPT_PROMPTS),
            memoize(loaded.pipeline, f"{family.autoencoder}.encode", _KEPT_PICTURES),
        )

    def forget(self) -> None:
        """Drop what was encoded."""
        for memo in self._memos:
            memo.clear()

    def sample(
        self, request: FillRequest, start: Start, frame: Frame, progress: _Progress
    ) -> NDArray[np.float32]:
        """Run the pipeline; (h, w, 3) of the working size."""
        arguments = self._arguments(request, start, frame)
        if "prior_callback_on_step_end" in self._parameters:
            arguments["prior_callback_on_step_end"] = _Listener(progress, None, frame)
        arguments["callback_on_step_end"] = _Listener(progress, self._preview, frame)
        try:
            with quiet(), _seeded(request.seed):
                images = self._pipeline(**arguments).images
        finally:
            # A pipeline that was stopped between its steps does not put offloaded parts back.
            self._pipeline.maybe_free_model_hooks()
        return np.asarray(images[0], np.float32)

    def _arguments(self, request: FillRequest, start: Start, frame: Frame) -> dict[str, Any]:
        family = self._family
        names = family.controlled_arguments if self._is_controlled else {}
        picture = Image.fromarray(np.rint(start.picture * 255).astype(np.uint8))
        arguments: dict[str, Any] = {
            **family.extra,
            "prompt": request.prompt,
            names.get("image", "image"): picture,
            names.get("mask_image", "mask_image"): Image.fromarray(start.mask.astype(np.uint8) * 255),
            "height": frame.work.height,
            "width": frame.work.width,
            "num_inference_steps": start.steps,
            "generator": torch.Generator("cpu").manual_seed(request.seed),
            "output_type": "np",
        }
        if start.strength is not None and "strength" in self._parameters:
            arguments["strength"] = start.strength
        if family.guidance_argument:
            guidance = request.settings.guidance
            arguments[family.guidance_argument] = family.guidance if guidance is None else guidance
        if family.takes_negative:
            # Some pipelines guide only if they are given a negative prompt, be it as good as empty.
            arguments["negative_prompt"] = request.negative_prompt or " "
        if self._is_controlled and family.neutral_control:
            arguments[family.neutral_control] = Image.new("RGB", picture.size, (_NEUTRAL_GREY,) * 3)
        return arguments


@dataclass(frozen=True, slots=True)
class _Listener:
    """Hears the end of each step of a pipeline."""

    progress: _Progress
    preview: LatentPreview | None
    frame: Frame

    def __call__(
        self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Pass it on; what ``on_step`` raises ends the pipeline."""
        preview = self.preview
        if preview is None:
            self.progress.tell(0.0)
            return tensors
        # Known once sampling began; the time after the last step goes into decoding.
        steps = max(pipeline.num_timesteps, step + 1)
        latents, frame = tensors["latents"], self.frame
        self.progress.tell((step + 1) / (steps + 1), lambda: frame.crop(preview.picture(latents, frame.work)))
        return tensors


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Fix also what pipelines draw from the process's own generator, and leave that as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
