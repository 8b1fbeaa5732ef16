"""Model files for tests: real formats and real names of tensors, with shapes as large as recognising needs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from overpaint_backend.models.safetensors_header import Tensor

Shapes = Mapping[str, tuple[int, ...]]


def tensors(shapes: Shapes) -> dict[str, Tensor]:
    return {name: Tensor("F16", shape) for name, shape in shapes.items()}


def safetensors_bytes(shapes: Shapes, fill: int = 0) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes([fill]) * end


def write_safetensors(path: Path, shapes: Shapes, fill: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(safetensors_bytes(shapes, fill))
    return path


def attention(prefix: str, width: int, channels: int = 8) -> dict[str, tuple[int, ...]]:
    return {
        f"{prefix}.attn2.to_k.weight": (channels, width),
        f"{prefix}.attn2.to_v.weight": (channels, width),
    }


LDM = "model.diffusion_model."


def sd_checkpoint(*, inputs: int = 4, width: int = 768, xl: bool = False, whole: bool = True) -> Shapes:
    """An original Stable Diffusion checkpoint, as CompVis and Stability write it."""
    block = "input_blocks.4.1.transformer_blocks.0" if xl else "input_blocks.1.1.transformer_blocks.0"
    shapes: dict[str, tuple[int, ...]] = {
        f"{LDM}time_embed.0.weight": (16, 4),
        f"{LDM}input_blocks.0.0.weight": (320, inputs, 3, 3),
        f"{LDM}input_blocks.0.0.bias": (320,),
        **attention(LDM + block, width),
    }
    if xl:
        shapes[f"{LDM}label_emb.0.0.weight"] = (16, 2816)
    if whole:
        shapes["first_stage_model.decoder.conv_in.weight"] = (8, 4, 3, 3)
        text = "conditioner.embedders.0." if xl else "cond_stage_model."
        shapes[f"{text}transformer.text_model.embeddings.position_embedding.weight"] = (77, 8)
    return shapes


def flux_transformer(*, inputs: int = 64, guidance: bool = True, prefix: str = "") -> Shapes:
    """FLUX.1's transformer in its makers' names."""
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}img_in.weight": (3072, inputs),
        f"{prefix}double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        f"{prefix}double_blocks.0.img_attn.qkv.weight": (16, 8),
        f"{prefix}single_blocks.0.linear1.weight": (16, 8),
    }
    if guidance:
        shapes[f"{prefix}guidance_in.in_layer.weight"] = (16, 8)
        shapes[f"{prefix}guidance_in.in_layer.bias"] = (16,)
    return shapes


def qwen_controlnet(*, extra: int = 4) -> Shapes:
    """InstantX's ControlNet for Qwen-Image, which has the names of the network it was copied from."""
    shapes: dict[str, tuple[int, ...]] = {
        "img_in.weight": (3072, 64),
        "txt_in.weight": (3072, 3584),
        "txt_norm.weight": (3584,),
        "controlnet_x_embedder.weight": (3072, 64 + extra),
    }
    for number in range(6):
        shapes[f"transformer_blocks.{number}.attn.norm_q.weight"] = (128,)
        shapes[f"transformer_blocks.{number}.img_mod.1.weight"] = (16, 8)
        shapes[f"controlnet_blocks.{number}.weight"] = (16, 8)
    return shapes


def z_image_controlnet(*, channels: int = 33, layers: int = 15) -> Shapes:
    """alibaba-pai's ControlNet for Z-Image, of which one file is all that there is."""
    shapes: dict[str, tuple[int, ...]] = {
        "control_all_x_embedder.2-1.weight": (3840, channels * 4),
        "control_all_x_embedder.2-1.bias": (3840,),
        "control_noise_refiner.0.before_proj.weight": (16, 8),
        "control_noise_refiner.1.after_proj.weight": (16, 8),
    }
    for number in range(layers):
        shapes[f"control_layers.{number}.attention.norm_q.weight"] = (128,)
        shapes[f"control_layers.{number}.after_proj.weight"] = (16, 8)
    return shapes


def lora(layers: Mapping[str, int], down: str = ".lora_down.weight", up: str = ".lora_up.weight") -> Shapes:
    """A LoRA of rank 4 on the given layers, by the width of their input."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, width in layers.items():
        shapes[f"{layer}{down}"] = (4, width)
        shapes[f"{layer}{up}"] = (8, 4)
        if down == ".lora_down.weight":
            shapes[f"{layer}.alpha"] = ()
    return shapes


def write_folder(
    folder: Path,
    *,
    class_name: str = "StableDiffusionInpaintPipeline",
    inputs: int = 9,
    variants: Iterable[str] = ("",),
    fill: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """A diffusers folder of the SD 1.5 shape; ``extra`` adds parts to its index."""
    index = {
        "_class_name": class_name,
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": [None, None],
        "requires_safety_checker": True,
        **(extra or {}),
    }
    texts = {
        "model_index.json": index,
        "scheduler/scheduler_config.json": {"_class_name": "PNDMScheduler"},
        "text_encoder/config.json": {"hidden_size": 8},
        "tokenizer/vocab.json": {"a": 0},
        "unet/config.json": {"in_channels": inputs, "cross_attention_dim": 8},
        "vae/config.json": {"latent_channels": 4},
    }
    for path, plain in texts.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(plain))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\na b\n")
    (folder / "README.md").write_text("not needed")
    for variant in variants:
        dot = f".{variant}" if variant else ""
        # The full set is the larger one, as outside of tests.
        rows = 8 if variant else 16
        write_safetensors(folder / f"text_encoder/model{dot}.safetensors", {"a": (rows, 8)}, fill)
        write_safetensors(
            folder / f"unet/diffusion_pytorch_model{dot}.safetensors", {"b": (rows, 4096)}, fill
        )
        write_safetensors(folder / f"vae/diffusion_pytorch_model{dot}.safetensors", {"c": (rows, 64)}, fill)
    (folder / "safety_checker").mkdir(exist_ok=True)
    (folder / "safety_checker" / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    return folder
