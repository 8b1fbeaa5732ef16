"""The installed models: a folder each, with a manifest.

::

    models/                       $OVERPAINT_MODELS_DIR, else the user's data folder
      settings.json
      sd15-inpaint/
        model.json                the manifest
        files/                    what was downloaded or copied; absent if the manifest points elsewhere
      .incoming/sd15-inpaint/     what is not finished; never offered
      .removed/                   what is being deleted

A model appears by one rename of its finished folder, manifest included, and disappears by one rename. So a process that
dies at any point leaves either the whole model or none.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import platformdirs

from overpaint_backend.stamps import stamp_of

from .errors import ModelDamaged, ModelError, UnknownModel
from .manifest import FILES_FOLDER, InstalledModel, ModelFile, from_plain, read_json, to_plain, write_json

__all__ = [
    "MODELS_DIR_VARIABLE",
    "FileProblem",
    "InstalledModel",
    "ModelFile",
    "ModelSettings",
    "ModelStore",
    "OnProgress",
    "Staging",
    "check_id",
    "hash_file",
]

MODELS_DIR_VARIABLE = "OVERPAINT_MODELS_DIR"
"""Environment variable with the folder of the models, instead of the platform's."""

OnProgress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""

_MANIFEST = "model.json"
_CHUNK_BYTES = 1024 * 1024
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_RESERVED_IDS = frozenset({"embedded", "settings.json"})


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A file that is not as it was installed. reason: "missing", "size" or "content"."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What the artist chose for all models. commercial_only: offer none whose licence does not plainly allow selling."""

    commercial_only: bool = False


class Staging:
    """The unfinished folder of one model. ``files`` takes the model's files; ``publish`` makes it a model."""

    def __init__(self, store: ModelStore, folder: Path, model_id: str) -> None:
        self._store = store
        self.folder = folder
        self.files = folder / FILES_FOLDER
        self.model_id = model_id

    def clear(self) -> None:
        """Throw away what is there."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.files.mkdir(parents=True)

    def discard(self) -> None:
        """Throw away the folder as far as that is possible; what stays is cleared by the next attempt."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, model: InstalledModel) -> InstalledModel:
        """Make the folder an installed model, in one step. Returns it with its final paths.

        ``model.path`` and ``base`` count for an external model only, and as the name of the file inside ``files``.

        Raises:
            ModelError: a model of that id appeared meanwhile, or the folder cannot be written.
        """
        try:
            if model.is_external and self.files.exists():
                shutil.rmtree(self.files)
            write_json(self.folder / _MANIFEST, to_plain(model))
            target = self._store.root / self.model_id
            if target.exists():
                raise ModelError(f"A model called “{self.model_id}” is there already. Remove it first.")
            self.folder.rename(target)
            _sync_folder(self._store.root)
        except OSError as error:
            raise ModelError(
                f"The model could not be put into {self._store.root}. Check that the disk has room and can be written.",
                detail=str(error),
            ) from error
        return self._store.get(self.model_id)


