"""What ``python -m tests.bench.wire`` measures with: that an echo is one, and that a missed target is told."""

from __future__ import annotations

import os

import pytest
from tests.bench.echo_worker import MAIN
from tests.bench.editor_client import EditorClient, Picture, Wire
from tests.bench.raw_zmq import RawEcho
from tests.bench.wire_targets import Verdict, summary
from tests.integration.daemon_process import ROOT, DaemonProcess, daemon_environ

from overpaint_protocol.pixels import PixelFormat


@pytest.fixture
def echoing_daemon(tmp_path):
    sources = os.pathsep.join((daemon_environ(tmp_path)["PYTHONPATH"], str(ROOT)))
    with DaemonProcess.start(tmp_path, main=MAIN, environ={"PYTHONPATH": sources}) as daemon:
        yield daemon


@pytest.mark.parametrize("endpoint", [0, 1], ids=["ipc", "tcp"])
def test_an_echo_brings_back_the_bytes_that_went(echoing_daemon, endpoint):
    picture = Picture.random(1100, PixelFormat.RGBA16)  # several bands
    client, wire = EditorClient(echoing_daemon.info, endpoint), Wire(echoing_daemon.info, endpoint)
    wire.greet()
    times = client.fill(picture)
    sent = b"".join(picture.payload[: len(picture.image.frames)])
    assert b"".join(times.pixels) == sent
    assert 0 < times.pixels_ms <= times.done_ms
    assert wire.ping_ms() > 0
    wire.close()
    client.close()


@pytest.mark.parametrize("kind", ["ipc", "tcp", "curve"])
def test_bare_zeromq_echoes_the_image(tmp_path, kind):
    echo = RawEcho(kind, tmp_path / "raw")
    assert echo.exchange_ms(Picture.random(64)) > 0
    echo.close()


@pytest.mark.parametrize(
    ("value", "word"), [(0.5, "stretch"), (1.5, "must"), (2.5, "MISSED")], ids=["stretch", "must", "missed"]
)
def test_a_verdict_says_what_was_reached(value, word):
    verdict = Verdict("P0", "a measure", value, "ms", must=2.0, stretch=1.0)
    assert word in str(verdict)
    assert ("missed: P0" in summary([verdict])) is (word == "MISSED")
