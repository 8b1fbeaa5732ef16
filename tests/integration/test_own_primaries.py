"""An engine that copies gets, in the real worker, the document's own numbers; any other one gets sRGB."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.backend import icc
from tests.integration.daemon_process import SMALL, DaemonProcess, install_plugin, submission

from overpaint_backend.imaging.decode import decode
from overpaint_backend.imaging.encode import encode
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import JobDone, JobFailed, JobVariant
from overpaint_protocol.pixels import ColorSpace, PixelFormat

ENGINES = """
from dataclasses import replace

from overpaint_backend.engines.testing import InvertEngine


class Engine(InvertEngine):
    uses_own_primaries = True

    def info(self):
        return replace(super().info(), id="copying")
"""
PROFILE = icc.rgb_profile(icc.P3_COLORANTS, icc.SRGB_CURVE)
RED = bytes((230, 30, 40, 255))


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("d")
    install_plugin(root, "copying", "copying:Engine", ENGINES)
    with DaemonProcess.start(root) as daemon:
        yield daemon.client()


def inverted(client, engine: str) -> bytes:
    """The first pixel of what becomes of a red one of Display-P3."""
    message, (*bands, mask) = submission(engine, engine=engine)
    pixels = RED * SMALL.area
    cut = len(bands[0])
    image = replace(message.image, color=ColorSpace.ICC, profile=len(bands) + 1)
    client.ask(replace(message, image=image), (pixels[:cut], pixels[cut:], mask, PROFILE))
    received = client.receive_until(JobDone, JobFailed)
    assert isinstance(received[-1].message, JobDone)
    (variant,) = (e for e in received if isinstance(e.message, JobVariant))
    return bytes(variant.payload[0][:4])


def test_an_engine_that_copies_gets_the_documents_own_numbers(client):
    assert inverted(client, "copying") == bytes((25, 225, 215, 255))


def test_any_other_engine_gets_srgb(client):
    """There the red has more than 1 and less than 0, so what inverts it comes back as another color."""
    size = Size(1, 1)
    seen = decode([RED], size, PixelFormat.RGBA8, ColorSpace.ICC, PROFILE)
    assert seen.rgb.min() < 0.1 < 0.9 < seen.rgb.max()
    expected = encode(replace(seen, rgb=1 - seen.rgb), PixelFormat.RGBA8, ColorSpace.ICC, PROFILE)
    assert inverted(client, "test-invert") == bytes(expected) != bytes((25, 225, 215, 255))
