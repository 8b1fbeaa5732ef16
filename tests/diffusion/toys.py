"""Tiny models with random weights, one for each family: real pipelines of real classes, some 100 kB each.

They paint noise. What they show is that a family loads, is called rightly, fills, expands, and stops.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import torch

from overpaint_backend.models.families import FAMILIES

NATIVE_PX = 64
_NATIVE_PX = {"flux2-klein": 128}  # it refuses to edit pictures with a side below 64
_CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
_MARKS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


def install_toy(
    models_dir: Path,
    family_id: str,
    *,
    model_id: str | None = None,
    without: tuple[str, ...] = (),
    native_px: int | None = None,
) -> str:
    """Build the family's toy as an installed model below ``models_dir``; returns its id.

    without: parts to leave out, such as a ControlNet that is to be installed apart. native_px: what it works at, if it is not
    what the family's other toys do.
    """
    model_id = model_id or f"toy-{family_id}"
    folder = models_dir / model_id
    files = folder / "files"
    save_toy(files, family_id, without=without)
    write_manifest(
        folder,
        title=f"Toy {FAMILIES[family_id].title}",
        family=family_id,
        kind="diffusers",
        native_px=native_px or _NATIVE_PX.get(family_id, NATIVE_PX),
    )
    return model_id


def write_manifest(folder: Path, **fields: object) -> None:
    """Make the model whose files are below ``folder`` an installed one."""
    files = folder / "files"
    manifest = {
        "format": 1,
        "id": folder.name,
        "licence": "Apache-2.0",
        "commercial_use": True,
        "files": [
            {
                "path": path.relative_to(files).as_posix(),
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(files.rglob("*"))
            if path.is_file()
        ],
        "source": "tests",
        "revision": "",
        "variant": "",
        "installed_at": "2026-01-01T00:00:00Z",
        "native_px": None,
        "folder": None,
        "file": None,
        **fields,
    }
    (folder / "model.json").write_text(json.dumps(manifest), encoding="utf-8")


def make_part(family_id: str, name: str, *, seed: int = 7) -> torch.nn.Module:
    """One part of the family's toy, with weights of its own for each seed."""
    return _make_parts(family_id, seed)[name]


def _make_parts(family_id: str, seed: int):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' advice about their own defaults
        torch.manual_seed(seed)
        parts = _PARTS[family_id]()
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            _randomize(part)
    return parts