class ModelStore:
    """The models below ``root``. Reading makes no folder; several processes may use one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> ModelStore:
        """The store of this user."""
        chosen = environ.get(MODELS_DIR_VARIABLE)
        if chosen:
            return cls(Path(chosen).expanduser().absolute())
        return cls(Path(platformdirs.user_data_dir("overpaint", appauthor=False)) / "models")

    def models(self, *, include_hidden: bool = False) -> tuple[InstalledModel, ...]:
        """What may be offered, by id: whole models, without those that the setting ``commercial_only`` hides.

        include_hidden: those as well.
        """
        only_commercial = not include_hidden and self.settings().commercial_only
        whole = (model for model, problem in self._read_all() if not problem and model is not None)
        return tuple(model for model in whole if model.commercial_use is True or not only_commercial)

    def broken(self) -> tuple[tuple[str, str], ...]:
        """Id and reason of each model that is not offered because files are missing or its manifest is not readable."""
        return tuple((model_id, problem) for model_id, problem in self._read_problems() if problem)

    def get(self, model_id: str) -> InstalledModel:
        """The installed model of that id, hidden or not.

        Raises:
            UnknownModel: there is none.
            ModelDamaged: it is there and not whole.
        """
        folder = self.root / model_id
        if not _ID.fullmatch(model_id) or not folder.is_dir():
            known = ", ".join(model.id for model in self.models(include_hidden=True)) or "none yet"
            raise UnknownModel(f"No model called “{model_id}” is installed. Installed: {known}.")
        model, problem = self._read(folder)
        if model is None or problem:
            raise ModelDamaged(
                f"The model “{model_id}” cannot be used: {problem} Remove it and add it again."
            )
        return model

    def has(self, model_id: str) -> bool:
        """Whether something of that id is installed, whole or not."""
        return (self.root / model_id).is_dir()

    def stamp(self) -> object:
        """Something that differs from before once models were installed, removed or hidden. Reads no file."""
        manifests = {folder.name: stamp_of(folder / _MANIFEST) for folder in self._folders()}
        return stamp_of(self.root / "settings.json"), manifests

    def verify(self, model_id: str, on_progress: OnProgress | None = None) -> tuple[FileProblem, ...]:
        """Read every file of a model again and compare; empty if all is as installed.

        Raises:
            UnknownModel: there is none. ModelDamaged: its manifest cannot be read.
        """
        folder = self.root / model_id
        if not _ID.fullmatch(model_id) or not folder.is_dir():
            self.get(model_id)
        try:
            model = from_plain(read_json(folder / _MANIFEST), folder)
        except (OSError, ValueError) as error:
            raise ModelDamaged(
                f"The model “{model_id}” has no readable description. Remove it and add it again.",
                detail=str(error),
            ) from error
        problems: list[FileProblem] = []
        done = 0
        for file in model.files:
            path = model.base / file.path
            if not path.is_file():
                problems.append(FileProblem(file.path, "missing"))
            elif path.stat().st_size != file.bytes:
                problems.append(FileProblem(file.path, "size"))
            elif hash_file(path, _shifted(on_progress, done, model.total_bytes)) != file.sha256:
                problems.append(FileProblem(file.path, "content"))
            done += file.bytes
        return tuple(problems)

    def remove(self, model_id: str) -> None:
        """Delete a model, whole or not; files it only points at stay. A download in progress is forgotten too.

        Raises:
            UnknownModel: there is none.
            ModelError: it cannot be deleted.
        """
        incoming = self.root / ".incoming" / model_id
        if not _ID.fullmatch(model_id) or not (self.has(model_id) or incoming.is_dir()):
            self.get(model_id)
        try:
            removed = self.root / ".removed"
            removed.mkdir(exist_ok=True)
            with self.stage(model_id):
                for folder in (self.root / model_id, incoming):
                    if folder.is_dir():
                        shutil.rmtree(folder.rename(removed / f"{model_id}-{secrets.token_hex(4)}"))
        except OSError as error:
            raise ModelError(
                f"“{model_id}” could not be removed completely. Close the programs that use it and try again.",
                detail=str(error),
            ) from error

    @contextmanager
    def stage(self, model_id: str) -> Iterator[Staging]:
        """The unfinished folder of a model to be, with what an earlier attempt left in it; ours alone meanwhile.

        Raises:
            ModelError: another process is installing it, or the folder cannot be made.
        """
        check_id(model_id)
        incoming = self.root / ".incoming"
        try:
            incoming.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(incoming / f"{model_id}.lock", blocking=False)
            lock.acquire()
        except filelock.Timeout as error:
            raise ModelError(
                f"Another program is installing or removing “{model_id}”. Wait for it."
            ) from error
        except OSError as error:
            raise ModelError(
                f"The folder {self.root} for models cannot be used. Choose another with {MODELS_DIR_VARIABLE}.",
                detail=str(error),
            ) from error
        with lock:
            yield Staging(self, incoming / model_id, model_id)

    def settings(self) -> ModelSettings:
        """What was chosen; the defaults where nothing readable was."""
        try:
            plain = read_json(self.root / "settings.json")
        except (OSError, ValueError):
            return ModelSettings()
        # A file somebody edited by hand: anything but a plain "false" keeps the stricter choice.
        return ModelSettings(commercial_only=plain.get("commercial_only", False) is not False)

    def choose(self, settings: ModelSettings) -> None:
        """Keep ``settings`` for all processes.

        Raises:
            ModelError: they cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_json(self.root / "settings.json", asdict(settings))
        except OSError as error:
            raise ModelError(
                f"The setting could not be written to {self.root}. Check that the folder can be written.",
                detail=str(error),
            ) from error

    def free_bytes(self) -> int:
        """Room on the disk of the store."""
        folder = self.root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir() and _ID.fullmatch(path.name))

    def _read_all(self) -> Iterator[tuple[InstalledModel | None, str]]:
        for folder in self._folders():
            yield self._read(folder)

    def _read_problems(self) -> Iterator[tuple[str, str]]:
        for folder in self._folders():
            yield folder.name, self._read(folder)[1]

    @staticmethod
    def _read(folder: Path) -> tuple[InstalledModel | None, str]:
        try:
            model = from_plain(read_json(folder / _MANIFEST), folder)
        except (OSError, ValueError):
            return None, "its description cannot be read."
        for file in model.files:
            try:
                size = (model.base / file.path).stat().st_size
            except OSError:
                return model, f"the file {model.base / file.path} is missing."
            if size != file.bytes:
                return model, f"the file {model.base / file.path} has changed its size."
        return model, ""


def check_id(model_id: str) -> None:
    """Raise ModelError unless ``model_id`` can name a model."""
    if not _ID.fullmatch(model_id) or model_id in _RESERVED_IDS:
        raise ModelError(
            f"“{model_id}” cannot be a model's name here. Use small letters, digits, dots and dashes (--id NAME)."
        )


def hash_file(path: Path, on_progress: OnProgress | None = None) -> str:
    """The sha256 of a file, as 64 hex digits."""
    digest = hashlib.sha256()
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if on_progress is not None:
                on_progress(done, total)
    return digest.hexdigest()


def _shifted(on_progress: OnProgress | None, before: int, total: int) -> OnProgress | None:
    if on_progress is None:
        return None
    return lambda done, _: on_progress(before + done, total)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
