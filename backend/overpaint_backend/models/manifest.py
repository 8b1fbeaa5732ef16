"""What is known about an installed model, and its form on the disk: ``model.json``."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

__all__ = [
    "FILES_FOLDER",
    "InstalledModel",
    "ModelFile",
    "check_relative",
    "from_plain",
    "read_json",
    "to_plain",
    "write_json",
]

FILES_FOLDER = "files"
"""Where a model's own files are, beside its manifest."""

_FORMAT = 1
_KINDS = frozenset({"diffusers", "single-file", "denoiser", "controlnet", "lora"})
_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model. path: relative to the model's ``base``, with slashes. sha256: 64 hex digits."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """A model that is here, whole.

    kind: "diffusers" (a folder with model_index.json), "single-file" (a checkpoint with all its parts), "denoiser" (the
        network alone) or "controlnet" (what shows the network its surroundings), which both need a base model of their
        family, "lora".
    path: the file, or the folder of kind "diffusers" and of a ControlNet with a config of its own.
    base: the folder that ``files`` are relative to. is_external: it is not ours and is never changed or deleted.
    commercial_use: None if unknown or if it depends on who uses it. variant: "fp16" and such if the weights' file names
        carry it, else empty. source: where it came from. revision: the hub's commit, empty for local files.
    installed_at: UTC, ISO 8601.
    native_px: side of the square it was trained on, where that is not its family's; None if it is.
    """

    id: str
    title: str
    family: str
    kind: str
    path: Path
    base: Path
    is_external: bool
    licence: str
    commercial_use: bool | None
    files: tuple[ModelFile, ...]
    source: str
    revision: str
    variant: str
    installed_at: str
    native_px: int | None = None

    @property
    def total_bytes(self) -> int:
        """Size of all its files."""
        return sum(file.bytes for file in self.files)

    def has_part(self, name: str) -> bool:
        """Whether its folder holds a part of that name, such as "controlnet"."""
        return any(file.path.startswith(f"{name}/") for file in self.files)


def to_plain(model: InstalledModel) -> dict[str, Any]:
    """The manifest of a model."""
    plain: dict[str, Any] = {"format": _FORMAT, **asdict(model)}
    del plain["path"], plain["base"], plain["is_external"]
    plain["folder"] = str(model.base.absolute()) if model.is_external else None
    plain["file"] = None if model.path == model.base else model.path.name
    return plain


def from_plain(plain: dict[str, Any], folder: Path) -> InstalledModel:
    """The model that the manifest in ``folder`` describes.

    Raises:
        ValueError: it is no manifest, of another version, or of another folder.
    """
    try:
        if plain["format"] != _FORMAT or plain["id"] != folder.name or plain["kind"] not in _KINDS:
            raise ValueError("of another version, or moved")
        external = plain["folder"]
        base = Path(external) if external is not None else folder / FILES_FOLDER
        name = plain["file"]
        files = tuple(
            ModelFile(check_relative(file["path"]), int(file["bytes"]), str(file["sha256"]))
            for file in plain["files"]
        )
        texts = {field.name: plain[field.name] for field in fields(InstalledModel) if field.type == "str"}
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("a text is not one")
        commercial_use = plain["commercial_use"]
        if commercial_use not in (True, False, None):
            raise ValueError("commercial_use")
        native_px = plain.get("native_px")
        if native_px is not None and not (type(native_px) is int and 16 <= native_px <= 8192):
            raise ValueError("native_px")
        return InstalledModel(
            **texts,
            native_px=native_px,
            path=base if name is None else base / check_relative(name),
            base=base,
            is_external=external is not None,
            commercial_use=commercial_use,
            files=files,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a manifest: {error!r}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        OSError: it cannot be read. ValueError: it is something else.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError("too long")
    plain = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(plain, dict):
        raise ValueError("not an object")
    return plain


def write_json(path: Path, plain: Mapping[str, Any]) -> None:
    """Put a JSON file in place in one step.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(plain, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def check_relative(path: str) -> str:
    """``path`` if it stays inside the folder it is relative to, on every system.

    Raises:
        ValueError: it does not.
    """
    parts = PurePosixPath(path).parts
    is_inside = bool(parts) and not path.startswith("/") and not {"..", "."} & set(path.split("/"))
    if not is_inside or any(letter in path for letter in '\\:\0<>"|?*'):
        raise ValueError(f"not a path inside a model: {path!r}")
    return path
