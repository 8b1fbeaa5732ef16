"""What goes into the editors: the bundles, the zips, installing and replacing, Krita's switch."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path, PurePosixPath

import pytest

from overpaint_backend.editors import install as install_module
from overpaint_backend.editors.bundle import BUILD_FILE, build, write_zip
from overpaint_backend.editors.install import (
    InstallError,
    PluginState,
    daemon_command,
    enable,
    inspect,
    install,
    needs_enabling,
    save_zip,
)
from overpaint_backend.editors.kritarc import is_enabled, with_plugin_enabled
from overpaint_backend.editors.locate import Editor, Installation, Packaging
from overpaint_client import launcher
from overpaint_protocol.version import PRODUCT_VERSION

EDITORS = pytest.mark.parametrize("editor", list(Editor))


def make_installation(editor: Editor, home: Path, packaging: Packaging = Packaging.NATIVE) -> Installation:
    profile = home / ("krita" if editor is Editor.KRITA else "GIMP/3.0")
    profile.mkdir(parents=True)
    settings = home / "kritarc" if editor is Editor.KRITA else None
    return Installation(editor=editor, packaging=packaging, profile=profile, settings=settings)


def interpreters() -> list[str]:
    """This Python and every other from 3.10 on that is on PATH or kept by pyenv."""
    found = {sys.version_info[:2]: sys.executable}
    pyenv = shutil.which("pyenv")
    root = (
        subprocess.run([pyenv, "root"], check=True, capture_output=True, text=True).stdout.strip()
        if pyenv
        else ""
    )
    for minor in range(10, 15):
        kept = sorted(Path(root).glob(f"versions/3.{minor}.*/bin/python")) if root else []
        path = shutil.which(f"python3.{minor}") if not kept else str(kept[-1])
        answers = (
            path is not None
            and subprocess.run([path, "-c", ""], check=False, capture_output=True).returncode == 0
        )
        if path is not None and answers:
            found.setdefault((3, minor), path)
    return [found[version] for version in sorted(found)]


# ---------------------------------------------------------------- the bundle


@EDITORS
def test_bundle_lists_the_digest_of_every_file(editor: Editor):
    bundle = build(editor, ["daemon", "serve"])
    files = {file.path: file.data for file in bundle.files}
    manifest = json.loads(files[bundle.root / BUILD_FILE])
    assert manifest["product"] == "overpaint"
    assert manifest["editor"] == editor.value
    assert manifest["version"] == PRODUCT_VERSION
    assert manifest["daemon_command"] == ["daemon", "serve"]
    inside = {file.path.relative_to(bundle.root).as_posix(): file.data for file in bundle.inside}
    del inside[BUILD_FILE]
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in inside.items()}


@EDITORS
def test_bundle_has_nothing_compiled_and_no_tests(editor: Editor):
    paths = [file.path for file in build(editor, ()).files]
    assert not [path for path in paths if path.suffix in (".so", ".pyd", ".pyc", ".dylib")]
    assert not [path for path in paths if {"testing", "tests", "__pycache__"} & set(path.parts)]
    assert len(set(paths)) == len(paths)


@EDITORS
def test_bundle_brings_msgpack_with_its_license(editor: Editor):
    bundle = build(editor, ())
    vendor = bundle.root / "_vendor" / "overpaint_protocol" / "_vendor"
    brought = {
        file.path.relative_to(vendor).as_posix(): file
        for file in bundle.files
        if file.path.is_relative_to(vendor)
    }
    assert sorted(brought) == [
        "__init__.py",
        "msgpack/COPYING",
        "msgpack/__init__.py",
        "msgpack/exceptions.py",
        "msgpack/ext.py",
        "msgpack/fallback.py",
    ]
    assert (
        b"Apache License" in brought["msgpack/COPYING"].data
        or b"Copyright" in brought["msgpack/COPYING"].data
    )


def test_krita_finds_its_files_beside_the_package():
    bundle = build(Editor.KRITA, ())
    assert [file.path for file in bundle.beside] == [
        PurePosixPath("overpaint_krita.action"),
        PurePosixPath("overpaint_krita.desktop"),
    ]
    assert PurePosixPath("overpaint_krita/__init__.py") in {file.path for file in bundle.inside}


def test_gimp_finds_an_executable_named_as_its_folder():
    bundle = build(Editor.GIMP, ())
    assert [file.path.as_posix() for file in bundle.files if file.is_executable] == [
        "overpaint-gimp/overpaint-gimp.py"
    ]
    assert not bundle.beside
    script = next(file for file in bundle.files if file.is_executable)
    assert script.data.startswith(b"#!/usr/bin/env python3\n")


_PROBE = """
import sys
sys.path.insert(0, sys.argv[1])
import overpaint_client.controller, overpaint_client.launcher, overpaint_protocol.framing
from overpaint_protocol._msgpack import msgpack
from overpaint_protocol import framing
from overpaint_protocol.messages import Ping
assert framing.decode(framing.encode(Ping(nonce=7), id="a")).message == Ping(nonce=7)
assert msgpack.__name__ == "overpaint_protocol._vendor.msgpack", msgpack.__name__
assert not {"numpy", "zmq", "msgpack", "PIL"} & set(sys.modules), sorted(sys.modules)
print("|".join(overpaint_client.launcher.bundled_daemon_command()))
"""


@pytest.mark.parametrize("python", interpreters())
@EDITORS
def test_bundle_runs_on_a_bare_python(editor: Editor, python: str, tmp_path: Path):
    installation = make_installation(editor, tmp_path)
    folder = install(installation)
    answer = subprocess.run(
        [python, "-I", "-S", "-W", "error", "-c", _PROBE, str(folder / "_vendor")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().split("|") == list(daemon_command(installation))


# ---------------------------------------------------------------- zips


def test_krita_zip_passes_kritas_own_rules(tmp_path: Path):
    """The rules of Krita's plugin_importer.py: how it finds desktop file, module and action in an archive."""
    names = zipfile.ZipFile(save_zip(Editor.KRITA, tmp_path)).namelist()
    archive = zipfile.ZipFile(save_zip(Editor.KRITA, tmp_path))
    desktops = [name for name in names if name.endswith(".desktop")]
    assert len(desktops) == 1
    config = ConfigParser()
    config.read_string(archive.read(desktops[0]).decode("utf-8"))
    module = config["Desktop Entry"]["X-KDE-Library"]
    assert config["Desktop Entry"]["Name"]
    folders = [name for name in names if name.endswith(f"/{module}/") or name == f"{module}/"]
    assert folders == ["overpaint_krita/"], "the importer needs an entry for the folder itself"
    assert f"{folders[0]}__init__.py" in names
    actions = [name for name in names if Path(name).name == f"{module}.action"]
    assert actions == ["overpaint_krita.action"]
    extracted = [name for name in names if name.startswith(folders[0])]
    assert f"{folders[0]}_vendor/overpaint_client/controller.py" in extracted


