"""LoRAs with random weights for the toys, named as the trainers name what they write.

``peft`` is how PEFT and diffusers name things, ``kohya`` how kohya's scripts do, which write underscores only and a scale
(alpha) beside each layer, here half of PEFT's. ``kohya-sgm`` is what they write for XL, with blocks counted as in the
original code.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.diffusion.toys import write_manifest

from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.safetensors_header import read_header
from overpaint_backend.models.store import InstalledModel

RANK = 2
_LAYERS = re.compile(r"(.*\.(?:to_q|to_k|to_v|to_out\.0|[qkv]_proj|out_proj|fc[12]))\.weight")
_WITH_TEXT = ("sd15", "sdxl", "sd3", "flux1")
"""What LoRAs with a part for CLIP are made for."""
_KOHYA_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te"}
_KOHYA_XL_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}


def install_toy_lora(
    models_dir: Path,
    model: InstalledModel,
    lora_id: str,
    *,
    layout: str = "peft",
    in_text: bool = False,
    seed: int = 1,
) -> str:
    """Build a LoRA for the toy ``model`` and install it below ``models_dir``; returns its id.

    in_text: it changes the text encoders as well, as far as LoRAs of the family can.
    """
    parts = [FAMILIES[model.family].main]
    if in_text and FAMILIES[model.family].lora_base in _WITH_TEXT:
        parts += [name for name in ("text_encoder", "text_encoder_2") if (model.path / name).is_dir()]
    folder = models_dir / lora_id
    (folder / "files").mkdir(parents=True)
    file = "final (2).safetensors"  # a name says nothing
    save_file(lora_tensors(model, parts, layout=layout, seed=seed), folder / "files" / file)
    write_manifest(folder, title=f"Toy LoRA {lora_id}", family=model.family, kind="lora", file=file)
    return lora_id


def lora_tensors(
    model: InstalledModel, parts: list[str], *, layout: str = "peft", seed: int = 1
) -> dict[str, torch.Tensor]:
    """Low-rank changes to the attention of ``parts``, by name; the same in each layout."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    prefixes = _KOHYA_XL_PREFIXES if model.family.startswith("sdxl") else _KOHYA_PREFIXES
    for part in parts:
        for name, tensor in _tensors(model.path / part):
            match = _LAYERS.fullmatch(name)
            if match is None:
                continue
            down = torch.randn(RANK, tensor.shape[1], generator=generator)
            up = torch.randn(tensor.shape[0], RANK, generator=generator)
            layer = match[1]
            if part.startswith("text_encoder"):
                layer = f"text_model.{layer.removeprefix('text_model.')}"
            if layout == "peft":
                tensors |= {f"{part}.{layer}.lora_A.weight": down, f"{part}.{layer}.lora_B.weight": up}
                continue
            layer = _sgm(layer) if layout == "kohya-sgm" else layer
            layer = f"{prefixes[part]}_{layer.replace('.', '_')}"
            tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
            tensors[f"{layer}.alpha"] = torch.tensor(RANK / 2)
    return tensors


def _sgm(layer: str) -> str:
    """A layer of the toy's UNet, which has one layer in each block on the way down and two on the way up."""
    layer = re.sub(
        r"^down_blocks\.(\d)\.attentions\.0", lambda m: f"input_blocks.{1 + int(m[1]) * 2}.1", layer
    )
    layer = re.sub(
        r"^up_blocks\.(\d)\.attentions\.(\d)",
        lambda m: f"output_blocks.{int(m[1]) * 2 + int(m[2])}.1",
        layer,
    )
    return layer.replace("mid_block.attentions.0", "middle_block.1")


def _tensors(folder: Path):
    for file in sorted(folder.glob("*.safetensors")):
        yield from sorted(read_header(file).tensors.items())
