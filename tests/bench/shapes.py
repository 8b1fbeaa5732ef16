"""Models of full size with random weights in half precision: the layers of real ones, which nobody has to download.

They are made on the graphics card where there is one, since drawing billions of numbers takes a processor minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from tests.toy_model.train import make_tokenizer
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from overpaint_backend.engines.base import Device
from overpaint_backend.engines.diffusion.memory import choose_device

__all__ = ["SHAPES", "Shape"]

_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's layers. side_px: of what it paints at its best. pipeline: the class that fills with it. steps: what it takes."""

    side_px: int
    steps: int
    pipeline: Any
    make: Callable[[int], Any]

    def build(self, folder: Path) -> None:
        """Write it to ``folder`` as diffusers keeps models, if it is not there."""
        if (folder / "model_index.json").exists():
            return
        torch.manual_seed(0)
        with torch.device(choose_device(Device("auto"))):
            pipeline = self.make(self.side_px)
        pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)


def _sd15(side_px: int) -> Any:
    return StableDiffusionInpaintPipeline(
        vae=_autoencoder(side_px, 0.18215),
        text_encoder=CLIPTextModel(_words(768, 12)),
        tokenizer=_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=side_px // 8,
            in_channels=9,
            out_channels=4,
            attention_head_dim=8,
            cross_attention_dim=768,
        ),
        scheduler=_scheduler(PNDMScheduler, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(side_px: int) -> Any:
    return StableDiffusionXLInpaintPipeline(
        vae=_autoencoder(side_px, 0.13025),
        text_encoder=CLIPTextModel(_words(768, 12)),
        text_encoder_2=CLIPTextModelWithProjection(_words(1280, 32, hidden_act="gelu")),
        tokenizer=_tokenizer(),
        tokenizer_2=_tokenizer(),
        unet=UNet2DConditionModel(
            sample_size=side_px // 8,
            in_channels=9,
            out_channels=4,
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        ),
        scheduler=_scheduler(EulerDiscreteScheduler),
    )


def _autoencoder(side_px: int, scaling_factor: float) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=side_px,
        scaling_factor=scaling_factor,
    )


def _scheduler(kind: Any, **changes: Any) -> Any:
    with torch.device("cpu"):  # where its tables belong
        return kind(**_NOISE, **changes)


def _words(width: int, layers: int, **changes: Any) -> CLIPTextConfig:
    tokenizer = make_tokenizer()
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **changes,
    )


def _tokenizer() -> Any:
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 77
    return tokenizer


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "sd15-inpaint": Shape(512, 25, StableDiffusionInpaintPipeline, _sd15),
        "sdxl-inpaint": Shape(1024, 25, StableDiffusionXLInpaintPipeline, _sdxl),
    }
)
"""By family: Stable Diffusion 1.5 (2 GB) and XL (7 GB), both for inpainting."""
