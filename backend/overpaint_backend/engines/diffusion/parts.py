"""Parts of a pipeline that are installed apart from it: a network without the rest, and ControlNets."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from overpaint_backend.models.controlnets import config_from_tensors
from overpaint_backend.models.families import Family
from overpaint_backend.models.manifest import InstalledModel
from overpaint_backend.models.safetensors_header import read_header

__all__ = ["load_controlnet", "load_network", "separate"]

_OWN_REFINER = "control_noise_refiner.0.before_proj.weight"


def load_network(model: InstalledModel, base: Path, family: Family, dtype: torch.dtype) -> Any:
    """Load the network of a file of kind "denoiser", built as that of the diffusers folder ``base`` is.

    Raises:
        OSError, ValueError, KeyError: what diffusers raises for files that do not fit.
    """
    import diffusers

    index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
    network_class = getattr(diffusers, index[family.main][1])
    try:
        return network_class.from_single_file(
            str(model.path), config=str(base / family.main), local_files_only=True, torch_dtype=dtype
        )
    except NotImplementedError as error:  # what was not in the file has no memory to be moved from
        raise ValueError("weights are missing") from error


def load_controlnet(model: InstalledModel, base: Path, family: Family, dtype: torch.dtype) -> Any:
    """Load a model of kind "controlnet" to be run beside the network of the diffusers folder ``base``.

    Raises:
        ModelRefused: parts of it are missing.
        OSError, ValueError, KeyError: it does not fit, or what diffusers raises for files that do not.
    """
    import diffusers

    controlnet_class = getattr(diffusers, family.pipelines.controlnet)
    if model.path.is_dir():
        return controlnet_class.from_pretrained(
            str(model.path),
            variant=model.variant or None,
            local_files_only=True,
            use_safetensors=True,
            torch_dtype=dtype,
        )
    main = json.loads((base / family.main / "config.json").read_text(encoding="utf-8"))
    return _from_file(model.path, main, controlnet_class, dtype)


def separate(controlnet: torch.nn.Module, network: torch.nn.Module) -> None:
    """Give a ControlNet copies of what it shares with the network, as Z-Image's does with its first layers.

    A part that waits in main memory for its turn takes along what it shares, and the other one finds half of itself
    on another device. The copies are 0.73 billion weights for Z-Image.
    """
    shared = {id(part) for part in (*network.modules(), *network.parameters())}
    for name, part in (*controlnet.named_children(), *controlnet.named_parameters(recurse=False)):
        if id(part) in shared:
            setattr(controlnet, name, copy.deepcopy(part))


def _from_file(path: Path, main: Mapping[str, Any], controlnet_class: Any, dtype: torch.dtype) -> Any:
    from accelerate import init_empty_weights
    from safetensors.torch import load_file

    config = config_from_tensors(read_header(path).tensors, main)
    if config is None:
        raise ValueError("not a ControlNet")
    weights = load_file(path)
    if _OWN_REFINER in weights and not weights[_OWN_REFINER].any():
        config = {**config, "add_control_noise_refiner": "control_layers"}
    with init_empty_weights():
        controlnet = controlnet_class.from_config(dict(config))
    wanted = controlnet.state_dict()
    wrong = [name for name in wanted if name not in weights or weights[name].shape != wanted[name].shape]
    if wrong:
        raise ValueError(f"{len(wrong)} weights are missing or of another shape, such as {wrong[0]}")
    controlnet.load_state_dict({name: weights[name] for name in wanted}, assign=True)
    return controlnet.to(dtype).eval()
