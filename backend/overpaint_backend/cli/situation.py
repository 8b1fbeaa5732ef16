"""How the daemon is, in sentences: what ``overpaint status`` prints. Pure but for looking at the disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from overpaint_protocol.messages import (
    DaemonReport,
    DeviceReport,
    EnergyReport,
    JobReport,
    JobState,
    LoadedReport,
    SessionReport,
)

__all__ = [
    "Storage",
    "describe",
    "describe_bytes",
    "describe_duration",
    "describe_workers",
    "look_at_storage",
]

_DEVICES = {"cpu": "Processor", "cuda": "Graphics card", "mps": "Graphics processor"}
_METERS = {"nvml": "graphics cards", "rapl": "processors"}


@dataclass(frozen=True, slots=True)
class Storage:
    """used_bytes: of the kept jobs' files. free_bytes: on their disk; None if it cannot be asked."""

    used_bytes: int
    free_bytes: int | None


def look_at_storage(jobs_dir: Path) -> Storage:
    """What the kept jobs take on this machine's disk."""
    used = 0
    for folder, _, names in os.walk(jobs_dir):
        for name in names:
            with contextlib.suppress(OSError):  # it was removed meanwhile
                used += (Path(folder) / name).stat().st_size
    try:
        free = shutil.disk_usage(jobs_dir).free
    except OSError:
        free = None
    return Storage(used, free)


def describe(report: DaemonReport, storage: Storage | None) -> Iterator[str]:
    """A line or several for each subject, the most important first. storage: None if the jobs are not kept here."""
    yield (
        f"Overpaint's daemon {report.product_version} has run for {describe_duration(report.uptime_s)} "
        f"(process {report.pid}); {describe_workers(report)}."
    )
    for number, worker in enumerate(report.workers, start=1):
        if worker.restarts:
            times = "once" if worker.restarts == 1 else f"{worker.restarts} times"
            yield f"{_name(report, number)} had to be replaced {times}."
    if report.is_draining:
        yield "It takes no new jobs and ends after those below."
    yield from _jobs(report.jobs)
    yield from _sessions(report.sessions)
    for number, worker in enumerate(report.workers, start=1):
        of_worker = "" if len(report.workers) == 1 else f"{_name(report, number)}, {worker.state}. "
        yield from _device(of_worker, worker.device, report.idle_unload_s)
    if storage is not None:
        yield _storage(report, storage)
    yield _energy(report.energy)
    for failure in report.failures:
        yield (
            f"Failed {describe_duration(failure.ago_s)} ago: {failure.operation} by "
            f"{failure.engine or 'any engine'} ({failure.code})."
        )


def describe_workers(report: DaemonReport) -> str:
    """How they are, such as ``its worker is idle`` or ``its 3 workers: 2 busy, 1 starting``."""
    if len(report.workers) == 1:
        return f"its worker is {report.worker}"
    states = [worker.state for worker in report.workers]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"its {len(states)} workers: {counts}"


def describe_duration(seconds: float) -> str:
    """A time span in the largest unit that fits it, such as ``3 minutes``."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{int(seconds)} second{'' if int(seconds) == 1 else 's'}"


def describe_bytes(count: int) -> str:
    """A size in the unit that fits it, such as ``1.5 GB``."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"


def _jobs(jobs: tuple[JobReport, ...]) -> Iterator[str]:
    if not jobs:
        yield "Jobs: none waits or runs."
    for job in jobs:
        engine = job.engine or "any engine"
        left = "" if job.time_left_s is None else f", {describe_duration(job.time_left_s)} left"
        if job.state is JobState.RUNNING:
            done = "" if job.fraction is None else f", {job.fraction:.0%}"
            yield f"Runs: {job.operation} for {job.editor} by {engine}: {job.stage}{done}{left}."
        else:
            yield f"Waits, {job.position} ahead{left}: {job.operation} for {job.editor} by {engine}."


def _sessions(sessions: tuple[SessionReport, ...]) -> Iterator[str]:
    for session in sessions:
        jobs = session.queued + session.running + session.kept
        if jobs == 0 and (not session.connected or session.editor == "cli"):
            continue  # has left, or is this very question
        link = "connected" if session.connected else "away"
        yield (
            f"{session.editor}, {link}: {session.queued} waiting, {session.running} running, "
            f"{session.kept} results kept."
        )


def _name(report: DaemonReport, number: int) -> str:
    return "The worker" if len(report.workers) == 1 else f"Worker {number}"


def _device(of_worker: str, device: DeviceReport | None, idle_unload_s: float) -> Iterator[str]:
    if device is None:
        yield f"{of_worker}Device: unknown while no worker is ready."
        return
    place = f" ({device.place})" if device.place else ""
    yield (
        f"{of_worker}{_DEVICES.get(device.device, device.device)}{place}: {describe_bytes(device.free_bytes)} of "
        f"{describe_bytes(device.total_bytes)} memory free; the worker's process takes "
        f"{describe_bytes(device.resident_bytes)} of main memory."
    )
    if not device.loaded:
        yield "No engine is open."
    for loaded in device.loaded:
        yield _loaded(loaded, idle_unload_s)


def _loaded(loaded: LoadedReport, idle_unload_s: float) -> str:
    size = describe_bytes(loaded.weight_bytes) if loaded.weight_bytes else "no weights"
    if loaded.idle_s is None:
        return f"Open: {loaded.engine}, {size}, in use."
    left_s = max(0.0, idle_unload_s - loaded.idle_s)
    return f"Open: {loaded.engine}, {size}, unused for {describe_duration(loaded.idle_s)}; leaves in {describe_duration(left_s)}."


def _storage(report: DaemonReport, storage: Storage) -> str:
    free = (
        "" if storage.free_bytes is None else f"; {describe_bytes(storage.free_bytes)} of the disk are free"
    )
    return (
        f"Kept: pictures and results of {describe_bytes(report.kept_bytes)}, of at most "
        f"{describe_bytes(report.max_kept_bytes)}; on the disk {describe_bytes(storage.used_bytes)}{free}."
    )


def _energy(energy: tuple[EnergyReport, ...]) -> str:
    if not energy:
        return "Energy: unknown; no meter of this machine can be read."
    told = [
        f"{_METERS.get(one.source, one.source)} {one.joules / 3600:.1f} Wh since the daemon's start"
        + ("" if one.watts is None else f", {one.watts:.0f} W lately")
        for one in energy
    ]
    return f"Energy, of all programs: {'; '.join(told)}."
