"""Where the editors' roots are, and fresh profiles taken from them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ANSWER_S", "RUN_IN", "EditorRoot", "find_root", "new_home", "roots_folder", "short_folder"]

RUN_IN = Path(__file__).parent.parent / "run-in.sh"

ANSWER_S = 300.0
"""Longest wait for an editor that still runs: it hangs then, however busy the machine. Below pytest's own limit."""


@dataclass(frozen=True, kw_only=True)
class EditorRoot:
    """One installed pair of editors.

    Attributes:
        name: ``trixie`` or ``sid``.
        path: The folder made by ``install.sh``.
        gimp_version: As Debian says, epoch and revision left out, e.g. ``3.0.4``.
        krita_version: Likewise, e.g. ``5.2.9``.
    """

    name: str
    path: Path
    gimp_version: str
    krita_version: str

    @property
    def gimp_config_name(self) -> str:
        """The folder of this GIMP's configuration under ``.config/GIMP``: ``3.0`` or ``3.2``."""
        return ".".join(self.gimp_version.split(".")[:2])


def roots_folder() -> Path:
    """The folder that holds the roots: ``$OVERPAINT_EDITORS``, else below the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("OVERPAINT_EDITORS") or Path(cache) / "overpaint" / "editors")


def find_root(name: str) -> EditorRoot | None:
    """The finished root called ``name``, or None when it has not been installed."""
    path = roots_folder() / name
    if not (path / ".editors-ready").is_file():
        return None
    versions = _package_versions(path / "var/lib/dpkg/status", {"gimp", "krita"})
    return EditorRoot(name=name, path=path, gimp_version=versions["gimp"], krita_version=versions["krita"])


def new_home(root: EditorRoot, home: Path) -> Path:
    """Fill ``home`` with a copy of the root's profile, in which both editors have been started once."""
    home.mkdir(parents=True, exist_ok=True)
    skeleton = root.path / "var/lib/editors/home"
    subprocess.run(["cp", "-a", "--reflink=auto", f"{skeleton}/.", str(home)], check=True)
    return home


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for a unix socket's name (108 bytes), which pytest's may not."""
    folder = Path(tempfile.mkdtemp(prefix="overpaint-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _package_versions(status: Path, packages: set[str]) -> dict[str, str]:
    versions: dict[str, str] = {}
    package = ""
    with status.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("Package: "):
                package = line[9:].strip()
            elif line.startswith("Version: ") and package in packages:
                upstream = line[9:].strip().split(":", 1)[-1]
                versions[package] = upstream.split("-")[0].split("+")[0].split("~")[0]
    return versions
