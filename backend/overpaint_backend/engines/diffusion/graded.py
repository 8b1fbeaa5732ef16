"""Soft masks for models that only have their latents masked: each cell is changed as far as its mask says.

After Levin & Fried, "Differential Diffusion: Giving Each Pixel Its Strength" (2023): a cell with the level 0.3 is held to
the original, noised as far as the rest, until 0.3 of the steps are left, and only then let go. So a feathered edge drifts
away from what is there, where a plain blend of two pictures would show both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["GradedMask"]


class GradedMask:
    """Takes the place of a pipeline's mask during one call.

    Every inpainting pipeline of diffusers that masks latents makes a tensor with ``prepare_mask_latents`` before its
    loop and blends with that tensor after each step. Its numbers are rewritten between the steps.

    Args:
        levels: (h, w) float32 in [0, 1] of the working size, even within each cell: 1 is painted anew, 0 kept.
    """

    def __init__(self, levels: NDArray[np.float32]) -> None:
        self._levels = torch.from_numpy(np.ascontiguousarray(levels))[None, None]
        self._mask: torch.Tensor | None = None
        self._laid_out: torch.Tensor | None = None

    @contextmanager
    def applied_to(self, pipeline: Any) -> Iterator[None]:
        """Hand the pipeline this mask instead of the one it is called with."""
        prepare: Callable[..., Any] = pipeline.prepare_mask_latents

        def prepare_graded(mask: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            # The pipeline itself lays the levels out as its latents are, whichever way that is.
            levels = self._levels.to(mask.device, mask.dtype).expand(mask.shape[0], -1, -1, -1)
            prepared = prepare(levels, *args, **kwargs)
            mask = prepared[0] if isinstance(prepared, tuple) else prepared
            self._mask, self._laid_out = mask, mask.clone()
            self._open(1.0)  # how many steps there will be is known after the first
            return prepared

        pipeline.prepare_mask_latents = prepare_graded
        try:
            yield
        finally:
            del pipeline.prepare_mask_latents
            self._mask = self._laid_out = None

    def after(self, step: int, steps: int) -> None:
        """Let go of the cells whose turn it is once ``step``, counted from 0, of ``steps`` is done.

        A cell takes part in as many of the last steps as its level of them rounds to, so the faintest in none.
        """
        left = steps - (step + 1)
        self._open((left - 0.5) / steps)

    def _open(self, level: float) -> None:
        """Have the next step change the cells from ``level`` on."""
        if self._mask is not None and self._laid_out is not None:
            self._mask.copy_(self._laid_out >= level)
