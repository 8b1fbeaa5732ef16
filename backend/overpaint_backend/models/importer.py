"""Taking models that are on the disk already: folders, single files, and whole collections of other programs.

Models are copied into the store, or with ``link`` left where they are and pointed at. Nothing but safetensors and text is
taken, no program code is ever run or copied, and what is no model is refused with the reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .catalog import title_for
from .controlnets import is_controlnet_config
from .errors import ModelError, ModelRefused
from .layout import PICKLES, FolderFiles, select_files, select_part
from .licences import licence_for
from .manifest import check_relative
from .recognise import (
    Recognised,
    component_names,
    needed_configs,
    recognise_folder,
    recognise_part,
    recognise_tensors,
)
from .safetensors_header import read_header
from .store import (
    InstalledModel,
    ModelFile,
    ModelStore,
    OnProgress,
    Staging,
    check_id,
    hash_file,
)

__all__ = [
    "Candidate",
    "Outcome",
    "examine",
    "find_candidates",
    "format_bytes",
    "import_all",
    "import_model",
    "is_model_folder",
    "make_id",
    "now",
    "read_folder_configs",
]

_CHUNK_BYTES = 1024 * 1024
_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model found on the disk, not installed yet.

    path: the folder or the file. files: their sizes in bytes, by path relative to ``base``.
    """

    path: Path
    base: Path
    recognised: Recognised
    variant: str
    files: Mapping[str, int]

    @property
    def total_bytes(self) -> int:
        """Size of what would be taken."""
        return sum(self.files.values())


def examine(path: Path) -> Candidate:
    """Look at a folder or a file without reading weights.

    A folder of the hub's cache (``models--owner--name``) stands for its newest snapshot.

    Raises:
        ModelRefused: it is no model that Overpaint can run safely.
    """
    path = Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - links in a hub's cache must not be resolved
    if path.is_file():
        return _examine_file(path)
    if not path.is_dir():
        raise ModelRefused(f"There is no {path}.")
    folder = _snapshot(path)
    if (folder / "model_index.json").is_file():
        return _examine_folder(folder)
    if (folder / "config.json").is_file():
        return _examine_part(folder)
    raise ModelRefused(f"{path} is not a model's folder: it has no model_index.json.")


def find_candidates(root: Path) -> Iterator[Path]:
    """Every model folder and every file that claims to be a model below ``root``, such as ComfyUI's ``models``.

    Parts inside a model's folder are not listed apart; folders of links are followed once.
    """
    seen: set[Path] = set()

    def walk(folder: Path, depth: int) -> Iterator[Path]:
        real = folder.resolve()
        if real in seen or depth > _MAX_DEPTH:
            return
        seen.add(real)
        if is_model_folder(folder):
            yield folder
            return
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            return
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                yield from walk(entry, depth + 1)
            elif entry.suffix.lower() in PICKLES | {".safetensors", ".sft", ".gguf"} and entry.is_file():
                yield entry

    yield from walk(root, 0)


def is_model_folder(path: Path) -> bool:
    """Whether a folder is one model or ControlNet, or the hub's cache of one; its parts are not models of their own."""
    folder = _snapshot(path)
    if (folder / "model_index.json").is_file():
        return True
    config = folder / "config.json"
    try:
        return config.is_file() and is_controlnet_config(_read_object(config, path.name))
    except ModelRefused:
        return False


def import_model(
    store: ModelStore,
    path: Path,
    *,
    link: bool = False,
    model_id: str | None = None,
    family: str | None = None,
    licence: str = "",
    on_progress: OnProgress | None = None,
) -> InstalledModel:
    """Install what is at ``path``.

    Args:
        store: where to.
        path: a diffusers folder or a safetensors file.
        link: leave the files where they are and point at them.
        model_id: its id in the store; made from its name otherwise.
        family: which of several families that look alike it is of.
        licence: as the hub calls it; that of the family's original is not assumed.
        on_progress: told of the bytes read.

    Raises:
        ModelRefused: it is no model that Overpaint can run safely.
        ModelError: the id is taken, the disk is full, or the files cannot be read.
    """
    found = examine(path)
    recognised = found.recognised.as_family(family)
    chosen_id = _free_id(store, make_id(_name_of(found.path))) if model_id is None else model_id
    check_id(chosen_id)
    if store.has(chosen_id):
        raise ModelError(f"A model called “{chosen_id}” is there already. Choose another name with --id.")
    if not link and store.free_bytes() < found.total_bytes:
        raise ModelError(
            f"The disk of {store.root} lacks {format_bytes(found.total_bytes - store.free_bytes())} for a copy. "
            "Make room, or use the model where it is with --link."
        )
    terms = licence_for(licence)
    with store.stage(chosen_id) as staging:
        try:
            staging.clear()
            files = _take(found, staging, link=link, on_progress=on_progress)
        except BaseException as error:
            staging.discard()
            if not isinstance(error, OSError):
                raise
            raise ModelError(
                f"{found.path} could not be copied into {store.root}. Check that the disk has room and can be read.",
                detail=str(error),
            ) from error
        base = found.base if link else staging.files
        return staging.publish(
            InstalledModel(
                id=chosen_id,
                title=title_for(_name_of(found.path)),
                family=recognised.family,
                kind=recognised.kind,
                path=base if found.path == found.base else base / found.path.name,
                base=base,
                is_external=link,
                licence=terms.id,
                commercial_use=terms.commercial_use,
                files=files,
                source=str(found.path),
                revision="",
                variant=found.variant,
                installed_at=now(),
            )
        )


