"""Put a bundle into an editor, replace an older one, and see what is there.

A new version is built beside the old one and takes its place by renaming, so that an editor never meets half a
plug-in. A folder that is not Overpaint's is never touched.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from overpaint_protocol.errors import OverpaintError, Retry
from overpaint_protocol.version import PRODUCT_VERSION

from .bundle import BUILD_FILE, Bundle, BundleFile, build, write_zip
from .kritarc import is_enabled, with_plugin_enabled
from .locate import Editor, Installation

__all__ = [
    "InstallError",
    "Installed",
    "PluginState",
    "daemon_command",
    "enable",
    "inspect",
    "install",
    "needs_enabling",
    "save_zip",
]

_IDLE_EXIT_S = 1800
_PLUGIN_NAME = "overpaint_krita"


class InstallError(OverpaintError):
    """A plug-in could not be put in place; nothing was changed."""

    code = "install.failed"
    default_retry = Retry.AFTER_ACTION


class PluginState(StrEnum):
    """How the plug-in in an editor compares with the one this program would install."""

    MISSING = "missing"
    CURRENT = "current"
    OUTDATED = "outdated"
    DAMAGED = "damaged"
    """Files are missing or not as they were installed."""
    FOREIGN = "foreign"
    """A folder of the plug-in's name is there and was not made by Overpaint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What is in an editor. version: of the plug-in there, or empty. is_linked: its files are links to sources."""

    state: PluginState
    version: str = ""
    is_linked: bool = False


def daemon_command(installation: Installation) -> tuple[str, ...]:
    """The command by which the plug-in starts the daemon; empty where it cannot start programs."""
    if not installation.packaging.can_start_programs:
        return ()
    return (sys.executable, "-m", "overpaint_backend", "serve", "--idle-exit", str(_IDLE_EXIT_S))


