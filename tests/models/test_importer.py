"""Taking models from the disk: copied or pointed at, told by what they hold, never anything that can run code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from overpaint_backend.models.errors import ModelError, ModelRefused
from overpaint_backend.models.importer import examine, import_all, import_model
from overpaint_backend.models.store import ModelStore

from .builders import (
    lora,
    qwen_controlnet,
    sd_checkpoint,
    write_folder,
    write_safetensors,
    z_image_controlnet,
)

KOHYA = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_folder_is_copied_without_what_is_not_needed(store: ModelStore, tmp_path: Path):
    folder = write_folder(tmp_path / "inpaint")
    (folder / "pipeline.py").write_text("raise SystemExit")
    made = import_model(store, folder, licence="creativeml-openrail-m")
    assert (made.family, made.kind, made.commercial_use) == ("sd15-inpaint", "diffusers", True)
    present = {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()}
    assert present == {file.path for file in made.files}
    assert not {path for path in present if path.endswith((".py", ".bin", ".md"))}
    assert {"tokenizer/merges.txt", "unet/config.json"} <= present


def test_of_several_sets_of_weights_the_smallest_is_taken(store: ModelStore, tmp_path: Path):
    made = import_model(store, write_folder(tmp_path / "both", variants=("", "fp16")))
    assert made.variant == "fp16"
    weights = [file.path for file in made.files if file.path.endswith(".safetensors")]
    assert weights == [
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]


def test_shards_come_with_their_table(store: ModelStore, tmp_path: Path):
    folder = write_folder(tmp_path / "sharded")
    whole = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole.unlink()
    for number in (1, 2):
        write_safetensors(
            folder / f"unet/diffusion_pytorch_model-0000{number}-of-00002.safetensors", {f"b{number}": (8, 8)}
        )
    table = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    table.write_text("{}")
    made = import_model(store, folder)
    assert "unet/diffusion_pytorch_model.safetensors.index.json" in {file.path for file in made.files}
    (folder / "unet" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelRefused, match="not whole"):
        import_model(store, folder)


def test_a_linked_folder_is_used_where_it_is(store: ModelStore, tmp_path: Path):
    folder = write_folder(tmp_path / "mine")
    made = import_model(store, folder, link=True)
    assert made.path == folder
    assert store.get(made.id) == made
    assert sorted(path.name for path in (store.root / made.id).iterdir()) == ["model.json"]
    assert store.verify(made.id) == ()
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert store.models() == ()


@pytest.mark.parametrize("link", [False, True])
def test_a_part_that_is_pickled_alone_is_refused(link: bool, store: ModelStore, tmp_path: Path):
    folder = write_folder(tmp_path / "pickled")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelRefused, match="could run any program"):
        import_model(store, folder, link=link)
    assert store.models() == ()


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".bin", ".safetensors"])
def test_a_pickled_checkpoint_is_refused(ending: str, store: ModelStore, tmp_path: Path):
    file = tmp_path / f"model{ending}"
    file.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(ModelRefused, match=r"Get the model as \.safetensors"):
        import_model(store, file)


def test_weights_that_are_pickles_in_disguise_are_refused(store: ModelStore, tmp_path: Path):
    folder = write_folder(tmp_path / "disguise")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(ModelRefused, match="is a pickle"):
        import_model(store, folder)


def test_a_folder_with_code_is_refused(store: ModelStore, tmp_path: Path):
    folder = write_folder(tmp_path / "code", extra={"unet": ["unet_of_mine", "Net"]})
    with pytest.raises(ModelRefused, match="never runs"):
        import_model(store, folder)


@pytest.mark.parametrize("link", [False, True])
def test_single_files_are_told_by_their_header(link: bool, store: ModelStore, tmp_path: Path):
    checkpoint = write_safetensors(tmp_path / "style_lora.safetensors", sd_checkpoint(inputs=9))
    adapter = write_safetensors(tmp_path / "sd-v1-5-inpainting.safetensors", lora({KOHYA: 2048}))
    made = import_model(store, checkpoint, link=link)
    assert (made.family, made.kind) == ("sd15-inpaint", "single-file")
    assert made.path == (checkpoint if link else store.root / made.id / "files" / checkpoint.name)
    made = import_model(store, adapter, link=link)
    assert (made.family, made.kind) == ("sdxl", "lora")
    assert store.verify(made.id) == ()


def test_the_family_can_be_named_where_it_cannot_be_told(store: ModelStore, tmp_path: Path):
    folder = write_folder(tmp_path / "z", class_name="ZImagePipeline", extra={"unet": [None, None]})
    made = import_model(store, folder, family="z-image-turbo")
    assert made.family == "z-image-turbo"
    with pytest.raises(ModelRefused, match="not a model of sdxl"):
        import_model(store, folder, family="sdxl")


def test_a_folder_of_the_hubs_cache_is_used_without_a_copy(store: ModelStore, tmp_path: Path):
    cached = tmp_path / "hub" / "models--owner--painter"
    real = write_folder(tmp_path / "real")
    snapshot = cached / "snapshots" / "abc"
    for number, file in enumerate(path for path in real.rglob("*") if path.is_file()):
        blob = cached / "blobs" / str(number)
        blob.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blob)
        link = snapshot / file.relative_to(real)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    made = import_model(store, cached, link=True)
    assert (made.id, made.path) == ("painter", snapshot)
    assert made.family == "sd15-inpaint"


def write_controlnet(folder: Path, **config: object) -> Path:
    """InstantX's repository: config, weights, and code that nobody needs."""
    write_safetensors(folder / "diffusion_pytorch_model.safetensors", qwen_controlnet())
    plain = {"_class_name": "QwenImageControlNetModel", "extra_condition_channels": 4, **config}
    (folder / "config.json").write_text(json.dumps(plain))
    (folder / "pipeline.py").write_text("raise SystemExit")
    return folder


