"""What a ZMTP server sends, as bytes, for tests that need to bend or cut them.

Held to libzmq by ``tests/conformance/test_zmtp_libzmq.py``: its ROUTER sends these bytes and its DEALER takes them.
"""

from __future__ import annotations

from collections.abc import Iterable

from overpaint_protocol.zmtp_frames import COMMAND, LONG, MORE, encode_command, encode_header

WELCOME = encode_command(b"WELCOME", b"")
PING = encode_command(b"PING", b"\x00\x32")


def greeting(mechanism: bytes = b"NULL", *, major: int = 3, minor: int = 1) -> bytes:
    return b"\xff" + bytes(7) + b"\x01\x7f" + bytes((major, minor)) + mechanism.ljust(20, b"\0") + bytes(32)


def prop(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def ready(socket_type: bytes = b"ROUTER", *, identity: bytes = b"") -> bytes:
    return encode_command(b"READY", prop(b"Socket-Type", socket_type) + prop(b"Identity", identity))


def null_handshake() -> bytes:
    return greeting() + ready()


def plain_handshake() -> bytes:
    return greeting(b"PLAIN") + WELCOME + ready()


def error(reason: bytes) -> bytes:
    return encode_command(b"ERROR", bytes((len(reason),)) + reason)


def libzmq_plain_error(reason: bytes) -> bytes:
    """ERROR as the PLAIN server of libzmq spells it, see ``zmtp``."""
    body = b"^RROR" + bytes((len(reason),)) + reason
    return encode_header(COMMAND, len(body)) + body


def long_header(flags: int, size: int) -> bytes:
    return bytes((flags | LONG,)) + size.to_bytes(8, "big")


def message(frames: Iterable[bytes]) -> bytes:
    bodies = list(frames)
    return b"".join(
        encode_header(MORE if index < len(bodies) - 1 else 0, len(body)) + body
        for index, body in enumerate(bodies)
    )
