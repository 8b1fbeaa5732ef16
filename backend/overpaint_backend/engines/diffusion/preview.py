"""Seeing latents without decoding them.

The colors of a latent cell are close to a linear function of its channels. Its factors are fitted to the model's own
autoencoder once, on a chart of colored blocks, so they hold for every family, also for retrained autoencoders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from overpaint_backend.models.families import LatentLayout
from overpaint_protocol.geometry import Size

__all__ = ["LatentPreview"]

_CHART_CELLS = 12
_RIDGE = 1e-2
"""Keeps factors small where channels of the chart say the same."""


class LatentPreview:
    """Turns latents between two steps into small pictures.

    Args:
        autoencoder: the model's; used once, at the first picture.
        encode: its ``encode``, before anything was put around it.
        layout: how the pipeline packs its latents.
        device: where the autoencoder works; it may wait elsewhere until it is called.
    """

    def __init__(
        self,
        autoencoder: Any,
        encode: Callable[[torch.Tensor], Any],
        layout: LatentLayout,
        device: torch.device,
    ) -> None:
        self._autoencoder = autoencoder
        self._encode = encode
        self._layout = layout
        self._device = device
        self._factors: NDArray[np.float32] | None = None

    def picture(self, latents: torch.Tensor, work: Size) -> NDArray[np.float32]:
        """(h, w, 3) float32 in [0, 1] of latents of a picture of the size ``work``, one pixel for each cell."""
        cells = self._unpack(latents, work)
        if self._factors is None:
            self._factors = self._fit(cells.shape[-1])
        shape = cells.shape[:2]
        return np.clip(_with_bias(cells) @ self._factors, 0, 1).reshape(*shape, 3)

    def _unpack(self, latents: torch.Tensor, work: Size) -> NDArray[np.float32]:
        """(h, w, channels) of the first picture."""
        first = latents[0].detach().to("cpu", torch.float32)
        if self._layout is LatentLayout.SPATIAL or first.dim() > 2:
            first = first.reshape(first.shape[0], *first.shape[-2:])
            return first.permute(1, 2, 0).contiguous().numpy()
        tokens, channels = first.shape
        rows = max(1, round((tokens * work.height / work.width) ** 0.5))
        columns = tokens // rows
        if self._layout is LatentLayout.PATCHED:
            return first[: rows * columns].reshape(rows, columns, channels).numpy()
        blocks = first[: rows * columns].reshape(rows, columns, channels // 4, 2, 2)
        return (
            blocks.permute(0, 3, 1, 4, 2).reshape(rows * 2, columns * 2, channels // 4).contiguous().numpy()
        )

    def _fit(self, channels: int) -> NDArray[np.float32]:
        """(channels + 1, 3): from a cell's channels and a 1 to its color."""
        blocks = np.random.default_rng(0).random((_CHART_CELLS, _CHART_CELLS, 3), dtype=np.float32)
        cell_px = 16
        chart = blocks.repeat(cell_px, axis=0).repeat(cell_px, axis=1)
        dtype = next(self._autoencoder.parameters()).dtype
        pixels = torch.from_numpy(chart.transpose(2, 0, 1)[None] * 2 - 1).to(self._device, dtype)
        if hasattr(
            self._autoencoder.config, "temperal_downsample"
        ):  # an autoencoder of films; the name is theirs
            pixels = pixels[:, :, None]
        with torch.no_grad():
            encoded = self._encode(pixels)
        latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        cells = _normalized(self._autoencoder, latents)[0].to("cpu", torch.float32)
        cells = cells.reshape(cells.shape[0], *cells.shape[-2:]).permute(1, 2, 0).contiguous().numpy()
        rows, columns = cells.shape[:2]
        # One sample for each cell; where cells are finer than blocks, several see the same color.
        row_of = np.arange(rows) * _CHART_CELLS // rows
        column_of = np.arange(columns) * _CHART_CELLS // columns
        colors = blocks[row_of][:, column_of].reshape(-1, 3)
        samples = _with_bias(cells)
        square = samples.T @ samples
        ridge = _RIDGE * np.trace(square) / len(square) * np.eye(len(square), dtype=np.float32)
        factors = np.linalg.solve(square + ridge, samples.T @ colors)
        if factors.shape[0] != channels + 1:
            raise ValueError(f"the autoencoder has {factors.shape[0] - 1} channels, the latents {channels}")
        return factors.astype(np.float32)


def _with_bias(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = cells.reshape(-1, cells.shape[-1])
    return np.concatenate([flat, np.ones((len(flat), 1), np.float32)], axis=1)


def _normalized(autoencoder: Any, latents: torch.Tensor) -> torch.Tensor:
    """From what an autoencoder gives to what its network works on; the three ways diffusers knows."""
    config = autoencoder.config
    if getattr(autoencoder, "bn", None) is not None:
        batch, channels, height, width = latents.shape
        patches = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 1, 3, 5, 2, 4)
        patches = patches.reshape(batch, channels * 4, height // 2, width // 2)
        mean = autoencoder.bn.running_mean.view(1, -1, 1, 1)
        deviation = torch.sqrt(autoencoder.bn.running_var.view(1, -1, 1, 1) + config.batch_norm_eps)
        return (patches - mean) / deviation
    if getattr(config, "latents_mean", None) and getattr(config, "latents_std", None):
        shape = (1, -1, *([1] * (latents.dim() - 2)))
        mean = torch.tensor(config.latents_mean, device=latents.device).view(shape)
        deviation = torch.tensor(config.latents_std, device=latents.device).view(shape)
        return (latents - mean) / deviation
    shift = getattr(config, "shift_factor", None) or 0.0
    return (latents - shift) * (getattr(config, "scaling_factor", None) or 1.0)