def test_gimp_zip_keeps_the_executable_bit(tmp_path: Path):
    path = save_zip(Editor.GIMP, tmp_path)
    assert path == tmp_path / f"overpaint-gimp-{PRODUCT_VERSION}.zip"
    archive = zipfile.ZipFile(path)
    mode = archive.getinfo("overpaint-gimp/overpaint-gimp.py").external_attr >> 16
    assert mode & 0o111 == 0o111
    manifest = json.loads(archive.read("overpaint-gimp/BUILD.json"))
    assert manifest["daemon_command"][:2] == ["overpaint", "serve"], (
        "no path of this machine travels in a zip"
    )


@EDITORS
def test_the_same_sources_give_the_same_zip(editor: Editor, tmp_path: Path):
    bundle = build(editor, ())
    write_zip(bundle, tmp_path / "a.zip")
    write_zip(bundle, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_a_zip_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InstallError, match=r"could not be written to .*\.zip"):
        save_zip(Editor.GIMP, tmp_path / "file")


# ---------------------------------------------------------------- installing


@EDITORS
def test_install_puts_everything_in_place(editor: Editor, tmp_path: Path):
    installation = make_installation(editor, tmp_path)
    assert inspect(installation).state is PluginState.MISSING
    folder = install(installation)
    assert folder == installation.plugin_folder
    installed = inspect(installation)
    assert (installed.state, installed.version, installed.is_linked) == (
        PluginState.CURRENT,
        PRODUCT_VERSION,
        False,
    )
    left_over = [path for path in installation.profile.iterdir() if path.name.startswith(".")]
    assert left_over == []


