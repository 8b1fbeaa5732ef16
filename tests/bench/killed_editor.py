"""An editor for ``kills``: asks for jobs without end, inserts what it gets, and writes down all it sees. It may be killed.

    python -m tests.bench.killed_editor FOLDER NAME SEED

Its documents have a color that no other editor's have, so that a layer of somebody else is known by its pixels; each job has a
document of its own. It ends when FOLDER has a file ``stop`` and every job of its own is over and acknowledged.
"""

from __future__ import annotations

import json
import os
import random
import sys
import uuid
from pathlib import Path

from overpaint_client.controller import Controller
from overpaint_client.jobs import EditRequest, Job, JobPhase
from overpaint_client.loop import SelectorLoop
from overpaint_client.settings import ClientSettings
from overpaint_client.testing.fake_editor import FakeEditor
from overpaint_protocol import connection
from overpaint_protocol.geometry import Point, Rect, Size
from overpaint_protocol.messages import Edges, Fill, JobId

SIZE = Size(24, 18)
SELECTED = Rect(6, 5, 8, 7)
AT_ONCE = 2
_PAUSE_S = 0.3
NAMES = ("anna", "bo", "cai")
_COLORS = dict(zip(NAMES, (20, 90, 160), strict=True))
_SEEN = (JobPhase.QUEUED, JobPhase.RUNNING, JobPhase.INSERTING, JobPhase.OFFERED, JobPhase.DONE)
"""Phases that only a job has which the daemon has accepted."""


class Notes:
    """Lines that outlive this process: each is handed to the system before anything else happens."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, job: Job | None = None, **facts) -> None:
        line = {"what": what, "life": os.getpid(), "job": job.job_id if job else "", **facts}
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


class KilledEditor:
    """One life of an editor."""

    def __init__(self, folder: Path, name: str, seed: str) -> None:
        self.name, self.color = name, _COLORS[name]
        self.chance = random.Random(seed)
        self.notes = Notes(folder / f"{name}.log")
        self.editor = FakeEditor(name=name)
        self.loop = SelectorLoop()
        settings = ClientSettings(
            clients_dir=folder / "clients" / name,
            find_daemon=lambda: connection.find([folder / "state" / "daemon.json"]),
            daemon_command=("true",),  # who kills the daemon starts it again; the jobs wait for that
            link_patience_s=3600.0,
        )
        self.controller = Controller(self.editor, self.loop, settings)
        self._note_what_is_told()
        self.stop_file = folder / "stop"
        self.accepted: set[JobId] = set()
        self.over: set[JobId] = set()
        self.settled: set[JobId] = set()
        self.ask_at = 0.0
        self.cancel_at: dict[JobId, float] = {}
        self.documents: dict[JobId, str] = {}

    def live(self) -> None:
        """Work until there is nothing more to do."""
        for job in self.controller.jobs:
            self.notes.write("recovered", job)
            self.documents[job.job_id] = self._open(job.path)
        self.notes.write("begun")
        self.controller.start()
        self.loop.run_until(self._turn, timeout_s=1e9)
        self.controller.close()
        self.loop.close()
        self.notes.write("ended")

    def _note_what_is_told(self) -> None:
        """Before the session file forgets a job, so that no kill comes between the two."""
        forget = self.controller._store.remove

        def remove(job_id: JobId) -> None:
            self.notes.write("told", self.controller.job(job_id))
            forget(job_id)

        self.controller._store.remove = remove

    def _turn(self) -> bool:
        """Look at everything once; returns whether all is done."""
        jobs = [job for job in self.controller.jobs if job.job_id not in self.settled]
        for job in jobs:
            self._look_at(job)
        if self.controller.is_settled:
            for job in jobs:
                if job.job_id in self.over:
                    self.settled.add(job.job_id)
                    self.notes.write("settled", job)
                    self._check_layers(job)
                    self.editor.close_document(self.documents[job.job_id])
        active = [job for job in self.controller.jobs if not job.phase.is_final]
        if self.stop_file.exists():
            return not active and self.over == self.settled
        if len(active) < AT_ONCE and self.loop.now() >= self.ask_at:
            self.ask_at = self.loop.now() + _PAUSE_S
            self._ask()
        return False

    def _open(self, path: str) -> str:
        pixels = bytes((self.color, self.color, self.color, 255)) * SIZE.area
        document = self.editor.open_document(self.name, SIZE, pixels, path)
        self.editor.select(document, SELECTED, b"\xff" * SELECTED.area)
        return document

    def _ask(self) -> None:
        document = self._open(f"/pictures/{self.name}-{uuid.uuid4().hex}.kra")
        steps = self.chance.choice((1, 4, 20, 60))
        request = EditRequest(
            operation=Fill(prompt=f"steps={steps} delay=0.01"),
            engine="test-invert",
            variants=self.chance.choice((1, 1, 2, 3)),
            seed=0,
            edges=Edges(grow_px=0, blend_px=0),
        )
        job = self.controller.submit(request)
        self.documents[job.job_id] = document
        self.notes.write("asked", job)
        if self.chance.random() < 0.1:
            self.cancel_at[job.job_id] = self.loop.now() + self.chance.uniform(0, 1)

    def _look_at(self, job: Job) -> None:
        if job.phase in _SEEN and job.job_id not in self.accepted:
            self.accepted.add(job.job_id)
            self.notes.write("accepted", job)
        if self.cancel_at.get(job.job_id, float("inf")) <= self.loop.now() and job.phase.is_active:
            self.controller.cancel(job.job_id)
            self.notes.write("cancelled by the artist", job)
        if job.phase is JobPhase.OFFERED:
            self._insert(job)
        if job.phase.is_final and job.job_id not in self.over:
            self.over.add(job.job_id)
            code = job.error.code if job.error is not None else ""
            self.notes.write("over", job, phase=job.phase.value, code=code)
        if job.job_id in self.over:
            self._check_layers(job)

    def _insert(self, job: Job) -> None:
        """Try it in another document first, as an artist may, then in the right one."""
        for _ in range(2):
            self.controller.insert(job.job_id)
            active = self.editor.active_document().path
            if (job.phase is JobPhase.OFFERED) != (active != job.path):
                self.notes.write("wrong", job, why=f"{job.phase.value} in {active} with {job.error}")
            if job.phase is not JobPhase.OFFERED:
                return
            self.editor.activate(self.documents[job.job_id])

    def _check_layers(self, job: Job) -> None:
        """As many layers as asked for if it is done, none otherwise, all of them of its own picture."""
        *layers, _ = self.editor.layers(self.documents[job.job_id])
        wanted = (
            job.variants if job.phase is JobPhase.DONE and job.error is None else None if job.error else 0
        )
        if wanted is not None and len(layers) != wanted:
            self.notes.write("wrong", job, why=f"{len(layers)} layers, not {wanted}: {job.phase.value}")
        shades = [round((255 - self.color) * (1 - seed * 0.618034 % 1 / 2)) for seed in range(3)]
        found = [layer.pixel(Point(SELECTED.x + 1, SELECTED.y + 1))[0] for layer in layers]
        if any(abs(value - shade) > 1 for value, shade in zip(found, shades, strict=False)):
            self.notes.write("wrong", job, why=f"a layer of another picture: {found}, not {shades}")


if __name__ == "__main__":
    KilledEditor(Path(sys.argv[1]), sys.argv[2], sys.argv[3]).live()
