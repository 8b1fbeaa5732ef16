"""LoRAs in a loaded pipeline: mixed in for a job, and taken out again without a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from safetensors import SafetensorError

from overpaint_backend.models.families import Family
from overpaint_backend.models.loras import ChosenLora
from overpaint_protocol.errors import EngineError

from .memory import free_unused, is_out_of_memory

__all__ = ["Adapters"]

Mix = tuple[tuple[str, float], ...]
"""Digests of LoRAs and their weights."""

_LOADING_ERRORS = (
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
"""What diffusers, PEFT and safetensors raise for files that are damaged or made for something else."""


class Adapters:
    """The LoRAs in a pipeline's components, which other pipelines may share.

    diffusers and PEFT know each by its digest, so that a file that changed is another one.

    Args:
        pipeline: of a class that takes LoRAs, or else none are asked for.
        family: what is known of it.
    """

    def __init__(self, pipeline: Any, family: Family) -> None:
        self._pipeline = pipeline
        self._main = getattr(pipeline, family.main)
        self._loaded: list[str] = []
        self._mix: Mix = ()

    def use(self, loras: Sequence[ChosenLora], check: Callable[[], None]) -> None:
        """Mix in ``loras`` and nothing else. If that fails, none are left.

        Args:
            loras: which, and how much of each.
            check: called before each is loaded; may raise to stop.

        Raises:
            EngineError: one is damaged or not made for this model.
            MemoryError, RuntimeError: memory ran out.
        """
        weights: dict[str, float] = {}
        for lora in loras:  # one file may be installed twice
            weights[lora.digest] = weights.get(lora.digest, 0.0) + lora.weight
        mix = tuple(weights.items())
        if mix == self._mix:
            return
        if not mix:
            self.clear()
            return
        try:
            self._drop([digest for digest in self._loaded if digest not in weights])
            for lora in loras:
                if lora.digest not in self._loaded:
                    check()
                    self._load(lora)
            self._pipeline.set_adapters(list(weights), adapter_weights=list(weights.values()))
            self._mix = mix
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Take all out; the model is what it was before."""
        self._mix = ()
        if self._loaded:
            self._loaded = []
            self._pipeline.unload_lora_weights()
            free_unused()

    def in_text(self) -> Mix:
        """The part of the mix that changes how a prompt is encoded."""
        if not self._mix:
            return ()
        parts = self._pipeline.get_list_adapters()
        changing = {
            name for part, names in parts.items() if part.startswith("text_encoder") for name in names
        }
        return tuple((digest, weight) for digest, weight in self._mix if digest in changing)

    def _drop(self, digests: list[str]) -> None:
        if digests:
            self._loaded = [digest for digest in self._loaded if digest not in digests]
            self._pipeline.delete_adapters(digests)
            free_unused()

    def _load(self, lora: ChosenLora) -> None:
        channels = self._main.config.in_channels
        self._loaded.append(lora.digest)  # a part of it may be there although the rest failed
        try:
            self._pipeline.load_lora_weights(
                str(lora.path), adapter_name=lora.digest, use_safetensors=True, local_files_only=True
            )
        except _LOADING_ERRORS as error:
            if is_out_of_memory(error):
                raise
            raise EngineError(
                f"The LoRA “{lora.title}” cannot be loaded. Leave it out, or check it with: overpaint models verify "
                f"{lora.id}",
                detail=f"{type(error).__name__}: {error}",
            ) from error
        has_effect = any(lora.digest in names for names in self._pipeline.get_list_adapters().values())
        was_widened = self._main.config.in_channels != channels
        if was_widened:  # as FLUX.1's loader does for LoRAs of its control variants
            self._pipeline.unload_lora_weights(reset_to_overwritten_params=True)
        if was_widened or not has_effect:
            raise EngineError(f"The LoRA “{lora.title}” does not fit this model. Leave it out.")