def install(installation: Installation, *, link: bool = False) -> Path:
    """Install or replace the plug-in; returns its folder.

    Args:
        installation: where.
        link: put links to this program's own sources there instead of copies, for people who change them.

    Raises:
        InstallError: the folder is somebody else's, cannot be written, or links are not possible.
    """
    bundle = _built(installation.editor, daemon_command(installation))
    target = installation.plugin_folder
    if inspect(installation).state is PluginState.FOREIGN:
        raise InstallError(
            f"{target} is there already and was not made by Overpaint. Move it away, then install again."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _workshop(installation.profile) as workshop:
            _write(bundle.inside, workshop / "new", bundle.root, link=link)
            _swap(workshop / "new", target, workshop / "old")
        for file in bundle.beside:
            _write_beside(file, _place_beside(file, installation))
    except OSError as error:
        raise InstallError(
            f"The plug-in could not be written to {target}: {error.strerror or error}.", detail=repr(error)
        ) from error
    return target


def save_zip(editor: Editor, folder: Path) -> Path:
    """Write the plug-in as a zip into ``folder``; returns its path.

    The zip may travel to another machine, so its plug-in starts the daemon by the name ``overpaint`` on PATH.

    Raises:
        InstallError: the zip cannot be written.
    """
    bundle = _built(editor, ("overpaint", "serve", "--idle-exit", str(_IDLE_EXIT_S)))
    path = folder / f"overpaint-{editor.value}-{PRODUCT_VERSION}.zip"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _workshop(folder) as workshop:
            write_zip(bundle, workshop / path.name)
            (workshop / path.name).replace(path)
    except OSError as error:
        raise InstallError(
            f"The zip could not be written to {path}: {error.strerror or error}.", detail=repr(error)
        ) from error
    return path


def inspect(installation: Installation) -> Installed:
    """Compare what is in the editor with what ``install`` would put there."""
    folder = installation.plugin_folder
    if not folder.exists() and not folder.is_symlink():
        return Installed(state=PluginState.MISSING)
    if folder.is_dir() and not any(folder.iterdir()):
        return Installed(state=PluginState.MISSING)
    manifest = _manifest(folder)
    if manifest is None:
        return Installed(state=PluginState.FOREIGN)
    version, files = manifest
    is_linked = any((folder / name).is_symlink() for name in files)
    if any(_digest(folder / name) != digest for name, digest in files.items()) and not is_linked:
        return Installed(state=PluginState.DAMAGED, version=version)
    bundle = _built(installation.editor, ())
    wanted = {
        file.path.relative_to(bundle.root).as_posix(): hashlib.sha256(file.data).hexdigest()
        for file in bundle.inside
        if file.path.name != BUILD_FILE
    }
    present = {name: _digest(folder / name) for name in files}
    has_beside = all(_place_beside(file, installation).is_file() for file in bundle.beside)
    if not has_beside:
        return Installed(state=PluginState.DAMAGED, version=version, is_linked=is_linked)
    state = PluginState.CURRENT if present == wanted else PluginState.OUTDATED
    return Installed(state=state, version=version, is_linked=is_linked)


def needs_enabling(installation: Installation) -> bool:
    """True if Krita does not load the plug-in yet; GIMP loads what it finds."""
    if installation.settings is None:
        return False
    try:
        return not is_enabled(installation.settings.read_bytes(), _PLUGIN_NAME)
    except FileNotFoundError:
        return True


def enable(installation: Installation) -> None:
    """Switch the plug-in on in Krita's settings, leaving every other byte of them as it is.

    Krita writes its settings when it ends, so this must not be done while it runs.

    Raises:
        InstallError: the settings cannot be written.
    """
    settings = installation.settings
    if settings is None or not needs_enabling(installation):
        return
    try:
        before = settings.read_bytes() if settings.exists() else b""
        settings.parent.mkdir(parents=True, exist_ok=True)
        _replace_file(settings.resolve(), with_plugin_enabled(before, _PLUGIN_NAME))
    except OSError as error:
        raise InstallError(
            f"Krita's settings in {settings} could not be written: {error.strerror or error}. In Krita, choose "
            "Settings ▸ Configure Krita ▸ Python Plugin Manager and tick Overpaint.",
            detail=repr(error),
        ) from error


# ---------------------------------------------------------------- what is there


def _manifest(folder: Path) -> tuple[str, dict[str, str]] | None:
    """(version, digest by path) of our BUILD_FILE, or None if there is none that is ours."""
    try:
        manifest = json.loads((folder / BUILD_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.get("product") != "overpaint":
        return None
    files = manifest.get("files")
    if not isinstance(files, dict):
        return None
    return str(manifest.get("version", "")), {str(name): str(digest) for name, digest in files.items()}


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _place_beside(file: BundleFile, installation: Installation) -> Path:
    folder = "actions" if file.path.suffix == ".action" else "pykrita"
    return installation.profile / folder / file.path.name


# ---------------------------------------------------------------- writing


def _built(editor: Editor, command: Sequence[str]) -> Bundle:
    try:
        return build(editor, command)
    except FileNotFoundError as error:
        raise InstallError(str(error)) from error


@contextmanager
def _workshop(profile: Path) -> Iterator[Path]:
    """A folder on the same file system as ``profile``, where renaming into it works; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".overpaint-install-", dir=profile))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(files: Sequence[BundleFile], folder: Path, root: PurePosixPath, *, link: bool) -> None:
    for file in files:
        path = folder.joinpath(*file.path.relative_to(root).parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Python looks for modules beside the real file of the script it runs: a linked script would miss the bundle.
        if link and file.source is not None and not file.is_executable:
            path.symlink_to(file.source)
        else:
            path.write_bytes(file.data)
            if file.is_executable:
                path.chmod(0o755)


def _swap(new: Path, target: Path, old: Path) -> None:
    """Put ``new`` in ``target``'s place, which moves to ``old``; on failure ``target`` is as before."""
    if target.exists() or target.is_symlink():
        target.rename(old)
        try:
            new.rename(target)
        except OSError:
            old.rename(target)
            raise
    else:
        new.rename(target)


def _write_beside(file: BundleFile, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace_file(path, file.data)


def _replace_file(path: Path, data: bytes) -> None:
    """Write ``path`` whole or not at all, keeping the mode of the file it replaces."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        new.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
