"""Ask the daemon one thing and wait for the answer. For the command line; an editor never waits."""

from __future__ import annotations

import uuid

from overpaint_protocol import connection, framing
from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.errors import AccessError, LinkError, LinkRefused, LinkTimeout, OverpaintError
from overpaint_protocol.messages import ErrorReply, Hello, SessionId
from overpaint_protocol.version import MINOR, PRODUCT_VERSION
from overpaint_protocol.zmtp_events import Closed, Connected, Event, MessageReceived, Refused

from .link import USERNAME
from .loop import SelectorLoop, Watch
from .transports.sockets import SocketTransport

__all__ = ["ask"]


def ask(message: object, timeout_s: float = 10.0, info: ConnectionInfo | None = None) -> object:
    """Send ``message`` in a session of its own and return what the daemon answers.

    Args:
        message: a request that is answered by one message, such as InspectDaemon.
        timeout_s: how long to wait in all, in seconds.
        info: the daemon to ask, by default the one whose connection file is found.

    Raises:
        DaemonNotRunning: there is no daemon.
        LinkRefused: nothing listens at any of its addresses.
        LinkTimeout: it does not answer.
        AccessError: it does not accept the token.
        OverpaintError: what it answered instead.
    """
    info = info or connection.find()
    loop = SelectorLoop()
    deadline = loop.now() + timeout_s
    error: OverpaintError = LinkRefused(
        "Overpaint's daemon does not answer. Start it with “overpaint serve”, then try again."
    )
    try:
        for text in info.endpoints:
            try:
                return _Exchange(loop, Endpoint.parse(text), info, message).run(deadline)
            except LinkRefused as refused:
                error = refused
        raise error
    finally:
        loop.close()


class _Exchange:
    """hello, the question, and what came back, over one endpoint."""

    def __init__(self, loop: SelectorLoop, endpoint: Endpoint, info: ConnectionInfo, message: object) -> None:
        self._loop = loop
        self._transport = SocketTransport.open(endpoint, USERNAME, info.token, info.identity)
        self._message = message
        self._next_id = framing.message_ids()
        self._hello_id = self._next_id()
        self._question_id = self._next_id()
        self._answer: object | None = None
        self._error: OverpaintError | None = None
        self._watch: Watch | None = None

    def run(self, deadline: float) -> object:
        try:
            self._watch = self._loop.watch(self._transport.fileno(), self._readable, self._writable)
            self._watch.want_write(self._transport.wants_write())
            is_over = self._loop.run_until(
                lambda: self._answer is not None or self._error is not None,
                max(0.0, deadline - self._loop.now()),
            )
        finally:
            if self._watch is not None:
                self._watch.close()
            self._transport.close()
        if self._error is not None:
            raise self._error
        if not is_over:
            raise LinkTimeout("The daemon does not answer. End it with “overpaint stop” and try again.")
        return self._answer

    def _readable(self) -> None:
        self._handle(self._transport.handle_readable())

    def _writable(self) -> None:
        self._handle(self._transport.handle_writable())

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Connected):
                hello = Hello(
                    session_id=SessionId(uuid.uuid4().hex),
                    client_version=PRODUCT_VERSION,
                    editor="cli",
                    editor_version=PRODUCT_VERSION,
                    oldest_minor=0,
                    newest_minor=MINOR,
                )
                self._transport.send(framing.encode(hello, id=self._hello_id))
                self._transport.send(framing.encode(self._message, id=self._question_id))
            elif isinstance(event, MessageReceived):
                self._received(event)
            elif isinstance(event, Refused):
                self._fail(
                    AccessError(
                        "The daemon did not accept the token in its connection file. End it with “overpaint stop” "
                        "and start it again with “overpaint serve”.",
                        detail=event.reason,
                    )
                )
            elif isinstance(event, Closed):
                self._fail(event.error or LinkError("The daemon closed the connection. Try again."))
        if self._watch is not None:
            self._watch.want_write(self._transport.wants_write())

    def _received(self, event: MessageReceived) -> None:
        try:
            envelope = framing.decode(event.frames)
        except OverpaintError as error:
            self._fail(error)
            return
        if isinstance(envelope.message, ErrorReply):
            self._fail(envelope.message.error.to_exception())
        elif envelope.header.re == self._question_id:
            self._answer = envelope.message

    def _fail(self, error: OverpaintError) -> None:
        if self._answer is None and self._error is None:
            self._error = error
