"""A message as a list of frames (spec §2): magic, header, body, payload.

::

    frame 0   b"OVP1"        magic with the major version
    frame 1   msgpack map    header: t (type), id, re (id of the message this answers, optional)
    frame 2   msgpack map    body: the dataclass named by t
    frame 3…  raw bytes      payload, named by index from the body
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import codec
from .errors import ProtocolError, TooLarge, UnknownType, UnsupportedVersion
from .messages import MESSAGE_TYPES, type_name
from .pixels import Bytes
from .version import MAJOR

__all__ = [
    "MAGIC",
    "MAX_FRAMES",
    "MAX_PAYLOAD_FRAMES",
    "Envelope",
    "Header",
    "decode",
    "encode",
    "message_ids",
    "read_header",
]

MAGIC = b"OVP1"
MAX_PAYLOAD_FRAMES = 1024
"""Payload frames of one message: 4 GiB in full bands, well beyond any limit on bytes."""

MAX_FRAMES = 3 + MAX_PAYLOAD_FRAMES
"""Frames of one message, with magic, header and body."""

_MAX_TYPE_CHARS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a relay or a log needs to know of a message.

    t: the message's type. id: chosen by the sender, at most 64 characters. re: the id this one answers.
    """

    t: str
    id: str
    re: str | None = None

    def __post_init__(self) -> None:
        for text in (self.t, self.id, self.re or "-"):
            if not 0 < len(text) <= _MAX_TYPE_CHARS:
                raise ProtocolError("A message header holds a text that is empty or too long.")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message with its header and payload frames."""

    header: Header
    message: object
    payload: tuple[Bytes, ...] = ()


def message_ids() -> Callable[[], str]:
    """A source of message ids that differ from those of any other sender."""
    prefix = uuid.uuid4().hex[:8]
    counter = itertools.count(1)
    return lambda: f"{prefix}-{next(counter)}"


def encode(message: object, *, id: str, re: str | None = None, payload: Sequence[Bytes] = ()) -> list[Bytes]:
    """Lay a message out in frames; payload frames are handed on without a copy."""
    header = Header(t=type_name(message), id=id, re=re)
    return [MAGIC, codec.pack(header), codec.pack(message), *payload]


def read_header(frames: Sequence[Bytes]) -> Header:
    """Check the magic and read the header alone.

    Raises:
        UnsupportedVersion: another major version of the protocol.
        ProtocolError: not a message at all.
        TooLarge: too many frames.
    """
    if len(frames) < 3:
        raise ProtocolError(f"A message has at least 3 frames, not {len(frames)}.")
    if len(frames) > MAX_FRAMES:
        raise TooLarge(f"A message has {len(frames)} frames; the limit is {MAX_FRAMES}.")
    magic = bytes(frames[0][:8])
    if magic != MAGIC:
        if magic[:3] == MAGIC[:3] and len(magic) == 4:
            raise UnsupportedVersion(
                f"The other side speaks protocol {chr(magic[3])!r}, this side {MAJOR}. Update the older of the two."
            )
        raise ProtocolError("The message does not start with Overpaint's magic.")
    return codec.unpack(frames[1], Header)


def decode(frames: Sequence[Bytes]) -> Envelope:
    """Read a message.

    Raises:
        UnsupportedVersion, ProtocolError, TooLarge: as in ``read_header``, or the body is malformed.
        UnknownType: the type is not known here.
        RequestError: the body is well formed and a value is outside its range.
    """
    header = read_header(frames)
    cls = MESSAGE_TYPES.get(header.t)
    if cls is None:
        raise UnknownType(f"There is no message of type {header.t!r} in this version.")
    return Envelope(header, codec.unpack(frames[2], cls), tuple(frames[3:]))
