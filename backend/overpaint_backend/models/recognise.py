"""What a model is, told from what it holds and never from what it is called.

Single files are recognised by the names and shapes of their tensors, folders by ``model_index.json`` and the parts'
``config.json``. Layouts as diffusers 0.42 reads them (``loaders/single_file_utils.py``, ``lora_conversion_utils.py``).
Where two families share every name and shape, ``Recognised.alternatives`` has the others and the artist may say which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .controlnets import config_from_tensors, families_of_config, is_controlnet_config
from .errors import ModelRefused
from .families import family_of_index
from .safetensors_header import Tensor

__all__ = [
    "Recognised",
    "component_names",
    "needed_configs",
    "recognise_folder",
    "recognise_part",
    "recognise_tensors",
]

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What a model is. kind: as in the store. alternatives: families that look exactly alike."""

    family: str
    kind: str
    alternatives: tuple[str, ...] = ()

    def as_family(self, wanted: str | None) -> Recognised:
        """The same, of the family the artist names.

        Raises:
            ModelRefused: it cannot be that.
        """
        if wanted is None or wanted == self.family:
            return self
        if wanted not in self.alternatives:
            others = "".join(f" or {other}" for other in self.alternatives)
            raise ModelRefused(
                f"This is not a model of {wanted}: what it holds is that of {self.family}{others}."
            )
        rest = tuple(other for other in (self.family, *self.alternatives) if other != wanted)
        return Recognised(family=wanted, kind=self.kind, alternatives=rest)


# Single files ---------------------------------------------------------------------------------------------------------

_LDM = "model.diffusion_model."
_LORA_DOWN = re.compile(
    r"(?P<layer>.+?)[._](?:lora_down|lora_A|lora\.down|lora_linear_layer\.down|lora1\.down)(?:\.default)?(?:\.weight)?"
)


_PACKED = (".scale_weight", ".weight_scale", ".comfy_quant", ".qweight", "scaled_fp8")
"""Ends of names that stand beside numbers which mean nothing without them: ComfyUI's scaled fp8 and int8, and Nunchaku's."""


def recognise_tensors(tensors: Tensors, name: str) -> Recognised:
    """What the file with these tensors is. name: of the file, for the message alone.

    Raises:
        ModelRefused: nothing Overpaint can run.
    """
    if any(key.endswith(_PACKED) for key in tensors):
        raise ModelRefused(
            f"{name} has its numbers packed for another program, so that they fit a smaller card. Take the file in bf16, fp16 "
            "or plain fp8."
        )
    downs = _lora_downs(tensors)
    if downs:
        return _recognise_lora(downs, name)
    if any(part in key for key in tensors for part in (".hada_w1_a", ".lokr_w1", ".lokr_w2")):
        raise ModelRefused(f"{name} is a LoHa or LoKr. Overpaint can use plain LoRA only.")
    for recognise in (_recognise_controlnet, _recognise_unet, _recognise_transformer):
        found = recognise(tensors, name)
        if found is not None:
            return found
    for part, keys in _PARTS.items():
        if any(key in tensors for key in keys):
            raise ModelRefused(f"{name} is {part} alone, not a model that paints.")
    raise ModelRefused(
        f"{name} is of a kind that Overpaint does not know. “overpaint models list --known” shows what it can run."
    )


_PARTS = {
    "a VAE": ("decoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight"),
    "a text encoder": (
        "text_model.encoder.layers.0.mlp.fc1.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "model.layers.0.self_attn.q_proj.weight",
    ),
    "an upscaler": ("model.0.weight", "conv_first.weight"),
}


_CONTROLNETS = (
    "controlnet_cond_embedding.conv_in.weight",
    "control_model.time_embed.0.weight",
    "controlnet_x_embedder.weight",
)


def _recognise_controlnet(tensors: Tensors, name: str) -> Recognised | None:
    """Before all others: a ControlNet has the names of the network it was copied from as well."""
    config = config_from_tensors(tensors, {})
    if config is not None:
        return _controlnet(config, name)
    if any(key in tensors for key in _CONTROLNETS):
        raise ModelRefused(
            f"{name} is a ControlNet alone, not a model that paints. Overpaint uses those for inpainting with Qwen-Image "
            "and Z-Image."
        )
    return None


def _controlnet(config: Mapping[str, Any], name: str) -> Recognised:
    family, *others = families_of_config(config, name)
    return Recognised(family=family, kind="controlnet", alternatives=tuple(others))


