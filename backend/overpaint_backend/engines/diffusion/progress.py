"""Telling how far a fill is, from the steps of diffusers' pipelines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from overpaint_backend.engines.base import OnStep, Step

from .frame import Frame
from .graded import GradedMask
from .preview import LatentPreview

__all__ = ["Progress", "StepListener"]


class Progress:
    """Tells ``on_step``, never going back when an attempt is repeated."""

    def __init__(self, on_step: OnStep) -> None:
        self._on_step = on_step
        self._fraction = 0.0

    def tell(self, fraction: float, preview: Callable[[], NDArray[np.float32]] | None = None) -> None:
        """Report a fraction in 0 to 1; what ``on_step`` raises passes."""
        self._fraction = max(self._fraction, min(1.0, fraction))
        self._on_step(Step(self._fraction, preview))

    def part(self, done: float, more: float, of: float) -> Progress:
        """The progress of the next ``more`` pictures ``of`` all; only what comes first has previews."""

        def tell(step: Step) -> None:
            self.tell((done + more * step.fraction) / of, None if done else step.preview)

        return Progress(tell)

    def check(self) -> None:
        """Report nothing new; what ``on_step`` raises passes."""
        self.tell(0.0)


@dataclass(frozen=True, slots=True)
class StepListener:
    """Hears the end of each step of a pipeline.

    preview: None for steps that are no progress of their own. graded: the mask to carry on, if the call has one.
    """

    progress: Progress
    preview: LatentPreview | None
    frame: Frame
    graded: GradedMask | None = None

    def __call__(
        self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Pass it on; what ``on_step`` raises ends the pipeline."""
        preview = self.preview
        if preview is None:
            self.progress.check()
            return tensors
        # Known once sampling began; the time after the last step goes into decoding.
        steps = max(pipeline.num_timesteps, step + 1)
        if self.graded is not None:
            self.graded.after(step, steps)
        latents, frame = tensors["latents"], self.frame
        self.progress.tell((step + 1) / (steps + 1), lambda: frame.crop(preview.picture(latents, frame.work)))
        return tensors
