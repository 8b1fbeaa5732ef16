"""What the way through the daemon costs beside calling diffusers directly, with a model of full size.

    python -m tests.bench.full_size [--family sdxl-inpaint] [--steps 25] [--starts 3] [--rounds 2] [--keep DIR]

A pipeline shaped like Stable Diffusion 1.5 inpainting, or the family's, with random weights paints a picture of the size it is
made for, in 4 steps or as many as are said:
once called directly in a process of its own, once as a job (editor bytes in, layer bytes out) through a real daemon.
The two take turns, so that a machine that changes its speed changes it for both, and each job has a new prompt, so that
both encode everything. The first pair after each start warms up and counts for the peak of memory alone, which is that
of loading. Printed are ratios, job / direct call, of elapsed time, of processor time and of the peak of the process that
holds the model, on a graphics card also of what it holds of the card's memory; then the stages later jobs spent their time in,
how often they opened files of the model, and what a re-roll takes. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image
from tests.bench.shapes import SHAPES, Shape
from tests.gpu.cards import held_bytes
from tests.integration.daemon_process import ROOT, Client, DaemonProcess

from overpaint_backend.engines.base import Device
from overpaint_backend.engines.diffusion.memory import choose_device, choose_dtype
from overpaint_backend.models.importer import import_model
from overpaint_backend.models.store import ModelStore
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Fill, GenerationSettings, JobDone, JobFailed, SubmitJob
from overpaint_protocol.pixels import ImageHeader, PixelFormat, split_bands

_WAIT_S = 1200.0
_CELLS = 64
"""The picture is a chart of so many evenly colored cells a side; the hole is its middle."""


@dataclass(frozen=True, slots=True)
class Case:
    """What both ways paint: with which model of SHAPES, in how many steps."""

    family: str
    steps: int

    @property
    def shape(self) -> Shape:
        return SHAPES[self.family]


def main() -> None:
    """Build the model, run both ways in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--family", choices=SHAPES, default="sd15-inpaint", help="whose layers the model has")
    parser.add_argument("--steps", type=int, default=4, help="steps of each picture")
    parser.add_argument("--starts", type=int, default=3, help="how often both processes are started")
    parser.add_argument("--rounds", type=int, default=2, help="counted pairs after each start")
    parser.add_argument("--keep", type=Path, help="a folder for the model, to build it only once")
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    case = Case(options.family, options.steps)
    if options.reference:
        serve_reference(options.reference, case)
        return
    with tempfile.TemporaryDirectory(prefix="overpaint-bench-") as scratch:
        model = (options.keep or Path(scratch)) / f"{case.family}-shaped"
        case.shape.build(model)
        measured = _Measured()
        for start in range(options.starts):
            print(f"start {start + 1} of {options.starts}", file=sys.stderr, flush=True)
            (folder := Path(scratch) / str(start)).mkdir()
            compare(model, case, folder, options.rounds, measured)
        measured.report()


