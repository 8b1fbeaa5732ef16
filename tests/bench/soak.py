"""Thousands of jobs, to see that nothing is left of them: memory, descriptors, files.

    python -m tests.bench.soak [--jobs 10000] [--lanes 4] [--ray]

A real daemon with a real worker, or one that is an actor of Ray, and the engine for tests serves a few sessions, each with one small job after the other: most
are done and acknowledged, some are cancelled while they wait or run, some fail. Memory of daemon and worker, and of what there is
of Ray, is read every few jobs; after the first tenth, which warms up, a line is fitted through it by least squares, and its slope is what a
thousand jobs leave behind. At the end no more descriptors are open than at the least before, the spool has no file and the
journal no row.
Linux only.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests.bench.editor_client import Picture, Wire
from tests.bench.process_costs import open_files, rss_bytes
from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_backend.durability.journal import Journal
from overpaint_client.loop import SelectorLoop
from overpaint_protocol.messages import (
    AckJob,
    CancelJob,
    ErrorReply,
    JobAccepted,
    JobAcked,
    JobCancelled,
    JobDone,
    JobFailed,
)

MAX_SLOPE_MIB = 1.0
"""Of memory, for a thousand jobs."""

_RAY_MARKS = {
    "head": "import head",
    "worker's process": "import main",
    "actor": "ray::_RayWorker",
    "raylet": "/raylet/raylet ",
    "GCS": "/gcs/gcs_server ",
}
"""What the command line of each of Ray's processes has in it."""
_RAY_PICTURE_PX = 256
"""A picture that is large enough to go by Ray's memory."""

_SAMPLE_JOBS = 20
_WARM_UP_FRAC = 0.1
_WAIT_S = 600.0


@dataclass(slots=True)
class Report:
    """What came of it. slopes: MiB for a thousand jobs, by process. faults: sentences, none if all is well."""

    ends: Counter[str] = field(default_factory=Counter)
    slopes: dict[str, float] = field(default_factory=dict)
    rss_mib: dict[str, tuple[float, float]] = field(default_factory=dict)
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Lane:
    """A session that does one job after the other until none is left of ``serials``."""

    def __init__(self, wire: Wire, picture: Picture, serials, report: Report) -> None:
        self._wire = wire
        self._picture = picture
        self._serials = serials
        self._report = report
        self._job_id = ""
        self._is_to_be_cancelled = False
        self.is_over = False
        wire.on_message = self._heard
        self._next()

    def _next(self) -> None:
        serial = next(self._serials, None)
        if serial is None:
            self.is_over = True
            return
        prompt = "steps=2"
        self._is_to_be_cancelled = serial % 10 == 3
        if self._is_to_be_cancelled:
            prompt = "steps=100 delay=0.01"
        elif serial % 17 == 5:
            prompt = "steps=2 fail"
        job = self._picture.job(prompt)
        self._job_id = job.job_id
        self._wire.send(job, self._picture.payload)

    def _heard(self, envelope) -> None:
        match envelope.message:
            case JobAccepted() if self._is_to_be_cancelled:
                self._wire.send(CancelJob(job_id=self._job_id))
            case JobDone() | JobFailed() | JobCancelled() as end:
                self._report.ends[type(end).__name__] += 1
                self._wire.send(AckJob(job_id=self._job_id))
            case JobAcked():
                self._next()
            case ErrorReply() as refusal:
                self._report.faults.append(f"refused: {refusal.error}")
                self.is_over = True
            case _:
                pass


