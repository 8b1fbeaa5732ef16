"""Kill the daemon, its worker and its editors at random instants, and see that no job is lost, doubled or misdirected.

    python -m tests.bench.kills [--kills 200] [--seed 1] [--ray] [--keep]

A real daemon with a real worker, or with two workers that are actors of Ray, and the engine for tests serves three editors
(``killed_editor``: the real controller on a fake document), each a process. All of them are killed with SIGKILL, in turns of
chance drawn from the seed, and started again; of Ray any process that the daemon has, its head as well as an actor, or its head
and the daemon at once. Then the killing stops, everything comes to its end, and the editors' notes are held together:

* lost: the daemon had accepted the job, and nobody was told how it ended, or it was unknown later;
* doubled: inserted twice in one life of its document, or again after its acknowledgement was confirmed;
* contradicted: two different ends of one job were told, or one that was cancelled came back;
* misdirected: a layer in another editor's document.

A job under which worker and daemon were killed twice is given up by design, as are those that wait while the worker is killed
three times before it has started (``engine.lost``): their editors are told, and insert the variants that were ready.
With a violation the folder with journal, logs and notes is kept and named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tests.bench.killed_editor import NAMES
from tests.integration.daemon_process import ROOT, DaemonProcess, wait_until

from overpaint_backend.durability.journal import Journal

_PAUSES_S = ((0.0, 1.0), (1.0, 6.0), (1.0, 6.0))
"""A kill soon after another meets processes that are starting, a later one meets them at work."""

_RAY_PAUSES_S = ((0.0, 2.0), (8.0, 20.0), (8.0, 20.0))
"""Ray takes several seconds to start."""

_END_S = 300.0
_TARGETS = ("daemon", "daemon", "worker", "editor")
_RAY_TARGETS = ("daemon", "daemon and Ray", "worker", "worker", "editor")


@dataclass(slots=True)
class Report:
    """What came of it. violations: sentences, none if all is well."""

    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    offered_again: int = 0
    violations: list[str] = field(default_factory=list)


class ChaosRun:
    """The processes, and who dies next."""

    def __init__(self, folder: Path, seed: int, *, ray: bool = False) -> None:
        self.folder = folder
        # Ray and what it stands on warn of things of their own.
        self._how = {"workers": 2, "ray": "", "environ": {"PYTHONWARNINGS": "default"}} if ray else {}
        self.chance = random.Random(seed)
        self.seed = seed
        self.report = Report()
        self._ray_folders: set[Path] = set()
        self._lives = 0
        self._daemon = DaemonProcess.start(folder, **self._how)
        self._editors = {name: self._editor(name) for name in NAMES}

    def run(self, kills: int) -> Report:
        """Kill, wait for the end, compare the notes."""
        try:
            for _ in range(kills):
                time.sleep(
                    self.chance.uniform(*self.chance.choice(_RAY_PAUSES_S if self._how else _PAUSES_S))
                )
                self._kill(self.chance.choice(_RAY_TARGETS if self._how else _TARGETS))
            (self.folder / "stop").touch()
            for name, editor in self._editors.items():
                try:
                    code = editor.wait(_END_S)
                except subprocess.TimeoutExpired:
                    self.report.violations.append(f"{name} waits for the end of a job for ever")
                else:
                    if code:
                        self.report.violations.append(f"{name} failed with exit code {code}")
            self._daemon.terminate()
        finally:
            for editor in self._editors.values():
                editor.kill()
                editor.wait()
            self._daemon.close()
        compare(self.folder, self.report)
        self._check_nothing_is_left()
        return self.report

    def _kill(self, target: str) -> None:
        match target:
            case "daemon" | "daemon and Ray":
                if head := self._head():
                    self._ray_folders.add(Path(head.cmdline()[-1]))
                if target != "daemon" and head:
                    head.kill()
                self._daemon.process.kill()
                self._daemon.process.wait()
                self._daemon.close()
                self._daemon = DaemonProcess.start(self.folder, **self._how)
            case "worker":
                with suppress(psutil.NoSuchProcess):
                    self._worker().send_signal(signal.SIGKILL)
            case _:
                name = self.chance.choice(NAMES)
                self._editors[name].kill()
                self._editors[name].wait()
                self._editors[name] = self._editor(name)
        self.report.kills[target] += 1

    def _worker(self) -> psutil.Process:
        if not self._how:
            return self._daemon.worker()
        daemon = psutil.Process(self._daemon.process.pid)
        return self.chance.choice(wait_until(lambda: daemon.children(recursive=True), "a process is started"))

    def _head(self) -> psutil.Process | None:
        """The process of the daemon's Ray that has its folder as its last argument, if it is there."""
        for child in psutil.Process(self._daemon.process.pid).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "import head" in str(child.cmdline()):
                    return child
        return None

    def _editor(self, name: str) -> subprocess.Popen[bytes]:
        self._lives += 1
        paths = [ROOT, ROOT / "protocol", ROOT / "plugins" / "common"]
        with (self.folder / f"{name}.stderr").open("ab") as errors:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.bench.killed_editor",
                    str(self.folder),
                    name,
                    f"{self.seed}-{self._lives}",
                ],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )

    def _check_nothing_is_left(self) -> None:
        jobs = self.folder / "state" / "jobs"
        files = [path.name for path in (jobs / "pixels").iterdir()]
        journal = Journal(jobs / "journal.sqlite")
        rows = [key for key, _ in journal.parts()]
        journal.close()
        if files or rows:
            self.report.violations.append(f"left on the disk: files {files}, rows of jobs {rows}")
        if aside := list(jobs.parent.glob("damaged-*")):
            self.report.violations.append(f"a kill damaged the journal: {aside}")
        if kept := [folder for folder in self._ray_folders if folder.exists()]:
            self.report.violations.append(f"left of Ray: {kept}")