def _recognise_unet(tensors: Tensors, name: str) -> Recognised | None:
    """Stable Diffusion 1.5 and XL, as one file or the UNet alone in either naming."""
    is_ldm = f"{_LDM}input_blocks.0.0.weight" in tensors
    conv_in = tensors.get(f"{_LDM}input_blocks.0.0.weight" if is_ldm else "conv_in.weight")
    if conv_in is None or len(conv_in.shape) != 4:
        return None
    prefix = _LDM if is_ldm else ""
    if not is_ldm and "time_embedding.linear_1.weight" not in tensors:
        return None
    attention = [
        tensor.shape[-1]
        for key, tensor in tensors.items()
        if key.startswith(prefix) and key.endswith(".attn2.to_k.weight")
    ]
    has_class = any(
        key in tensors for key in (f"{_LDM}label_emb.0.0.weight", "add_embedding.linear_1.weight")
    )
    width = attention[0] if attention else 0
    if has_class and width == 1280:
        raise ModelRefused(f"{name} is the SDXL refiner, which cannot fill. Import the base model.")
    if width == 1024 and not has_class:
        raise ModelRefused(
            f"{name} is of Stable Diffusion 2, which Overpaint does not run. Take 1.5, XL or newer."
        )
    if not attention:
        return None
    channels = conv_in.shape[1]
    if channels not in (4, 9):
        raise ModelRefused(
            f"{name} is a special Stable Diffusion that takes {channels} channels; Overpaint runs 4 and 9."
        )
    family = ("sdxl" if has_class else "sd15") + ("-inpaint" if channels == 9 else "")
    texts = ("conditioner.embedders.0.",) if has_class else ("cond_stage_model.",)
    return Recognised(family=family, kind=_kind(tensors, ("first_stage_model.", "vae."), texts))


def _recognise_transformer(tensors: Tensors, name: str) -> Recognised | None:
    prefix = _LDM if any(key.startswith(_LDM) for key in tensors) else ""

    def shape(*keys: str) -> tuple[int, ...] | None:
        return next((tensors[prefix + key].shape for key in keys if prefix + key in tensors), None)

    kind = _kind(tensors, ("first_stage_model.", "vae."), ("text_encoders.", "cond_stage_model."))
    if shape("joint_blocks.0.context_block.adaLN_modulation.1.bias"):
        return Recognised(family="sd3", kind=kind)
    if shape("distilled_guidance_layer.in_proj.bias"):
        return Recognised(family="chroma", kind=kind)
    if shape("single_stream_modulation.lin.weight", "single_stream_modulation.linear.weight"):
        if shape("guidance_in.in_layer.weight", "time_guidance_embed.guidance_embedder.linear_1.weight"):
            raise ModelRefused(f"{name} is FLUX.2 [dev], which Overpaint does not run. Take FLUX.2 [klein].")
        return Recognised(family="flux2-klein", kind=kind)
    if shape(
        "double_blocks.0.img_attn.norm.key_norm.scale", "single_transformer_blocks.0.attn.norm_q.weight"
    ):
        return _recognise_flux(shape("img_in.weight", "x_embedder.weight"), shape, kind, name)
    if shape("txt_norm.weight") and shape("transformer_blocks.0.img_mod.1.weight"):
        return Recognised(family="qwen-image", kind=kind, alternatives=("qwen-image-edit",))
    if shape("cap_embedder.0.weight") and shape("noise_refiner.0.feed_forward.w1.weight"):
        width = (shape("cap_embedder.1.weight") or (0,))[0]
        if width == 2304:  # Lumina 2 has the same names
            raise ModelRefused(f"{name} is of Lumina 2, which Overpaint does not run.")
        return Recognised(family="z-image-turbo", kind=kind, alternatives=("z-image",))
    return None


def _recognise_flux(
    image_in: tuple[int, ...] | None, shape: Callable[..., tuple[int, ...] | None], kind: str, name: str
) -> Recognised:
    channels = image_in[1] if image_in and len(image_in) == 2 else 0
    if channels == 384:  # noise 64, masked picture 64, mask 256
        return Recognised(family="flux1-fill", kind=kind)
    if channels != 64:
        raise ModelRefused(
            f"{name} is a FLUX.1 for depth or edge pictures. Overpaint runs dev, schnell and Fill."
        )
    has_guidance = shape("guidance_in.in_layer.bias", "time_text_embed.guidance_embedder.linear_1.bias")
    return Recognised(family="flux1-dev" if has_guidance else "flux1-schnell", kind=kind)


