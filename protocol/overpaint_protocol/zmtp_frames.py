"""How ZMTP writes frames, commands and metadata (see ``zmtp``; RFC 37, "Formal Grammar" and "Framing")."""

from __future__ import annotations

__all__ = [
    "COMMAND",
    "LONG",
    "METADATA",
    "MORE",
    "RESERVED",
    "encode_command",
    "encode_header",
    "encode_hello",
    "parse_command",
    "parse_metadata",
]

MORE, LONG, COMMAND, RESERVED = 0x01, 0x02, 0x04, 0xF8
"""Bits of the flags octet."""

_NAME_CHARACTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+")


def encode_header(flags: int, size: int) -> bytes:
    """Write flags and size of a frame whose body has ``size`` bytes; LONG is added where it is needed."""
    if size > 255:
        return bytes((flags | LONG,)) + size.to_bytes(8, "big")
    return bytes((flags, size))


def encode_command(name: bytes, data: bytes) -> bytes:
    """Write a whole command frame."""
    body = bytes((len(name),)) + name + data
    return encode_header(COMMAND, len(body)) + body


def _encode_property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


METADATA = _encode_property(b"Socket-Type", b"DEALER") + _encode_property(b"Identity", b"")
"""What a DEALER without a name of its own says in READY and INITIATE; libzmq's says the same bytes."""


def encode_hello(username: str | None, password: str | None) -> bytes:
    """Write PLAIN's HELLO command, or nothing where there are no credentials.

    Raises:
        ValueError: only one of the two is given, or one is longer than 255 bytes in UTF-8.
    """
    if username is None and password is None:
        return b""
    if username is None or password is None:
        raise ValueError("PLAIN needs both a username and a password")
    data = b""
    for credential in (username.encode(), password.encode()):
        if len(credential) > 255:
            raise ValueError(f"a credential of {len(credential)} bytes, at most 255")
        data += bytes((len(credential),)) + credential
    return encode_command(b"HELLO", data)


def parse_command(body: bytes) -> tuple[bytes, bytes]:
    """Split a command frame's body into name and data.

    Raises:
        ValueError: the body is no command.
    """
    name_end = 1 + body[0] if body else 0
    name = body[1:name_end]
    if not name or len(body) < name_end or not name.isalpha():
        raise ValueError(f"malformed command {body[:32]!r}")
    return name, body[name_end:]


def parse_metadata(data: bytes) -> dict[bytes, bytes]:
    """Read the properties of a READY command; names, which have no case, come in lower case.

    Raises:
        ValueError: the properties are cut short, misnamed or named twice.
    """
    properties: dict[bytes, bytes] = {}
    start = 0
    while start < len(data):
        name_end = start + 1 + data[start]
        name = data[start + 1 : name_end].lower()
        value_start = name_end + 4
        value_end = value_start + int.from_bytes(data[name_end:value_start], "big")
        if not name or not _NAME_CHARACTERS.issuperset(name):
            raise ValueError(f"metadata with a property named {name[:32]!r}")
        if value_start > len(data) or value_end > len(data):
            raise ValueError(f"metadata cut short in {name[:32]!r}")
        if name in properties:
            raise ValueError(f"metadata with two properties named {name[:32]!r}")
        properties[name] = data[value_start:value_end]
        start = value_end
    return properties
