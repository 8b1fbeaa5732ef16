"""Find every Krita and every GIMP 3 of this user, and the folders their plug-ins go into.

Sources of the paths: Krita's manual ("Resource Management" for the resource folder, its FAQ for ``kritarc``), GIMP's
developer site for the configuration folder, and for the sandboxes the folders that Flatpak (``~/.var/app/ID``), Snap
(``~/snap/NAME/current``) and the Microsoft Store (``AppData/Local/Packages/NAME/LocalCache``) put in place of the
home folder. An AppImage has no home of its own: it uses the same folders as a native installation.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from os import environ
from pathlib import Path

__all__ = ["Editor", "Host", "Installation", "Packaging", "at_profile", "locate"]

_VERSION_TIMEOUT_S = 20.0
_FLATPAK_IDS = {"krita": "org.kde.krita", "gimp": "org.gimp.GIMP"}
_GIMP_SERIES = re.compile(r"3\.\d+")


class Editor(StrEnum):
    """An editor Overpaint has a plug-in for."""

    KRITA = "krita"
    GIMP = "gimp"

    @property
    def display_name(self) -> str:
        """Its name for people."""
        return "Krita" if self is Editor.KRITA else "GIMP"


class Packaging(StrEnum):
    """How an editor was installed, which decides where its folders are."""

    NATIVE = "native"
    FLATPAK = "flatpak"
    SNAP = "snap"
    STORE = "store"
    CUSTOM = "custom"
    """A folder named by the user."""

    @property
    def can_start_programs(self) -> bool:
        """False in a sandbox, where the Python that runs the daemon is out of reach."""
        return self not in (Packaging.FLATPAK, Packaging.SNAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """An editor and where it looks for plug-ins.

    version: as the editor says it, or its series (``3.0``), or empty if unknown.
    profile: Krita's resource folder, which holds ``pykrita`` and ``actions``; GIMP's configuration folder of one
        series, which holds ``plug-ins``. It may not exist yet.
    settings: Krita's ``kritarc``, where plug-ins are switched on; None for GIMP, which needs no switch.
    """

    editor: Editor
    packaging: Packaging
    profile: Path
    version: str = ""
    settings: Path | None = None

    @property
    def title(self) -> str:
        """Name for people, such as ``GIMP 3.0 (Flatpak)``."""
        words = [self.editor.display_name, self.version] if self.version else [self.editor.display_name]
        kinds = {
            Packaging.FLATPAK: "(Flatpak)",
            Packaging.SNAP: "(Snap)",
            Packaging.STORE: "(Microsoft Store)",
            Packaging.CUSTOM: "(chosen folder)",
        }
        if self.packaging in kinds:
            words.append(kinds[self.packaging])
        return " ".join(words)

    @property
    def plugin_folder(self) -> Path:
        """The folder that is Overpaint's own once it is installed."""
        if self.editor is Editor.KRITA:
            return self.profile / "pykrita" / "overpaint_krita"
        return self.profile / "plug-ins" / "overpaint-gimp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine as far as the search sees it; tests put another in its place.

    platform: as ``sys.platform``. which: full path of a program on PATH, or None.
    version_line: what a program prints for ``--version``, or an empty string.
    """

    home: Path
    environ: Mapping[str, str]
    platform: str
    which: Callable[[str], str | None]
    version_line: Callable[[str], str]

    @classmethod
    def current(cls) -> Host:
        """This machine and this user."""
        return cls(
            home=Path.home(),
            environ=dict(environ),
            platform=sys.platform,
            which=shutil.which,
            version_line=_version_line,
        )

    def folder(self, variable: str, *default: str) -> Path:
        """The folder an environment variable names, or one below the home folder."""
        value = self.environ.get(variable, "")
        return Path(value) if value and Path(value).is_absolute() else self.home.joinpath(*default)


def locate(host: Host | None = None) -> tuple[Installation, ...]:
    """Everything found, Krita first; each profile once."""
    host = host or Host.current()
    found: dict[Path, Installation] = {}
    for installation in (*_kritas(host), *_gimps(host)):
        found.setdefault(installation.profile, installation)
    return tuple(found.values())


def at_profile(editor: Editor, profile: Path) -> Installation:
    """The installation whose profile the user named.

    Args:
        editor: which editor it belongs to.
        profile: Krita's resource folder or GIMP's configuration folder, as in Installation.
    """
    version = profile.name if editor is Editor.GIMP and _GIMP_SERIES.fullmatch(profile.name) else ""
    return Installation(
        editor=editor, packaging=Packaging.CUSTOM, profile=profile.absolute(), version=version
    )


# ---------------------------------------------------------------- Krita


def _kritas(host: Host) -> Iterator[Installation]:
    for packaging, data, settings in _krita_homes(host):
        profile = _resource_folder(settings) or data / "krita"
        known = profile.is_dir() or settings.is_file()
        if known or (packaging is Packaging.NATIVE and host.which("krita") is not None):
            # Not asked for its version: Krita aborts on --version where it finds no screen.
            yield Installation(editor=Editor.KRITA, packaging=packaging, profile=profile, settings=settings)


def _krita_homes(host: Host) -> Iterator[tuple[Packaging, Path, Path]]:
    """(packaging, the folder that holds the resource folder, kritarc) wherever a Krita could be."""
    if host.platform == "win32":
        local = host.folder("LOCALAPPDATA", "AppData", "Local")
        yield Packaging.NATIVE, host.folder("APPDATA", "AppData", "Roaming"), local / "kritarc"
        for package in _store_packages(local, "*Krita_*"):
            cache = package / "LocalCache"
            yield Packaging.STORE, cache / "Roaming", cache / "Local" / "kritarc"
    elif host.platform == "darwin":
        library = host.home / "Library"
        yield Packaging.NATIVE, library / "Application Support", library / "Preferences" / "kritarc"
    else:
        config = host.folder("XDG_CONFIG_HOME", ".config")
        yield Packaging.NATIVE, host.folder("XDG_DATA_HOME", ".local", "share"), config / "kritarc"
        app = host.home / ".var" / "app" / _FLATPAK_IDS["krita"]
        yield Packaging.FLATPAK, app / "data", app / "config" / "kritarc"
        snap = host.home / "snap" / "krita" / "current"
        yield Packaging.SNAP, snap / ".local" / "share", snap / ".config" / "kritarc"


def _resource_folder(settings: Path) -> Path | None:
    """The resource folder chosen in Krita's preferences: ``ResourceDirectory`` before kritarc's first group."""
    try:
        lines = settings.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.lstrip().startswith("["):
            return None
        key, _, value = line.partition("=")
        if key.strip() == "ResourceDirectory" and value.strip():
            folder = Path(value.strip())
            return folder if folder.is_absolute() else None
    return None


# ---------------------------------------------------------------- GIMP


def _gimps(host: Host) -> Iterator[Installation]:
    for packaging, config in _gimp_homes(host):
        for folder in _series_folders(config):
            yield Installation(editor=Editor.GIMP, packaging=packaging, profile=folder, version=folder.name)
    own = host.environ.get("GIMP3_DIRECTORY", "")
    if own and Path(own).is_dir():
        yield Installation(editor=Editor.GIMP, packaging=Packaging.NATIVE, profile=Path(own))
    yield from _gimp_not_started_yet(host)


def _gimp_homes(host: Host) -> Iterator[tuple[Packaging, Path]]:
    """(packaging, the folder that holds one folder a series) wherever a GIMP could be."""
    if host.platform == "win32":
        yield Packaging.NATIVE, host.folder("APPDATA", "AppData", "Roaming") / "GIMP"
        for package in _store_packages(host.folder("LOCALAPPDATA", "AppData", "Local"), "*GIMP*"):
            yield Packaging.STORE, package / "LocalCache" / "Roaming" / "GIMP"
    elif host.platform == "darwin":
        yield Packaging.NATIVE, host.home / "Library" / "Application Support" / "GIMP"
    else:
        # The Flatpak uses the first of these too, if it was there before the Flatpak's first start.
        yield Packaging.NATIVE, host.folder("XDG_CONFIG_HOME", ".config") / "GIMP"
        yield Packaging.FLATPAK, host.home / ".var" / "app" / _FLATPAK_IDS["gimp"] / "config" / "GIMP"
        yield Packaging.SNAP, host.home / "snap" / "gimp" / "current" / ".config" / "GIMP"


def _gimp_not_started_yet(host: Host) -> Iterator[Installation]:
    """A native GIMP 3 on PATH gets its series' folder, also before its first start."""
    for program in ("gimp-3", "gimp-3.0", "gimp-3.2", "gimp"):
        if host.which(program) is None:
            continue
        series = _GIMP_SERIES.match(_version(host, program))
        if series is not None:
            config = next(folder for packaging, folder in _gimp_homes(host) if packaging is Packaging.NATIVE)
            yield Installation(
                editor=Editor.GIMP,
                packaging=Packaging.NATIVE,
                profile=config / series.group(),
                version=series.group(),
            )


def _series_folders(config: Path) -> list[Path]:
    if not config.is_dir():
        return []
    folders = [entry for entry in config.iterdir() if entry.is_dir() and _GIMP_SERIES.fullmatch(entry.name)]
    return sorted(folders, key=lambda folder: int(folder.name.partition(".")[2]))


# ---------------------------------------------------------------- both


def _store_packages(local: Path, pattern: str) -> list[Path]:
    packages = local / "Packages"
    return sorted(packages.glob(pattern)) if packages.is_dir() else []


def _version(host: Host, program: str) -> str:
    path = host.which(program)
    match = re.search(r"\d+(?:\.\d+)+", host.version_line(path)) if path else None
    return match.group() if match else ""


def _version_line(program: str) -> str:
    try:
        answer = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout if answer.returncode == 0 else ""
