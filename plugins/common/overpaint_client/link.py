"""Link: keeps one session connected to the daemon, on any event loop.

Finds the daemon's connection file, tries its endpoints in order, feeds the transport's events to the session and
carries out what the session wants. Never blocks, never gives up; says in a sentence what is wrong meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from overpaint_protocol.connection import ConnectionInfo
from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.errors import (
    AccessError,
    DaemonNotRunning,
    DaemonStopped,
    LinkError,
    LinkRefused,
    OverpaintError,
)
from overpaint_protocol.zmtp_events import Closed, Connected, Event, MessageReceived, Refused

from .loop import Loop, Watch
from .session import Deliver, Disconnect, Effect, Offered, Opened, Send, Session, SessionState
from .transports.base import Transport
from .transports.sockets import SocketTransport

__all__ = ["USERNAME", "Link", "LinkStatus", "OpenTransport"]

USERNAME = "overpaint"
"""Name given with the token in ZMTP's PLAIN."""

_NO_ROOM = "500"
"""What a daemon without a descriptor left says instead of letting somebody in (spec §1)."""

_TICK_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
_FIRST_RETRY_S = 0.2
_LONGEST_RETRY_S = 3.0

OpenTransport = Callable[[Endpoint, str, str, str], Transport]
"""Takes the address, user name, token and the daemon's identity."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """is_open: jobs can be sent. sentence: for the status line. action: a remedy to offer, or empty.

    is_stopped: no daemon runs because the user wants none.
    """

    is_open: bool
    sentence: str
    action: str = ""
    is_stopped: bool = False


class Link:
    """One session's connection.

    Args:
        loop: where everything runs.
        session: the state machine to feed.
        find: reads the connection file; raises LinkError with a sentence if there is no daemon.
        deliver: called with ``Opened``, ``Offered`` and ``Deliver`` effects.
        changed: called when ``status`` or the amount of unsent bytes may have changed.
        open_transport: makes a Transport; the socket one by default.
    """

    def __init__(
        self,
        loop: Loop,
        session: Session,
        find: Callable[[], ConnectionInfo],
        deliver: Callable[[Opened | Offered | Deliver], None],
        changed: Callable[[], None],
        open_transport: OpenTransport = SocketTransport.open,
    ) -> None:
        self.status = LinkStatus(False, "Connecting to the daemon …")
        self._loop = loop
        self._session = session
        self._find = find
        self._deliver = deliver
        self._changed = changed
        self._open_transport = open_transport
        self._transport: Transport | None = None
        self._watch: Watch | None = None
        self._endpoints: list[Endpoint] = []
        self._token = ""
        self._identity = ""
        self._retry_s = _FIRST_RETRY_S
        self._connect_deadline: float | None = None
        self._is_running = False
        self._is_greeted = False

    def start(self) -> None:
        """Begin to connect, and keep at it until ``close``."""
        if not self._is_running:
            self._is_running = True
            self._look_for_daemon()
            self._loop.call_later(_TICK_S, self._tick)

    def retry_soon(self) -> None:
        """Look for the daemon again without the long pauses of many failures."""
        self._retry_s = _FIRST_RETRY_S

    def close(self) -> None:
        """Drop the connection; the daemon keeps the session's jobs."""
        self._is_running = False
        self._drop()

    def perform(self, effects: list[Effect]) -> None:
        """Carry out what the session wants."""
        for effect in effects:
            if isinstance(effect, Send):
                if self._transport is not None:
                    # Last words and the end can arrive in one piece: then there is nobody to answer any more, Closed
                    # comes next, and the session asks again on the next connection.
                    with suppress(LinkError):
                        self._transport.send(effect.frames)
            elif isinstance(effect, Disconnect):
                self._failed(effect.error, may_retry=effect.may_retry)
                return
            else:
                if isinstance(effect, Opened):
                    self._retry_s = _FIRST_RETRY_S
                    self._set_status(LinkStatus(True, "Connected."))
                self._deliver(effect)
        self._watch_writes()

    @property
    def unsent_bytes(self) -> int:
        """Bytes queued for the daemon."""
        return 0 if self._transport is None else self._transport.pending_bytes()

    # ------------------------------------------------------------ connecting

    def _look_for_daemon(self) -> None:
        if not self._is_running or self._transport is not None:
            return
        try:
            info = self._find()
            self._endpoints = [Endpoint.parse(text) for text in info.endpoints]
        except OverpaintError as error:
            self._failed(error)
            return
        self._token, self._identity = info.token, info.identity
        self._try_next_endpoint(
            DaemonNotRunning("Overpaint's daemon does not run. Start it with “overpaint serve”.")
        )

    def _try_next_endpoint(self, error: OverpaintError) -> None:
        while self._endpoints:
            endpoint = self._endpoints.pop(0)
            try:
                transport = self._open_transport(endpoint, USERNAME, self._token, self._identity)
            except OverpaintError as refused:
                error = refused
                continue
            self._transport = transport
            self._is_greeted = False
            self._connect_deadline = self._loop.now() + _CONNECT_TIMEOUT_S
            self._watch = self._loop.watch(transport.fileno(), self._readable, self._writable)
            self._watch_writes()
            return
        self._failed(error)

    def _failed(self, error: OverpaintError, *, may_retry: bool = True) -> None:
        self._drop()
        if not self._is_running:
            return
        self._set_status(LinkStatus(False, error.message, error.action, isinstance(error, DaemonStopped)))
        if not may_retry:
            self._retry_s = _LONGEST_RETRY_S  # not at once, but another daemon may come: an updated one
        self._loop.call_later(self._retry_s, self._look_for_daemon)
        self._retry_s = min(_LONGEST_RETRY_S, self._retry_s * 1.6)

    def _drop(self) -> None:
        self._connect_deadline = None
        watch, self._watch = self._watch, None
        transport, self._transport = self._transport, None
        if watch is not None:
            watch.close()
        if transport is not None:
            transport.close()
        self._session.lost()

    def _set_status(self, status: LinkStatus) -> None:
        if status != self.status:
            self.status = status
            self._changed()

    # ------------------------------------------------------------ callbacks of the loop

    def _readable(self) -> None:
        if self._transport is not None:
            self._handle(self._transport.handle_readable())

    def _writable(self) -> None:
        if self._transport is not None:
            had = self._transport.pending_bytes()
            self._handle(self._transport.handle_writable())
            if self.unsent_bytes != had:
                self._changed()

    def _handle(self, events: list[Event]) -> None:
        transport = self._transport
        for event in events:
            if self._transport is not transport:
                return
            if isinstance(event, Connected):
                self._connect_deadline = None
                self._is_greeted = True
                self.perform(self._session.connected(self._loop.now()))
            elif isinstance(event, MessageReceived):
                self.perform(self._session.received(event.frames, self._loop.now()))
            elif isinstance(event, Refused):
                self._failed(_refusal(event.reason))
                return
            elif isinstance(event, Closed):
                self._closed(event)
                return
        self._watch_writes()

    def _closed(self, event: Closed) -> None:
        error = event.error or LinkError("The connection to the daemon was lost.")
        if self._is_greeted or not self._endpoints:
            self._failed(error)
        else:
            self._drop()
            self._try_next_endpoint(error)

    def _watch_writes(self) -> None:
        if self._watch is not None and self._transport is not None:
            self._watch.want_write(self._transport.wants_write())

    def _tick(self) -> None:
        if not self._is_running:
            return
        now = self._loop.now()
        if self._connect_deadline is not None and now > self._connect_deadline:
            self._drop()
            self._try_next_endpoint(
                LinkRefused(
                    "The daemon does not answer. Restart it: “overpaint stop”, then “overpaint serve”."
                )
            )
        elif self._session.state is not SessionState.CLOSED:
            self.perform(self._session.tick(now))
        self._loop.call_later(_TICK_S, self._tick)


def _refusal(reason: str) -> OverpaintError:
    """Why the daemon did not let this editor in."""
    if reason == _NO_ROOM:
        return LinkError("Too many programs are connected to the daemon. Close one; this one keeps trying.")
    return AccessError(
        "The daemon did not accept this editor's token. Restart the daemon: “overpaint stop”, then “overpaint serve”.",
        detail=reason,
    )