def save_toy(folder: Path, family_id: str, *, without: tuple[str, ...] = ()) -> None:
    """Write the family's toy as a diffusers folder."""
    import diffusers

    parts = {name: part for name, part in _make_parts(family_id, seed=7).items() if name not in without}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        family = FAMILIES[family_id]
        name = family.pipelines.controlled if "controlnet" in parts else family.pipelines.paint
        pipeline = getattr(diffusers, name)(**parts)
        pipeline.save_pretrained(folder, safe_serialization=True)
    if "processor" in parts:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
        index["processor"] = ["transformers", "Qwen2VLProcessor"]
        (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")


def _randomize(module: torch.nn.Module) -> None:
    """Give values to weights that their classes leave at nothing or zero, so that every input counts."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in module.parameters():
            if not weight.isfinite().all() or not weight.any():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)


# ---------------------------------------------------------------- tokenizers and text encoders


def _letters() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _clip_tokenizer():
    from transformers import CLIPTokenizer

    letters = _letters()
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=77
    )


def _clip(*, projects: bool = False, hidden: int = 32):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    count = len(_clip_tokenizer())
    config = CLIPTextConfig(
        vocab_size=count,
        hidden_size=hidden,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=hidden,
        max_position_embeddings=77,
        bos_token_id=count - 2,
        eos_token_id=count - 1,
        pad_token_id=count - 1,
    )
    return (CLIPTextModelWithProjection if projects else CLIPTextModel)(config).eval()


def _t5_tokenizer():
    from transformers import T5Tokenizer

    pieces = ["<pad>", "</s>", "<unk>", "▁", *(chr(code) for code in range(33, 127))]
    return T5Tokenizer(
        vocab=[(piece, -float(rank)) for rank, piece in enumerate(pieces)], extra_ids=0, model_max_length=64
    )


def _t5(hidden: int = 32):
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(_t5_tokenizer()), d_model=hidden, d_ff=37, d_kv=8, num_layers=2, num_heads=4
    )
    return T5EncoderModel(config).eval()


def _qwen_tokenizer():
    from transformers import Qwen2Tokenizer

    vocab = {word: number for number, word in enumerate(_letters())}
    tokenizer = Qwen2Tokenizer(vocab=vocab, merges=[], model_max_length=512)
    tokenizer.add_special_tokens({"additional_special_tokens": _MARKS})
    tokenizer.chat_template = _CHAT
    return tokenizer


def _qwen3(layers: int):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(_qwen_tokenizer()),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    return Qwen3ForCausalLM(config).eval()


def _qwen_vl():
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _qwen_tokenizer()
    number = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0},
            "bos_token_id": None,
            "eos_token_id": number("<|im_end|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_heads": 2,
            "out_hidden_size": 16,
            "fullatt_block_indexes": [1],
        },
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


# ---------------------------------------------------------------- autoencoders and schedulers


def _vae(latents: int = 4, **changes):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=latents,
        norm_num_groups=4,
        sample_size=NATIVE_PX,
        **changes,
    )


def _flux_vae(latents: int = 4):
    return _vae(
        latents, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035
    )


def _qwen_vae():
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.1, 0.2, 0.0],
        latents_std=[1.0, 2.0, 1.5, 1.0],
    )


def _flow(**changes):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**changes)


# ---------------------------------------------------------------- Stable Diffusion


def _sd15(channels: int):
    from diffusers import DPMSolverMultistepScheduler, UNet2DConditionModel

    return {
        "unet": UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=NATIVE_PX // 8,
            in_channels=channels,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        "vae": _vae(),
        "text_encoder": _clip(),
        "tokenizer": _clip_tokenizer(),
        "scheduler": DPMSolverMultistepScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
        ),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def _sdxl(channels: int):
    from diffusers import EulerDiscreteScheduler, UNet2DConditionModel

    return {
        "unet": UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=NATIVE_PX // 8,
            in_channels=channels,
            out_channels=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 2),
            projection_class_embeddings_input_dim=80,
            cross_attention_dim=64,
            norm_num_groups=4,
        ),
        "vae": _vae(scaling_factor=0.13025),
        "text_encoder": _clip(),
        "tokenizer": _clip_tokenizer(),
        "text_encoder_2": _clip(projects=True),
        "tokenizer_2": _clip_tokenizer(),
        "scheduler": EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
    }


def _sd3():
    from diffusers import SD3Transformer2DModel

    return {
        "transformer": SD3Transformer2DModel(
            sample_size=NATIVE_PX // 8,
            patch_size=2,
            in_channels=16,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_projection_dim=32,
            joint_attention_dim=64,
            pooled_projection_dim=64,
            out_channels=16,
        ),
        "vae": _flux_vae(16),
        "text_encoder": _clip(projects=True),
        "tokenizer": _clip_tokenizer(),
        "text_encoder_2": _clip(projects=True),
        "tokenizer_2": _clip_tokenizer(),
        "text_encoder_3": _t5(64),
        "tokenizer_3": _t5_tokenizer(),
        "scheduler": _flow(shift=3.0),
    }


# ---------------------------------------------------------------- FLUX and its kin


def _flux(*, channels: int = 16, guided: bool = True):
    from diffusers import FluxTransformer2DModel

    return {
        "transformer": FluxTransformer2DModel(
            patch_size=1,
            in_channels=channels,
            out_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=guided,
        ),
        "vae": _flux_vae(),
        "text_encoder": _clip(),
        "tokenizer": _clip_tokenizer(),
        "text_encoder_2": _t5(),
        "tokenizer_2": _t5_tokenizer(),
        "scheduler": _flow(),
    }


def _klein():
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    return {
        "transformer": Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=48,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=False,
        ),
        "vae": AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=4
        ),
        "text_encoder": _qwen3(27),
        "tokenizer": _qwen_tokenizer(),
        "scheduler": _flow(),
        "is_distilled": True,
    }


def _chroma():
    from diffusers import ChromaTransformer2DModel

    return {
        "transformer": ChromaTransformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            axes_dims_rope=(4, 4, 8),
            approximator_num_channels=16,
            approximator_hidden_dim=32,
            approximator_layers=1,
        ),
        "vae": _flux_vae(),
        "text_encoder": _t5(),
        "tokenizer": _t5_tokenizer(),
        "scheduler": _flow(),
    }


# ---------------------------------------------------------------- Qwen-Image and Z-Image


def _qwen():
    from diffusers import QwenImageControlNetModel, QwenImageTransformer2DModel

    shape = {
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 4,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 16,
        "axes_dims_rope": (8, 4, 4),
    }
    return {
        "transformer": QwenImageTransformer2DModel(num_layers=2, **shape),
        "controlnet": QwenImageControlNetModel(num_layers=1, extra_condition_channels=4, **shape),
        "vae": _qwen_vae(),
        "text_encoder": _qwen_vl(),
        "tokenizer": _qwen_tokenizer(),
        "scheduler": _flow(),
    }


def _qwen_edit():
    from transformers import Qwen2VLImageProcessor

    from overpaint_backend.engines.diffusion.processor import PictureProcessor

    parts = _qwen()
    del parts["controlnet"]
    parts["processor"] = PictureProcessor(
        image_processor=Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=56 * 56),
        tokenizer=parts["tokenizer"],
    )
    return parts


def _z_image(*, shift: float, controlled: bool):
    from diffusers import ZImageControlNetModel, ZImageTransformer2DModel

    parts = {
        "transformer": ZImageTransformer2DModel(
            in_channels=16,
            dim=32,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
            cap_feat_dim=16,
            axes_dims=[8, 4, 4],
            axes_lens=[1024, 64, 64],
        ),
        "vae": _flux_vae(16),
        "text_encoder": _qwen3(2),
        "tokenizer": _qwen_tokenizer(),
        "scheduler": _flow(shift=shift),
    }
    if controlled:
        parts["controlnet"] = ZImageControlNetModel(
            control_layers_places=[0, 1],
            control_refiner_layers_places=[0],
            control_in_dim=33,
            add_control_noise_refiner="control_layers",
            dim=32,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
        )
    return parts


# ---------------------------------------------------------------- Kandinsky


def _kandinsky():
    from diffusers import DDPMScheduler, PriorTransformer, UnCLIPScheduler, UNet2DConditionModel, VQModel
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    return {
        "unet": UNet2DConditionModel(
            in_channels=9,
            out_channels=8,
            sample_size=NATIVE_PX // 2,
            addition_embed_type="image",
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            block_out_channels=(16, 32),
            layers_per_block=1,
            encoder_hid_dim=32,
            encoder_hid_dim_type="image_proj",
            cross_attention_dim=16,
            attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
            norm_num_groups=8,
        ),
        "scheduler": DDPMScheduler(
            beta_schedule="linear",
            beta_start=0.00085,
            beta_end=0.012,
            clip_sample=False,
            variance_type="learned_range",
        ),
        "movq": VQModel(
            block_out_channels=(32, 64),
            down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
            up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
            latent_channels=4,
            num_vq_embeddings=12,
            vq_embed_dim=4,
            norm_type="spatial",
            norm_num_groups=8,
        ),
        "prior_prior": PriorTransformer(
            num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1
        ),
        "prior_image_encoder": CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=37,
                num_hidden_layers=1,
                num_attention_heads=4,
                image_size=32,
                patch_size=16,
                projection_dim=32,
            )
        ).eval(),
        "prior_text_encoder": _clip(projects=True),
        "prior_tokenizer": _clip_tokenizer(),
        "prior_scheduler": UnCLIPScheduler(
            prediction_type="sample",
            variance_type="fixed_small_log",
            clip_sample=True,
            clip_sample_range=10.0,
        ),
        "prior_image_processor": CLIPImageProcessor(crop_size=32, size=32),
    }


_PARTS = {
    "sd15-inpaint": lambda: _sd15(9),
    "sd15": lambda: _sd15(4),
    "sdxl-inpaint": lambda: _sdxl(9),
    "sdxl": lambda: _sdxl(4),
    "sd3": _sd3,
    "flux1-fill": lambda: _flux(channels=16 + 16 + 256),
    "flux1-dev": _flux,
    "flux1-schnell": lambda: _flux(guided=False),
    "flux2-klein": _klein,
    "qwen-image": _qwen,
    "qwen-image-edit": _qwen_edit,
    "z-image": lambda: _z_image(shift=6.0, controlled=False),
    "z-image-turbo": lambda: _z_image(shift=3.0, controlled=True),
    "chroma": _chroma,
    "kandinsky22": _kandinsky,
}
