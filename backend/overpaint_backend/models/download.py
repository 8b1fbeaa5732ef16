"""Getting a model from the hub, so that it may break off at any point and goes on from there.

What is wanted is planned first, without downloading weights, so that its size and licence can be shown and agreed to.
Each file grows as ``NAME.part`` in the store's incoming folder, is hashed while it comes, and gets its name when it is
what the hub says it is. After a crash the bytes that are there are read and hashed again and the rest is asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .catalog import KnownModel, title_for
from .controlnets import is_controlnet_config
from .errors import DownloadFailed, ModelError, ModelRefused
from .hub import Hub, RemoteFile, RemoteModel
from .importer import format_bytes, make_id, now, read_folder_configs
from .layout import PICKLES, select_files, select_part
from .licences import Licence, licence_for
from .recognise import Recognised, component_names, recognise_folder, recognise_part, recognise_tensors
from .safetensors_header import LENGTH_BYTES, parse_header, parse_length, read_header
from .store import InstalledModel, ModelFile, ModelStore, OnProgress, Staging

__all__ = ["Plan", "download", "plan_download"]

_CHUNK_BYTES = 1024 * 1024
_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_ATTEMPTS = 4
"""Connections per file before giving up; each goes on where the one before ended."""
_PAUSE_S = 1.0
"""Times the number of failures: how long to wait before the next connection."""
_SOURCE = "source.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a download would bring.

    files: by path on the hub, in the order of the download. is_folder: they keep their folders; else it is one file.
    """

    model_id: str
    title: str
    remote: RemoteModel
    recognised: Recognised
    licence: Licence
    variant: str
    files: tuple[RemoteFile, ...]
    is_folder: bool

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)


def plan_download(
    hub: Hub,
    repo: str,
    *,
    revision: str = "main",
    file: str | None = None,
    model_id: str | None = None,
    family: str | None = None,
    known: KnownModel | None = None,
) -> Plan:
    """Find out what a repository is, from its configs or from the header of one file.

    Args:
        hub: where it is.
        repo: OWNER/NAME.
        revision: a commit, tag or branch.
        file: one safetensors file of it, instead of the whole diffusers folder.
        model_id: its id in the store; made from its name otherwise.
        family: which of several families that look alike it is of.
        known: its record in the catalog, which names file and family where the arguments do not.

    Raises:
        ModelRefused: nothing Overpaint can run safely.
        ModelError: the repository is not open to this user. DownloadFailed: the hub does not answer.
    """
    if known is not None:
        file, family = file or known.file or None, family or known.family
    remote = hub.describe(repo, revision)
    if file is not None:
        recognised, variant, paths = _recognise_file(hub, remote, file), "", (file,)
    elif "model_index.json" in remote.files:
        recognised, variant, paths = _recognise_repository(hub, remote)
    elif is_controlnet_config(config := _read_config(hub, remote)):
        chosen = select_part({path: entry.bytes for path, entry in remote.files.items()}, repo)
        recognised, variant, paths = recognise_part(config, repo), chosen.variant, chosen.paths
    else:
        singles = sorted(path for path in remote.files if path.endswith(".safetensors"))
        hint = f" It has {', '.join(singles[:8])}: name one with --file." if singles else ""
        pickles = any(path.endswith(tuple(PICKLES)) for path in remote.files)
        if not singles and pickles:
            hint = " It has pickles only, which can run any program when they are opened."
        raise ModelRefused(f"{repo} is not a diffusers model: it has no model_index.json.{hint}")
    name = known.title if known else title_for(repo.split("/")[-1] if file is None else Path(file).stem)
    return Plan(
        model_id=model_id or (known.id if known else make_id(name)),
        title=name,
        remote=remote,
        recognised=recognised.as_family(family),
        licence=licence_for(remote.licence or (known.licence_id if known else "")),
        variant=variant,
        files=tuple(remote.files[path] for path in paths),
        is_folder=file is None,
    )