def test_krita_gets_desktop_and_action(tmp_path: Path):
    installation = make_installation(Editor.KRITA, tmp_path)
    install(installation)
    assert (installation.profile / "pykrita" / "overpaint_krita.desktop").is_file()
    assert (installation.profile / "actions" / "overpaint_krita.action").is_file()


def test_gimp_gets_an_executable(tmp_path: Path):
    installation = make_installation(Editor.GIMP, tmp_path)
    script = install(installation) / "overpaint-gimp.py"
    assert stat.S_IMODE(script.stat().st_mode) == 0o755


@EDITORS
def test_install_replaces_an_older_plugin_whole(editor: Editor, tmp_path: Path):
    installation = make_installation(editor, tmp_path)
    folder = install(installation)
    (folder / "gone_in_the_new_version.py").write_text("old = True\n")
    manifest = json.loads((folder / BUILD_FILE).read_bytes())
    manifest["version"] = "0.0.1"
    manifest["files"]["gone_in_the_new_version.py"] = hashlib.sha256(b"old = True\n").hexdigest()
    (folder / BUILD_FILE).write_text(json.dumps(manifest))
    assert inspect(installation).state is PluginState.OUTDATED
    install(installation)
    assert inspect(installation).state is PluginState.CURRENT
    assert not (folder / "gone_in_the_new_version.py").exists()


@EDITORS
def test_a_changed_file_is_damage(editor: Editor, tmp_path: Path):
    installation = make_installation(editor, tmp_path)
    (install(installation) / "_vendor" / "overpaint_client" / "jobs.py").write_text("")
    assert inspect(installation).state is PluginState.DAMAGED


def test_a_missing_desktop_file_is_damage(tmp_path: Path):
    installation = make_installation(Editor.KRITA, tmp_path)
    install(installation)
    (installation.profile / "pykrita" / "overpaint_krita.desktop").unlink()
    assert inspect(installation).state is PluginState.DAMAGED


@EDITORS
def test_somebody_elses_folder_is_left_alone(editor: Editor, tmp_path: Path):
    installation = make_installation(editor, tmp_path)
    installation.plugin_folder.mkdir(parents=True)
    precious = installation.plugin_folder / "precious.py"
    precious.write_text("mine = True\n")
    assert inspect(installation).state is PluginState.FOREIGN
    with pytest.raises(InstallError, match="was not made by Overpaint"):
        install(installation)
    assert precious.read_text() == "mine = True\n"


def test_an_empty_folder_is_nobodys(tmp_path: Path):
    installation = make_installation(Editor.GIMP, tmp_path)
    installation.plugin_folder.mkdir(parents=True)
    install(installation)
    assert inspect(installation).state is PluginState.CURRENT


def test_a_failing_install_leaves_the_old_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installation = make_installation(Editor.GIMP, tmp_path)
    folder = install(installation)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(install_module, "_write", full)
    with pytest.raises(InstallError, match="No space left"):
        install(installation)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert [path.name for path in installation.profile.iterdir()] == ["plug-ins"]


def test_a_profile_that_cannot_exist_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    installation = Installation(
        editor=Editor.GIMP, packaging=Packaging.CUSTOM, profile=tmp_path / "file" / "3.0"
    )
    with pytest.raises(InstallError, match="could not be written"):
        install(installation)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets only developers make links")