def read_folder_configs(
    index: Mapping[str, Any], name: str, read: Callable[[str], Mapping[str, Any] | None]
) -> dict[str, Mapping[str, Any]]:
    """The configs that tell a folder's family. read: gives a JSON file by path, None if it is not there."""
    configs: dict[str, Mapping[str, Any]] = {}
    for part, names in needed_configs(component_names(index, name)).items():
        for file in names:
            plain = read(f"{part}/{file}")
            if plain is not None:
                configs[part] = plain
    return configs


def make_id(name: str) -> str:
    """A model's id from any name: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")[:48].strip("-.") or "model"


def now() -> str:
    """This second, in UTC, as the manifest has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def format_bytes(count: int) -> str:
    """A size for people, such as “2.0 GB”, in powers of ten as shops and the hub count."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.1f} MB" if unit == "MB" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _free_id(store: ModelStore, wanted: str) -> str:
    candidates = (wanted, *(f"{wanted}-{number}" for number in range(2, 100)))
    return next((model_id for model_id in candidates if not store.has(model_id)), wanted)


def _name_of(path: Path) -> str:
    """What people call it: the file without its ending, the folder, or the hub's name of a cached snapshot."""
    if path.is_file():
        return path.stem
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.split("--")[-1]
    return path.name


def _snapshot(folder: Path) -> Path:
    snapshots = folder / "snapshots"
    if not folder.name.startswith("models--") or not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file():
        named = snapshots / main.read_text(encoding="utf-8", errors="replace").strip()[:64]
        if named.parent == snapshots and named.is_dir():
            return named
    return max((path for path in snapshots.iterdir() if path.is_dir()), key=_changed_at, default=folder)


def _changed_at(path: Path) -> float:
    return path.stat().st_mtime


def _examine_file(path: Path) -> Candidate:
    header = read_header(path)
    return Candidate(
        path=path,
        base=path.parent,
        recognised=recognise_tensors(header.tensors, path.name),
        variant="",
        files={path.name: path.stat().st_size},
    )


def _examine_folder(folder: Path) -> Candidate:
    name = _name_of(folder)
    index = _read_object(folder / "model_index.json", name)

    def read(path: str) -> Mapping[str, Any] | None:
        file = folder / path
        return _read_object(file, name) if file.is_file() else None

    recognised = recognise_folder(index, read_folder_configs(index, name, read), name)
    components = component_names(index, name)
    sizes = {"model_index.json": (folder / "model_index.json").stat().st_size}
    for component in components:
        if not (folder / component).is_dir():
            continue
        for file in (folder / component).iterdir():
            if file.is_file():
                sizes[f"{component}/{file.name}"] = file.stat().st_size
    return _candidate(folder, recognised, sizes, select_files(sizes, components, name))


def _examine_part(folder: Path) -> Candidate:
    name = _name_of(folder)
    recognised = recognise_part(_read_object(folder / "config.json", name), name)
    sizes = {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    return _candidate(folder, recognised, sizes, select_part(sizes, name))


def _candidate(
    folder: Path, recognised: Recognised, sizes: Mapping[str, int], chosen: FolderFiles
) -> Candidate:
    for path in chosen.paths:
        if path.endswith(".safetensors"):
            read_header(folder / path)
    return Candidate(
        path=folder,
        base=folder,
        recognised=recognised,
        variant=chosen.variant,
        files={path: sizes[path] for path in chosen.paths},
    )


def _take(
    found: Candidate, staging: Staging, *, link: bool, on_progress: OnProgress | None
) -> tuple[ModelFile, ...]:
    """Hash every file, and copy it unless it is only linked to."""
    files: list[ModelFile] = []
    before = 0
    for path, size in found.files.items():
        source = found.base / path
        try:
            check_relative(path)
        except ValueError as error:
            raise ModelRefused(f"The file {path!r} has a name that does not work on every system.") from error

        def step(done: int, _: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(before + done, found.total_bytes)

        digest = hash_file(source, step) if link else _copy(source, staging.files / path, step)
        files.append(ModelFile(path, size, digest))
        before += size
    return tuple(files)


def _copy(source: Path, target: Path, on_progress: OnProgress) -> str:
    """Copy one file and return its sha256, from one reading."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    done = 0
    with source.open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
            done += len(chunk)
            on_progress(done, 0)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _read_object(path: Path, name: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise ValueError("too long")
        plain = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(plain, dict):
            raise ValueError("not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelRefused(
            f"{name} has an unreadable {path.name}. Get the model again.", detail=str(error)
        ) from error
    return plain


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one find of ``import_all``: ``model``, or ``reason`` why not."""

    path: Path
    model: InstalledModel | None
    reason: str


def import_all(
    store: ModelStore,
    root: Path,
    *,
    link: bool,
    licence: str = "",
    on_progress: OnProgress | None = None,
) -> Iterator[Outcome]:
    """Install every model below ``root``; what was taken from there before is left as it is.

    Parts of models (VAEs, text encoders) and what cannot be run come back with the reason.
    """
    known = {model.source for model in store.models(include_hidden=True)}
    for path in find_candidates(root):
        try:
            if str(examine(path).path) in known:
                yield Outcome(path, None, "It is installed already.")
                continue
            model = import_model(store, path, link=link, licence=licence, on_progress=on_progress)
        except ModelError as error:
            yield Outcome(path, None, error.message)
        else:
            yield Outcome(path, model, "")
