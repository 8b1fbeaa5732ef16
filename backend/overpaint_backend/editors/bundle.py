"""What goes into an editor: a plug-in with all it needs, as a set of files that can become a folder or a zip.

A bundle holds the plug-in's package and, in ``_vendor``, ``overpaint_protocol`` and ``overpaint_client``. msgpack's own
pure-Python files are copied from the installed msgpack into ``overpaint_protocol/_vendor``, with its license, so that
the plug-in needs nothing compiled. ``BUILD.json`` says what was built and how to start the daemon.

Krita:  ``overpaint_krita.desktop``, ``overpaint_krita.action`` and ``overpaint_krita/``.
GIMP:   ``overpaint-gimp/``, which holds ``overpaint-gimp.py``, the package ``overpaint_gimp`` and ``_vendor``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from overpaint_protocol.version import MAJOR, MINOR, PRODUCT_VERSION

from .locate import Editor

__all__ = ["BUILD_FILE", "Bundle", "BundleFile", "build", "write_zip"]

BUILD_FILE = "BUILD.json"
"""In the bundle's folder: ``product``, ``editor``, ``version``, ``protocol``, ``daemon_command`` and ``files``.

``daemon_command``: the program and its arguments that start the daemon, or an empty list if the plug-in cannot.
``files``: SHA-256 in hexadecimal of each file of the folder, by its path below it.
"""

_ROOTS = {Editor.KRITA: PurePosixPath("overpaint_krita"), Editor.GIMP: PurePosixPath("overpaint-gimp")}
_MSGPACK_FILES = ("__init__.py", "exceptions.py", "ext.py", "fallback.py")
_LEFT_OUT = {"__pycache__", "testing"}
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same sources give the same zip, byte for byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """A file of a bundle.

    path: where it goes, below the folder that holds the bundle. data: its bytes. source: the file it is a copy of, or
    None if it was made for the bundle. is_executable: true for the script that GIMP starts.
    """

    path: PurePosixPath
    data: bytes
    source: Path | None = None
    is_executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The files for one editor.

    root: the folder that is Overpaint's own; files outside it lie directly beside it.
    """

    editor: Editor
    root: PurePosixPath
    files: tuple[BundleFile, ...]

    @property
    def inside(self) -> tuple[BundleFile, ...]:
        """The files below ``root``."""
        return tuple(file for file in self.files if file.path.is_relative_to(self.root))

    @property
    def beside(self) -> tuple[BundleFile, ...]:
        """The files beside ``root``: what tells Krita about the plug-in."""
        return tuple(file for file in self.files if not file.path.is_relative_to(self.root))


def build(editor: Editor, daemon_command: Sequence[str]) -> Bundle:
    """Collect what ``editor`` needs.

    Args:
        editor: whom it is for.
        daemon_command: goes into BUILD_FILE.

    Raises:
        FileNotFoundError: a part of the product is missing from this installation.
    """
    root = _ROOTS[editor]
    parts = _krita_files(root) if editor is Editor.KRITA else _gimp_files(root)
    files = [*parts, *_shared_files(root / "_vendor")]
    manifest = {
        "product": "overpaint",
        "editor": editor.value,
        "version": PRODUCT_VERSION,
        "protocol": f"{MAJOR}.{MINOR}",
        "daemon_command": list(daemon_command),
        "files": {
            file.path.relative_to(root).as_posix(): hashlib.sha256(file.data).hexdigest()
            for file in sorted(files, key=lambda file: file.path)
            if file.path.is_relative_to(root)
        },
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    files.append(BundleFile(path=root / BUILD_FILE, data=text.encode()))
    return Bundle(editor=editor, root=root, files=tuple(sorted(files, key=lambda file: file.path)))


def write_zip(bundle: Bundle, path: Path) -> None:
    """Write a zip that Krita imports ("Import Python Plugin from File") or that unpacks into GIMP's ``plug-ins``.

    Krita's importer finds the plug-in by the name of its folder, so every folder has an entry of its own.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in _folders(bundle):
            entry = zipfile.ZipInfo(f"{folder.as_posix()}/", _ZIP_EPOCH)
            entry.external_attr = (0o40755 << 16) | 0x10
            archive.writestr(entry, b"")
        for file in bundle.files:
            entry = zipfile.ZipInfo(file.path.as_posix(), _ZIP_EPOCH)
            entry.external_attr = (0o100755 if file.is_executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.data)


def _folders(bundle: Bundle) -> list[PurePosixPath]:
    parents = {parent for file in bundle.files for parent in file.path.parents}
    return sorted(parents - {PurePosixPath(".")})


def _krita_files(root: PurePosixPath) -> Iterator[BundleFile]:
    for file in _package_files("overpaint_krita", root):
        if file.path.suffix in (".desktop", ".action"):
            yield BundleFile(path=PurePosixPath(file.path.name), data=file.data, source=file.source)
        else:
            yield file


def _gimp_files(root: PurePosixPath) -> Iterator[BundleFile]:
    script = f"{root.name}.py"
    for file in _package_files("overpaint_gimp", root / "overpaint_gimp"):
        if file.path.name == script:
            yield BundleFile(path=root / script, data=file.data, source=file.source, is_executable=True)
        else:
            yield file


def _shared_files(vendor: PurePosixPath) -> Iterator[BundleFile]:
    for package in ("overpaint_protocol", "overpaint_client"):
        for file in _package_files(package, vendor / package):
            # The bundle brings msgpack itself, below.
            if not file.path.is_relative_to(vendor / "overpaint_protocol" / "_vendor"):
                yield file
    yield from _msgpack_files(vendor / "overpaint_protocol" / "_vendor")


def _msgpack_files(vendor: PurePosixPath) -> Iterator[BundleFile]:
    yield BundleFile(path=vendor / "__init__.py", data=b"")
    source = _package_folder("msgpack")
    for name in _MSGPACK_FILES:
        yield BundleFile(
            path=vendor / "msgpack" / name, data=(source / name).read_bytes(), source=source / name
        )
    yield BundleFile(path=vendor / "msgpack" / "COPYING", data=_msgpack_license())


def _msgpack_license() -> bytes:
    listed = importlib.metadata.files("msgpack") or []
    for entry in listed:
        if entry.name in ("COPYING", "LICENSE", "LICENSE.txt"):
            return Path(str(entry.locate())).read_bytes()
    raise FileNotFoundError(
        "The installed msgpack has no license file; reinstall it: pip install --force-reinstall msgpack"
    )


def _package_files(package: str, target: PurePosixPath) -> Iterator[BundleFile]:
    folder = _package_folder(package)
    for source in sorted(folder.rglob("*")):
        inner = source.relative_to(folder)
        if source.is_file() and not _LEFT_OUT.intersection(inner.parts) and source.suffix != ".pyc":
            yield BundleFile(path=target.joinpath(*inner.parts), data=source.read_bytes(), source=source)


def _package_folder(package: str) -> Path:
    # Found, not imported: a plug-in's package can only be imported inside its editor.
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{package} is missing from this installation; reinstall overpaint.")
    return Path(next(iter(spec.submodule_search_locations)))