@pytest.mark.parametrize("link", [False, True])
def test_a_controlnets_folder_is_taken_without_the_code_beside_it(
    link: bool, store: ModelStore, tmp_path: Path
):
    folder = write_controlnet(tmp_path / "SDXL LoRA")
    made = import_model(store, folder, link=link)
    assert (made.family, made.kind, made.id) == ("qwen-image", "controlnet", "sdxl-lora")
    assert [file.path for file in made.files] == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert made.path == (folder if link else store.root / made.id / "files")
    assert store.get(made.id) == made
    assert store.verify(made.id) == ()
    store.remove(made.id)
    assert (folder / "config.json").is_file()


@pytest.mark.parametrize("link", [False, True])
def test_a_controlnets_file_is_taken_for_the_family_that_is_named(
    link: bool, store: ModelStore, tmp_path: Path
):
    file = write_safetensors(tmp_path / "vae.safetensors", z_image_controlnet())
    assert import_model(store, file, link=link).family == "z-image-turbo"
    made = import_model(store, file, link=link, family="z-image", model_id="base")
    assert (made.family, made.kind) == ("z-image", "controlnet")
    assert made.path == (file if link else store.root / "base" / "files" / "vae.safetensors")


def test_a_controlnet_without_weights_or_with_pickles_alone_is_refused(store: ModelStore, tmp_path: Path):
    folder = write_controlnet(tmp_path / "mine")
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelRefused, match="its weights are missing"):
        import_model(store, folder)
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelRefused, match="its weights only as a pickle"):
        import_model(store, folder)


def test_all_models_of_another_program_are_taken_in_one_go(store: ModelStore, tmp_path: Path):
    root = tmp_path / "ComfyUI" / "models"
    write_safetensors(root / "checkpoints" / "sub" / "one.safetensors", sd_checkpoint())
    write_safetensors(root / "loras" / "two.safetensors", lora({KOHYA: 2048}))
    write_safetensors(root / "vae" / "three.safetensors", {"decoder.conv_in.weight": (8, 4, 3, 3)})
    write_folder(root / "diffusers" / "four")
    write_controlnet(root / "diffusers" / "six")
    write_safetensors(root / "model_patches" / "seven.safetensors", z_image_controlnet())
    (root / "checkpoints" / "five.ckpt").write_bytes(b"PK\x03\x04")
    (root / "checkpoints" / "loop").symlink_to(root, target_is_directory=True)
    outcomes = {outcome.path.name: outcome for outcome in import_all(store, root, link=True)}
    assert {name for name, outcome in outcomes.items() if outcome.model} == {
        "one.safetensors",
        "two.safetensors",
        "four",
        "six",
        "seven.safetensors",
    }
    assert "a VAE alone" in outcomes["three.safetensors"].reason
    assert "is a pickle" in outcomes["five.ckpt"].reason
    assert len(store.models()) == 5
    again = list(import_all(store, root, link=True))
    assert not [outcome for outcome in again if outcome.model]
    assert len(store.models()) == 5


def test_a_full_disk_is_said_before_copying(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = write_folder(tmp_path / "large")
    monkeypatch.setattr(store, "free_bytes", lambda: 10)
    with pytest.raises(ModelError, match="--link"):
        import_model(store, folder)
    assert import_model(store, folder, link=True).is_external


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_damaged_index_is_refused(text: str, tmp_path: Path):
    folder = write_folder(tmp_path / "damaged")
    (folder / "model_index.json").write_text(text)
    with pytest.raises(ModelRefused, match=r"unreadable model_index\.json"):
        examine(folder)


def test_nothing_there_is_a_sentence(tmp_path: Path):
    with pytest.raises(ModelRefused, match="There is no"):
        examine(tmp_path / "nothing")
    with pytest.raises(ModelRefused, match="not a model's folder"):
        examine(tmp_path)
