"""``overpaint doctor --bundle FILE.zip``: what a developer needs to help, and nothing that is the artist's.

No prompts, pictures, names of files, models, LoRAs, recipes or clients, no ids and tokens, no paths, no names of people and
machines. Each part takes what it names; logs and sentences go through ``redaction``.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.metadata
import json
import os
import platform
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import psutil

from overpaint_backend.config import DaemonSettings
from overpaint_backend.durability.stories import Fact, read_stories
from overpaint_protocol.errors import DaemonError, OverpaintError
from overpaint_protocol.messages import DaemonReport, DeviceReport
from overpaint_protocol.version import MAJOR, MINOR, PRODUCT_VERSION

from .doctor import Examination
from .outcome import OK, print_json, say
from .redaction import Redactor
from .situation import look_at_storage

__all__ = ["run_bundle", "write_bundle"]

_PACKAGES = (
    "accelerate",
    "diffusers",
    "filelock",
    "imagecodecs",
    "msgpack",
    "numpy",
    "peft",
    "pillow",
    "platformdirs",
    "psutil",
    "pypatchmatch",
    "pyzmq",
    "rich",
    "safetensors",
    "tifffile",
    "torch",
    "transformers",
    "typer",
)
_LOG_TAIL_BYTES = 200_000
_STORIES = 100
_UNTOLD = ("editor", "engine")
"""Facts of a story that others have named."""


def run_bundle(file: Path, *, as_json: bool) -> int:
    """Write the bundle.

    Raises:
        DaemonError: it cannot be written.
    """
    try:
        names = write_bundle(file, DaemonSettings.from_environment(), Examination())
    except OSError as error:
        raise DaemonError(f"{file} cannot be written: {error.strerror}. Name another file.") from error
    if as_json:
        print_json({"ok": True, "file": str(file), "parts": names})
        return OK
    say(f"{file} holds {', '.join(names)}.")
    say("It has no prompts, pictures, names or paths of yours. Look into it before you send it.")
    return OK


def write_bundle(file: Path, settings: DaemonSettings, examination: Examination) -> list[str]:
    """Write ``file`` anew; returns the names of its parts.

    Raises:
        OSError: it cannot be written.
    """
    redactor = Redactor(Path.home(), _names())
    parts = {
        "about.json": _about(),
        "settings.json": _settings(settings),
        "doctor.json": _doctor(examination, redactor),
        "status.json": _status(examination),
        "journal.json": _journal(settings.jobs_dir),
        "stories.json": _stories(settings.stories_path),
    }
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(descriptor, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, part in parts.items():
            bundle.writestr(name, json.dumps(part, indent=1))
        logs = list(_logs(settings.log_path, redactor))
        for name, text in logs:
            bundle.writestr(name, text)
    return [*parts, *(name for name, _ in logs)]


def _names() -> tuple[str, ...]:
    names = [platform.node()]
    with contextlib.suppress(OSError, KeyError, ImportError):  # no name for this user id
        names.append(getpass.getuser())
    return tuple(names)


def _about() -> dict[str, object]:
    packages: dict[str, str] = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        "overpaint": PRODUCT_VERSION,
        "protocol": f"{MAJOR}.{MINOR}",
        "python": platform.python_version(),
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "packages": packages,
        "variables": sorted(name for name in os.environ if name.startswith("OVERPAINT_")),
    }


def _settings(settings: DaemonSettings) -> dict[str, object]:
    """Limits and times; where things lie and who may connect stays here."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: value for name, value in values.items() if value is None or isinstance(value, (int, float))}


def _doctor(examination: Examination, redactor: Redactor) -> list[dict[str, str]]:
    """The checks; what the one for engines says is made of names."""
    return [
        {
            "name": check.name,
            "level": check.level.value,
            "says": "" if check.name == "Engines" else redactor.text(check.says),
            "next_step": redactor.text(check.next_step),
        }
        for check in examination.checks()
    ]


def _status(examination: Examination) -> dict[str, object]:
    try:
        report = examination.daemon()
    except OverpaintError as error:
        return {"running": False, "error": error.code}
    return {"running": True, **_numbers(report)}


def _numbers(report: DaemonReport) -> dict[str, object]:
    return {
        "product_version": report.product_version,
        "uptime_s": report.uptime_s,
        "worker": report.worker,
        "workers": [
            {
                "state": worker.state,
                "restarts": worker.restarts,
                "device": None if worker.device is None else _device_numbers(worker.device),
            }
            for worker in report.workers
        ],
        "engines": len(report.engines),
        "broken_engines": len(report.broken_engines),
        "clients": len(report.sessions),
        "jobs": [
            {"operation": job.operation, "state": job.state.value, "position": job.position}
            for job in report.jobs
        ],
        "kept_bytes": report.kept_bytes,
        "failures": [
            {"ago_s": one.ago_s, "operation": one.operation, "code": one.code} for one in report.failures
        ],
    }


def _device_numbers(device: DeviceReport) -> dict[str, object]:
    return {
        "device": device.device,
        "free_bytes": device.free_bytes,
        "total_bytes": device.total_bytes,
        "resident_bytes": device.resident_bytes,
        "loaded": [loaded.weight_bytes for loaded in device.loaded],
    }


def _journal(jobs_dir: Path) -> dict[str, object]:
    """How many parts of which kind there are; none of them is opened."""
    storage = look_at_storage(jobs_dir)
    summary: dict[str, object] = {"disk_bytes": storage.used_bytes, "disk_free_bytes": storage.free_bytes}
    path = jobs_dir / "journal.sqlite"
    if not path.exists():
        return summary
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            kinds: Counter[str] = Counter(
                str(name).partition("-")[0] for (name,) in database.execute("SELECT name FROM part")
            )
            (taken,) = database.execute("SELECT count(*) FROM taken").fetchone()
    except sqlite3.Error as error:
        return {**summary, "problem": type(error).__name__}
    return {**summary, "format": version, "parts": dict(kinds), "taken": taken}


def _stories(path: Path) -> list[list[dict[str, Fact]]]:
    """The newest stories, without whose they are."""
    try:
        stories = read_stories(path)[:_STORIES]
    except (OSError, sqlite3.Error):
        return []
    return [
        [
            {
                "at_s": entry.at_s,
                "what": entry.what,
                **{name: fact for name, fact in entry.facts.items() if name not in _UNTOLD},
            }
            for entry in story.entries
        ]
        for story in stories
    ]


def _logs(newest: Path, redactor: Redactor) -> Iterator[tuple[str, str]]:
    for path in sorted(newest.parent.glob(f"{newest.name}*")):
        suffix = path.name.removeprefix(newest.name)
        if suffix and not suffix[1:].isdigit():
            continue
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        yield f"log/{path.name}", "\n".join(redactor.log(lines)) + "\n"
