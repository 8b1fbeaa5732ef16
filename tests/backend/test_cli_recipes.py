"""``overpaint recipes``, and recipes and LoRAs in ``overpaint status``: in words, in JSON, and how they end."""

from __future__ import annotations

import json

import pytest

from overpaint_backend.cli import status
from overpaint_backend.cli.app import app
from overpaint_backend.models.store import MODELS_DIR_VARIABLE
from overpaint_backend.recipes.recipe import Recipe
from overpaint_backend.recipes.recipe_file import read
from overpaint_backend.recipes.store import RECIPES_DIR_VARIABLE
from overpaint_protocol.messages import (
    DaemonReport,
    EngineInfo,
    GenerationSettings,
    LoraInfo,
    LoraWeight,
    WorkerReport,
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of recipes, which is not there yet; no model is installed."""
    monkeypatch.setenv(MODELS_DIR_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setenv(RECIPES_DIR_VARIABLE, str(tmp_path / "recipes"))
    return tmp_path / "recipes"


@pytest.fixture
def run(capsys):
    def run(*arguments):
        """Exit code, standard output and standard error."""
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app([*map(str, arguments)])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return run


def test_an_empty_folder_says_what_to_do(run, folder):
    assert run("recipes", "path") == (0, f"{folder}\n", "")
    code, out, err = run("recipes", "list")
    assert (code, err) == (0, "")
    assert "overpaint recipes new" in out
    assert run("recipes", "check")[0] == 0
    code, _, err = run("recipes", "show", "ink")
    assert code == 1
    assert "There is no recipe called “ink”" in err
    assert not folder.exists()


def test_a_recipe_from_new_to_check(run, folder):
    code, out, err = run(
        *("recipes", "new", "ink-drawing", "--description", "Black on white.", "--engine", "embedded"),
        *("--prompt", "ink drawing of {prompt}", "--negative-prompt", "color", "--steps", 12),
        *("--guidance", 6.5, "--strength", 0.5),
    )
    path = folder / "ink-drawing.toml"
    assert code == 0, err
    assert str(path) in out
    assert "--recipe ink-drawing" in out
    assert read(path) == Recipe(
        id="ink-drawing",
        name="Ink drawing",
        description="Black on white.",
        engine="embedded",
        prompt="ink drawing of {prompt}",
        negative_prompt="color",
        settings=GenerationSettings(steps=12, guidance=6.5, strength=0.5),
    )
    assert run("recipes", "list") == (0, "Recipe ink-drawing: Ink drawing (embedded). Black on white.\n", "")
    assert run("recipes", "check") == (0, f"{path} can be used.\n", "")
    code, out, err = run("recipes", "show", "ink-drawing")
    assert (code, err) == (0, "")
    assert out == f"# {path}\n{path.read_text(encoding='utf-8')}"

    before = path.read_bytes()
    code, _, err = run("recipes", "new", "ink-drawing")
    assert code == 1
    assert "is there already" in err
    assert path.read_bytes() == before


def test_loras_are_written_with_their_weights(run, folder):
    assert run("recipes", "new", "ink", "--lora", "pen", "--lora", "paper:-0.5", "--name", "Ink!")[0] == 0
    recipe = read(folder / "ink.toml")
    assert recipe.name == "Ink!"
    assert recipe.settings.loras == (LoraWeight(id="pen"), LoraWeight(id="paper", weight=-0.5))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["a/b"], "no name for a recipe"), (["ink", "--prompt", "{promt}"], "holds {promt}")],
)
def test_what_is_no_recipe_is_not_written(run, folder, arguments, sentence):
    code, _, err = run("recipes", "new", *arguments)
    assert code == 1
    assert sentence in err
    assert not folder.exists()


def test_what_is_wrong_is_told_and_the_rest_goes_on(run, folder):
    run("recipes", "new", "good")
    run("recipes", "new", "waiting", "--engine", "sdxl")
    (folder / "bad.toml").write_text('format = 1\nname = "Bad"\nstpes = 5\nguidance = 99\n')
    code, out, err = run("recipes", "list")
    assert code == 0
    assert out == "Recipe good: Good\n"
    assert "Recipe bad cannot be used: bad.toml: “stpes”" in err
    assert "overpaint models add sdxl" in err
    code, out, err = run("recipes", "check")
    assert code == 1
    assert out == f"{folder / 'good.toml'} can be used.\n"
    first, second, third = err.splitlines()
    assert first == "bad.toml: “stpes” is no key here. Did you mean “steps”?"
    assert second.startswith("bad.toml: “guidance” is out of its range.")
    assert third.startswith("waiting.toml: Its engine “sdxl” is not offered here.")
    assert run("recipes", "check", folder / "good.toml")[0] == 0
    assert run("recipes", "check", folder / "bad.toml", folder / "good.toml")[0] == 1
    code, out, err = run("recipes", "show", "bad")
    assert code == 1
    assert "stpes = 5" in out
    assert "names 1 more" in err


def test_everything_is_there_as_json(run, folder):
    made = json.loads(run("recipes", "new", "ink", "--lora", "pen:0.5", "--json")[1])
    assert made == {"ok": True, "id": "ink", "path": str(folder / "ink.toml")}
    listed = json.loads(run("recipes", "list", "--json")[1])
    assert (listed["ok"], listed["folder"]) == (True, str(folder))
    assert "“pen”" in listed["recipes"][0]["problem"]
    shown = json.loads(run("recipes", "show", "ink", "--json")[1])
    assert shown["ok"] is False
    assert shown["recipe"]["settings"]["loras"] == [{"id": "pen", "weight": 0.5}]
    checked = json.loads(run("recipes", "check", "--json")[1])
    assert checked["ok"] is False
    assert [len(found) for found in checked["checked"].values()] == [1]
    assert json.loads(run("recipes", "path", "--json")[1]) == {"ok": True, "folder": str(folder)}


def test_the_status_names_loras_and_recipes(run, monkeypatch):
    painter = EngineInfo(
        id="painter",
        name="Painter",
        operations=("fill", "edit"),
        follows_prompt=True,
        follows_negative_prompt=True,
        needs_surroundings=False,
        loras=(LoraInfo(id="pen", name="Pen"), LoraInfo(id="glow", name="Glow")),
    )
    report = DaemonReport(
        daemon_id="d",
        product_version="1",
        pid=1,
        uptime_s=5,
        worker="idle",
        workers=(WorkerReport(state="idle", restarts=0),),
        engines=(painter,),
    )
    monkeypatch.setattr(status, "inspect_daemon", lambda: report)
    run("recipes", "new", "ink", "--engine", "painter", "--lora", "pen")
    run("recipes", "new", "oil", "--lora", "oil")
    code, out, err = run("status")
    assert code == 0
    assert "Engine painter: Painter (fill, edit). LoRAs: pen, glow." in out
    assert "Recipe ink: Ink (painter)\n" in out
    assert "Recipe oil cannot be used: No engine here has the LoRA “oil”" in err
    plain = json.loads(run("status", "--json")[1])
    assert plain["engines"][0]["loras"] == [{"id": "pen", "name": "Pen"}, {"id": "glow", "name": "Glow"}]
    assert [bool(recipe["problem"]) for recipe in plain["recipes"]] == [False, True]


def test_a_slip_in_a_files_name_is_told_as_one(run, tmp_path):
    said = run("recipes", "check", tmp_path / "inkk.toml")
    assert said == (1, "", "There is no file inkk.toml. Check its name and its folder.\n")
