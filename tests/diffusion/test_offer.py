"""Models that come and go while the daemon runs: its sessions are told, and nothing needs a restart."""

from __future__ import annotations

import pytest
from tests.diffusion.toy_loras import install_toy_lora
from tests.diffusion.toys import install_toy
from tests.integration.daemon_process import DaemonProcess, wait_until

from overpaint_backend.models.store import ModelSettings, ModelStore
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import (
    Capabilities,
    Fill,
    GenerationSettings,
    JobDone,
    JobFailed,
    JobVariant,
    LoraWeight,
)

SIZE = Size(48, 64)


@pytest.fixture
def models(tmp_path):
    """A store that is still empty."""
    return ModelStore(tmp_path / "models")


@pytest.fixture
def daemon(tmp_path, models):
    changes = {"OMP_NUM_THREADS": "1", "OVERPAINT_MODELS_DIR": str(models.root)}
    with DaemonProcess.start(tmp_path, environ=changes) as running:
        yield running


def offered(client):
    """The models in the next announcement."""
    told = client.receive_until(Capabilities)[-1].message
    return {engine.id for engine in told.engines if engine.id.startswith("toy")}


def offered_loras(client):
    """The LoRAs of the model in the next announcement."""
    told = client.receive_until(Capabilities)[-1].message
    return {lora.id for engine in told.engines if engine.id == "toy" for lora in engine.loras}


def fill(client, job_id, *, loras=(), **changes):
    """How a fill ended, and its pixels."""
    operation = Fill(prompt="a red door", settings=GenerationSettings(steps=2, loras=loras))
    client.submit(job_id, operation=operation, size=SIZE, **changes)
    received = client.receive_until(JobDone, JobFailed)
    pixels = [bytes(frame) for e in received if isinstance(e.message, JobVariant) for frame in e.payload]
    return received[-1].message, b"".join(pixels)


def test_a_model_can_be_used_as_soon_as_it_is_installed_and_is_gone_once_removed(daemon, models):
    client, other = daemon.client(), daemon.client()
    worker = daemon.worker().pid

    install_toy(models.root, "sd15-inpaint", model_id="toy")
    assert offered(client) == offered(other) == {"toy"}
    done, _ = fill(client, "first", engine=None)
    assert (type(done), done.engine) == (JobDone, "toy")

    install_toy(models.root, "sd15", model_id="toy-2")
    assert offered(client) == {"toy", "toy-2"}
    done, _ = fill(client, "second", engine="toy")
    assert (type(done), done.engine) == (JobDone, "toy")

    models.choose(ModelSettings(commercial_only=True))  # toys may be used for anything
    models.remove("toy")
    assert offered(client) == {"toy-2"}
    refused = client.submit("third", engine="toy")
    assert refused.error.code == "request.unknown_engine"
    assert {engine.id for engine in daemon.client().welcome.engines} & {"toy", "toy-2"} == {"toy-2"}
    assert daemon.worker().pid == worker


def test_a_model_in_the_place_of_another_is_loaded_anew(daemon, models):
    client = daemon.client()
    install_toy(models.root, "sd15-inpaint", model_id="toy")
    assert offered(client) == {"toy"}
    _, before = fill(client, "first", engine="toy")
    models.remove("toy")
    assert offered(client) == set()
    install_toy(models.root, "sd15", model_id="toy")
    assert offered(client) == {"toy"}
    done, after = fill(client, "second", engine="toy")
    assert isinstance(done, JobDone)
    assert after != before, "the one that was removed still paints"
    assert fill(client, "third", engine="toy")[1] == after


def test_a_lora_is_offered_and_hidden_without_the_model_being_loaded_again(daemon, models):
    client = daemon.client()
    install_toy(models.root, "sd15", model_id="toy")
    assert offered_loras(client) == set()
    _, plain = fill(client, "first", engine="toy")
    worker = daemon.worker().pid

    install_toy_lora(models.root, models.get("toy"), "style")
    assert offered_loras(client) == {"style"}
    _, styled = fill(client, "second", engine="toy", loras=(LoraWeight(id="style"),))
    assert styled != plain

    manifest = models.root / "style" / "model.json"
    manifest.write_text(manifest.read_text().replace('"commercial_use": true', '"commercial_use": false'))
    models.choose(ModelSettings(commercial_only=True))
    assert offered_loras(client) == set()
    styled_fill = Fill(prompt="a red door", settings=GenerationSettings(loras=(LoraWeight(id="style"),)))
    assert "style" in client.submit("third", operation=styled_fill, engine="toy").error.message
    models.choose(ModelSettings())
    assert offered_loras(client) == {"style"}
    models.remove("style")
    assert offered_loras(client) == set()
    assert fill(client, "fourth", engine="toy")[1] == plain
    wait_until(lambda: daemon.log.count("toy is loaded") == 1, "the model is loaded once")
    assert "toy is unloaded" not in daemon.log
    assert daemon.worker().pid == worker
