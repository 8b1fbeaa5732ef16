"""Every way in which Krita and GIMP are installed is found, in a home folder made for the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from overpaint_backend.editors.locate import Editor, Host, Packaging, at_profile, locate


def make_host(
    home: Path, platform: str = "linux", programs: dict[str, str] | None = None, **environ: str
) -> Host:
    """A machine with an empty home; ``programs`` gives what each prints for --version."""
    lines = programs or {}
    return Host(
        home=home,
        environ=environ,
        platform=platform,
        which=lambda name: f"/usr/bin/{name}" if name in lines else None,
        version_line=lambda path: lines[Path(path).name],
    )


def found(host: Host) -> list[tuple[str, str, Path]]:
    return [(i.editor.value, i.packaging.value, i.profile.relative_to(host.home)) for i in locate(host)]


def test_an_empty_machine_has_none(tmp_path: Path):
    assert locate(make_host(tmp_path)) == ()


@pytest.mark.parametrize(
    ("platform", "folder", "editor", "packaging"),
    [
        ("linux", ".local/share/krita", "krita", "native"),
        ("linux", ".var/app/org.kde.krita/data/krita", "krita", "flatpak"),
        ("linux", "snap/krita/current/.local/share/krita", "krita", "snap"),
        ("linux", ".config/GIMP/3.0", "gimp", "native"),
        ("linux", ".config/GIMP/3.2", "gimp", "native"),
        ("linux", ".var/app/org.gimp.GIMP/config/GIMP/3.0", "gimp", "flatpak"),
        ("linux", "snap/gimp/current/.config/GIMP/3.0", "gimp", "snap"),
        ("darwin", "Library/Application Support/krita", "krita", "native"),
        ("darwin", "Library/Application Support/GIMP/3.0", "gimp", "native"),
        ("win32", "AppData/Roaming/krita", "krita", "native"),
        ("win32", "AppData/Local/Packages/49800Krita_abc/LocalCache/Roaming/krita", "krita", "store"),
        ("win32", "AppData/Roaming/GIMP/3.0", "gimp", "native"),
        ("win32", "AppData/Local/Packages/GIMP.1234_abc/LocalCache/Roaming/GIMP/3.0", "gimp", "store"),
    ],
)
def test_a_profile_folder_is_found(tmp_path: Path, platform: str, folder: str, editor: str, packaging: str):
    (tmp_path / folder).mkdir(parents=True)
    assert found(make_host(tmp_path, platform)) == [(editor, packaging, Path(folder))]


def test_gimp_2_is_not_found(tmp_path: Path):
    (tmp_path / ".config/GIMP/2.10").mkdir(parents=True)
    assert (
        locate(make_host(tmp_path, programs={"gimp": "GNU Image Manipulation Program version 2.10.38"})) == ()
    )


def test_several_gimps_come_in_order_of_their_version(tmp_path: Path):
    for series in ("3.10", "3.2", "3.0"):
        (tmp_path / ".config/GIMP" / series).mkdir(parents=True)
    assert [i.version for i in locate(make_host(tmp_path))] == ["3.0", "3.2", "3.10"]


def test_a_gimp_never_started_gets_the_folder_of_its_series(tmp_path: Path):
    host = make_host(tmp_path, programs={"gimp": "GNU Image Manipulation Program version 3.2.6"})
    assert found(host) == [("gimp", "native", Path(".config/GIMP/3.2"))]


def test_a_gimp_that_was_started_is_found_once(tmp_path: Path):
    (tmp_path / ".config/GIMP/3.0").mkdir(parents=True)
    line = "GNU Image Manipulation Program version 3.0.4"
    host = make_host(tmp_path, programs={"gimp": line, "gimp-3.0": line})
    assert found(host) == [("gimp", "native", Path(".config/GIMP/3.0"))]


def test_a_krita_never_started_is_found_by_its_program(tmp_path: Path):
    installation = locate(make_host(tmp_path, programs={"krita": ""}))[0]
    assert installation.profile == tmp_path / ".local/share/krita"
    assert installation.settings == tmp_path / ".config/kritarc"


def test_the_environment_moves_the_folders(tmp_path: Path):
    (tmp_path / "data/krita").mkdir(parents=True)
    (tmp_path / "conf/GIMP/3.0").mkdir(parents=True)
    (tmp_path / "own-gimp").mkdir()
    host = make_host(
        tmp_path,
        XDG_DATA_HOME=str(tmp_path / "data"),
        XDG_CONFIG_HOME=str(tmp_path / "conf"),
        GIMP3_DIRECTORY=str(tmp_path / "own-gimp"),
    )
    assert found(host) == [
        ("krita", "native", Path("data/krita")),
        ("gimp", "native", Path("conf/GIMP/3.0")),
        ("gimp", "native", Path("own-gimp")),
    ]


def test_a_relative_folder_in_the_environment_is_ignored(tmp_path: Path):
    (tmp_path / ".local/share/krita").mkdir(parents=True)
    host = make_host(tmp_path, XDG_DATA_HOME="data")
    assert found(host) == [("krita", "native", Path(".local/share/krita"))]


def test_kritas_own_resource_folder_wins(tmp_path: Path):
    resources = tmp_path / "paint" / "resources"
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config/kritarc").write_text(
        f"colorTheme=dark\nResourceDirectory={resources}\n[python]\nResourceDirectory=/elsewhere\n"
    )
    assert [i.profile for i in locate(make_host(tmp_path))] == [resources]


def test_titles_say_which_one_is_meant(tmp_path: Path):
    (tmp_path / ".var/app/org.gimp.GIMP/config/GIMP/3.2").mkdir(parents=True)
    (tmp_path / ".local/share/krita").mkdir(parents=True)
    assert [i.title for i in locate(make_host(tmp_path))] == ["Krita", "GIMP 3.2 (Flatpak)"]


def test_a_named_profile_is_taken_as_it_is(tmp_path: Path):
    installation = at_profile(Editor.GIMP, tmp_path / "3.2")
    assert installation.packaging is Packaging.CUSTOM
    assert installation.plugin_folder == tmp_path / "3.2" / "plug-ins" / "overpaint-gimp"


def test_only_sandboxes_keep_a_plugin_from_starting_programs():
    assert [p.value for p in Packaging if not p.can_start_programs] == ["flatpak", "snap"]


def test_this_machine_can_be_searched():
    locate()