def download(
    hub: Hub, store: ModelStore, plan: Plan, on_progress: OnProgress | None = None
) -> InstalledModel:
    """Get the files of a plan and install the model.

    Raises:
        ModelError: the id is taken, or the disk has no room.
        DownloadFailed: the hub broke off or delivered something else; what is right of it is kept for the next time.
    """
    if store.has(plan.model_id):
        raise ModelError(f"A model called “{plan.model_id}” is there already. Remove it first, or use --id.")
    with store.stage(plan.model_id) as staging:
        try:
            _continue_or_clear(staging, plan)
            present = sum(path.stat().st_size for path in staging.files.rglob("*") if path.is_file())
            missing = plan.total_bytes - present - store.free_bytes()
            if missing > 0:
                raise ModelError(
                    f"The disk of {store.root} lacks {format_bytes(missing)}. Make room and run the same command again."
                )
            files: list[ModelFile] = []
            before = 0
            for file in plan.files:
                files.append(_fetch(hub, plan, file, staging.files, before, on_progress))
                before += file.bytes
            _check_headers(staging.files, files)
        except OSError as error:
            raise ModelError(
                f"The model could not be written to {store.root}. Check that the disk has room and can be written.",
                detail=str(error),
            ) from error
        (staging.folder / _SOURCE).unlink(missing_ok=True)
        return staging.publish(
            InstalledModel(
                id=plan.model_id,
                title=plan.title,
                family=plan.recognised.family,
                kind=plan.recognised.kind,
                path=staging.files if plan.is_folder else staging.files / Path(files[0].path).name,
                base=staging.files,
                is_external=False,
                licence=plan.licence.id,
                commercial_use=plan.licence.commercial_use,
                files=tuple(files),
                source=f"hub:{plan.remote.repo}",
                revision=plan.remote.commit,
                variant=plan.variant,
                installed_at=now(),
            )
        )


def _recognise_repository(hub: Hub, remote: RemoteModel) -> tuple[Recognised, str, tuple[str, ...]]:
    index = _read_object(hub, remote, "model_index.json")

    def read(path: str) -> Mapping[str, Any] | None:
        return _read_object(hub, remote, path) if path in remote.files else None

    recognised = recognise_folder(index, read_folder_configs(index, remote.repo, read), remote.repo)
    sizes = {path: file.bytes for path, file in remote.files.items()}
    chosen = select_files(sizes, component_names(index, remote.repo), remote.repo)
    return recognised, chosen.variant, chosen.paths


def _read_config(hub: Hub, remote: RemoteModel) -> dict[str, Any]:
    return _read_object(hub, remote, "config.json") if "config.json" in remote.files else {}


def _recognise_file(hub: Hub, remote: RemoteModel, path: str) -> Recognised:
    if path not in remote.files:
        raise ModelRefused(f"{remote.repo} has no file {path}.")
    name = Path(path).name
    if remote.files[path].bytes < LENGTH_BYTES:
        raise ModelRefused(f"{name} is not a safetensors file. Get the model in that format.")
    length = parse_length(hub.read_range(remote, path, 0, LENGTH_BYTES), name)
    raw = hub.read_range(remote, path, LENGTH_BYTES, LENGTH_BYTES + length)
    return recognise_tensors(parse_header(raw, name).tensors, name)


def _read_object(hub: Hub, remote: RemoteModel, path: str) -> dict[str, Any]:
    size = remote.files[path].bytes
    if size > _MAX_CONFIG_BYTES:
        raise ModelRefused(f"{remote.repo} has an unreadable {path}.")
    try:
        plain = json.loads(hub.read_range(remote, path, 0, size))
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"{remote.repo} has an unreadable {path}.", detail=str(error)) from error
    if not isinstance(plain, dict):
        raise ModelRefused(f"{remote.repo} has an unreadable {path}.")
    return plain


def _continue_or_clear(staging: Staging, plan: Plan) -> None:
    """Keep what an earlier attempt left if it was after the same files of the same commit."""
    source = staging.folder / _SOURCE
    wanted = json.dumps(
        {
            "repo": plan.remote.repo,
            "commit": plan.remote.commit,
            "files": [file.path for file in plan.files],
        }
    )
    try:
        is_same = source.read_text(encoding="utf-8") == wanted
    except (OSError, ValueError):
        is_same = False
    if not is_same:
        staging.clear()
        source.write_text(wanted, encoding="utf-8")
    staging.files.mkdir(parents=True, exist_ok=True)


