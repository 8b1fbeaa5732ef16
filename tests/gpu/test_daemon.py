"""A daemon whose worker computes on a graphics card with a model of full size: what must hold when it is stopped, killed, at rest,
or short of memory, and what it tells of the card.

What can be, also runs on the processor with a toy.
"""

from __future__ import annotations

import secrets

import numpy as np
import pytest
from tests.bench.shapes import SHAPES
from tests.diffusion.toys import install_toy
from tests.gpu.cards import held_bytes, others_take_all_but
from tests.integration.daemon_process import DaemonProcess, install_plugin, wait_until

from overpaint_backend.models.importer import import_model
from overpaint_backend.models.store import ModelStore
from overpaint_protocol.errors import OutOfMemory
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import (
    CancelJob,
    Fill,
    GenerationSettings,
    InspectDaemon,
    JobDone,
    JobFailed,
    JobProgress,
    JobState,
    JobVariant,
)

pytestmark = pytest.mark.timeout(300)

FAMILY = "sd15-inpaint"
GIB = 1 << 30
SLACK_BYTES = 32 << 20
PATIENCE_S = 100.0
ROUNDING = 2
"""Of 255: where memory is short, CUDA's libraries add up in another order, and a process keeps to that."""

# Makes its device useless for the process once, and inverts ever after.
FAULTY = """
import sys
from dataclasses import replace
from pathlib import Path

from overpaint_backend.engines.testing import InvertEngine


class Faulty(InvertEngine):
    def info(self):
        return replace(super().info(), id="faulty")

    def open(self, *arguments):
        return Session()


class Session(type(InvertEngine().open(None))):
    def fill(self, request, on_step):
        mark = Path(__file__).with_name("broken")
        if not mark.exists():
            mark.touch()
            import torch

            if torch.cuda.is_available():
                torch.zeros(4, device="cuda")[torch.tensor([1 << 20], device="cuda")].sum().item()
            sys.modules["__main__"].is_lost = lambda device: True  # a processor cannot be broken
            raise RuntimeError("the device is lost")
        return super().fill(request, on_step)
"""


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def place(request):
    return request.param


@pytest.fixture(scope="module")
def models(place, tmp_path_factory):
    """The folder of models with one in it; its id."""
    folder = tmp_path_factory.mktemp("models")
    if place == "cpu":
        return folder, install_toy(folder, FAMILY)
    built = tmp_path_factory.mktemp("built") / "full"
    SHAPES[FAMILY].build(built)
    return folder, import_model(ModelStore(folder), built, link=True).id