def compare(folder: Path, report: Report) -> None:
    """Hold the editors' notes together."""
    owners: dict[str, str] = {}
    for name in NAMES:
        notes: dict[str, list[dict[str, object]]] = defaultdict(list)
        for line in (folder / f"{name}.log").read_text(encoding="utf-8").splitlines():
            note = json.loads(line)
            if note["job"]:
                notes[note["job"]].append(note)
        for job, story in notes.items():
            if owners.setdefault(job, name) != name:
                report.violations.append(f"{name} has a job of {owners[job]}: {job}")
            report.jobs += 1
            problem = _problem(story, report)
            if problem:
                report.violations.append(f"{name}'s job {job}: {problem}: {story}")


def _problem(story: list[dict[str, object]], report: Report) -> str:
    """What is wrong with one job, or nothing."""
    whats = [note["what"] for note in story]
    overs = [note for note in story if note["what"] == "over"]
    ends = {(note["phase"], note["code"]) for note in overs}
    report.offered_again += "recovered" in whats
    report.ends.update(f"{phase} {code}".strip() for phase, code in ends)
    if "wrong" in whats:
        return "wrong"
    if not overs:
        # An editor that was killed between its first note and its session file never had a job to recover; one that was
        # killed in the moment of the end has heard of it.
        return "lost" if "accepted" in whats and "told" not in whats else ""
    if len(ends) > 1:
        return "contradicted"
    ((phase, code),) = ends
    if phase == "failed" and code == "request.unknown_job":
        return "lost" if "accepted" in whats else ""
    if code not in ("", "engine.lost"):
        return "failed"
    if phase == "cancelled" and "cancelled by the artist" not in whats:
        return "cancelled by nobody"
    if "settled" in whats and "over" in whats[whats.index("settled") :]:
        return "doubled: over again after it was settled"
    lives = [note["life"] for note in overs]
    if len(set(lives)) < len(lives):
        return "doubled: twice over in one life"
    return ""


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ray", action="store_true", help="two actors of Ray in place of a process")
    parser.add_argument("--keep", action="store_true", help="keep the folder also if all is well")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ov-"))
    started = time.monotonic()
    report = ChaosRun(folder, options.seed, ray=options.ray).run(options.kills)
    print(f"kills: {dict(report.kills)}, seed {options.seed}, {time.monotonic() - started:.0f} s")
    print(f"jobs: {report.jobs}, taken over by a later life of their editor: {report.offered_again}")
    print(f"ends: {dict(report.ends)}")
    print(f"violations: {len(report.violations)}")
    for violation in report.violations:
        print(f"  {violation}")
    if report.violations or options.keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if report.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