def _fetch(
    hub: Hub, plan: Plan, file: RemoteFile, folder: Path, before: int, on_progress: OnProgress | None
) -> ModelFile:
    """Have one file in its place, checked. A single file loses the folders it had on the hub."""
    path = file.path if plan.is_folder else Path(file.path).name
    target = folder / path
    part = target.with_name(target.name + ".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if (
        target.is_file()
    ):  # finished before a crash: read again like a part, since the disk may have lost some of it
        target.replace(part)
    growing = _Growing(part, file)
    for attempt in range(_ATTEMPTS):
        time.sleep(attempt * _PAUSE_S)
        try:
            growing.go_on(
                hub, plan.remote, lambda done: on_progress and on_progress(before + done, plan.total_bytes)
            )
        except DownloadFailed:
            if attempt == _ATTEMPTS - 1:
                raise
            continue
        if growing.is_right():
            part.replace(target)
            return ModelFile(path, file.bytes, growing.sha256)
        # Longer, shorter or other bytes than announced: nothing of it can be trusted.
        part.unlink()
    raise DownloadFailed(
        f"{file.path} does not arrive as {plan.remote.repo} announces it (its checksum differs). Try again later; if it stays "
        "so, do not use this model."
    )


class _Growing:
    """A ``.part`` file that is hashed as it grows, beginning with what it holds already."""

    def __init__(self, path: Path, file: RemoteFile) -> None:
        self._path = path
        self._file = file
        self._restart()

    def go_on(self, hub: Hub, remote: RemoteModel, on_bytes: Any) -> None:
        """Read what is there, then ask for the rest."""
        with self._path.open("ab+") as part:
            present = part.seek(0, os.SEEK_END)
            if present > self._file.bytes:
                present = part.truncate(0)
            if present != self._done:
                self._restart()
                part.seek(0)
                while chunk := part.read(_CHUNK_BYTES):
                    self._take(chunk)
                    on_bytes(self._done)
            if self._done == self._file.bytes:
                return
            with hub.read(remote, self._file.path, start=self._done) as (first, pieces):
                if first != self._done:
                    if first != 0:
                        raise DownloadFailed(
                            "The hub sent another part of a file than asked for. Try again later."
                        )
                    part.truncate(0)
                    self._restart()
                for piece in pieces:
                    if self._done + len(piece) > self._file.bytes:
                        raise DownloadFailed(f"The hub sends more of {self._file.path} than it announced.")
                    part.write(piece)
                    self._take(piece)
                    on_bytes(self._done)
            part.flush()
            os.fsync(part.fileno())
        if self._done < self._file.bytes:
            raise DownloadFailed(
                f"The download of {self._file.path} broke off. Run the same command again: it goes on where it stopped."
            )

    @property
    def sha256(self) -> str:
        """Of all that is there."""
        return self._sha256.hexdigest()

    def is_right(self) -> bool:
        """Whether this is the file that the hub announced, by the strongest sum it gave."""
        if self._file.sha256 is not None:
            return self.sha256 == self._file.sha256
        if self._file.git_id is not None:
            return self._git.hexdigest() == self._file.git_id
        return self._done == self._file.bytes

    def _restart(self) -> None:
        self._done = 0
        self._sha256 = hashlib.sha256()
        # Git's own object id: what the hub has for small files.
        self._git = hashlib.sha1(b"blob %d\0" % self._file.bytes, usedforsecurity=False)

    def _take(self, chunk: bytes) -> None:
        self._sha256.update(chunk)
        if self._file.sha256 is None:
            self._git.update(chunk)
        self._done += len(chunk)


def _check_headers(folder: Path, files: list[ModelFile]) -> None:
    """Refuse weights that are something else than their names say, after all that came is as announced."""
    for file in files:
        if file.path.endswith(".safetensors"):
            try:
                read_header(folder / file.path)
            except ModelRefused:
                shutil.rmtree(folder)
                raise
