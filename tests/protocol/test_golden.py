"""The bytes on the wire never change within a version."""

import pytest
from tests.protocol import golden
from tests.protocol.examples import EXAMPLES, type_of

from overpaint_protocol import codec, framing
from overpaint_protocol.messages import MESSAGE_TYPES


def test_every_message_has_an_example():
    assert {type_of(name) for name in EXAMPLES} == set(MESSAGE_TYPES)


def test_every_vector_on_disk_has_an_example():
    assert {path.stem for path in golden.FOLDER.glob("*.bin")} == set(EXAMPLES)
    assert {path.stem for path in golden.FOLDER.glob("*.json")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden_vector(name):
    message, payload = EXAMPLES[name]
    frames, meaning = golden.read(name)
    assert golden.frames_of(message, payload) == frames
    envelope = framing.decode(frames)
    assert envelope.message == message
    assert envelope.payload == payload
    assert codec.to_plain(envelope.message) == meaning["body"]
    assert codec.to_plain(envelope.header) == meaning["header"]
    assert [frame.hex() for frame in envelope.payload] == meaning["payload"]
