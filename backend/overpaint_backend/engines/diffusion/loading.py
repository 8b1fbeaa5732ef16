"""From a folder of weights to a diffusers pipeline: offline, without pickle and without anybody's code."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from overpaint_backend.models.companions import Companions
from overpaint_backend.models.families import Family
from overpaint_backend.models.store import InstalledModel
from overpaint_protocol.errors import EngineError

from .parts import load_controlnet, load_network, separate
from .single_file import load_single_file

__all__ = ["Loaded", "load_pipeline", "quiet", "share_pipeline"]

_UNFIT = (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, SafetensorError)
"""What the libraries raise for files that are missing, damaged or do not fit together."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline, and whether it has a ControlNet for inpainting. native_px: the side it was trained on."""

    pipeline: Any
    is_controlled: bool
    native_px: int


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' advice to programmers out of the artist's log, and their hands off the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_pipeline(
    model: InstalledModel, family: Family, dtype: torch.dtype, companions: Companions
) -> Loaded:
    """Load ``model`` and what it is run with into main memory.

    Raises:
        EngineError: files are missing or do not fit together.
        MemoryError, RuntimeError: memory ran out.
    """
    whole = companions.base or model
    try:
        with quiet():
            parts: dict[str, Any] = {}
            if companions.base is not None:
                parts[family.main] = load_network(model, whole.path, family, dtype)
            if companions.controlnet is not None:
                parts["controlnet"] = load_controlnet(companions.controlnet, whole.path, family, dtype)
            is_controlled = companions.is_controlled(model, family)
            class_name = family.pipelines.controlled if is_controlled else family.pipelines.paint
            pipeline = _load(whole, class_name, dtype, parts)
    except _UNFIT as error:
        checks = ", ".join(f"overpaint models verify {each.id}" for each in (model, *companions.models))
        raise EngineError(
            f"“{model.title}” cannot be loaded. Check it with: {checks}",
            detail=f"{type(error).__name__}: {error}",
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            # PEFT does so with all it puts a LoRA in, and leaves it. Torch goes another way then, which rounds otherwise on a card.
            part.requires_grad_(requires_grad=False)
    main = getattr(pipeline, family.main)
    if is_controlled:
        separate(pipeline.controlnet, main)
    main.register_to_config(
        **{key: value for key, value in family.main_config.items() if key not in main.config}
    )
    native_px = model.native_px or whole.native_px or _native_px(whole, family)
    return Loaded(pipeline, is_controlled, native_px)


def share_pipeline(pipeline: Any, class_name: str) -> Any:
    """A pipeline of another class with the components of ``pipeline``; takes no memory of its own."""
    import diffusers

    pipeline_class = getattr(diffusers, class_name)
    names = inspect.signature(pipeline_class.__init__).parameters
    available = {**pipeline.config, **pipeline.components}
    shared = pipeline_class(**{name: available[name] for name in names if name in available})
    shared.set_progress_bar_config(disable=True)
    return shared


def _load(model: InstalledModel, class_name: str, dtype: torch.dtype, parts: dict[str, Any]) -> Any:
    import diffusers
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    for library in (logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    pipeline_class = getattr(diffusers, class_name)
    options = dict(parts)
    if "safety_checker" in inspect.signature(pipeline_class.__init__).parameters:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if "processor" in inspect.signature(pipeline_class.__init__).parameters:
        from .processor import PictureProcessor

        options["processor"] = PictureProcessor.from_folder(model.path / "processor")
    if model.kind == "single-file":
        return load_single_file(model, pipeline_class, dtype, options)
    if model.variant:
        options["variant"] = model.variant
    return pipeline_class.from_pretrained(
        str(model.path),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        torch_dtype=dtype,
        **options,
    )


def _native_px(model: InstalledModel, family: Family) -> int:
    """What the weights themselves say: a UNet's config knows the side of its latents."""
    if family.main != "unet" or model.kind == "single-file":
        return family.native_px
    cells = _read(model.path / "unet" / "config.json").get("sample_size")
    blocks = _read(model.path / family.autoencoder / "config.json").get("block_out_channels")
    if not isinstance(cells, int) or not isinstance(blocks, list):
        return family.native_px
    return cells * 2 ** (len(blocks) - 1)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
