"""What a job carries of its document."""

import pytest

from overpaint_client.capture import capture
from overpaint_client.context import Scope
from overpaint_client.insertion import insert_results
from overpaint_client.jobs import EditRequest, Job
from overpaint_client.testing.fake_editor import FakeEditor
from overpaint_client.testing.kinds import DocumentKind, ramp
from overpaint_protocol import framing
from overpaint_protocol.errors import RequestError
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import Edges, Expand, Fill, JobVariant
from overpaint_protocol.pixels import ColorSpace, ImageHeader, PixelFormat

SIZE = Size(30, 20)
PROFILE = b"the bytes of a profile"
WIDE = DocumentKind(PixelFormat.BGRA16, ColorSpace.ICC, PROFILE)


def read(editor, request):
    """Run the capture to its end; returns the message as the daemon would decode it, and its payload."""
    steps = capture(editor, editor.active_document(), Scope(Rect.from_size(SIZE)), request, "job-1")
    while True:
        try:
            next(steps)
        except StopIteration as end:
            message, payload = end.value
            break
    envelope = framing.decode(framing.encode(message, id="1", payload=payload))
    return envelope.message, envelope.payload


@pytest.mark.parametrize("operation", [Fill(), Expand(margins=Margins(right=5))], ids=["fill", "expand"])
def test_a_profile_travels_with_the_pixels_as_it_is(operation):
    editor = FakeEditor()
    document = editor.open_kind("wide", SIZE, WIDE, ramp(SIZE, WIDE.format))
    editor.select(document, Rect(2, 3, 4, 5), bytes([200]) * 20)
    message, payload = read(editor, EditRequest(operation=operation))
    assert message.image.color is ColorSpace.ICC
    assert message.image.take_profile(payload) == PROFILE
    assert b"".join(message.image.take(payload)) == ramp(SIZE, WIDE.format)
    if message.mask is not None:
        assert sum(sum(frame) for frame in message.mask.take(payload)) == 200 * 20


@pytest.mark.parametrize("color", [ColorSpace.SRGB, ColorSpace.LINEAR_SRGB])
def test_without_a_profile_none_is_sent(color):
    editor = FakeEditor()
    kind = DocumentKind(PixelFormat.RGBAF32, color)
    document = editor.open_kind("plain", SIZE, kind, ramp(SIZE, kind.format))
    editor.select(document, Rect(2, 3, 4, 5), bytes([200]) * 20)
    message, payload = read(editor, EditRequest(operation=Fill()))
    assert (message.image.color, message.image.profile) == (color, None)
    assert len(payload) == len(message.image.frames) + len(message.mask.frames)


def test_edges_travel_as_they_were_asked_for():
    editor = FakeEditor()
    document = editor.open_kind("wide", SIZE, WIDE, ramp(SIZE, WIDE.format))
    editor.select(document, Rect(2, 3, 4, 5), bytes([200]) * 20)
    edges = Edges(grow_px=0, blend_px=7, feather_px=None, fill_holes=True)
    assert read(editor, EditRequest(operation=Fill(), edges=edges))[0].edges == edges
    assert read(editor, EditRequest(operation=Fill()))[0].edges == Edges()


def test_a_result_does_not_go_into_a_document_with_another_profile():
    editor = FakeEditor()
    document = editor.open_kind("wide", SIZE, WIDE, ramp(SIZE, WIDE.format))
    job = Job(
        job_id="job-1",
        document_id=document,
        title="wide",
        operation=Fill(),
        canvas=SIZE,
        variants=1,
        profile_digest=editor.document(document).profile_digest,
    )
    rect = Rect(1, 1, 3, 2)
    image = ImageHeader(size=rect.size, format=WIDE.format, color=WIDE.color, frames=(0,))
    variant = JobVariant(job_id="job-1", variant=0, seed=1, engine="e", target=rect, image=image)
    results = {0: (variant, (ramp(rect.size, WIDE.format),))}
    editor.convert(document, DocumentKind(WIDE.format, WIDE.color, b"another"))
    with pytest.raises(RequestError, match="profile changed while the job ran"):
        list(insert_results(editor, job, results))
    editor.convert(document, WIDE)
    list(insert_results(editor, job, results))
    assert editor.numbers(document, rect) == ramp(rect.size, WIDE.format)
