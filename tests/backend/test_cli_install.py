"""``overpaint install``: what it says and does for one, several and no editors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overpaint_backend.cli.install import InstallCommand, is_editor_running, run_install
from overpaint_backend.editors.install import InstallError, PluginState, inspect, needs_enabling
from overpaint_backend.editors.locate import Editor, Installation, Packaging


def krita(home: Path) -> Installation:
    (home / "krita").mkdir()
    return Installation(
        editor=Editor.KRITA, packaging=Packaging.NATIVE, profile=home / "krita", settings=home / "kritarc"
    )


def gimp(home: Path, series: str = "3.0") -> Installation:
    (home / series).mkdir()
    return Installation(editor=Editor.GIMP, packaging=Packaging.NATIVE, profile=home / series, version=series)


def run(command: InstallCommand, *found: Installation, is_running: bool = False) -> int:
    return run_install(command, lambda: found, lambda editor: is_running)


def test_every_gimp_gets_the_plugin_and_no_krita(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    editors = gimp(tmp_path), gimp(tmp_path, "3.2"), krita(tmp_path)
    assert run(InstallCommand(editor="gimp"), *editors) == 0
    assert [inspect(editor).state for editor in editors] == [
        PluginState.CURRENT,
        PluginState.CURRENT,
        PluginState.MISSING,
    ]
    out = capsys.readouterr().out
    assert f"Installed GIMP 3.0 in {editors[0].plugin_folder}. Start GIMP." in out


def test_krita_is_installed_and_switched_on_in_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    editor = krita(tmp_path)
    assert run(InstallCommand(editor="krita"), editor) == 0
    assert not needs_enabling(editor)
    assert "It is switched on; start Krita." in capsys.readouterr().out


def test_a_running_krita_keeps_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    editor = krita(tmp_path)
    assert run(InstallCommand(editor="krita"), editor, is_running=True) == 0
    assert needs_enabling(editor)
    assert "close Krita and run this again" in capsys.readouterr().out


def test_installing_again_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    editor = gimp(tmp_path)
    run(InstallCommand(editor="gimp"), editor)
    capsys.readouterr()
    assert run(InstallCommand(editor="gimp"), editor, is_running=True) == 0
    assert capsys.readouterr().out.startswith("Updated GIMP 3.0")


def test_no_editor_is_a_sentence_with_a_way_out():
    with pytest.raises(InstallError, match=r"No Krita was found\. Start it once.*--profile"):
        run(InstallCommand(editor="krita"))


def test_one_refusal_does_not_keep_the_others_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    foreign, good = gimp(tmp_path), gimp(tmp_path, "3.2")
    foreign.plugin_folder.mkdir(parents=True)
    (foreign.plugin_folder / "mine.py").write_text("")
    assert run(InstallCommand(editor="gimp", as_json=True), foreign, good) == 1
    report = json.loads(capsys.readouterr().out)
    assert [entry["ok"] for entry in report["installed"]] == [False, True]
    assert report["installed"][0]["error"]["code"] == "install.failed"
    assert inspect(good).state is PluginState.CURRENT


def test_a_named_profile_needs_no_editor(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    profile = tmp_path / "made" / "for me"
    assert run(InstallCommand(editor="krita", profile=profile)) == 0
    assert (profile / "pykrita" / "overpaint_krita" / "__init__.py").is_file()
    assert "Python Plugin Manager" in capsys.readouterr().out


@pytest.mark.parametrize("editor", ["krita", "gimp"])
def test_zip_installs_nothing(editor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = InstallCommand(editor=editor, zip_folder=tmp_path / "zips", as_json=True)
    assert run(command) == 0
    assert Path(json.loads(capsys.readouterr().out)["zip"]).parent == tmp_path / "zips"


def test_processes_can_be_searched():
    assert is_editor_running(Editor.KRITA) in (True, False)