def start(folder, place, models, **settings):
    environ = {"OVERPAINT_MODELS_DIR": str(models[0]), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    if place == "cpu":
        environ["CUDA_VISIBLE_DEVICES"] = ""
    return DaemonProcess.start(folder, environ=environ, **settings)


@pytest.fixture(scope="module")
def daemon(place, models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("daemon")
    install_plugin(folder, "faulty", "faulty:Faulty", FAULTY)
    with start(folder, place, models, idle_unload_s=3.0) as daemon:
        yield daemon


class Artist:
    """Asks for fills of the same place, again and again."""

    def __init__(self, daemon, place, models):
        self.client = daemon.client()
        self.engine = models[1]
        self.side_px = 64 if place == "cpu" else SHAPES[FAMILY].side_px

    def ask(self, steps=20, **changes):
        """Ask for one; returns the job's id."""
        job_id = secrets.token_hex(4)
        operation = Fill(prompt="a red disc", settings=GenerationSettings(steps=steps))
        size = Size(self.side_px, self.side_px)
        fields = {"engine": self.engine, "operation": operation, "size": size, "seed": 3, **changes}
        self.client.submit(job_id, **fields)
        return job_id

    def wait_painting(self, job_id):
        while True:
            message = self.client.receive(PATIENCE_S).message
            assert not isinstance(message, (JobDone, JobFailed)), "it was over too soon"
            if isinstance(message, JobProgress) and message.job_id == job_id and message.fraction:
                return

    def finish(self, job_id):
        """Its pixels, or the error it ended with."""
        pixels = None
        while True:
            envelope = self.client.receive(PATIENCE_S)
            message = envelope.message
            if isinstance(message, JobVariant):
                pixels = np.frombuffer(b"".join(bytes(frame) for frame in envelope.payload), np.uint8)
            if isinstance(message, (JobDone, JobFailed)) and message.job_id == job_id:
                return pixels if isinstance(message, JobDone) else message.error

    def paint(self, **how):
        return self.finish(self.ask(**how))

    def device(self):
        return self.client.ask(InspectDaemon()).workers[0].device

    def wait_unloaded(self):
        wait_until(lambda: (device := self.device()) is not None and not device.loaded, "it is unloaded")


@pytest.fixture
def artist(daemon, place, models):
    return Artist(daemon, place, models)


@pytest.fixture(scope="module")
def undisturbed(daemon, place, models):
    """The pixels of the fill that all tests ask for."""
    pixels = Artist(daemon, place, models).paint()
    assert isinstance(pixels, np.ndarray), pixels
    return pixels


def test_the_job_of_a_worker_killed_while_sampling_comes_out_the_same(daemon, artist, undisturbed):
    worker = daemon.worker()
    job_id = artist.ask()
    artist.wait_painting(job_id)
    worker.kill()
    wait_until(lambda: held_bytes(worker.pid) == 0, "the dead worker holds nothing of the card")
    assert np.array_equal(artist.finish(job_id), undisturbed)
    assert daemon.worker().pid != worker.pid


def test_a_cancel_is_heard_while_sampling_and_costs_neither_worker_nor_pixels(daemon, artist, undisturbed):
    worker = daemon.worker()
    job_id = artist.ask(steps=150)
    artist.wait_painting(job_id)
    assert artist.client.ask(CancelJob(job_id=job_id)).state is JobState.CANCELLED
    assert np.array_equal(artist.paint(), undisturbed)
    assert daemon.worker().pid == worker.pid


def test_a_model_at_rest_gives_its_memory_back_every_time(daemon, artist, undisturbed, place):
    held = []
    for _ in range(2):
        assert np.array_equal(artist.paint(), undisturbed)
        loaded = held_bytes(daemon.worker().pid)
        artist.wait_unloaded()
        held.append(held_bytes(daemon.worker().pid))
        if place == "cuda":
            assert loaded - held[-1] >= 2 * 1_000_000_000, "its weights take that much"
    assert held[1] <= held[0] + SLACK_BYTES


def test_a_fault_that_makes_the_device_useless_costs_an_attempt_and_a_process(daemon, artist, undisturbed):
    worker = daemon.worker()
    before = artist.client.ask(InspectDaemon()).workers[0].restarts
    assert isinstance(artist.paint(engine="faulty"), np.ndarray)
    assert artist.client.ask(InspectDaemon()).workers[0].restarts == before + 1
    assert daemon.worker().pid != worker.pid
    assert np.array_equal(artist.paint(), undisturbed)


def test_what_is_told_of_a_card_is_what_its_driver_says(daemon, artist, undisturbed, place):
    if place == "cpu":
        assert artist.device().device == "cpu"
        return
    import pynvml

    pynvml.nvmlInit()
    card = pynvml.nvmlDeviceGetHandleByIndex(0)
    before_mj, before = pynvml.nvmlDeviceGetTotalEnergyConsumption(card), energy(artist)
    artist.paint(steps=100)
    told, in_truth = artist.device(), pynvml.nvmlDeviceGetMemoryInfo(card)
    assert told.device == "cuda"
    assert told.total_bytes == pytest.approx(in_truth.total, rel=0.02)
    assert 0 < told.free_bytes <= told.total_bytes
    used = (pynvml.nvmlDeviceGetTotalEnergyConsumption(card) - before_mj) / 1000
    assert energy(artist) - before == pytest.approx(used, rel=0.2)


def energy(artist):
    (meter,) = (meter for meter in artist.client.ask(InspectDaemon()).energy if meter.source == "nvml")
    return meter.joules


@pytest.mark.gpu
@pytest.mark.alone
@pytest.mark.parametrize("place", ["cuda"], indirect=True)
@pytest.mark.parametrize("left_gib", [3.3, 1.0, 0.2])
def test_a_card_that_others_fill_is_made_do_with_or_told_and_the_next_job_is_fine(
    daemon, artist, undisturbed, left_gib
):
    """The first is less than a card of 4 GB has; in the last there is no room for what CUDA itself needs."""
    daemon.worker().kill()  # the next one holds nothing yet
    wait_until(lambda: artist.client.ask(InspectDaemon()).workers[0].state == "idle", "there is another")
    worker = daemon.worker()
    with others_take_all_but(int(left_gib * GIB)):
        ended = artist.paint()
    if left_gib > 3:
        assert isinstance(ended, np.ndarray)
    elif not isinstance(ended, np.ndarray):
        assert ended.code == OutOfMemory.code
        assert "memory" in ended.message
    artist.wait_unloaded()
    again = artist.paint()
    assert isinstance(again, np.ndarray), again
    assert np.abs(again.astype(int) - undisturbed).max() <= ROUNDING
    assert daemon.worker().pid == worker.pid


@pytest.mark.gpu
@pytest.mark.alone
@pytest.mark.parametrize("place", ["cuda"], indirect=True)
def test_a_card_that_others_fill_while_a_model_is_loaded(tmp_path, place, models, undisturbed):
    with start(tmp_path, place, models) as daemon:
        artist = Artist(daemon, place, models)
        assert np.array_equal(artist.paint(), undisturbed)
        with others_take_all_but(64 << 20):
            ended = artist.paint(size=Size(1536, 1536))
        assert isinstance(ended, np.ndarray) or ended.code == OutOfMemory.code
        again = artist.paint()
        assert isinstance(again, np.ndarray), again
        assert np.abs(again.astype(int) - undisturbed).max() <= ROUNDING


@pytest.mark.gpu
@pytest.mark.parametrize("place", ["cuda"], indirect=True)
def test_two_workers_share_a_card(tmp_path, place, models, undisturbed):
    with start(tmp_path, place, models, workers=2) as daemon:
        artists = [Artist(daemon, place, models) for _ in range(2)]
        probe = artists[0].client
        wait_until(
            lambda: {w.state for w in probe.ask(InspectDaemon()).workers} == {"idle"}, "both are ready"
        )
        jobs = [artist.ask() for artist in artists]
        for artist, job_id in zip(artists, jobs, strict=True):
            assert np.array_equal(artist.finish(job_id), undisturbed)
        workers = probe.ask(InspectDaemon()).workers
        assert [(worker.device.device, worker.restarts) for worker in workers] == [("cuda", 0)] * 2
        assert all(worker.device.loaded for worker in workers)
