"""Words that are to name files, start programs, or write into logs and user interfaces: they stay words."""

from __future__ import annotations

import os
import re

import msgpack
import pytest
from tests.integration.daemon_process import DaemonProcess, submission
from tests.integration.test_controller import Artist, select

from overpaint_client.jobs import JobPhase
from overpaint_protocol import framing
from overpaint_protocol.messages import (
    AckJob,
    ErrorReply,
    Fill,
    GenerationSettings,
    Hello,
    JobAccepted,
    JobDone,
    LoraWeight,
    Ping,
    Pong,
)

MARK = "mulberry"
"""In each of the words, to find them again."""

WORDS = {
    "line ends": "a\nb\r\n2026-11-27 03:00:00,000 INFO overpaint_backend: job 1 done\u2028c",
    "terminal": "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b0m",
    "turned around": "photo\u202egnp.exe\u2066",
    "NUL": "door\0window",
    "markup": "<b>bold</b><img src='file:///etc/passwd'>&amp;<a href=x>",
    "formats": "%s %n %(name)s {0} {self.__class__} {prompt} $(id) `id` ${HOME}",
    "a path": "../../../../../../../../tmp/x/../etc/passwd",
    "a file's address": "file:///etc/passwd C:\\Windows\\win.ini \\\\host\\share",
    "other programs' LoRA": "<lora:../../../x:1> <hypernet:x:1> embedding:../x __wildcard/../../x__ @file.txt",
    "quotes": "'; DROP TABLE jobs; -- \" ''' \"\"\"\n[engine]\nid = 1",
    "options": "--force -rf /",
    "long": "x" * 7000,
    "letters": "👩\u200d🎨 در\u200cخت ﷽ Ω",
}
IDS = [
    "../x",
    "..\\x",
    "/etc/passwd",
    "a/b",
    "C:x",
    "a b",
    "a\nb",
    "a\0",
    "",
    "x" * 65,
    "ä",
    "\u202ex",
    "*",
    "%s",
]
ODD_IDS = [".", "..", "...", "-rf", "CON", "nul.txt", "a" * 64]
"""Allowed by the protocol, and no names of files to anybody."""

_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ overpaint_backend[.\w]*: ")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with DaemonProcess.start(tmp_path_factory.mktemp("d")) as running:
        yield running


@pytest.fixture(scope="module")
def artist(daemon, tmp_path_factory):
    someone = Artist(tmp_path_factory.mktemp("clients"), lambda: daemon.info)
    yield someone.connect()
    someone.leave()


def names_below(folder):
    return {name for _, folders, files in os.walk(folder) for name in (*folders, *files)}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_words_in_prompts_titles_and_paths_name_a_layer_and_nothing_else(daemon, artist, words):
    words = f"{MARK} {words}"
    before = names_below(daemon.folder)
    document = artist.open(title=words, path=f"/pictures/{words}.kra")
    select(artist, document)
    job = artist.wait(artist.ask(Fill(prompt=words, negative_prompt=words)))
    assert job.phase is JobPhase.DONE, job.sentence
    layer, _ = artist.editor.layers(document)
    for text in (layer.name, job.sentence, job.title):
        assert len(text.splitlines()) == 1
        assert not re.search("[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert len(layer.name) <= len("Fill: ") + 40
    assert MARK in layer.name, "they do name the layer"
    assert artist.loop.run_until(lambda: artist.controller.is_settled, 30)
    assert MARK not in daemon.log
    assert all(_LINE.match(line) for line in daemon.log.splitlines()), "no line is anybody else's"
    new = names_below(daemon.folder) - before
    assert not [name for name in new if not re.fullmatch(r"[\w.-]+", name) or MARK in name]


@pytest.fixture(scope="module")
def client(daemon):
    return daemon.client("hostile")


def send_changed(client, **changes):
    """A submit with fields no constructor would let through; returns the answer."""
    message, payload = submission("job", variants=1)
    frames = framing.encode(message, id="m", payload=payload)
    body = msgpack.unpackb(bytes(frames[2]))
    body.update(changes)
    frames[2] = msgpack.packb(body)
    client.socket.send_multipart(frames)
    return client.receive().message


@pytest.mark.parametrize("value", IDS, ids=ascii)
@pytest.mark.parametrize("field", ["job_id", "document_id", "engine", "recipe", "slot", "lora"])
def test_an_id_that_could_be_a_path_is_refused(daemon, client, field, value):
    if field == "lora":
        settings = {"loras": [{"id": value, "weight": 1.0}]}
        changes = {"operation": {"type": "fill", "prompt": "", "negative_prompt": "", "settings": settings}}
    else:
        changes = {field: value}
    answer = send_changed(client, **changes)
    assert isinstance(answer, ErrorReply)
    assert answer.error.code == "request.invalid"
    assert client.ask(Ping(nonce=1)) == Pong(nonce=1)


@pytest.mark.parametrize("value", ODD_IDS)
def test_an_odd_id_is_looked_up_among_what_is_there_and_names_no_file(daemon, client, value):
    before = names_below(daemon.folder)
    assert client.submit("job", engine=value).error.code == "request.unknown_engine"
    assert client.submit("job", recipe=value).error.code == "request.unknown_recipe"
    lora = Fill(settings=GenerationSettings(loras=(LoraWeight(id=value),)))
    assert "No engine here has the LoRA" in client.submit("job", operation=lora).error.message
    assert isinstance(client.submit(value, document_id=value, slot=value), JobAccepted)
    assert isinstance(client.until_over(value)[-1].message, JobDone)
    kept = names_below(daemon.state / "jobs") - before
    assert value not in kept and not any(name.startswith(value) for name in kept)
    client.ask(AckJob(job_id=value))


@pytest.mark.parametrize("name", ["Krita\n", "\x1b[31mKrita", "Kri\u202eta", "a\0b"], ids=ascii)
def test_an_editors_name_that_others_would_see_in_their_terminals_is_refused(daemon, name):
    stranger = daemon.stranger()
    frames = framing.encode(_hello(), id="m")
    body = msgpack.unpackb(bytes(frames[2]))
    frames[2] = msgpack.packb({**body, "editor": name})
    stranger.socket.send_multipart(frames)
    answer = stranger.receive().message
    assert isinstance(answer, ErrorReply) and answer.error.code == "request.invalid"


def _hello():
    return Hello(
        session_id="named",
        client_version="0",
        editor="Test",
        editor_version="1",
        oldest_minor=0,
        newest_minor=0,
    )
