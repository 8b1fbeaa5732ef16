"""Single-file checkpoints in their makers' layout and under misleading names: recognised, and run without any network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from overpaint_backend.engines.base import Device, FillRequest, GenerationSettings, OperationName
from overpaint_backend.engines.diffusion.loading import quiet
from overpaint_backend.engines.diffusion.provider import DiffusionProvider
from overpaint_backend.engines.diffusion.single_file import load_single_file
from overpaint_backend.models.errors import ModelRefused
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.importer import import_model
from overpaint_backend.models.single_file import write_configs
from overpaint_backend.models.store import ModelStore

from .builders import flux_transformer, safetensors_bytes, tensors
from .ldm_layout import FULL, TINY, checkpoint, count

KINDS = {
    "sd15": {"xl": False, "inputs": 4},
    "sd15-inpaint": {"xl": False, "inputs": 9},
    "sdxl": {"xl": True, "inputs": 4},
    "sdxl-inpaint": {"xl": True, "inputs": 9},
}


def test_the_layout_of_these_tests_is_the_real_one():
    # Published sizes: 859.5 M for the UNet of 1.5, 123.1 M for its text encoder, 83.7 M for the VAE, 2567 M for XL's UNet.
    real = checkpoint(FULL, xl=False, inputs=4)
    assert count(real, "model.diffusion_model.") == 859_520_964
    assert count(real, "cond_stage_model.") == 123_060_480
    assert count(real, "first_stage_model.") == 83_653_863
    real_xl = checkpoint(FULL, xl=True, inputs=4)
    assert count(real_xl, "model.diffusion_model.") == 2_567_463_684
    assert len([name for name in real if name.startswith("model.diffusion_model.")]) == 686


@pytest.mark.parametrize("family", KINDS)
def test_configs_follow_from_the_tensors(family: str, tmp_path: Path):
    write_configs(tensors(checkpoint(FULL, **KINDS[family])), family, tmp_path)
    unet = json.loads((tmp_path / "unet" / "config.json").read_text())
    assert unet["in_channels"] == KINDS[family]["inputs"]
    if KINDS[family]["xl"]:
        assert unet["block_out_channels"] == [320, 640, 1280]
        assert unet["transformer_layers_per_block"] == [1, 2, 10]
        assert unet["attention_head_dim"] == [5, 10, 20]
        assert unet["cross_attention_dim"] == 2048
        assert (unet["addition_time_embed_dim"], unet["projection_class_embeddings_input_dim"]) == (256, 2816)
        assert unet["down_block_types"] == ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
    else:
        assert unet["block_out_channels"] == [320, 640, 1280, 1280]
        assert unet["cross_attention_dim"] == 768
        assert unet["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
        assert unet["up_block_types"] == ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    assert unet["layers_per_block"] == 2
    vae = json.loads((tmp_path / "vae" / "config.json").read_text())
    assert vae["block_out_channels"] == [128, 256, 512, 512]
    assert (vae["latent_channels"], vae["layers_per_block"]) == (4, 2)
    text = json.loads((tmp_path / "text_encoder" / "config.json").read_text())
    assert (text["hidden_size"], text["num_attention_heads"], text["num_hidden_layers"]) == (768, 12, 12)


def test_the_shipped_tokenizer_is_clips(tmp_path: Path):
    from transformers import CLIPTokenizer

    write_configs(tensors(checkpoint(TINY, xl=True, inputs=4)), "sdxl", tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(str(tmp_path / "tokenizer"), local_files_only=True)
    assert len(tokenizer) == 49408
    # Known from CLIP's own documentation and from every published prompt.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("naïve — 12 Übungen").input_ids[0] == 49406
    second = CLIPTokenizer.from_pretrained(str(tmp_path / "tokenizer_2"), local_files_only=True)
    assert second.pad_token_id == 0


def test_how_it_was_trained_is_in_the_names_of_tensors(tmp_path: Path):
    shapes = {**checkpoint(TINY, xl=True, inputs=4), "v_pred": (), "ztsnr": ()}
    write_configs(tensors(shapes), "sdxl", tmp_path)
    scheduler = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"
    assert scheduler["rescale_betas_zero_snr"] is True


def test_a_checkpoint_with_a_hole_is_refused(tmp_path: Path):
    shapes = checkpoint(TINY, xl=False, inputs=4)
    del shapes["first_stage_model.decoder.conv_in.weight"]
    with pytest.raises(ModelRefused, match="parts of it are missing"):
        write_configs(tensors(shapes), "sd15", tmp_path)


def write_checkpoint(file: Path, family: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    weights = {
        # Norms need gains around one, or nothing comes through.
        name: np.asarray(
            random.normal(size=shape) * 0.02 + (len(shape) == 1 and name.endswith("weight")), np.float32
        )
        for name, shape in checkpoint(TINY, **KINDS[family]).items()
    }
    save_file(weights, file)
    return weights


@pytest.mark.parametrize("family", KINDS)
def test_every_weight_of_a_checkpoint_is_in_the_pipeline(family: str, tmp_path: Path):
    import diffusers

    file = tmp_path / "x.safetensors"
    weights = write_checkpoint(file, family)
    model = import_model(ModelStore(tmp_path / "models"), file)
    options = {} if KINDS[family]["xl"] else {"safety_checker": None, "requires_safety_checker": False}
    with quiet():
        pipeline = load_single_file(
            model, getattr(diffusers, FAMILIES[family].pipelines.paint), torch.float32, options
        )
    parts = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}
    for part, start in parts.items():
        loaded = getattr(pipeline, part).state_dict()
        assert len(loaded) == len([name for name in weights if name.startswith(start)])
        assert all(torch.isfinite(tensor).all() for tensor in loaded.values())
    source = weights["model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"]
    key = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert np.array_equal(pipeline.unet.state_dict()[key].numpy(), source)
    texts = [pipeline.text_encoder, *([pipeline.text_encoder_2] if KINDS[family]["xl"] else [])]
    assert not [name for text in texts for name, tensor in text.state_dict().items() if tensor.is_meta]


@pytest.mark.parametrize("family", KINDS)
def test_a_checkpoint_under_a_misleading_name_paints_offline(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    file = tmp_path / "detail_tweaker_lora_flux.safetensors"
    write_checkpoint(file, family)
    store = ModelStore(tmp_path / "models")
    model = import_model(store, file, link=True)
    assert (model.family, model.kind) == (family, "single-file")
    # The checkpoint is as narrow as its tests want it, and so is its picture.
    manifest = store.root / model.id / "model.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"native_px": 64}))
    (engine,) = DiffusionProvider(store).engines()
    assert engine.info().id == model.id
    session = engine.open(Device())
    try:
        mask = np.zeros((64, 64), np.float32)
        mask[16:48, 16:48] = 1
        request = FillRequest(
            image=np.full((64, 64, 3), 0.5, np.float32),
            mask=mask,
            known=np.ones((64, 64), np.bool_),
            operation=OperationName.FILL,
            prompt="a cat",
            settings=GenerationSettings(steps=2),
            seed=1,
        )
        painted = session.fill(request, lambda step: None).image
    finally:
        session.close()
    assert painted.shape == (64, 64, 3)
    assert np.isfinite(painted).all()


def test_single_files_of_other_families_are_kept_and_not_offered(tmp_path: Path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(safetensors_bytes(flux_transformer()))
    store = ModelStore(tmp_path / "models")
    assert import_model(store, file).kind == "denoiser"
    assert list(DiffusionProvider(store).engines()) == []
