"""Mutated messages against framing and codec: only documented errors, and bounded memory.

The bounded run is part of every test run. The long one is ``OVERPAINT_FUZZ_N=1000000 pytest --timeout 0 tests/fuzz``.
"""

import contextlib
import os
import random
import tracemalloc
from types import SimpleNamespace

import pytest
from msgpack import fallback
from tests.protocol.examples import EXAMPLES
from tests.protocol.golden import frames_of

from overpaint_protocol import codec, framing
from overpaint_protocol.errors import ImageError, ProtocolError, RequestError

ROUNDS = int(os.environ.get("OVERPAINT_FUZZ_N", "30000"))
SEEDS = [frames_of(message, payload) for message, payload in EXAMPLES.values()]
INTERESTING = [
    0x00,
    0x01,
    0x7F,
    0x80,
    0x90,
    0xC0,
    0xC1,
    0xC6,
    0xCA,
    0xCF,
    0xD9,
    0xDB,
    0xDC,
    0xDD,
    0xDE,
    0xDF,
    0xFF,
]


def mutate(frames, rng):
    """Change a message in one to four places: a byte, a run, a length, a frame."""
    frames = [bytearray(frame) for frame in frames]
    for _ in range(rng.randint(1, 4)):
        kind = rng.randrange(8)
        frame = rng.choice(frames) if frames else bytearray()
        at = rng.randrange(len(frame) + 1)
        if kind == 0 and frame:
            frame[at % len(frame)] = rng.randrange(256)
        elif kind == 1 and frame:
            frame[at % len(frame)] = rng.choice(INTERESTING)
        elif kind == 2:
            frame[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 3:
            del frame[at : at + rng.randint(1, 16)]
        elif kind == 4 and frames:
            del frames[rng.randrange(len(frames))]
        elif kind == 5 and frames:
            frames.insert(rng.randrange(len(frames) + 1), bytearray(rng.choice(frames)))
        elif kind == 6:
            other = rng.choice(rng.choice(SEEDS))
            frame[at:] = other[rng.randrange(len(other) + 1) :]
        elif frame:
            frame[at % len(frame)] ^= 1 << rng.randrange(8)
    return frames


def feed(frames):
    """What a peer does with a message: decode it, and take the images it describes."""
    envelope = framing.decode(frames)
    for name in ("image", "mask"):
        header = getattr(envelope.message, name, None)
        if hasattr(header, "take"):
            header.take(envelope.payload)


@pytest.fixture(params=["compiled", "pure"], autouse=True)
def msgpack_flavor(request, monkeypatch):
    """The daemon decodes with msgpack's compiled code, the editors with its pure Python."""
    if request.param == "pure":
        monkeypatch.setattr(codec, "msgpack", SimpleNamespace(unpackb=fallback.unpackb))


def test_mutated_messages_raise_only_documented_errors():
    rng = random.Random(2026)
    understood = 0
    for _ in range(ROUNDS):
        try:
            feed(mutate(rng.choice(SEEDS), rng))
            understood += 1
        except (ProtocolError, RequestError, ImageError):
            pass
    assert 0 < understood < ROUNDS  # some mutations are harmless, most are not


def test_mutated_messages_do_not_fill_memory():
    rng = random.Random(7)
    tracemalloc.start()
    try:
        for _ in range(min(ROUNDS, 5000)):
            with contextlib.suppress(ProtocolError, RequestError, ImageError):
                feed(mutate(rng.choice(SEEDS), rng))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