def soak(folder: Path, jobs: int, lanes: int = 4, say=lambda text: None, *, with_ray: bool = False) -> Report:
    """Do ``jobs`` jobs in a daemon of their own."""
    report = Report()
    picture = Picture.random(_RAY_PICTURE_PX if with_ray else 64)
    # Ray and what it stands on warn of things of their own.
    how = {"ray": "", "environ": {"PYTHONWARNINGS": "default"}} if with_ray else {}
    with DaemonProcess.start(folder, **how) as daemon:
        pids = {
            "daemon": daemon.process.pid,
            **(_of_ray(daemon) if with_ray else {"worker": daemon.worker().pid}),
        }
        loop = SelectorLoop()
        wires = [Wire(daemon.info, loop=loop) for _ in range(lanes)]
        for wire in wires:
            wire.greet()
        samples: dict[str, list[tuple[int, float]]] = {name: [] for name in pids}
        files: dict[str, int] = {}
        count = 0

        def serials():
            nonlocal count
            while count < jobs and not report.faults:
                if count % _SAMPLE_JOBS == 0 and count >= jobs * _WARM_UP_FRAC:
                    for name, pid in pids.items():
                        samples[name].append((count, rss_bytes([pid]) / 2**20))
                        # The least: a file may just be open that is being written.
                        files[name] = min(files.get(name, 1 << 20), open_files(pid))
                if count % 1000 == 0:
                    say(f"  {count} jobs")
                count += 1
                yield count

        source = serials()
        every = [Lane(wire, picture, source, report) for wire in wires]
        if not loop.run_until(lambda: all(lane.is_over for lane in every), _WAIT_S + jobs):
            report.faults.append(f"it never came to its end: {dict(report.ends)} of {jobs}")
        for name, pid in pids.items():
            found = samples[name]
            slope = statistics.linear_regression(*zip(*found, strict=True)).slope * 1000
            report.slopes[name] = slope
            report.rss_mib[name] = (found[0][1], found[-1][1])
            report.files[name] = (files[name], open_files(pid))
        spool = daemon.state / "jobs" / "pixels"
        with suppress(AssertionError):  # files go when the disk has nothing else to do
            wait_until(lambda: not any(spool.iterdir()))
        if left := [path.name for path in spool.iterdir()]:
            report.faults.append(f"{len(left)} files are left in the spool: {left[:10]}")
        if (_of_ray(daemon) if with_ray else {"worker": daemon.worker().pid}).items() - pids.items():
            report.faults.append("the worker was replaced")
        for wire in wires:
            wire.close()
        daemon.terminate()
    journal = Journal(daemon.state / "jobs" / "journal.sqlite")
    if rows := [key for key, _ in journal.parts()]:
        report.faults.append(f"the journal has rows of {len(rows)} jobs")
    journal.close()
    for name, (before, after) in report.files.items():
        if after > before:
            report.faults.append(f"the {name} has {after} descriptors open, {before} before")
    if sum(report.ends.values()) != jobs:
        report.faults.append(f"{sum(report.ends.values())} ends of {jobs} jobs")
    return report


def _of_ray(daemon: DaemonProcess) -> dict[str, int]:
    """The processes that grow with their jobs if anything does, once the worker is there."""

    def find() -> dict[str, int]:
        found: dict[str, int] = {}
        for process in psutil.Process(daemon.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                words = " ".join(process.cmdline())
                found |= {name: process.pid for name, mark in _RAY_MARKS.items() if mark in words}
        return found if len(found) == len(_RAY_MARKS) else {}

    return wait_until(find, "an actor of Ray works", _WAIT_S)


def main() -> int:
    """Soak and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--ray", action="store_true", help="an actor of Ray in place of a process")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="os-"))
    started = time.monotonic()
    report = soak(
        folder, options.jobs, options.lanes, lambda text: print(text, flush=True), with_ray=options.ray
    )
    took_s = time.monotonic() - started
    print(
        f"{options.jobs} jobs in {took_s:.0f} s, {options.jobs / took_s:.1f} a second; ends: {dict(report.ends)}"
    )
    for name, slope in report.slopes.items():
        first, last = report.rss_mib[name]
        print(
            f"{name}: {slope:+.3f} MiB for a thousand jobs (most: {MAX_SLOPE_MIB:g}), {first:.1f} to {last:.1f} MiB, "
            f"descriptors {report.files[name][0]} to {report.files[name][1]}"
        )
        if slope >= MAX_SLOPE_MIB:
            report.faults.append(f"the {name} grows")
    print(f"faults: {len(report.faults)}")
    for fault in report.faults:
        print(f"  {fault}")
    shutil.rmtree(folder, ignore_errors=True)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
