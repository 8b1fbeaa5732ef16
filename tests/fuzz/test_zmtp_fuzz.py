"""Mutated server streams against ZmtpClient: only documented errors, bounded memory, any split the same.

Deterministic: stream number *n* depends on *n* alone, and a failure names it. The normal run makes 20,000 streams; for
a long one set the number::

    OVERPAINT_FUZZ_N=1000000 python -m pytest tests/fuzz/test_zmtp_fuzz.py --timeout 0
"""

from __future__ import annotations

import os
import random
import tracemalloc

from tests.protocol import zmtp_server_bytes as server

from overpaint_protocol.errors import ProtocolError
from overpaint_protocol.zmtp import ZmtpClient
from overpaint_protocol.zmtp_events import Connected, MessageReceived, PingReceived, PongReceived, Refused
from overpaint_protocol.zmtp_frames import encode_command

DEFAULT_STREAMS = 20_000
LIMITS = {"max_frame_bytes": 4096, "max_message_frames": 8, "max_message_bytes": 16_384}
MOST_PENDING_BYTES = 64 + 600 + 16 * 32  # greeting, handshake commands, 16 PONGs

TRAFFIC = (
    server.message([b"OVP1", b"\x81\xa1t\xa7welcome", b"\x80"])
    + server.PING
    + server.message([b"", b"x" * 255, b"y" * 256, bytes(4096)])
    + encode_command(b"PING", b"\x00\x0a0123456789abcdef")
    + b"\x01\x02ab"
    + encode_command(b"PONG", b"ctx")
    + b"\x00\x01c"
    + encode_command(b"SUBSCRIBE", b"topic")
)
SEEDS = {
    "null": server.null_handshake() + TRAFFIC,
    "null 3.0": server.greeting(minor=0) + server.ready(b"DEALER", identity=b"peer") + TRAFFIC,
    "plain": server.plain_handshake() + TRAFFIC + server.error(b"500"),
    "plain refused": server.greeting(b"PLAIN") + server.error(b"400"),
    "plain refused by libzmq": server.greeting(b"PLAIN") + server.WELCOME + server.libzmq_plain_error(b"400"),
}
EVENT_TYPES = (Connected, MessageReceived, PingReceived, PongReceived, Refused)
INTERESTING = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x5E, 0x7F, 0x80, 0xFE, 0xFF)


def mutate(rng: random.Random, data: bytearray) -> None:
    """Change ``data`` in one place, more often near its start, where the structure is."""
    place = (
        min(rng.randrange(len(data) + 1), rng.randrange(len(data) + 1))
        if rng.random() < 0.7
        else rng.randrange(200)
    )
    place = min(place, max(0, len(data) - 1))
    kind = rng.randrange(8)
    if kind == 0:
        data[place : place + 1] = bytes((rng.choice(INTERESTING),))
    elif kind == 1:
        data[place : place + 1] = bytes(octet ^ (1 << rng.randrange(8)) for octet in data[place : place + 1])
    elif kind == 2:
        data[place:place] = rng.randbytes(rng.randrange(1, 12))
    elif kind == 3:
        del data[place : place + rng.randrange(1, 12)]
    elif kind == 4:
        piece = data[place : place + rng.randrange(1, 80)]
        data[place:place] = piece * rng.randrange(1, 12)
    elif kind == 5:
        del data[place:]
    elif kind == 6:
        data[place : place + 9] = server.long_header(
            rng.randrange(8), rng.choice((0, 1, 4096, 4097, 16_385, 1 << 40, (1 << 64) - 1))
        )
    else:
        other = rng.choice(list(SEEDS.values()))
        data[place:] = other[rng.randrange(len(other)) :]


def make_stream(number: int) -> tuple[bool, bytes, random.Random]:
    rng = random.Random(number)
    name = rng.choice(list(SEEDS))
    data = bytearray(SEEDS[name])
    for _ in range(rng.randrange(1, 5)):
        if data:
            mutate(rng, data)
    is_plain = name.startswith("plain") if rng.random() < 0.95 else rng.random() < 0.5
    return is_plain, bytes(data), rng


def feed(is_plain: bool, pieces: list[bytes]) -> tuple[list, str | None]:
    """Feed one client, checking at each step what must hold; returns its events and the code of its failure."""
    credentials = {"username": "overpaint", "password": "token"} if is_plain else {}
    client = ZmtpClient(**credentials, **LIMITS)
    events: list = []
    for piece in pieces:
        try:
            client.receive_data(piece)
        except ProtocolError as error:
            assert error.message
            assert error.detail
            assert len(error.detail) < 400
            assert client.buffered_bytes == client.pending_bytes == 0
            events += client.events()
            return check(events), error.code
        assert client.buffered_bytes <= LIMITS["max_message_bytes"]
        assert client.pending_bytes <= MOST_PENDING_BYTES
        assert len(client.receive_buffer()) > 0
        events += client.events()
    return check(events), None


def check(events: list) -> list:
    for event in events:
        assert isinstance(event, EVENT_TYPES)
        if isinstance(event, MessageReceived):
            assert 1 <= len(event.frames) <= LIMITS["max_message_frames"]
            assert max(map(len, event.frames)) <= LIMITS["max_frame_bytes"]
            assert sum(map(len, event.frames)) <= LIMITS["max_message_bytes"]
    return events


def split(rng: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_mutated_streams_raise_only_documented_errors_however_they_are_split():
    count = int(os.environ.get("OVERPAINT_FUZZ_N", DEFAULT_STREAMS))
    outcomes: dict[str, int] = {}
    for number in range(count):
        is_plain, data, rng = make_stream(number)
        try:
            whole = feed(is_plain, [data])
            assert feed(is_plain, split(rng, data)) == whole
        except Exception as error:
            raise AssertionError(f"stream {number}: {error!r}") from error
        outcome = whole[1] or "alive"
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    # The mutations are worth something only while they reach every end.
    if count >= DEFAULT_STREAMS:
        for outcome in ("alive", "protocol.malformed", "protocol.too_large", "protocol.unsupported_version"):
            assert outcomes[outcome] > count // 500, outcomes


def test_memory_stays_bounded_whatever_is_announced():
    """A client holds its 64 KiB stage, one message and little else, for every stream."""
    streams = [make_stream(number)[:2] for number in range(300)]
    tracemalloc.start()
    try:
        for is_plain, data in streams:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            feed(is_plain, [data])
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 64 * 1024 + 2 * LIMITS["max_message_bytes"] + 40 * len(data) + 65_536
    finally:
        tracemalloc.stop()
