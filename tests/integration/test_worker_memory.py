"""Two engines that do not fit beside each other, in the real worker: who leaves, and what the client sees of it."""

from __future__ import annotations

import secrets

import pytest
from tests.integration.daemon_process import DaemonProcess, install_plugin, wait_until

from overpaint_backend.durability.stories import What, read_stories
from overpaint_protocol.messages import JobDone, JobFailed, JobProgress, JobVariant

# The engines count their open sessions instead of filling memory. "greedy" finds none in the middle of a fill as long
# as another one is open; "hopeless" never does. "buggy" fails with its weights in hand. "thrifty" goes on in tiles.
ENGINES = """
import weakref
from dataclasses import replace

import numpy as np

from overpaint_backend.engines.base import Saving, Step, no_room
from overpaint_backend.engines.testing import InvertEngine
from overpaint_protocol.errors import OutOfMemory

is_open = set()


class Provider:
    def engines(self):
        return [Weighty("modest"), Weighty("greedy"), Weighty("hopeless"), Weighty("buggy"), Weighty("thrifty")]


class Weighty(InvertEngine):
    def __init__(self, name):
        self.name = name

    def info(self):
        return replace(super().info(), id=self.name)

    def weight_bytes(self, device):
        return 1_000_000

    def open(self, device, make_room=no_room):
        is_open.add(self.name)
        return Session(self.name, super().open(device, make_room))


class Session:
    def __init__(self, name, session):
        self.name, self.session, self.is_thrifty = name, session, False

    def saving(self):
        return Saving.TILED if self.is_thrifty else None

    def fill(self, request, on_step):
        weights = np.zeros(1000)
        self.weights = weakref.ref(weights)
        self.is_thrifty = self.name == "thrifty"
        if self.name == "buggy":
            raise RuntimeError("a bug with weights in its traceback")

        def half(step):
            on_step(step)
            if step.fraction >= 0.5 and (self.name == "hopeless" or is_open == {"modest", "greedy"}):
                raise OutOfMemory("There is no memory left. Select less.")

        return self.session.fill(request, half)

    def close(self):
        is_open.discard(self.name)
        print(self.name, "holds" if self.weights() is not None else "holds no", "weights when it is closed")
"""


@pytest.fixture
def daemon(tmp_path):
    install_plugin(tmp_path, "weighty", "weighty:Provider", ENGINES)
    with DaemonProcess.start(tmp_path) as daemon:
        yield daemon


def finish(client, engine):
    client.submit(secrets.token_hex(4), engine=engine, prompt="steps=6 delay=0.06")
    return [envelope.message for envelope in client.receive_until(JobDone, JobFailed)]


def test_an_idle_model_leaves_and_the_job_goes_on_without_going_back(daemon):
    client = daemon.client()
    assert isinstance(finish(client, "modest")[-1], JobDone)
    messages = finish(client, "greedy")
    assert isinstance(messages[-1], JobDone)
    assert len([message for message in messages if isinstance(message, JobVariant)]) == 1
    fractions = [m.fraction for m in messages if isinstance(m, JobProgress) and m.fraction is not None]
    assert len(fractions) > 6  # more than one attempt takes
    assert fractions == sorted(fractions)
    wait_until(lambda: "modest is unloaded" in daemon.log, "the log tells who left")
    assert "greedy is unloaded" not in daemon.log


def test_the_story_tells_who_left_and_how_memory_is_saved(daemon):
    client = daemon.client()
    for engine in ("modest", "greedy", "thrifty", "thrifty"):
        assert isinstance(finish(client, engine)[-1], JobDone)
    daemon.terminate()
    stories = read_stories(daemon.folder / "state" / "stories.sqlite")[::-1]
    memory = (What.LOADING, What.LOADED, What.UNLOADED_OTHERS, What.SAVED_MEMORY)
    told = [[entry for entry in story.entries if entry.what in memory] for story in stories]
    opened = [What.LOADING, What.LOADED]
    assert [[entry.what for entry in entries] for entries in told] == [
        opened,
        [*opened, What.UNLOADED_OTHERS],
        [*opened, What.SAVED_MEMORY],
        [],  # the model is loaded, and saves as it did before
    ]
    assert told[0][1].facts["device"] == "cpu"
    assert told[1][2].facts == {"count": 1}
    assert told[2][2].facts == {"saving": "tiled"}


def test_when_that_does_not_help_the_error_goes_out_and_the_next_job_is_fine(daemon):
    client = daemon.client()
    finish(client, "modest")
    failed = finish(client, "hopeless")[-1]
    assert isinstance(failed, JobFailed)
    assert failed.error.message == "There is no memory left. Select less."
    assert isinstance(finish(client, "modest")[-1], JobDone)
    wait_until(lambda: daemon.log.count("modest is loaded") == 2, "the log tells who came back")
    assert daemon.log.count("is unloaded") == 1


def test_an_engine_that_failed_is_closed_once_nothing_holds_its_memory_any_more(daemon):
    assert isinstance(finish(daemon.client(), "buggy")[-1], JobFailed)
    wait_until(lambda: "weights when it is closed" in daemon.log, "the log tells of the end")
    assert "buggy holds no weights when it is closed" in daemon.log
