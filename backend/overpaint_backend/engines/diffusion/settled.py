"""What a seed gives depends on its job alone, not on how a pipeline goes about it nor on the jobs before.

An autoencoder encodes a picture to the same latents every time: diffusers draws them from a distribution that is so narrow that
nobody sees it, and for that from the request's generator. How often depends on the strength, and so would the noise that a
seed stands for.

A scheduler begins with the table it was loaded with: adding noise on a graphics card, which not every job does, moves that there
for good, and what is worked out with it there is rounded otherwise.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

__all__ = ["SettledSchedulers", "settle"]


class _Settled:
    """A distribution with one value."""

    def __init__(self, value: torch.Tensor) -> None:
        self._value = value

    def sample(self, generator: Any = None) -> torch.Tensor:
        """The value; nothing is drawn."""
        return self._value

    def mode(self) -> torch.Tensor:
        """The value."""
        return self._value


def settle(autoencoder: Any) -> None:
    """Make ``encode`` of this autoencoder give the middle of its distribution, where it gives one."""
    encode = autoencoder.encode

    def encode_settled(*args: Any, **kwargs: Any) -> Any:
        encoded = encode(*args, **kwargs)
        if not hasattr(encoded, "latent_dist"):
            return encoded
        return dataclasses.replace(encoded, latent_dist=_Settled(encoded.latent_dist.mode()))

    autoencoder.encode = encode_settled


class SettledSchedulers:
    """The schedulers of a pipeline, which pipelines of other classes share.

    Args:
        pipeline: as it was loaded.
    """

    def __init__(self, pipeline: Any) -> None:
        parts = pipeline.components.values()
        self._tables = [(part, part.alphas_cumprod) for part in parts if hasattr(part, "alphas_cumprod")]

    def restore(self) -> None:
        """Have each begin as the first time."""
        for scheduler, table in self._tables:
            scheduler.alphas_cumprod = table
