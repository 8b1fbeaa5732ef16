"""Documents as large, as odd and as broken as they may be: a layer or a sentence, and the daemon works on."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.daemon_process import DaemonProcess
from tests.integration.test_controller import Artist

from overpaint_client.jobs import JobPhase
from overpaint_client.testing.fake_editor import FakeEditor
from overpaint_client.testing.kinds import DocumentKind
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import MAX_SIDE_PX, Expand, Fill, Remove
from overpaint_protocol.pixels import ColorSpace, PixelFormat

ITS_OWN_FAULT = ("request.", "image.")
"""Families of what a document may be refused with. All others would be a defect of ours."""

KINDS = [
    DocumentKind(pixel_format, color)
    for pixel_format in PixelFormat
    if pixel_format is not PixelFormat.GRAY8
    for color in (ColorSpace.SRGB, ColorSpace.LINEAR_SRGB)
] + [
    DocumentKind(pixel_format, ColorSpace.ICC, profile)
    for pixel_format in (PixelFormat.RGBA8, PixelFormat.RGBAF16, PixelFormat.GRAYA16)
    for profile in (b"\0", bytes(128), b"acsp" * 64, b"\xff" * 5000)
]


@dataclass(slots=True)
class NoiseEditor(FakeEditor):
    """Documents that take no memory, however large: noise of bits, in floats also infinities and what is no number."""

    chosen: Rect | None = None
    noise: int = 0
    pixels_read: int = 0

    def selection_bounds(self, document_id):
        return self.chosen

    def open_reader(self, document_id, area):
        return _NoiseReader(self, self.document(document_id).format.bytes_per_pixel)


class _NoiseReader:
    def __init__(self, editor, bytes_per_pixel):
        self._editor, self._bytes_per_pixel = editor, bytes_per_pixel

    def pixels(self, rect):
        self._editor.pixels_read += rect.area
        return random.Random(f"{self._editor.noise} {rect}").randbytes(rect.area * self._bytes_per_pixel)

    def selection(self, rect):
        out = bytearray(rect.area)
        shared = rect.intersect(self._editor.chosen or Rect(0, 0, 0, 0))
        for y in range(shared.top, shared.bottom):
            start = (y - rect.y) * rect.width + shared.left - rect.x
            out[start : start + shared.width] = b"\xff" * shared.width
        return bytes(out)

    def close(self):
        pass


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with DaemonProcess.start(tmp_path_factory.mktemp("d")) as running:
        yield running


@pytest.fixture(scope="module")
def artist(daemon, tmp_path_factory):
    someone = Artist(tmp_path_factory.mktemp("clients"), lambda: daemon.info)
    someone.editor = someone.controller._port = NoiseEditor()
    yield someone.connect()
    someone.leave()


def ask(artist, canvas, chosen, operation, kind=KINDS[0], engine="test-invert", noise=0):
    """Open such a document, and have it done; returns the job and how many layers came."""
    editor = artist.editor
    editor.chosen, editor.noise, editor.pixels_read = chosen, noise, 0
    document = editor.open_kind("noise", canvas, kind, b"")
    job = artist.wait(artist.ask(operation, engine=engine))
    layers = len(editor._find(document).now.layers) - 1
    editor.close_document(document)
    return job, layers


FAR = MAX_SIDE_PX - 20


@pytest.mark.parametrize(
    ("canvas", "chosen", "operation"),
    [
        (Size(MAX_SIDE_PX, MAX_SIDE_PX), Rect(FAR, FAR, 20, 20), Fill()),
        (Size(MAX_SIDE_PX, MAX_SIDE_PX), Rect(-5, -5, 20, 20), Remove()),
        (Size(1, 65_536), Rect(0, 100, 1, 50), Fill()),
        (Size(65_536, 1), Rect(0, 0, 200, 1), Fill()),
        (Size(1, 1), Rect(0, 0, 1, 1), Fill()),
        (Size(MAX_SIDE_PX - 1, 3), None, Expand(margins=Margins(left=1))),
    ],
    ids=["the far corner", "over the near corner", "a column", "a row", "one pixel", "grown to the limit"],
)
def test_of_the_largest_and_narrowest_canvas_little_is_read_and_a_layer_comes(
    artist, canvas, chosen, operation
):
    job, layers = ask(artist, canvas, chosen, operation, engine="test-invert")
    assert (job.phase, layers) == (JobPhase.DONE, 1), job.sentence
    assert artist.editor.pixels_read < 1_000_000


@pytest.mark.parametrize(
    ("canvas", "chosen", "operation", "words"),
    [
        (Size(MAX_SIDE_PX, MAX_SIDE_PX), Rect(0, 0, MAX_SIDE_PX, MAX_SIDE_PX), Fill(), "megapixels"),
        (Size(MAX_SIDE_PX, MAX_SIDE_PX), None, Fill(prompt="all of it"), "megapixels"),
        (Size(MAX_SIDE_PX, 9000), None, Expand(margins=Margins(top=5000)), "megapixels"),
        (Size(MAX_SIDE_PX + 1, 10), Rect(0, 0, 5, 5), Fill(), f"{MAX_SIDE_PX}"),
        (Size(MAX_SIDE_PX, 3), None, Expand(margins=Margins(left=1)), f"{MAX_SIDE_PX + 1}"),
        (Size(10, 10), Rect(10, 10, 5, 5), Fill(), "outside"),
        (Size(10, 10), Rect(3, 3, 0, 0), Remove(), "Nothing is selected"),
    ],
    ids=["all selected", "all of it", "a border", "beyond the limit", "grown beyond it", "outside", "empty"],
)
def test_what_is_too_much_is_told_before_a_pixel_of_it_is_read(artist, canvas, chosen, operation, words):
    job, layers = ask(artist, canvas, chosen, operation)
    assert (job.phase, layers) == (JobPhase.FAILED, 0)
    assert job.error.code.startswith("request.")
    assert words in job.sentence
    assert artist.editor.pixels_read == 0


sides = st.integers(1, 40)
places = st.integers(-10, 45)


@settings(max_examples=40, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    engine=st.sampled_from(["test-invert", "embedded"]),
    canvas=st.builds(Size, sides, sides),
    chosen=st.none() | st.builds(Rect, places, places, st.integers(0, 40), st.integers(0, 40)),
    operation=st.sampled_from(
        [Fill(), Fill(prompt="x"), Remove(), Expand(margins=Margins(left=3, bottom=2))]
    ),
    noise=st.integers(0, 5),
)
def test_any_document_gets_a_layer_or_a_sentence_about_itself(
    daemon, artist, kind, engine, canvas, chosen, operation, noise
):
    worker = daemon.worker().pid
    job, layers = ask(artist, canvas, chosen, operation, kind, engine, noise)
    if job.phase is JobPhase.FAILED:
        assert job.error.code.startswith(ITS_OWN_FAULT), (job.error.code, job.sentence)
        assert job.sentence.endswith(".")
        assert layers == 0
    else:
        assert (job.phase, layers) == (JobPhase.DONE, 1)
    assert daemon.worker().pid == worker
    assert "Traceback" not in daemon.log
