"""The configs and tokenizers that a single-file checkpoint does not carry, made from what it does.

A checkpoint of Stable Diffusion 1.5 or XL holds tensors alone. diffusers would fetch the rest from the hub; here the shapes
of the tensors give the sizes, the family the rest, and the tokenizer is CLIP's own, which is shipped (``data/``). So such a
checkpoint runs without any network.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import ModelRefused
from .safetensors_header import Tensor

__all__ = ["RUNNABLE_FAMILIES", "write_configs"]

RUNNABLE_FAMILIES = frozenset({"sd15", "sd15-inpaint", "sdxl", "sdxl-inpaint"})
"""Families whose single files can be run; those of others are kept and not offered."""

Tensors = Mapping[str, Tensor]
Config = dict[str, Any]

_UNET = "model.diffusion_model."
_VAE = "first_stage_model."
_CLIP_SD15 = "cond_stage_model.transformer.text_model."
_CLIP_XL = "conditioner.embedders.0.transformer.text_model."
_OPEN_CLIP = "conditioner.embedders.1.model."
_END = "<|endoftext|>"
_START = "<|startoftext|>"


def write_configs(tensors: Tensors, family: str, folder: Path) -> None:
    """Write a diffusers folder without weights, to be given to ``from_single_file(config=...)``.

    Args:
        tensors: of the checkpoint's header.
        family: one of RUNNABLE_FAMILIES.
        folder: an empty folder.

    Raises:
        ModelRefused: parts of the checkpoint are missing or of a shape nobody expects.
    """
    is_xl = family.startswith("sdxl")
    try:
        configs = {
            "scheduler/scheduler_config.json": _scheduler(tensors, is_xl=is_xl),
            "unet/config.json": _unet(tensors, is_xl=is_xl),
            "vae/config.json": _vae(tensors, is_xl=is_xl),
            "text_encoder/config.json": _clip(tensors, _CLIP_XL if is_xl else _CLIP_SD15),
        }
        if is_xl:
            configs["text_encoder_2/config.json"] = _open_clip(tensors)
    except (KeyError, IndexError, ValueError) as error:
        raise ModelRefused(
            "The checkpoint is not built as those of its kind are; parts of it are missing.",
            detail=repr(error),
        ) from error
    configs["model_index.json"] = _index(family, is_xl=is_xl)
    for path, config in configs.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(config, indent=1), encoding="utf-8")
    _write_tokenizer(folder / "tokenizer", pad=_END)
    if is_xl:
        _write_tokenizer(folder / "tokenizer_2", pad="!")


def _index(family: str, *, is_xl: bool) -> Config:
    kind = "StableDiffusionXL" if is_xl else "StableDiffusion"
    index: Config = {
        "_class_name": f"{kind}InpaintPipeline" if family.endswith("-inpaint") else f"{kind}Pipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "EulerDiscreteScheduler" if is_xl else "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if is_xl:
        return index | {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "force_zeros_for_empty_prompt": True,
        }
    return index | {
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
    }


def _scheduler(tensors: Tensors, *, is_xl: bool) -> Config:
    config: Config = {
        "_class_name": "EulerDiscreteScheduler" if is_xl else "PNDMScheduler",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "num_train_timesteps": 1000,
        # Checkpoints trained otherwise say so by an empty tensor of that name.
        "prediction_type": "v_prediction" if "v_pred" in tensors else "epsilon",
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
    }
    if is_xl:
        del config["set_alpha_to_one"], config["skip_prk_steps"]
        config["rescale_betas_zero_snr"] = "ztsnr" in tensors
    return config


def _unet(tensors: Tensors, *, is_xl: bool) -> Config:
    def shape(key: str) -> tuple[int, ...]:
        return tensors[_UNET + key].shape

    levels: list[tuple[int, int]] = []  # channels and depth of the transformer, by level
    context, is_linear = 0, False
    per_level = 0
    depth = 0
    for number in range(1, _count(tensors, rf"{re.escape(_UNET)}input_blocks\.(\d+)\.")):
        block = f"input_blocks.{number}."
        if f"{_UNET}{block}0.op.weight" in tensors:
            depth = 0
            continue
        channels = shape(f"{block}0.out_layers.3.weight")[0]
        if f"{_UNET}{block}1.proj_in.weight" in tensors:
            depth = _count(tensors, rf"{re.escape(_UNET + block)}1\.transformer_blocks\.(\d+)\.")
            context = shape(f"{block}1.transformer_blocks.0.attn2.to_k.weight")[1]
            is_linear = len(shape(f"{block}1.proj_in.weight")) == 2
        is_new = f"{_UNET}input_blocks.{number - 1}.0.op.weight" in tensors or number == 1
        if is_new:
            levels.append((channels, depth))
        if len(levels) == 1:
            per_level += 1
    attends = [depth > 0 for _, depth in levels]
    channels = [width for width, _ in levels]
    config: Config = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": shape("input_blocks.0.0.weight")[1],
        "out_channels": shape("out.2.weight")[0],
        "block_out_channels": channels,
        "layers_per_block": per_level,
        "down_block_types": ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attends)],
        "cross_attention_dim": context,
        "use_linear_projection": is_linear,
        "sample_size": 128 if is_xl else 64,
        # diffusers calls the number of heads so: 8 of them, or one for every 64 channels.
        "attention_head_dim": [max(1, width // 64) for width in channels] if is_xl else 8,
    }
    if is_xl:
        extra = shape("label_emb.0.0.weight")[1]
        pooled = tensors[f"{_OPEN_CLIP}text_projection"].shape[1]
        config |= {
            "transformer_layers_per_block": [max(1, depth) for _, depth in levels],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (extra - pooled) // 6,  # two numbers each for size, crop and target
            "projection_class_embeddings_input_dim": extra,
        }
    return config


def _vae(tensors: Tensors, *, is_xl: bool) -> Config:
    blocks = _count(tensors, rf"{re.escape(_VAE)}encoder\.down\.(\d+)\.")
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": tensors[f"{_VAE}decoder.conv_in.weight"].shape[1],
        "block_out_channels": [
            tensors[f"{_VAE}encoder.down.{number}.block.0.conv2.weight"].shape[0] for number in range(blocks)
        ],
        "layers_per_block": _count(tensors, rf"{re.escape(_VAE)}encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * blocks,
        "up_block_types": ["UpDecoderBlock2D"] * blocks,
        "sample_size": 1024 if is_xl else 512,
        "scaling_factor": 0.13025 if is_xl else 0.18215,
        "force_upcast": is_xl,  # XL's overflows half precision
    }


def _clip(tensors: Tensors, prefix: str) -> Config:
    words, width = tensors[f"{prefix}embeddings.token_embedding.weight"].shape
    return _text_config(
        "CLIPTextModel",
        words=words,
        width=width,
        places=tensors[f"{prefix}embeddings.position_embedding.weight"].shape[0],
        layers=_count(tensors, rf"{re.escape(prefix)}encoder\.layers\.(\d+)\."),
        inner=tensors[f"{prefix}encoder.layers.0.mlp.fc1.weight"].shape[0],
        projection=width,
        activation="quick_gelu",
    )


def _open_clip(tensors: Tensors) -> Config:
    words, width = tensors[f"{_OPEN_CLIP}token_embedding.weight"].shape
    return _text_config(
        "CLIPTextModelWithProjection",
        words=words,
        width=width,
        places=tensors[f"{_OPEN_CLIP}positional_embedding"].shape[0],
        layers=_count(tensors, rf"{re.escape(_OPEN_CLIP)}transformer\.resblocks\.(\d+)\."),
        inner=tensors[f"{_OPEN_CLIP}transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        projection=tensors[f"{_OPEN_CLIP}text_projection"].shape[1],
        activation="gelu",
    )


def _text_config(
    name: str,
    *,
    words: int,
    width: int,
    places: int,
    layers: int,
    inner: int,
    projection: int,
    activation: str,
) -> Config:
    return {
        "architectures": [name],
        "model_type": "clip_text_model",
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": places,
        "projection_dim": projection,
        "hidden_act": activation,
        "layer_norm_eps": 1e-05,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": 1,
    }


def _count(tensors: Tensors, pattern: str) -> int:
    """One more than the highest number that the pattern's group finds at the start of a name."""
    numbers = (match[1] for match in map(re.compile(pattern).match, tensors) if match)
    return max((int(number) for number in numbers), default=-1) + 1


def _write_tokenizer(folder: Path, *, pad: str) -> None:
    """CLIP's tokenizer: first the 256 bytes, then each with the mark of a word's end, then the merges in their order."""
    folder.mkdir()
    packed = resources.files("overpaint_backend.models").joinpath("data/clip-merges.txt.gz").read_bytes()
    merges = gzip.decompress(packed).decode("utf-8").splitlines()
    letters = _byte_letters()
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += [merge.replace(" ", "") for merge in merges]
    words += [_START, _END]
    vocabulary = {word: number for number, word in enumerate(words)}
    texts: dict[str, str] = {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]),
        "tokenizer_config.json": json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": 77,
                "bos_token": _START,
                "eos_token": _END,
                "unk_token": _END,
                "pad_token": pad,
            }
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def _byte_letters() -> list[str]:
    """A visible letter for each byte, in the vocabulary's order: printable ones stand for themselves and come first."""
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    hidden = 256 - len(visible)
    return [chr(code) for code in visible] + [chr(256 + number) for number in range(hidden)]