@EDITORS
def test_link_points_to_the_sources(editor: Editor, tmp_path: Path):
    installation = make_installation(editor, tmp_path)
    folder = install(installation, link=True)
    controller = folder / "_vendor" / "overpaint_client" / "controller.py"
    assert controller.is_symlink()
    assert controller.resolve() == Path(launcher.__file__).with_name("controller.py").resolve()
    assert inspect(installation).is_linked
    assert inspect(installation).state is PluginState.CURRENT
    if editor is Editor.GIMP:
        assert not (folder / "overpaint-gimp.py").is_symlink(), (
            "Python would look for modules beside the sources"
        )
    install(installation)
    assert not inspect(installation).is_linked
    assert Path(launcher.__file__).is_file(), "replacing links leaves what they point to"


@pytest.mark.parametrize("packaging", [Packaging.FLATPAK, Packaging.SNAP])
def test_a_sandboxed_plugin_does_not_try_to_start_the_daemon(packaging: Packaging, tmp_path: Path):
    installation = make_installation(Editor.KRITA, tmp_path, packaging)
    folder = install(installation)
    package = folder / "_vendor" / "overpaint_client"
    assert launcher.bundled_daemon_command(package) == ()


def test_a_native_plugin_starts_this_very_python(tmp_path: Path):
    installation = make_installation(Editor.KRITA, tmp_path)
    package = install(installation) / "_vendor" / "overpaint_client"
    command = launcher.bundled_daemon_command(package)
    assert command[:4] == (sys.executable, "-m", "overpaint_backend", "serve")


# ---------------------------------------------------------------- Krita's switch


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"[python]\nenable_x=true\n"),
        (b"a=1\n", b"a=1\n\n[python]\nenable_x=true\n"),
        (b"a=1", b"a=1\n\n[python]\nenable_x=true\n"),
        (b"[python]\nenable_y=true\n\n[z]\nb=2\n", b"[python]\nenable_x=true\nenable_y=true\n\n[z]\nb=2\n"),
        (b"[python]\nenable_x=false\nenable_y=true\n", b"[python]\nenable_x=true\nenable_y=true\n"),
        (b"[python]\nenable_x=true\n", b"[python]\nenable_x=true\n"),
        (b"[z]\nenable_x=true\n", b"[z]\nenable_x=true\n\n[python]\nenable_x=true\n"),
        (b"a=\xff\xfe\r\n[python]\r\n", b"a=\xff\xfe\r\n[python]\r\nenable_x=true\r\n"),
        (b"[python]", b"[python]\nenable_x=true\n"),
    ],
    ids=["empty", "no group", "no newline", "group", "off", "on", "other group", "CRLF", "bare group"],
)
def test_kritarc_changes_by_one_line(before: bytes, after: bytes):
    assert with_plugin_enabled(before, "x") == after
    assert is_enabled(after, "x")


def test_enable_keeps_the_rest_and_the_mode(tmp_path: Path):
    installation = make_installation(Editor.KRITA, tmp_path)
    assert installation.settings is not None
    installation.settings.write_bytes(b"theme=dark\n[python]\nenable_other=true\n")
    installation.settings.chmod(0o600)
    assert needs_enabling(installation)
    enable(installation)
    assert not needs_enabling(installation)
    assert installation.settings.read_bytes() == (
        b"theme=dark\n[python]\nenable_overpaint_krita=true\nenable_other=true\n"
    )
    assert stat.S_IMODE(installation.settings.stat().st_mode) == 0o600


def test_enable_makes_the_settings_of_a_krita_never_started(tmp_path: Path):
    installation = make_installation(Editor.KRITA, tmp_path)
    enable(installation)
    assert not needs_enabling(installation)


def test_gimp_needs_no_switch(tmp_path: Path):
    assert not needs_enabling(make_installation(Editor.GIMP, tmp_path))
