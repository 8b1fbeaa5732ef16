"""What the way through the daemon costs beside calling diffusers directly, with a model of full size.

    python -m tests.bench.full_size [--starts 3] [--rounds 2] [--keep DIR]

A pipeline shaped like Stable Diffusion 1.5 inpainting, with random weights (about 2 GB), paints 512 x 512 in 4 steps:
once called directly in a process of its own, once as a job (editor bytes in, layer bytes out) through a real daemon.
The two take turns, so that a machine that changes its speed changes it for both, and each job has a new prompt, so that
both encode everything. The first pair after each start warms up and counts for the peak of memory alone, which is that
of loading. Printed are ratios, job / direct call, of elapsed time, of processor time and of the peak of the process that
holds the model; then how often later jobs opened files of the model, and what a re-roll takes. Linux only.
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

import numpy as np
import psutil
import torch
from PIL import Image
from tests.integration.daemon_process import ROOT, Client, DaemonProcess

from overpaint_backend.engines.base import Device
from overpaint_backend.engines.diffusion.memory import choose_device, choose_dtype
from overpaint_backend.models.importer import import_model
from overpaint_backend.models.store import ModelStore
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import Fill, GenerationSettings, JobDone, JobFailed, SubmitJob
from overpaint_protocol.pixels import ImageHeader, PixelFormat, split_bands

SIDE_PX = 512
STEPS = 4
_WAIT_S = 1200.0
_HOLE = np.s_[128:384, 128:384]


def main() -> None:
    """Build the model, run both ways in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starts", type=int, default=3, help="how often both processes are started")
    parser.add_argument("--rounds", type=int, default=2, help="counted pairs after each start")
    parser.add_argument("--keep", type=Path, help="a folder for the model, to build it only once")
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        serve_reference(options.reference)
        return
    with tempfile.TemporaryDirectory(prefix="overpaint-bench-") as scratch:
        model = (options.keep or Path(scratch)) / "sd15-inpaint-shaped"
        if not (model / "model_index.json").exists():
            build(model)
        measured = _Measured()
        for start in range(options.starts):
            print(f"start {start + 1} of {options.starts}", file=sys.stderr, flush=True)
            (folder := Path(scratch) / str(start)).mkdir()
            compare(model, folder, options.rounds, measured)
        measured.report()


def build(folder: Path) -> None:
    """Write a diffusers folder with the components of Stable Diffusion 1.5 inpainting and random half-precision weights."""
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionInpaintPipeline,
        UNet2DConditionModel,
    )
    from tests.toy_model.train import make_tokenizer
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    text = CLIPTextConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=768,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    pipeline = StableDiffusionInpaintPipeline(
        vae=AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            sample_size=SIDE_PX,
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=SIDE_PX // 8,
            in_channels=9,
            out_channels=4,
            attention_head_dim=8,
            cross_attention_dim=768,
        ),
        scheduler=PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.tokenizer.model_max_length = 77
    pipeline.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)


def picture() -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 and the (H, W) uint8 mask of its middle."""
    pixels = np.random.default_rng(0).integers(60, 200, (SIDE_PX // 8, SIDE_PX // 8, 3), np.uint8)
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    mask[_HOLE] = 255
    return pixels.repeat(8, axis=0).repeat(8, axis=1), mask


# ---------------------------------------------------------------- the direct call, in a process of its own


def serve_reference(folder: Path) -> None:
    """Load the pipeline as diffusers' manual says; for each prompt on standard input call it and print what it took."""
    from diffusers import StableDiffusionInpaintPipeline
    from diffusers.utils import logging

    logging.disable_progress_bar()
    device = choose_device(Device("auto"))
    dtype = choose_dtype(device, _weight_bytes(folder))
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        folder, torch_dtype=dtype, safety_checker=None, local_files_only=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    pixels, mask = picture()
    print(json.dumps({"dtype": str(dtype)}), flush=True)
    for line in sys.stdin:
        clock = _Clock(psutil.Process())
        pipeline(
            line.strip(),
            image=Image.fromarray(pixels),
            mask_image=Image.fromarray(mask),
            num_inference_steps=STEPS,
            height=SIDE_PX,
            width=SIDE_PX,
            generator=torch.Generator("cpu").manual_seed(0),
            output_type="np",
        )
        print(json.dumps(clock.stop()), flush=True)


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class _Clock:
    """Elapsed and processor seconds of processes, and the peak of the first one's memory in bytes."""

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
        }