def _kind(tensors: Tensors, vae: tuple[str, ...], text: tuple[str, ...]) -> str:
    """Whether a checkpoint has all its parts."""
    has_vae = any(key.startswith(vae) for key in tensors)
    has_text = any(key.startswith(text) for key in tensors)
    return "single-file" if has_vae and has_text else "denoiser"


# LoRA -----------------------------------------------------------------------------------------------------------------


def _lora_downs(tensors: Tensors) -> dict[str, int]:
    """The layers a LoRA changes and how wide their input is: kohya's, PEFT's, XLabs' and diffusers' names alike.

    Dots and underscores are made one, as kohya writes only underscores.
    """
    downs: dict[str, int] = {}
    for key, tensor in tensors.items():
        match = _LORA_DOWN.fullmatch(key)
        if match and len(tensor.shape) in (2, 4):
            downs[match["layer"].replace(".", "_")] = tensor.shape[1]
    return downs


def _recognise_lora(downs: Mapping[str, int], name: str) -> Recognised:
    family = _lora_family(downs)
    if family is None:
        raise ModelRefused(f"{name} is a LoRA for a kind of model that Overpaint does not run.")
    return Recognised(family=family, kind="lora", alternatives=_LORA_ALIKE.get(family, ()))


_LORA_ALIKE = {"flux1-dev": ("flux1-schnell", "flux1-fill", "chroma"), "qwen-image": ("qwen-image-edit",)} | {
    "sd15": ("sd15-inpaint",),
    "sdxl": ("sdxl-inpaint",),
    "z-image-turbo": ("z-image",),
}


def _lora_family(downs: Mapping[str, int]) -> str | None:
    def widths(*parts: str) -> set[int]:
        return {width for layer, width in downs.items() if any(part in layer for part in parts)}

    def has(*parts: str) -> bool:
        return any(part in layer for layer in downs for part in parts)

    if has("distilled_guidance_layer"):
        return "chroma"
    if has("joint_blocks_"):
        return "sd3"
    if has("single_blocks_", "double_blocks_", "single_transformer_blocks_"):
        return _lora_flux(downs, widths, has)
    if has("img_mlp", "img_mod", "txt_mlp", "txt_mod"):
        return "qwen-image"
    if re.search(r"(^|_)layers_\d+_(attention|feed_forward|adaLN)", " ".join(downs)) or has("noise_refiner_"):
        return (
            "z-image-turbo"
            if widths("_attention_to_q", "_attention_qkv", "_feed_forward_w1") == {3840}
            else None
        )
    if has("transformer_blocks_") and has("_add_q_proj", "_attn_to_q") and not has("attn2"):
        # Joint attention alone: Qwen-Image is as wide as FLUX.1 and has three times the blocks; SD 3 is narrower.
        joint = widths("_add_q_proj", "_attn_to_q")
        last = max(
            int(number) for layer in downs for number in re.findall(r"transformer_blocks_(\d+)_", layer)
        )
        if joint <= {1536, 2432}:
            return "sd3"
        return None if joint != {3072} else "qwen-image" if last >= 19 else "flux1-dev"
    return _lora_unet(downs, widths, has)


def _lora_flux(
    downs: Mapping[str, int], widths: Callable[..., set[int]], has: Callable[..., bool]
) -> str | None:
    # FLUX.2 joins what FLUX.1 keeps apart, and its MLP comes back three times as wide as the stream instead of four.
    if has("to_qkv_mlp_proj", "_ff_linear_in", "_ff_context_linear_in"):
        stream = widths("to_qkv_mlp_proj", "_ff_linear_in", "_ff_context_linear_in")
        return "flux2-klein" if stream <= {3072, 4096} else None
    stream = widths("_img_attn_qkv", "_img_mlp_0", "_linear1", "_attn_to_q", "_proj_mlp")
    if stream & {4096, 6144}:
        return "flux2-klein" if stream == {4096} else None
    if widths("_img_mlp_2") & {9216} or widths("_linear2") & {12288}:
        return "flux2-klein"
    return "flux1-dev"


