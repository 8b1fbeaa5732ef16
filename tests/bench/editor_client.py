"""The editors' side of the wire without an editor: the product's own client, driven from outside.

``EditorClient`` is Link and Session as a plug-in has them and measures jobs; ``Wire`` is one bare connection for pings and
whatever a plug-in would not say. Both live on the plug-ins' SelectorLoop, several on one loop if wanted.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from overpaint_client.link import USERNAME, Link
from overpaint_client.loop import SelectorLoop
from overpaint_client.session import Deliver, Opened, Session
from overpaint_client.transports.sockets import SocketTransport
from overpaint_protocol import framing
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.geometry import Rect, Size
from overpaint_protocol.messages import (
    Edges,
    Fill,
    Hello,
    JobAccepted,
    JobAcked,
    JobDone,
    JobFailed,
    JobVariant,
    Ping,
    Pong,
    SubmitJob,
    Welcome,
)
from overpaint_protocol.pixels import Bytes, ImageHeader, PixelFormat, split_bands
from overpaint_protocol.version import MINOR, PRODUCT_VERSION
from overpaint_protocol.zmtp_events import Closed, Connected, MessageReceived, Refused

WAIT_S = 120.0
"""Longest wait for anything that must happen."""


def hello(session_id: str | None = None) -> Hello:
    """What every client here opens with."""
    return Hello(
        session_id=session_id or secrets.token_hex(8),
        client_version=PRODUCT_VERSION,
        editor="Bench",
        editor_version="1",
        oldest_minor=0,
        newest_minor=MINOR,
    )


@dataclass(frozen=True, slots=True)
class Picture:
    """What a job sends. image, mask: their headers. payload: bands of both; ``image_bytes`` of them are the image's."""

    size: Size
    image: ImageHeader
    mask: ImageHeader
    payload: tuple[Bytes, ...]

    @classmethod
    def random(cls, side_px: int, pixel_format: PixelFormat = PixelFormat.RGBA8) -> Picture:
        """A square of noise, opaque or not, of which the middle half is selected."""
        size = Size(side_px, side_px)
        row_bytes = side_px * pixel_format.bytes_per_pixel
        noise = secrets.token_bytes(min(1 << 20, row_bytes * side_px))
        pixels = bytearray((noise * (row_bytes * side_px // len(noise) + 1))[: row_bytes * side_px])
        quarter = side_px // 4
        row = bytes(quarter) + b"\xff" * (side_px - 2 * quarter) + bytes(quarter)
        mask = bytearray(bytes(side_px) * quarter + row * (side_px - 2 * quarter) + bytes(side_px) * quarter)
        rect = Rect.from_size(size)
        bands = split_bands(pixels, rect, pixel_format)
        mask_bands = split_bands(mask, rect, PixelFormat.GRAY8)
        last = len(bands) + len(mask_bands)
        return cls(
            size,
            ImageHeader(size=size, format=pixel_format, frames=tuple(range(len(bands)))),
            ImageHeader(size=size, format=PixelFormat.GRAY8, frames=tuple(range(len(bands), last))),
            (*bands, *mask_bands),
        )

    @property
    def image_bytes(self) -> int:
        """Bytes of the pixels alone: the payload that peak memory is counted in."""
        return self.image.byte_length

    def job(self, prompt: str = "", **changes: object) -> SubmitJob:
        """A fill of what is selected."""
        fields: dict[str, object] = {
            "job_id": secrets.token_hex(8),
            "document_id": "document",
            "operation": Fill(prompt=prompt),
            "engine": "test-invert",
            "canvas": self.size,
            "context": Rect.from_size(self.size),
            "image": self.image,
            "mask": self.mask,
            "edges": Edges(grow_px=0, blend_px=0),
            "seed": 0,
            **changes,
        }
        return SubmitJob(**fields)


@dataclass(frozen=True, slots=True)
class JobTimes:
    """Milliseconds from the call of ``submit``. pixels: the variant is here. begun_at: of ``time.perf_counter``."""

    begun_at: float
    accepted_ms: float
    pixels_ms: float
    done_ms: float
    pixels: tuple[Bytes, ...]


class EditorClient:
    """A session as a plug-in has it.

    Args:
        info: the daemon. endpoint: which of its addresses, 0 for ipc, 1 for tcp.
    """

    def __init__(self, info: ConnectionInfo, endpoint: int = 0) -> None:
        info = replace(info, endpoints=(info.endpoints[endpoint],))
        self.loop = SelectorLoop()
        self.welcome: Welcome | None = None
        self._heard: list[tuple[float, object, tuple[Bytes, ...]]] = []
        self._session = Session(hello())
        self._link = Link(self.loop, self._session, lambda: info, self._take, lambda: None)
        self._link.start()
        self._wait(lambda: self.welcome is not None)

    def fill(
        self, picture: Picture, prompt: str = "", at_pixels: Callable[[], None] | None = None
    ) -> JobTimes:
        """One job from its submit to its acknowledgement; afterwards the daemon has forgotten it.

        at_pixels: called when they are here and nothing else has been read since.
        """
        message = picture.job(prompt)
        self._heard.clear()
        begun_at = time.perf_counter()
        self._link.perform(self._session.submit(message, picture.payload))
        if at_pixels is not None:
            self._wait(lambda: self._when(JobVariant) is not None)
            at_pixels()
        self._wait(lambda: self._when(JobDone, JobFailed) is not None)
        for _, word, _ in self._heard:
            if isinstance(word, JobFailed):
                raise AssertionError(f"the job failed: {word.error}")
        pixels = next(payload for _, word, payload in self._heard if isinstance(word, JobVariant))
        times = JobTimes(
            begun_at,
            self._since(begun_at, JobAccepted),
            self._since(begun_at, JobVariant),
            self._since(begun_at, JobDone),
            pixels,
        )
        self._heard.clear()
        self._link.perform(self._session.ack(message.job_id))
        self._wait(lambda: self._when(JobAcked) is not None)
        return times

    def close(self) -> None:
        """Leave."""
        self._link.close()
        self.loop.close()

    def _take(self, effect: object) -> None:
        if isinstance(effect, Opened):
            self.welcome = effect.welcome
        elif isinstance(effect, Deliver):
            self._heard.append((time.perf_counter(), effect.message, effect.payload))

    def _when(self, *kinds: type) -> float | None:
        return next((at for at, word, _ in self._heard if isinstance(word, kinds)), None)

    def _since(self, begun_at: float, kind: type) -> float:
        at = self._when(kind)
        assert at is not None, kind
        return (at - begun_at) * 1000

    def _wait(self, is_done) -> None:
        assert self.loop.run_until(is_done, WAIT_S), self._link.status


class Wire:
    """One connection that has said hello. ``heard`` gets (time.perf_counter, envelope) of all that comes."""

    def __init__(self, info: ConnectionInfo, endpoint: int = 0, loop: SelectorLoop | None = None) -> None:
        self.loop = loop or SelectorLoop()
        self.heard: list[tuple[float, framing.Envelope]] = []
        self.on_message = self._note
        self.error: object | None = None
        self.is_ready = False
        self._next_id = framing.message_ids()
        self._nonce = 0
        self._transport = SocketTransport.open(
            Endpoint.parse(info.endpoints[endpoint]), USERNAME, info.token, info.identity
        )
        self._watch = self.loop.watch(self._transport.fileno(), self._readable, self._writable)
        self._watch.want_write(self._transport.wants_write())

    def greet(self) -> Welcome:
        """Say hello and wait for the welcome."""
        assert self.loop.run_until(lambda: self.is_ready or self.error is not None, WAIT_S)
        assert self.error is None, self.error
        welcome = self.ask(hello()).message
        assert isinstance(welcome, Welcome), welcome
        return welcome

    def send(self, message: object, payload: tuple[Bytes, ...] = ()) -> str:
        """Queue a message; returns its id."""
        message_id = self._next_id()
        self._transport.send(framing.encode(message, id=message_id, payload=payload))
        self._watch.want_write(self._transport.wants_write())
        return message_id

    def ask(self, message: object, payload: tuple[Bytes, ...] = ()) -> framing.Envelope:
        """The answer to a message."""
        message_id = self.send(message, payload)
        return self.wait(lambda envelope: envelope.header.re == message_id)[1]

    def wait(self, is_it) -> tuple[float, framing.Envelope]:
        """When the first message that ``is_it`` came, and the message; it and those before are taken out of ``heard``."""

        def find() -> int | None:
            return next((index for index, (_, envelope) in enumerate(self.heard) if is_it(envelope)), None)

        assert self.loop.run_until(lambda: find() is not None or self.error is not None, WAIT_S)
        index = find()
        assert index is not None, self.error
        found = self.heard[index]
        del self.heard[: index + 1]
        return found

    def ping_ms(self) -> float:
        """How long a ping takes."""
        self._nonce += 1
        begun_at = time.perf_counter()
        self.send(Ping(nonce=self._nonce))
        at, _ = self.wait(lambda envelope: envelope.message == Pong(nonce=self._nonce))
        return (at - begun_at) * 1000

    def close(self) -> None:
        """Leave."""
        self._watch.close()
        self._transport.close()

    def _note(self, envelope: framing.Envelope) -> None:
        self.heard.append((time.perf_counter(), envelope))

    def _readable(self) -> None:
        self._handle(self._transport.handle_readable())

    def _writable(self) -> None:
        self._handle(self._transport.handle_writable())

    def _handle(self, events) -> None:
        for event in events:
            if isinstance(event, Connected):
                self.is_ready = True
            elif isinstance(event, MessageReceived):
                self.on_message(framing.decode(event.frames))
            elif isinstance(event, (Refused, Closed)):
                self.error = self.error or event
                self.close()
        if self.error is None:
            self._watch.want_write(self._transport.wants_write())
