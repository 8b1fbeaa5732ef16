"""ControlNets for inpainting: what one is, told by its config or its tensors, and the config that a single file lacks.

A ControlNet shows the network what surrounds the hole, so that models fill which were not trained to. Layouts as diffusers
0.42 builds them (``models/controlnets/controlnet_qwenimage.py``, ``controlnet_z_image.py``). Qwen-Image's are published
as a folder, Z-Image's as a single file without a config; both kinds of either are taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import ModelRefused
from .families import FAMILIES
from .safetensors_header import Tensor

__all__ = ["config_from_tensors", "families_of_config", "is_controlnet_config"]

Tensors = Mapping[str, Tensor]
Config = Mapping[str, Any]

_QWEN = "QwenImageControlNetModel"
_Z_IMAGE = "ZImageControlNetModel"
_MASK_CHANNELS = 4
"""Qwen-Image's latents are packed by 2 x 2, and so is the mask that comes after them."""
_Z_IMAGE_CHANNELS = 2 * 16 + 1
"""A drawing's latents, the picture's latents, the mask. The first version (16) saw the drawing alone."""
_Z_IMAGE_LAYERS = 30
_Z_IMAGE_REFINERS = 2


def is_controlnet_config(config: Config) -> bool:
    """Whether a ``config.json`` is that of a ControlNet, of whatever family."""
    return str(config.get("_class_name", "")).endswith("ControlNetModel")


def families_of_config(config: Config, name: str) -> tuple[str, ...]:
    """Which families the ControlNet with this config is for; the first is the likeliest where they look alike.

    name: of the file or folder, for the message alone.

    Raises:
        ModelRefused: one that does not fill, or for a model that Overpaint does not run with a ControlNet.
    """
    class_name = str(config.get("_class_name", ""))
    families = [
        family for family in FAMILIES.values() if class_name and family.pipelines.controlnet == class_name
    ]
    if not families:
        raise ModelRefused(
            f"{name} is a ControlNet for a kind of model that Overpaint runs without. It uses those for inpainting with "
            "Qwen-Image and Z-Image."
        )
    fills = {
        _QWEN: config.get("extra_condition_channels") == _MASK_CHANNELS,
        _Z_IMAGE: config.get("control_in_dim") == _Z_IMAGE_CHANNELS,
    }
    if not fills[class_name]:
        raise ModelRefused(
            f"{name} is a ControlNet that follows drawings and sees no mask. Take one that is made for inpainting."
        )
    # As for the models themselves, the distilled one is meant more often.
    return tuple(family.id for family in sorted(families, key=lambda family: not family.is_few_step))


def config_from_tensors(tensors: Tensors, main: Config) -> Config | None:
    """The config of the ControlNet with these tensors; None if it is none of those known here.

    Args:
        tensors: of the file's header.
        main: config of the base model's network, which has what shapes do not tell; may be empty to recognise alone.

    Raises:
        ModelRefused: it is one, with parts missing.
    """
    try:
        if {"controlnet_x_embedder.weight", "txt_norm.weight"} <= tensors.keys():
            return _qwen(tensors, main)
        if "control_all_x_embedder.2-1.weight" in tensors:
            return _z_image(tensors, main)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise ModelRefused(
            "The ControlNet is not built as those of its kind are; parts of it are missing.",
            detail=repr(error),
        ) from error
    return None


def _qwen(tensors: Tensors, main: Config) -> Config:
    width, channels = tensors["img_in.weight"].shape
    _, condition = tensors["controlnet_x_embedder.weight"].shape
    (head,) = tensors["transformer_blocks.0.attn.norm_q.weight"].shape
    config = {
        "_class_name": _QWEN,
        "in_channels": channels,
        "out_channels": channels // 4,
        "num_layers": _count(tensors, "transformer_blocks"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": tensors["txt_in.weight"].shape[1],
        "extra_condition_channels": condition - channels,
    }
    return config | {key: main[key] for key in ("axes_dims_rope",) if key in main}


def _z_image(tensors: Tensors, main: Config) -> Config:
    width, inputs = tensors["control_all_x_embedder.2-1.weight"].shape
    (head,) = tensors["control_layers.0.attention.norm_q.weight"].shape
    layers, depth = _count(tensors, "control_layers"), main.get("n_layers", _Z_IMAGE_LAYERS)
    refiners = main.get("n_refiner_layers", _Z_IMAGE_REFINERS)
    # The second version has no part of its own that refines, or an untrained one: its first layers do it.
    has_refiner = "control_noise_refiner.0.before_proj.weight" in tensors
    return {
        "_class_name": _Z_IMAGE,
        "control_in_dim": inputs // 4,
        # Evenly over the network's layers: the large ones of 15 beside every second, the light ones of 3 every tenth.
        "control_layers_places": [number * depth // layers for number in range(layers)],
        "control_refiner_layers_places": list(range(refiners)),
        "add_control_noise_refiner": "control_noise_refiner" if has_refiner else "control_layers",
        "dim": width,
        "n_refiner_layers": refiners,
        "n_heads": width // head,
        "n_kv_heads": width // head,
    }


def _count(tensors: Tensors, start: str) -> int:
    numbers = {match[1] for match in map(re.compile(rf"{start}\.(\d+)\.").match, tensors) if match}
    return len(numbers)