def _lora_unet(
    downs: Mapping[str, int], widths: Callable[..., set[int]], has: Callable[..., bool]
) -> str | None:
    context = widths("attn2_to_k", "attn2_to_v", "attn2_processor_to_k", "attn2_processor_to_v")
    if context:
        return {frozenset({768}): "sd15", frozenset({2048}): "sdxl"}.get(frozenset(context))
    if has("lora_te2_", "text_encoder_2_"):
        return "sdxl"
    if has("lora_unet_input_blocks_", "lora_unet_output_blocks_"):
        return "sdxl"
    if has("down_blocks_0_attentions_"):  # XL has no attention that early
        return "sd15"
    if has("transformer_blocks_9_", "attentions_0_transformer_blocks_1_"):  # 1.5 has one block each
        return "sdxl"
    return None


# Folders --------------------------------------------------------------------------------------------------------------

_SPECIAL = re.compile(
    r"Upscale|Pix2Pix|Depth2Img|Adapter|GLIGEN|Control(?!Net)|KV|Prior(?!.*Combined)|Instruct|Omni"
)
"""In names of pipelines that start like a family's and do something else."""
_LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion"})
"""Where the parts of a pipeline may come from; anything else is code out of the folder itself."""


def component_names(index: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The parts a ``model_index.json`` names, apart from the safety checker, which Overpaint does not load.

    Raises:
        ModelRefused: one of them is code from the folder or from elsewhere.
    """
    parts: list[str] = []
    for key, value in index.items():
        if key.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2 or value[0] is None or value[1] is None:
            continue
        if value[0] not in _LIBRARIES:
            raise ModelRefused(
                f"{name} brings program code of its own (for its part “{key}”), which Overpaint never runs. "
                "Look for a version of the model without."
            )
        if key != "safety_checker":
            parts.append(key)
    return tuple(parts)


def recognise_folder(
    index: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], name: str
) -> Recognised:
    """What the diffusers folder is.

    Args:
        index: its ``model_index.json``.
        configs: by part, its ``config.json`` or ``scheduler_config.json``.
        name: of the folder, for the message alone.

    Raises:
        ModelRefused: nothing Overpaint can run.
    """
    class_name = str(index.get("_class_name", ""))
    component_names(index, name)
    unet = configs.get("unet", {})
    is_sd2 = class_name.startswith("StableDiffusion") and unet.get("cross_attention_dim") == 1024
    if is_sd2 and not class_name.startswith(("StableDiffusionXL", "StableDiffusion3")):
        raise ModelRefused(
            f"{name} is of Stable Diffusion 2, which Overpaint does not run. Take 1.5, XL or newer."
        )
    channels = unet.get("in_channels", 4)
    if class_name.startswith("StableDiffusion") and channels not in (4, 9):
        raise ModelRefused(f"{name} takes {channels} channels; Overpaint runs Stable Diffusion with 4 and 9.")
    family = (
        None if _SPECIAL.search(class_name) else family_of_index(index, lambda part: configs.get(part, {}))
    )
    if family is None:
        raise ModelRefused(
            f"{name} is made for {class_name or 'nothing it names'}, which Overpaint does not run. “overpaint models list "
            "--known” shows what it can."
        )
    if family.id == "kandinsky22" and "prior_prior" not in index:
        raise ModelRefused(
            f"{name} is one half of Kandinsky 2.2. Overpaint needs the decoder and the prior in one folder, as diffusers "
            f"saves {family.pipelines.paint}."
        )
    # Nothing but the scheduler's shift tells these two apart, and that may have been tuned.
    pair = ("z-image", "z-image-turbo")
    alternatives = tuple(other for other in pair if family.id in pair and other != family.id)
    return Recognised(family=family.id, kind="diffusers", alternatives=alternatives)


def recognise_part(config: Mapping[str, Any], name: str) -> Recognised:
    """What the folder is that has a ``config.json`` and no ``model_index.json``.

    Raises:
        ModelRefused: nothing Overpaint can use.
    """
    if not is_controlnet_config(config):
        raise ModelRefused(
            f"{name} is one part of a model ({config.get('_class_name', 'of no known kind')}), not a model that paints. "
            "Take the folder with model_index.json."
        )
    return _controlnet(config, name)


def needed_configs(components: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By part that ``recognise_folder`` looks at, the file names its config may have."""
    names = {
        "unet": ("config.json",),
        "transformer": ("config.json",),
        "scheduler": ("scheduler_config.json",),
    }
    return {part: names[part] for part in components if part in names}
