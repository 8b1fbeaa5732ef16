"""``overpaint models``: what it says, in words and in JSON, and how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from overpaint_backend.cli import models_known
from overpaint_backend.cli.app import app
from overpaint_backend.models.catalog import CATALOG
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.licences import LICENCES
from overpaint_backend.models.machine import Machine
from overpaint_backend.models.store import MODELS_DIR_VARIABLE

from .builders import (
    LDM,
    flux_transformer,
    lora,
    qwen_controlnet,
    sd_checkpoint,
    write_folder,
    write_safetensors,
    z_image_controlnet,
)

PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MODELS_DIR_VARIABLE, str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(["models", *map(str, arguments)])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


def test_an_empty_store_says_how_to_fill_it(run):
    code, out, _ = run("list")
    assert code == 0
    assert "list --known" in out


def test_a_model_from_import_to_removal(run, tmp_path: Path):
    folder = write_folder(tmp_path / "Inpaint Mine")
    code, out, err = run("import", folder, "--licence", "creativeml-openrail-m")
    assert code == 0, err
    assert out.startswith("inpaint-mine is installed: Inpaint Mine, sd15-inpaint (diffusers)")
    code, out, _ = run("list")
    assert "inpaint-mine: Inpaint Mine; sd15-inpaint, diffusers;" in out
    assert "commercial use: yes" in out
    code, out, _ = run("show", "inpaint-mine")
    assert "Some uses are forbidden" in out
    assert run("verify")[:2] == (0, "inpaint-mine is as it was installed.\n")
    assert run("remove", "inpaint-mine")[:2] == (0, "Removed inpaint-mine.\n")
    code, _, err = run("show", "inpaint-mine")
    assert code == 1
    assert "Installed: none yet." in err


def test_everything_is_there_as_json(run, tmp_path: Path):
    folder = write_folder(tmp_path / "mine")
    made = json.loads(run("import", folder, "--link", "--json")[1])["model"]
    assert made["is_external"] is True
    assert made["path"] == str(folder)
    assert json.loads(run("list", "--json")[1])["models"] == [made]
    assert json.loads(run("show", "mine", "--json")[1])["model"] == made
    assert json.loads(run("verify", "mine", "--json")[1])["verified"] == {"mine": []}
    assert json.loads(run("list", "--known", "--json")[1])["known"][0]["family"] == "sd15-inpaint"
    assert json.loads(run("remove", "mine", "--json")[1]) == {"ok": True, "removed": "mine"}
    code, out, _ = run("show", "mine", "--json")
    assert code == 1
    assert json.loads(out)["error"]["code"] == "model.unknown"


def test_damage_is_told_apart(run, tmp_path: Path):
    folder = write_folder(tmp_path / "mine")
    run("import", folder, "--link")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    code, _, err = run("verify", "mine")
    assert code == 1
    assert "vae/diffusion_pytorch_model.safetensors has other content" in err
    weights.unlink()
    assert run("verify", "mine")[0] == 1
    code, _, err = run("list")
    assert code == 0
    assert "mine is not offered: the file" in err


def test_a_checkpoint_in_pickle_is_refused(run, tmp_path: Path):
    file = tmp_path / "model.ckpt"
    file.write_bytes(b"PK\x03\x04" + bytes(100))
    code, _, err = run("import", file)
    assert code == 1
    assert err == (
        "model.ckpt is a pickle, as .ckpt, .pt and .bin files are: opening it could run any program that is hidden in it. "
        "Get the model as .safetensors.\n"
    )


def test_another_programs_folder_is_taken_as_a_whole(run, tmp_path: Path):
    root = tmp_path / "webui" / "models"
    write_safetensors(root / "Stable-diffusion" / "a.safetensors", sd_checkpoint())
    (root / "Stable-diffusion" / "b.ckpt").write_bytes(b"PK\x03\x04")
    code, out, err = run("import", root, "--link")
    assert code == 0
    assert "a is used where it is" in out
    assert "Left out" in err
    code, out, _ = run("import", root, "--link", "--json")
    assert (code, json.loads(out)["models"]) == (1, [])
    assert "go with one model" in run("import", root, "--id", "x")[2]
    (tmp_path / "nothing").mkdir()
    assert "There is no model in" in run("import", tmp_path / "nothing")[2]


def test_commercial_only_is_kept_and_hides(run, tmp_path: Path):
    file = write_safetensors(tmp_path / "a.safetensors", sd_checkpoint())
    run("import", file, "--id", "free", "--licence", "mit")
    run("import", file, "--id", "unclear")
    assert "All installed models" in run("settings")[1]
    assert run("settings", "--commercial-only")[0] == 0
    assert json.loads(run("settings", "--json")[1])["commercial_only"] is True
    _, out, err = run("list")
    assert out.startswith("free:")
    assert "unclear" not in out
    assert err.startswith("1 hidden")
    assert "flux1-fill" not in run("list", "--known")[1]
    assert "stays hidden" in run("import", file, "--id", "later")[1]
    run("settings", "--any-use")
    assert "unclear" in run("list")[1]
    assert "flux1-fill" in run("list", "--known")[1]


def test_commercial_only_hides_loras_and_controlnets_as_well(run, tmp_path: Path):
    adapter = write_safetensors(
        tmp_path / "a.safetensors", lora({"lora_unet_down_blocks_0_attentions_0": 320})
    )
    control = write_safetensors(tmp_path / "b.safetensors", z_image_controlnet())
    for name, licence in {"free": "apache-2.0", "unfree": "cc-by-nc-4.0", "unclear": ""}.items():
        run("import", adapter, "--id", f"{name}-lora", "--licence", licence)
        run("import", control, "--id", f"{name}-control", "--licence", licence)
    run("settings", "--commercial-only")
    shown = [model["id"] for model in json.loads(run("list", "--json")[1])["models"]]
    assert shown == ["free-control", "free-lora"]
    known = {model["id"]: model for model in json.loads(run("list", "--known", "--json")[1])["known"]}
    assert all(model["commercial_use"] is True for model in known.values())
    assert known["qwen-image-controlnet"]["kind"] == "controlnet"


def test_the_list_says_what_each_thing_is_used_with_and_why_some_are_not_offered(run, tmp_path: Path):
    files = {
        "net": {"txt_norm.weight": (3584,), "transformer_blocks.0.img_mod.1.weight": (16, 8)},
        "whole": {
            **flux_transformer(prefix=LDM),
            "vae.decoder.conv_in.weight": (8, 16, 3, 3),
            "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.weight": (77, 8),
        },
        "adapter": lora({"lora_unet_down_blocks_0_attentions_0": 320}),
        "control": qwen_controlnet(),
    }
    for name, shapes in files.items():
        run("import", write_safetensors(tmp_path / f"{name}.safetensors", shapes), "--id", name)
    uses = {model["id"]: model["use"] for model in json.loads(run("list", "--json")[1])["models"]}
    assert "the network alone, without text encoder and VAE" in uses["net"]
    assert uses["net"].endswith("Get it with: overpaint models add qwen-image")
    assert uses["whole"].startswith("Not offered: a single file of FLUX.1 [dev] lacks configurations")
    assert uses["adapter"] == "A LoRA for models of Stable Diffusion 1.5."
    assert uses["control"].startswith("It waits for a model of Qwen-Image")
    assert all(f"  {use}\n" in run("list")[1] for use in uses.values())
    assert uses["net"] in run("show", "net")[1]

    run("import", write_folder(tmp_path / "qwen", class_name="QwenImagePipeline"), "--id", "qwen")
    uses = {model["id"]: model["use"] for model in json.loads(run("list", "--json")[1])["models"]}
    assert uses["net"] == "It uses the text encoder and VAE of qwen."
    assert uses["control"] == "It shows net, qwen what surrounds the hole."
    assert uses["qwen"] == ""


def test_a_family_of_another_version_is_listed_and_not_offered(run, folder_of_models: Path, tmp_path: Path):
    run("import", write_safetensors(tmp_path / "a.safetensors", sd_checkpoint()), "--id", "later")
    manifest = folder_of_models / "later" / "model.json"
    manifest.write_text(manifest.read_text().replace('"sd15"', '"sd9"'))
    assert "Not offered: this version of Overpaint does not run models of sd9." in run("list")[1]


def test_known_models_say_which_card_they_need_and_what_fits_here(run, monkeypatch: pytest.MonkeyPatch):
    machine = Machine(memory_bytes=32 * 10**9, card="NVIDIA GeForce RTX 3060", card_bytes=12 * 2**30)
    monkeypatch.setattr(models_known, "this_machine", lambda: machine)
    out = run("list", "--known")[1]
    assert out.startswith("This computer: NVIDIA GeForce RTX 3060 with 12.9 GB, 32.0 GB of main memory.\n")
    plain = json.loads(run("list", "--known", "--json")[1])
    fits = {model["id"]: model["fits"] for model in plain["known"]}
    assert (fits["sdxl-inpaint"], fits["flux2-klein"], fits["z-image-turbo"]) == ("whole", "turns", "no")
    assert plain["machine"]["card_bytes"] == 12 * 2**30

    monkeypatch.setattr(models_known, "this_machine", lambda: Machine(32 * 10**9, "", 0))
    assert "no NVIDIA card is known, so what fits it is not marked" in run("list", "--known")[1]
    known = json.loads(run("list", "--known", "--json")[1])["known"]
    assert {model["fits"] for model in known} == {None}


def test_an_unknown_name_is_a_sentence(run):
    code, _, err = run("add", "midjourney", "--yes")
    assert code == 1
    assert "OWNER/NAME" in err


def test_the_catalog_agrees_with_the_families_and_licences():
    assert {model.family for model in CATALOG.values()} <= set(FAMILIES)
    assert {model.kind for model in CATALOG.values()} == {"diffusers", "controlnet"}
    for model in CATALOG.values():
        assert model.revision == "main" or re.fullmatch("[0-9a-f]{40}", model.revision)
        assert model.kind == "diffusers" or FAMILIES[model.family].pipelines.controlled
        assert model.licence_id in LICENCES
        assert model.licence.commercial_use == FAMILIES[model.family].commercial_use


def test_neither_torch_nor_the_hubs_library_is_loaded(tmp_path: Path):
    code = (
        "import sys, overpaint_backend.cli.app, overpaint_backend.cli.models\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'huggingface_hub', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    sources = (str(PROJECT / name) for name in ("protocol", "backend", "plugins/common"))
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sources), "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
