"""Every family through the real daemon: editor bytes in, layer bytes out, offline."""

from __future__ import annotations

import pytest
from tests.integration.daemon_process import DaemonProcess, picture

from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import (
    CancelJob,
    Expand,
    Fill,
    GenerationSettings,
    JobCancelled,
    JobDone,
    JobFailed,
    JobPreview,
    JobProgress,
    JobState,
    JobVariant,
    SubmitJob,
)

SIZE = Size(48, 64)
QUICK = GenerationSettings(steps=2)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, models_dir, toy):
    for family_id in FAMILIES:
        toy(family_id)
    changes = {
        # Proxies that are not there: whoever asks the network for anything fails.
        **{name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")},
        "OMP_NUM_THREADS": "1",
        "OVERPAINT_MODELS_DIR": str(models_dir),
    }
    with DaemonProcess.start(tmp_path_factory.mktemp("daemon"), environ=changes) as running:
        yield running


@pytest.mark.timeout(300)
@pytest.mark.parametrize("family_id", FAMILIES)
def test_fills_expands_and_cancels(daemon, family_id):
    client = daemon.client(preview_bytes=32768)
    engine = f"toy-{family_id}"
    assert engine in {info.id for info in client.welcome.engines}

    client.submit(
        "fill", operation=Fill(prompt="a red door", settings=QUICK), engine=engine, size=SIZE, variants=2
    )
    received = finish(client)
    variants = [envelope for envelope in received if isinstance(envelope.message, JobVariant)]
    assert [envelope.message.seed for envelope in variants] == [0, 1]
    assert all(envelope.message.engine == engine for envelope in variants)
    pixels = [b"".join(bytes(frame) for frame in envelope.payload) for envelope in variants]
    assert pixels[0] != pixels[1]
    for envelope in received:
        if isinstance(envelope.message, JobPreview):
            assert len(envelope.payload[0]) <= 32768

    image, _, payload = picture(SIZE, 10)
    expand = SubmitJob(
        job_id="expand",
        document_id="document",
        operation=Expand(margins=Margins(right=16), settings=QUICK),
        engine=engine,
        canvas=SIZE,
        context=Rect(0, 0, SIZE.width + 16, SIZE.height),
        image=image,
    )
    client.ask(expand, payload[: len(image.frames)])
    (expanded,) = (e.message for e in finish(client) if isinstance(e.message, JobVariant))
    assert expanded.target.right == SIZE.width + 16

    slow = GenerationSettings(steps=150)
    client.submit("slow", operation=Fill(prompt="a door", settings=slow), engine=engine, size=SIZE)
    while True:
        message = client.receive().message
        if isinstance(message, JobProgress) and message.fraction:
            break
    answer = client.ask(CancelJob(job_id="slow"))
    assert isinstance(answer, JobCancelled)
    assert answer.state is JobState.CANCELLED


def finish(client):
    """Everything up to the end of a job that went well."""
    received = client.receive_until(JobDone, JobFailed)
    assert isinstance(received[-1].message, JobDone), received[-1].message
    return received
