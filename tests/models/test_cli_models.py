"""``overpaint models``: what it says, in words and in JSON, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from overpaint_backend.cli.app import app
from overpaint_backend.models.catalog import CATALOG
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.licences import LICENCES
from overpaint_backend.models.store import MODELS_DIR_VARIABLE

from .builders import sd_checkpoint, write_folder, write_safetensors

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


def test_an_unknown_name_is_a_sentence(run):
    code, _, err = run("add", "midjourney", "--yes")
    assert code == 1
    assert "OWNER/NAME" in err


def test_the_catalog_agrees_with_the_families_and_licences():
    assert {model.family for model in CATALOG.values()} <= set(FAMILIES)
    for model in CATALOG.values():
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