def picture(side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 and the (H, W) uint8 mask of its middle, of a side that _CELLS divides."""
    pixels = np.random.default_rng(0).integers(60, 200, (_CELLS, _CELLS, 3), np.uint8)
    mask = np.zeros((side_px, side_px), np.uint8)
    hole = slice(side_px // 4, side_px * 3 // 4)
    mask[hole, hole] = 255
    cell_px = side_px // _CELLS
    return pixels.repeat(cell_px, axis=0).repeat(cell_px, axis=1), mask


# ---------------------------------------------------------------- the direct call, in a process of its own


def serve_reference(folder: Path, case: Case) -> None:
    """Load the pipeline as diffusers' manual says; for each prompt on standard input call it and print what it took."""
    from diffusers.utils import logging

    logging.disable_progress_bar()
    device = choose_device(Device("auto"))
    dtype = choose_dtype(device, _weight_bytes(folder))
    pipeline = case.shape.pipeline.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    pipeline = pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    side_px = case.shape.side_px
    pixels, mask = picture(side_px)
    print(json.dumps({"dtype": str(dtype)}), flush=True)
    for line in sys.stdin:
        clock = _Clock(psutil.Process())
        pipeline(
            line.strip(),
            image=Image.fromarray(pixels),
            mask_image=Image.fromarray(mask),
            num_inference_steps=case.steps,
            height=side_px,
            width=side_px,
            generator=torch.Generator("cpu").manual_seed(0),
            output_type="np",
        )
        print(json.dumps(clock.stop()), flush=True)


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Clock:
    """Elapsed and processor seconds of processes, and in bytes the first one's peak of memory and what it holds of the card's."""

    def __init__(self, *processes: psutil.Process) -> None:
        self._processes = processes
        self._started = time.perf_counter()
        self._cpu_s = self._cpu()

    def _cpu(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._processes)

    def stop(self) -> dict[str, float]:
        return {
            "elapsed_s": time.perf_counter() - self._started,
            "cpu_s": self._cpu() - self._cpu_s,
            "peak_bytes": _peak_bytes(self._processes[0]),
            "card_bytes": held_bytes(self._processes[0].pid),
        }


def _peak_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# ---------------------------------------------------------------- through the daemon


class _Jobs:
    """Submits the same picture again and again and waits for the layer."""

    def __init__(self, daemon: DaemonProcess, client: Client, engine: str, case: Case) -> None:
        self._client = client
        self._engine = engine
        self._daemon = daemon
        self._count = 0
        self._settings = GenerationSettings(steps=case.steps)
        pixels, mask = picture(case.shape.side_px)
        rgba = np.dstack([pixels, np.full_like(mask, 255)])
        self._size = Size(case.shape.side_px, case.shape.side_px)
        whole = Rect.from_size(self._size)
        self._image = split_bands(rgba.tobytes(), whole, PixelFormat.RGBA8)
        self._mask = split_bands(mask.tobytes(), whole, PixelFormat.GRAY8)

    def run(self, prompt: str, seed: int = 0) -> dict[str, Any]:
        """What one job took, and its stages in ms."""
        worker = self._daemon.worker()
        clock = _Clock(worker, psutil.Process(self._daemon.process.pid))
        self._count += 1
        frames = len(self._image)
        job = SubmitJob(
            job_id=f"job-{self._count}",
            document_id="bench",
            operation=Fill(prompt=prompt, settings=self._settings),
            engine=self._engine,
            seed=seed,
            canvas=self._size,
            context=Rect.from_size(self._size),
            image=ImageHeader(size=self._size, format=PixelFormat.RGBA8, frames=tuple(range(frames))),
            mask=ImageHeader(
                size=self._size,
                format=PixelFormat.GRAY8,
                frames=tuple(range(frames, frames + len(self._mask))),
            ),
        )
        self._client.send(job, (*self._image, *self._mask))
        while not isinstance(message := self._client.receive(_WAIT_S).message, (JobDone, JobFailed)):
            pass
        if isinstance(message, JobFailed):
            raise SystemExit(f"the job failed: {message.error}")
        return {**clock.stop(), "stages_ms": message.timings_ms}


@dataclass
class _Measured:
    """What came out: pairs of (job, direct call)."""

    first: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    later: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)
    rerolls: list[dict[str, Any]] = field(default_factory=list)
    opened: int = 0

    def report(self) -> None:
        """Print the table."""
        print(f"{'':12}{'job':>10}{'direct call':>14}   ratio of medians (of each pair)")
        for name, unit, pairs in (
            ("elapsed_s", "s", self.later),
            ("cpu_s", "s", self.later),
            ("peak_bytes", "MB", self.first),
            ("card_bytes", "MB", self.later),
        ):
            if not any(theirs[name] for _, theirs in pairs):
                continue
            scale, digits = (1e6, 0) if unit == "MB" else (1, 3)
            ours, theirs = ([pair[side][name] / scale for pair in pairs] for side in (0, 1))
            every = " ".join(f"{a / b:.3f}" for a, b in zip(ours, theirs, strict=True))
            median, reference = statistics.median(ours), statistics.median(theirs)
            print(
                f"{name.rpartition('_')[0] + ' ' + unit:12}{median:10.{digits}f}{reference:14.{digits}f}"
                f"   {median / reference:.3f} ({every})"
            )
        jobs = [job for job, _ in self.later] + self.rerolls
        print("first jobs: load", *(f"{job['stages_ms']['load'] / 1000:.1f} s" for job, _ in self.first))
        stages = [job["stages_ms"] for job, _ in self.later]
        medians = {name: statistics.median(each.get(name, 0.0) for each in stages) for name in stages[0]}
        print("later jobs, ms:", ", ".join(f"{name} {took:.1f}" for name, took in medians.items()))
        print(
            f"{len(jobs)} later jobs: load at most {max(job['stages_ms']['load'] for job in jobs):.1f} ms, "
            f"opened {self.opened} files of the model"
        )
        print(
            f"re-roll: {statistics.median(job['elapsed_s'] for job in self.rerolls):.1f} s, "
            f"{statistics.median(job['cpu_s'] for job in self.rerolls):.1f} s of processor time"
        )


def compare(model: Path, case: Case, scratch: Path, rounds: int, measured: _Measured) -> None:
    """Start both, run them in turns, and add to ``measured``."""
    models_dir = scratch / "models"
    installed = import_model(ModelStore(models_dir), model, link=True)
    direct = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.bench.full_size", "--reference", str(model)),
            *("--family", case.family, "--steps", str(case.steps)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert direct.stdin is not None
    assert direct.stdout is not None
    environ = {"OVERPAINT_MODELS_DIR": str(models_dir), "PYTHONWARNINGS": "ignore"}
    try:
        with DaemonProcess.start(scratch, environ=environ) as daemon:
            print(f"numbers: {json.loads(direct.stdout.readline())['dtype']}, {os.cpu_count()} processors")
            jobs = _Jobs(daemon, daemon.client(preview_bytes=32768), installed.id, case)
            watch = None
            for turn in range(rounds + 1):
                direct.stdin.write(f"a red disc {turn}\n")
                direct.stdin.flush()
                called = json.loads(direct.stdout.readline())
                pair = (jobs.run(f"a red disc {turn}"), called)
                (measured.later if turn else measured.first).append(pair)
                watch = watch or _Opens(model)
            measured.rerolls.append(jobs.run(f"a red disc {rounds}", seed=1))
            measured.opened += watch.count()
    finally:
        direct.stdin.close()
        direct.wait(60)


class _Opens:
    """Counts how often files of a model are opened, by anybody, from now on (inotify)."""

    _IN_OPEN = 0x20
    _IN_ISDIR = 0x40000000
    _HEADER_BYTES = 16

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            if libc.inotify_add_watch(self._descriptor, os.fsencode(path), self._IN_OPEN) < 0:
                raise OSError(ctypes.get_errno(), "inotify")

    def count(self) -> int:
        """Files opened since the start; reading a folder's list does not count."""
        opened = 0
        try:
            while events := os.read(self._descriptor, 1 << 16):
                while events:
                    mask = int.from_bytes(events[4:8], sys.byteorder)
                    opened += not mask & self._IN_ISDIR
                    events = events[self._HEADER_BYTES + int.from_bytes(events[12:16], sys.byteorder) :]
        except BlockingIOError:
            pass
        os.close(self._descriptor)
        return opened


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
