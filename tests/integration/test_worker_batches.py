"""An engine that paints several variants at once, in the real worker: each is the one that its seed gives alone."""

from __future__ import annotations

import secrets

import pytest
from tests.integration.daemon_process import DaemonProcess, install_plugin, wait_until

from overpaint_protocol.messages import JobDone, JobFailed, JobPreview, JobProgress, JobVariant

# Two at a time, so that five take three turns.
ENGINE = """
from dataclasses import replace

from overpaint_backend.engines.base import Step, no_room
from overpaint_backend.engines.testing import InvertEngine


class Engine(InvertEngine):
    def info(self):
        return replace(super().info(), id="batching")

    def open(self, device, make_room=no_room):
        return Session(super().open(device, make_room))


class Session:
    def __init__(self, session):
        self.fill, self.close = session.fill, session.close

    def batch_limit(self, request):
        return 2

    def fill_batch(self, request, seeds, on_step):
        print("a batch of", len(seeds))
        results = [self.fill(replace(request, seed=seed), lambda step: None) for seed in seeds[1:]]
        return [self.fill(replace(request, seed=seeds[0]), on_step), *results]
"""


@pytest.fixture
def daemon(tmp_path):
    install_plugin(tmp_path, "batching", "batching:Engine", ENGINE)
    with DaemonProcess.start(tmp_path) as daemon:
        yield daemon


def finish(client, **changes):
    client.submit(secrets.token_hex(4), engine="batching", prompt="steps=6 delay=0.02", **changes)
    received = client.receive_until(JobDone, JobFailed)
    assert isinstance(received[-1].message, JobDone)
    return received


def variants_of(received):
    """Seed and pixels of each, by the order of their coming."""
    return [
        (e.message.variant, e.message.seed, b"".join(bytes(frame) for frame in e.payload))
        for e in received
        if isinstance(e.message, JobVariant)
    ]


def test_a_batch_gives_each_variant_its_own_seed_and_place(daemon):
    client = daemon.client(preview_bytes=20_000)
    received = finish(client, variants=5, seed=40)
    variants = variants_of(received)
    assert [variant for variant, _, _ in variants] == [0, 1, 2, 3, 4]
    for _, seed, pixels in variants:
        assert [(0, seed, pixels)] == variants_of(finish(client, seed=seed))
    assert [seed for _, seed, _ in variants] == [40, 41, 42, 43, 44]

    fractions = [
        e.message.fraction for e in received if isinstance(e.message, JobProgress) and e.message.fraction
    ]
    assert fractions == sorted(fractions)
    previews = [e.message.variant for e in received if isinstance(e.message, JobPreview)]
    assert previews and set(previews) <= {0, 2, 4}
    wait_until(lambda: daemon.log.count("a batch of 2") == 2, "the engine says that it made batches")
