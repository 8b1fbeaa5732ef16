"""What a file is, by the tensors it holds; names of files play no part."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from overpaint_backend.models.controlnets import config_from_tensors
from overpaint_backend.models.errors import ModelRefused
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.recognise import recognise_folder, recognise_part, recognise_tensors
from overpaint_backend.models.safetensors_header import read_header

from .builders import (
    LDM,
    flux_transformer,
    lora,
    qwen_controlnet,
    safetensors_bytes,
    sd_checkpoint,
    tensors,
    write_safetensors,
    z_image_controlnet,
)

FLUX_CONTROLNET = {"controlnet_x_embedder.weight": (3072, 64), "x_embedder.weight": (3072, 64)}

CHECKPOINTS = {
    "sd15": (sd_checkpoint(), "sd15", "single-file"),
    "sd15 inpaint": (sd_checkpoint(inputs=9), "sd15-inpaint", "single-file"),
    "sd15 unet alone": (sd_checkpoint(whole=False), "sd15", "denoiser"),
    "sdxl": (sd_checkpoint(width=2048, xl=True), "sdxl", "single-file"),
    "sdxl inpaint": (sd_checkpoint(inputs=9, width=2048, xl=True), "sdxl-inpaint", "single-file"),
    "sd15 inpaint, diffusers' names": (
        {
            "conv_in.weight": (320, 9, 3, 3),
            "time_embedding.linear_1.weight": (16, 4),
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (8, 768),
        },
        "sd15-inpaint",
        "denoiser",
    ),
    "sdxl, diffusers' names": (
        {
            "conv_in.weight": (320, 4, 3, 3),
            "time_embedding.linear_1.weight": (16, 4),
            "add_embedding.linear_1.weight": (16, 2816),
            "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (8, 2048),
        },
        "sdxl",
        "denoiser",
    ),
    "sd3": (
        {
            f"{LDM}joint_blocks.0.context_block.adaLN_modulation.1.bias": (9216,),
            "first_stage_model.decoder.conv_in.weight": (8, 16, 3, 3),
            "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight": (77, 8),
        },
        "sd3",
        "single-file",
    ),
    "flux dev": (flux_transformer(), "flux1-dev", "denoiser"),
    "flux schnell": (flux_transformer(guidance=False), "flux1-schnell", "denoiser"),
    "flux fill": (flux_transformer(inputs=384), "flux1-fill", "denoiser"),
    "flux fill, ComfyUI's all in one": (
        {
            **flux_transformer(inputs=384, prefix=LDM),
            "vae.decoder.conv_in.weight": (8, 16, 3, 3),
            "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight": (77, 8),
        },
        "flux1-fill",
        "single-file",
    ),
    "flux fill, diffusers' names": (
        {
            "x_embedder.weight": (3072, 384),
            "single_transformer_blocks.0.attn.norm_q.weight": (128,),
            "time_text_embed.guidance_embedder.linear_1.bias": (16,),
        },
        "flux1-fill",
        "denoiser",
    ),
    "flux2 klein": (
        {
            "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
            "single_stream_modulation.lin.weight": (16, 8),
            "img_in.weight": (3072, 128),
        },
        "flux2-klein",
        "denoiser",
    ),
    "chroma": (
        {**flux_transformer(guidance=False), "distilled_guidance_layer.in_proj.bias": (5120,)},
        "chroma",
        "denoiser",
    ),
    "qwen image": (
        {f"{LDM}txt_norm.weight": (3584,), f"{LDM}transformer_blocks.0.img_mod.1.weight": (16, 8)},
        "qwen-image",
        "denoiser",
    ),
    "z-image": (
        {
            "cap_embedder.0.weight": (2560,),
            "cap_embedder.1.weight": (3840, 2560),
            "noise_refiner.0.feed_forward.w1.weight": (16, 8),
            "layers.0.adaLN_modulation.0.weight": (16, 8),
        },
        "z-image-turbo",
        "denoiser",
    ),
}


@pytest.mark.parametrize(("shapes", "family", "kind"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_checkpoint_is_told_by_its_tensors(shapes, family, kind):
    found = recognise_tensors(tensors(shapes), "misleading-lora.safetensors")
    assert (found.family, found.kind) == (family, kind)
    assert found.family in FAMILIES


KOHYA_SD = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
KOHYA_XL = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
PEFT = {"down": ".lora_A.weight", "up": ".lora_B.weight"}
FLUX_PEFT = "transformer.single_transformer_blocks.0.attn.to_q"
LORAS = {
    "sd15 kohya": (lora({KOHYA_SD: 768, "lora_te_text_model_encoder_layers_0_mlp_fc1": 768}), "sd15"),
    "sd15 kohya, self-attention alone": (
        lora({"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k": 320}),
        "sd15",
    ),
    "sd15 peft": (
        lora({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": 768}, **PEFT),
        "sd15",
    ),
    "sd15, diffusers' old names": (
        lora(
            {"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora": 768},
            ".down.weight",
            ".up.weight",
        ),
        "sd15",
    ),
    "sdxl kohya": (lora({KOHYA_XL: 2048, "lora_te2_text_model_encoder_layers_0_mlp_fc1": 1280}), "sdxl"),
    "sdxl kohya, self-attention alone": (
        lora({"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": 640}),
        "sdxl",
    ),
    "sdxl peft": (
        lora({"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k": 2048}, **PEFT),
        "sdxl",
    ),
    "sd3 peft": (
        lora({"transformer.transformer_blocks.0.attn.add_q_proj": 1536}, **PEFT),
        "sd3",
    ),
    "sd3 kohya": (lora({"lora_unet_joint_blocks_0_x_block_attn_qkv": 1536}), "sd3"),
    "flux kohya": (
        lora({"lora_unet_double_blocks_0_img_attn_proj": 3072, "lora_unet_single_blocks_0_linear2": 15360}),
        "flux1-dev",
    ),
    "flux peft": (lora({FLUX_PEFT: 3072}, **PEFT), "flux1-dev"),
    "flux XLabs": (
        lora(
            {"double_blocks.0.processor.proj_lora1": 3072, "double_blocks.0.processor.qkv_lora1": 3072},
            ".down.weight",
            ".up.weight",
        ),
        "flux1-dev",
    ),
    "flux ComfyUI": (lora({"diffusion_model.double_blocks.0.img_attn.qkv": 3072}, **PEFT), "flux1-dev"),
    "flux2 klein 9B": (lora({"diffusion_model.double_blocks.0.img_attn.qkv": 4096}, **PEFT), "flux2-klein"),
    "flux2 klein 4B": (lora({"diffusion_model.single_blocks.0.linear2": 12288}, **PEFT), "flux2-klein"),
    "flux2 klein peft": (
        lora({"transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj": 3072}, **PEFT),
        "flux2-klein",
    ),
    "qwen peft": (
        lora({f"transformer.transformer_blocks.{n}.attn.to_q": 3072 for n in (0, 59)}, **PEFT),
        "qwen-image",
    ),
    "qwen kohya": (lora({"lora_unet_transformer_blocks_0_img_mlp_net_2": 12288}), "qwen-image"),
    "qwen lightning": (
        lora({"transformer_blocks.0.img_mod.1": 3072}, ".lora_down.weight", ".lora_up.weight"),
        "qwen-image",
    ),
    "z-image": (lora({"diffusion_model.layers.0.attention.to_q": 3840}, **PEFT), "z-image-turbo"),
    "z-image kohya": (lora({"lora_unet_layers_0_attention_qkv": 3840}), "z-image-turbo"),
    "chroma": (lora({"diffusion_model.distilled_guidance_layer.layers.0.in_layer": 5120}, **PEFT), "chroma"),
}


@pytest.mark.parametrize(("shapes", "family"), LORAS.values(), ids=LORAS)
def test_a_lora_is_told_by_its_layers(shapes, family):
    found = recognise_tensors(tensors(shapes), "sd_xl_base_1.0.safetensors")
    assert (found.family, found.kind) == (family, "lora")


REFUSED = {
    "SD 2": (sd_checkpoint(width=1024), "Stable Diffusion 2"),
    "SD 2 LoRA": (lora({KOHYA_SD: 1024}), "does not run"),
    "SDXL refiner": (sd_checkpoint(width=1280, xl=True), "refiner"),
    "instruct-pix2pix": (sd_checkpoint(inputs=8), "8 channels"),
    "FLUX.1 depth": (flux_transformer(inputs=128), "depth"),
    "FLUX.2 dev": (
        {"single_stream_modulation.lin.weight": (16, 8), "guidance_in.in_layer.weight": (16, 8)},
        r"FLUX\.2 \[dev\]",
    ),
    "a VAE": ({"decoder.conv_in.weight": (8, 4, 3, 3)}, "a VAE alone"),
    "a ControlNet": (
        {
            "conv_in.weight": (320, 4, 3, 3),
            "time_embedding.linear_1.weight": (16, 4),
            "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
        },
        "a ControlNet alone",
    ),
    "a ControlNet for FLUX.1": (
        {**FLUX_CONTROLNET, "single_transformer_blocks.0.attn.norm_q.weight": (128,)},
        "a ControlNet alone",
    ),
    "a ControlNet for drawings, Qwen-Image": (qwen_controlnet(extra=0), "made for inpainting"),
    "the first ControlNet of Z-Image": (z_image_controlnet(channels=16, layers=6), "made for inpainting"),
    "half a ControlNet": ({"control_all_x_embedder.2-1.weight": (3840, 132)}, "parts of it are missing"),
    "scaled fp8": (
        {**flux_transformer(), "double_blocks.0.img_attn.qkv.scale_weight": (1,)},
        "packed for another program",
    ),
    "int4": (
        {**flux_transformer(), "double_blocks.0.img_attn.qkv.qweight": (8, 8)},
        "packed for another program",
    ),
    "LoHa": ({f"{KOHYA_SD}.hada_w1_a": (8, 4)}, "LoHa"),
    "video LoRA": (lora({"diffusion_model.blocks.0.cross_attn.q": 5120}, **PEFT), "does not run"),
    "something": ({"weight": (8, 8)}, "does not know"),
    "nothing": ({}, "does not know"),
}


@pytest.mark.parametrize(("shapes", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_run_is_refused_with_a_sentence(shapes, sentence):
    with pytest.raises(ModelRefused, match=sentence) as caught:
        recognise_tensors(tensors(shapes), "x.safetensors")
    assert caught.value.message.endswith(".")


CONTROLNETS = {
    "Qwen-Image": (qwen_controlnet(), "qwen-image", ()),
    "Z-Image": (z_image_controlnet(), "z-image-turbo", ("z-image",)),
    "Z-Image, light": (z_image_controlnet(layers=3), "z-image-turbo", ("z-image",)),
}


@pytest.mark.parametrize(("shapes", "family", "others"), CONTROLNETS.values(), ids=CONTROLNETS)
def test_a_controlnet_for_inpainting_is_told_by_its_tensors(shapes, family, others):
    found = recognise_tensors(tensors(shapes), "sd_xl_base_1.0.safetensors")
    assert (found.family, found.kind, found.alternatives) == (family, "controlnet", others)


PLACES = {15: list(range(0, 30, 2)), 6: [0, 5, 10, 15, 20, 25], 3: [0, 10, 20]}


@pytest.mark.parametrize("layers", PLACES)
def test_the_layers_of_a_controlnet_are_spread_as_their_makers_have_them(layers):
    config = config_from_tensors(tensors(z_image_controlnet(layers=layers)), {})
    assert config is not None
    assert config["control_layers_places"] == PLACES[layers]
    assert (config["dim"], config["n_heads"], config["control_in_dim"]) == (3840, 30, 33)
    assert config["control_refiner_layers_places"] == [0, 1]
    assert config["add_control_noise_refiner"] == "control_noise_refiner"


def test_the_config_of_qwen_images_controlnet_is_the_published_one():
    config = config_from_tensors(tensors(qwen_controlnet()), {"axes_dims_rope": [16, 56, 56]})
    assert config == {
        "_class_name": "QwenImageControlNetModel",
        "in_channels": 64,
        "out_channels": 16,
        "num_layers": 6,
        "attention_head_dim": 128,
        "num_attention_heads": 24,
        "joint_attention_dim": 3584,
        "extra_condition_channels": 4,
        "axes_dims_rope": [16, 56, 56],
    }


CONFIGS = {
    "QwenImageControlNetModel": ({"extra_condition_channels": 4}, "qwen-image"),
    "ZImageControlNetModel": ({"control_in_dim": 33}, "z-image-turbo"),
}


@pytest.mark.parametrize("class_name", CONFIGS)
def test_a_controlnets_folder_is_told_by_its_config(class_name):
    config, family = CONFIGS[class_name]
    found = recognise_part({"_class_name": class_name, **config}, "mine")
    assert (found.family, found.kind) == (family, "controlnet")
    with pytest.raises(ModelRefused, match="made for inpainting"):
        recognise_part({"_class_name": class_name}, "mine")


@pytest.mark.parametrize("class_name", ["FluxControlNetModel", "ControlNetModel", "SD3ControlNetModel"])
def test_a_controlnet_for_other_models_is_refused(class_name):
    with pytest.raises(ModelRefused, match="runs without"):
        recognise_part({"_class_name": class_name}, "mine")


@pytest.mark.parametrize("config", [{}, {"_class_name": "AutoencoderKL"}])
def test_another_part_of_a_model_is_refused(config):
    with pytest.raises(ModelRefused, match="one part of a model"):
        recognise_part(config, "mine")


def test_the_artist_may_choose_among_families_that_look_alike():
    found = recognise_tensors(tensors(CHECKPOINTS["z-image"][0]), "x.safetensors")
    assert found.as_family("z-image").family == "z-image"
    with pytest.raises(ModelRefused, match="not a model of sdxl"):
        found.as_family("sdxl")


FOLDERS = {
    "StableDiffusionPipeline": ({"unet": {"in_channels": 4}}, "sd15"),
    "StableDiffusionInpaintPipeline": ({"unet": {"in_channels": 9}}, "sd15-inpaint"),
    "StableDiffusionXLPipeline": ({"unet": {"in_channels": 4}}, "sdxl"),
    "StableDiffusionXLInpaintPipeline": ({"unet": {"in_channels": 9}}, "sdxl-inpaint"),
    "StableDiffusion3Pipeline": ({}, "sd3"),
    "FluxFillPipeline": ({"transformer": {"in_channels": 384}}, "flux1-fill"),
    "FluxPipeline": ({"transformer": {"guidance_embeds": True}}, "flux1-dev"),
    "FluxInpaintPipeline": ({"transformer": {"guidance_embeds": False}}, "flux1-schnell"),
    "Flux2KleinPipeline": ({}, "flux2-klein"),
    "QwenImagePipeline": ({}, "qwen-image"),
    "QwenImageControlNetInpaintPipeline": ({}, "qwen-image"),
    "QwenImageEditPlusPipeline": ({}, "qwen-image-edit"),
    "ZImagePipeline": ({"scheduler": {"shift": 3.0}}, "z-image-turbo"),
    "ZImageInpaintPipeline": ({"scheduler": {"shift": 6.0}}, "z-image"),
    "ChromaPipeline": ({}, "chroma"),
}


@pytest.mark.parametrize("class_name", FOLDERS)
def test_a_folder_is_told_by_its_index_and_configs(class_name):
    configs, family = FOLDERS[class_name]
    assert recognise_folder({"_class_name": class_name}, configs, "sdxl").family == family


@pytest.mark.parametrize(
    "class_name",
    [
        "FluxKontextPipeline",
        "FluxControlPipeline",
        "StableDiffusionUpscalePipeline",
        "StableDiffusionInstructPix2PixPipeline",
        "KandinskyV22InpaintPipeline",
        "WanPipeline",
        "",
    ],
)
def test_other_pipelines_are_refused(class_name):
    with pytest.raises(ModelRefused):
        recognise_folder({"_class_name": class_name}, {"unet": {"in_channels": 4}}, "mine")


def test_kandinsky_needs_both_halves():
    index = {
        "_class_name": "KandinskyV22InpaintCombinedPipeline",
        "prior_prior": ["diffusers", "PriorTransformer"],
    }
    assert recognise_folder(index, {"unet": {"in_channels": 9}}, "mine").family == "kandinsky22"


def test_a_folder_with_code_of_its_own_is_refused():
    index = {"_class_name": "StableDiffusionPipeline", "unet": ["my_unet", "Net"]}
    with pytest.raises(ModelRefused, match="program code of its own"):
        recognise_folder(index, {"unet": {"in_channels": 4}}, "mine")


WHOLE = safetensors_bytes({"a": (4, 4)})
BROKEN = {
    "empty": b"",
    "short": b"\x01\x02",
    "a length beyond all limits": struct.pack("<Q", 2**60) + b"{}",
    "a header that ends early": struct.pack("<Q", 400) + b'{"a": ',
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "no object": struct.pack("<Q", 2) + b"[]",
    "no shape": struct.pack("<Q", 9) + b'{"a": {}}',
    "deeply nested": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "truncated data": WHOLE[:-1],
    "too much data": WHOLE + b"\0",
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_a_damaged_file_is_refused(raw, tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(raw)
    with pytest.raises(ModelRefused):
        read_header(file)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02}q", b"\x80\x04\x95"])
def test_a_pickle_is_refused_whatever_its_name(start, tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(start + bytes(100))
    with pytest.raises(ModelRefused, match="is a pickle"):
        read_header(file)


def test_a_header_tells_types_and_shapes(tmp_path: Path):
    header = read_header(write_safetensors(tmp_path / "a", {"x": (2, 3), "y": ()}))
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in header.tensors.items()} == {
        "x": ("F16", (2, 3)),
        "y": ("F16", ()),
    }
    assert json.dumps(dict(header.metadata)) == '{"format": "pt"}'
