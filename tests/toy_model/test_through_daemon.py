"""A prompt typed in an editor reaches the model: the toy model, installed by the command line, in the real daemon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.integration.daemon_process import DaemonProcess, daemon_environ, wait_until
from tests.toy_model.pictures import COLORS, NOTHING, THING, clouds, shows

from overpaint_backend.durability.stories import What, read_stories
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import (
    Edges,
    Fill,
    GenerationSettings,
    InspectDaemon,
    JobDone,
    JobVariant,
    SubmitJob,
)
from overpaint_protocol.pixels import ImageHeader, PixelFormat

WEIGHTS = Path(__file__).parent / "weights"
SIDE = 64
SIZE = Size(SIDE, SIDE)
SETTINGS = GenerationSettings(steps=6, guidance=4.0)  # as the tests in the editors
PLACE = Rect(12, 12, 40, 40)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    changes = {"OVERPAINT_MODELS_DIR": str(folder / "models"), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "overpaint_backend", "models", "import", str(WEIGHTS), "--id", "toy"],
        env={**daemon_environ(folder), **changes},
        check=True,
    )
    with DaemonProcess.start(folder, environ=changes) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def client(daemon):
    return daemon.client()


def paint(client, name, prompt, *, seed, variants=8):
    """The layers' pixels over PLACE, (40, 40, 3) uint8 each."""
    picture = 0.6 + 0.08 * clouds(np.random.default_rng(seed), SIDE, SIDE)
    rgb = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    pixels = np.dstack([rgb, np.full((SIDE, SIDE), 255, np.uint8)]).tobytes()
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[PLACE.top : PLACE.bottom, PLACE.left : PLACE.right] = 255
    request = SubmitJob(
        job_id=f"{name}-{seed}".replace(" ", "-"),
        document_id="document",
        operation=Fill(prompt=prompt, settings=SETTINGS),
        engine="toy",
        variants=variants,
        seed=seed,
        canvas=SIZE,
        context=Rect.from_size(SIZE),
        image=ImageHeader(size=SIZE, format=PixelFormat.RGBA8, frames=(0,)),
        mask=ImageHeader(size=SIZE, format=PixelFormat.GRAY8, frames=(1,)),
        edges=Edges(grow_px=0, blend_px=0),
    )
    client.ask(request, (pixels, mask.tobytes()))
    received = client.until_over(request.job_id)
    assert isinstance(received[-1].message, JobDone), received[-1].message
    layers = []
    for envelope in received:
        if isinstance(envelope.message, JobVariant):
            assert envelope.message.target == PLACE
            data = b"".join(bytes(frame) for frame in envelope.payload)
            layers.append(np.frombuffer(data, np.uint8).reshape(PLACE.height, PLACE.width, 4)[..., :3])
    return layers


def count(layers, word):
    everywhere = np.ones((PLACE.height, PLACE.width), bool)
    return sum(shows(word, layer, everywhere) for layer in layers)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("prompt", "word"),
    [*((f"a {color} disc", color) for color in COLORS), (THING, THING), (NOTHING, NOTHING)],
)
def test_each_word_is_followed_in_38_of_40_seeds(client, prompt, word):
    layers = [layer for seed in range(0, 40, 8) for layer in paint(client, prompt, prompt, seed=seed)]
    assert len(layers) == 40
    assert count(layers, word) >= 38


@pytest.mark.timeout(300)
def test_the_first_job_of_a_second_editor_loads_nothing(daemon, client):
    paint(client, "one-editor", "a red disc", seed=1, variants=1)
    worker = daemon.worker().pid
    paint(daemon.client(), "another-editor", "a red disc", seed=2, variants=1)
    assert daemon.worker().pid == worker
    assert [each.restarts for each in client.ask(InspectDaemon()).workers] == [0]
    path = daemon.folder / "state" / "stories.sqlite"
    # written when there is nothing else to do, in the order in which it happened
    (story,) = wait_until(lambda: finished(read_stories(path), "another-editor"), "the story is written")
    stories = read_stories(path)
    told = {entry.what for entry in story.entries}
    assert What.STARTED in told and What.DONE in told
    assert not told & {What.LOADING, What.LOADED, What.UNLOADED_OTHERS}, "0 bytes of weights"
    loaders = [story for story in stories if What.LOADED in {entry.what for entry in story.entries}]
    assert len(loaders) == 1, "what is loaded is told"


def finished(stories, name):
    """Those that tell of the end of a job so named."""
    done = [story for story in stories if What.DONE in {entry.what for entry in story.entries}]
    return [story for story in done if story.job_id.startswith(name)]


@pytest.mark.timeout(300)
def test_the_same_seed_is_bit_identical_and_another_is_not(client):
    first = paint(client, "first", "a blue disc", seed=5, variants=2)
    (again,) = paint(client, "again", "a blue disc", seed=5, variants=1)
    assert np.array_equal(first[0], again)
    assert not np.array_equal(first[0], first[1])
