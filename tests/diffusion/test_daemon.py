"""Every family through the real daemon: editor bytes in, layer bytes out, offline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.diffusion.sessions import SMALL_EDITS
from tests.integration.daemon_process import DaemonProcess, install_plugin, picture, wait_until

from overpaint_backend.models.families import FAMILIES
from overpaint_protocol.errors import UnsupportedOperation
from overpaint_protocol.geometry import Margins, Rect, Size
from overpaint_protocol.messages import (
    CancelJob,
    Edit,
    ErrorReply,
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
    LoraWeight,
    SubmitJob,
)

SIZE = Size(48, 64)
QUICK = GenerationSettings(steps=2)

# A package whose engines are none, which does to the worker what ``small_edits`` does to these tests' own process.
SMALL_EDITS_SOURCE = f"""
from importlib import import_module

class Provider:
    def __init__(self):
        for module, size in {SMALL_EDITS!r}.items():
            import_module(module).calculate_dimensions = lambda area, ratio, size=size: size

    def engines(self):
        return ()
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, models_dir, toy, toy_loras):
    for family_id in FAMILIES:
        toy(family_id)
        toy_loras(family_id)
    changes = {
        # Proxies that are not there: whoever asks the network for anything fails.
        **{name: "http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")},
        "OMP_NUM_THREADS": "1",
        "OVERPAINT_MODELS_DIR": str(models_dir),
    }
    folder = tmp_path_factory.mktemp("daemon")
    install_plugin(folder, "small-edits", "small_edits:Provider", SMALL_EDITS_SOURCE)
    with DaemonProcess.start(folder, environ=changes) as running:
        # later than other workers, for what the package imports
        wait_until(lambda: running.client().welcome.engines, "the engines are announced", 120.0)
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


@pytest.mark.timeout(300)
@pytest.mark.parametrize("family_id", FAMILIES)
def test_paints_an_empty_canvas_and_mixes_what_is_announced(daemon, family_id):
    client = daemon.client()
    (info,) = (info for info in client.welcome.engines if info.id == f"toy-{family_id}")
    assert bool(info.loras) == bool(FAMILIES[family_id].lora_base)
    mix = tuple(LoraWeight(id=lora.id, weight=0.7) for lora in info.loras)
    image, mask, payload = picture(SIZE, 10)
    nothing = tuple(bytes(len(frame)) for frame in payload[: len(image.frames)])
    everything = (b"\xff" * SIZE.area,)

    def paint(job_id, settings):
        fill = SubmitJob(
            job_id=job_id,
            document_id="document",
            operation=Fill(prompt="a red door", settings=settings),
            engine=info.id,
            seed=3,
            canvas=SIZE,
            context=Rect.from_size(SIZE),
            image=image,
            mask=mask,
        )
        client.ask(fill, nothing + everything)
        return layers(client)

    plain = paint("plain", QUICK)
    mixed = paint("mixed", GenerationSettings(steps=2, loras=mix))
    assert (plain != mixed) == bool(mix)
    assert paint("again", QUICK) == plain


@pytest.mark.timeout(300)
@pytest.mark.parametrize("family_id", FAMILIES)
def test_edits_where_the_family_can(daemon, family_id):
    client = daemon.client()
    engine = f"toy-{family_id}"
    answer = client.submit(
        "edit", operation=Edit(prompt="make it night", settings=QUICK), engine=engine, size=SIZE
    )
    if not FAMILIES[family_id].pipelines.edit:
        assert isinstance(answer, ErrorReply)
        assert answer.error.code == UnsupportedOperation.code
        return
    (edited,) = layers(client)
    client.submit("fill", operation=Fill(prompt="make it night", settings=QUICK), engine=engine, size=SIZE)
    assert layers(client) != [edited]


def layers(client):
    """The bytes of the layers of a job that went well."""
    received = [envelope for envelope in finish(client) if isinstance(envelope.message, JobVariant)]
    return [b"".join(bytes(frame) for frame in envelope.payload) for envelope in received]


def finish(client):
    """Everything up to the end of a job that went well."""
    received = client.receive_until(JobDone, JobFailed)
    assert isinstance(received[-1].message, JobDone), received[-1].message
    return received


def test_torch_is_loaded_in_the_worker_alone(daemon):
    client = daemon.client()
    client.submit("fill", operation=Fill(settings=QUICK), engine="toy-sd15", size=SIZE)
    finish(client)
    assert any("libtorch" in path for path in loaded_files(daemon.worker().pid))
    assert not any("libtorch" in path for path in loaded_files(daemon.process.pid))


def test_no_command_of_the_command_line_imports_torch():
    code = (
        "import importlib, pkgutil, sys, overpaint_backend.cli as cli\n"
        "for module in pkgutil.iter_modules(cli.__path__): importlib.import_module(f'{cli.__name__}.{module.name}')\n"
        "print(sorted({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    answer = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert answer.stdout == "[]\n", answer.stderr


def loaded_files(pid):
    """Paths of the files a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if line.count(" ") > 5 and "/" in line}
