"""How often models are loaded by the real daemon: once as long as there is room, and anew after a rest."""

from __future__ import annotations

import signal
from collections import Counter

import pytest
from tests.diffusion.toys import install_toy
from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import Fill, GenerationSettings, JobDone, JobFailed, JobVariant

MODELS = ("toy-sd15-inpaint", "toy-flux1-schnell")
OPERATION = Fill(prompt="a red door", settings=GenerationSettings(steps=2))


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    for model_id in MODELS:
        install_toy(folder, model_id.removeprefix("toy-"))
    return folder


@pytest.fixture
def start(tmp_path, models):
    daemons = []

    def start(**settings):
        environ = {"OMP_NUM_THREADS": "1", "OVERPAINT_MODELS_DIR": str(models)}
        daemons.append(DaemonProcess.start(tmp_path, environ=environ, **settings))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


def run(client, job_id, engine):
    """The pixels of a job, or the error it ended with."""
    client.submit(job_id, engine=engine, operation=OPERATION, size=Size(64, 48))
    received = client.receive_until(JobDone, JobFailed)
    end = received[-1].message
    if isinstance(end, JobFailed):
        return end.error
    (pixels,) = (
        b"".join(bytes(frame) for frame in envelope.payload)
        for envelope in received
        if isinstance(envelope.message, JobVariant)
    )
    return pixels


def loads(daemon):
    """How often each model was loaded, by the worker's own account."""
    words = [line.split() for line in daemon.log.splitlines() if line.endswith(" is loaded")]
    return Counter(line[-3] for line in words)


def spoil(models):
    """Put noughts in the place of all weights. What is in memory, or mapped there, stays as it is."""
    for path in models.rglob("*.safetensors"):
        spoilt = path.with_suffix(".spoilt")
        spoilt.write_bytes(bytes(path.stat().st_size))
        spoilt.replace(path)


@pytest.mark.timeout(300)
def test_models_that_take_turns_read_their_weights_once(start, models):
    daemon = start()
    client = daemon.client()
    before = [run(client, f"first-{model}", model) for model in MODELS]
    assert all(isinstance(pixels, bytes) for pixels in before)
    spoil(models)
    for turn in range(3):
        assert [run(client, f"{turn}-{model}", model) for model in MODELS] == before
    wait_until(lambda: loads(daemon) == dict.fromkeys(MODELS, 1), "each is loaded, and once")

    # The same on a worker that has to read them shows that reading them would have been noticed.
    daemon.worker().send_signal(signal.SIGKILL)
    error = run(client, "after", MODELS[0])
    assert "overpaint models verify" in error.message


@pytest.mark.timeout(300)
def test_a_model_that_rests_is_unloaded_and_comes_back(start):
    daemon = start(idle_unload_s=0.5)
    client = daemon.client()
    first = run(client, "first", MODELS[0])
    assert isinstance(first, bytes)
    wait_until(lambda: f"{MODELS[0]} is unloaded" in daemon.log, "the model is unloaded")
    assert run(client, "second", MODELS[0]) == first
    wait_until(lambda: loads(daemon) == {MODELS[0]: 2}, "it is loaded again")