def _peak_bytes(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


# ---------------------------------------------------------------- through the daemon


class _Jobs:
    """Submits the same picture again and again and waits for the layer."""

    def __init__(self, daemon: DaemonProcess, client: Client, engine: str) -> None:
        self._client = client
        self._engine = engine
        self._daemon = daemon
        self._count = 0
        pixels, mask = picture()
        rgba = np.dstack([pixels, np.full_like(mask, 255)])
        self._size = Size(SIDE_PX, SIDE_PX)
        whole = Rect.from_size(self._size)
        self._image = split_bands(rgba.tobytes(), whole, PixelFormat.RGBA8)
        self._mask = split_bands(mask.tobytes(), whole, PixelFormat.GRAY8)

    def run(self, prompt: str, seed: int = 0) -> dict[str, float]:
        """What one job took, and how much of it was loading."""
        worker = self._daemon.worker()
        clock = _Clock(worker, psutil.Process(self._daemon.process.pid))
        self._count += 1
        frames = len(self._image)
        job = SubmitJob(
            job_id=f"job-{self._count}",
            document_id="bench",
            operation=Fill(prompt=prompt, settings=GenerationSettings(steps=STEPS)),
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
        took = clock.stop()
        took["load_ms"] = message.timings_ms["load"]
        return took


@dataclass
class _Measured:
    """What came out: pairs of (job, direct call)."""

    first: list[tuple[dict[str, float], dict[str, float]]] = field(default_factory=list)
    later: list[tuple[dict[str, float], dict[str, float]]] = field(default_factory=list)
    rerolls: list[dict[str, float]] = field(default_factory=list)
    opened: int = 0

    def report(self) -> None:
        """Print the table."""
        print(f"{'':12}{'job':>10}{'direct call':>14}   ratio of medians (of each pair)")
        for name, unit, pairs in (
            ("elapsed_s", "s", self.later),
            ("cpu_s", "s", self.later),
            ("peak_bytes", "MB", self.first),
        ):
            scale = 1e6 if unit == "MB" else 1
            ours, theirs = ([pair[side][name] / scale for pair in pairs] for side in (0, 1))
            every = " ".join(f"{a / b:.3f}" for a, b in zip(ours, theirs, strict=True))
            median, reference = statistics.median(ours), statistics.median(theirs)
            print(
                f"{name.rpartition('_')[0] + ' ' + unit:12}{median:10.1f}{reference:14.1f}"
                f"   {median / reference:.3f} ({every})"
            )
        jobs = [job for job, _ in self.later] + self.rerolls
        print("first jobs: load", *(f"{job['load_ms'] / 1000:.1f} s" for job, _ in self.first))
        print(
            f"{len(jobs)} later jobs: load at most {max(job['load_ms'] for job in jobs):.1f} ms, "
            f"opened {self.opened} files of the model"
        )
        print(
            f"re-roll: {statistics.median(job['elapsed_s'] for job in self.rerolls):.1f} s, "
            f"{statistics.median(job['cpu_s'] for job in self.rerolls):.1f} s of processor time"
        )


def compare(model: Path, scratch: Path, rounds: int, measured: _Measured) -> None:
    """Start both, run them in turns, and add to ``measured``."""
    models_dir = scratch / "models"
    installed = import_model(ModelStore(models_dir), model, link=True)
    direct = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.full_size", "--reference", str(model)],
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
            jobs = _Jobs(daemon, daemon.client(preview_bytes=32768), installed.id)
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
