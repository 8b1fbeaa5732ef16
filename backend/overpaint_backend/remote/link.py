"""Links to a daemon on another machine, over CURVE: one that only watches, and one for each connection that is passed on.

Heartbeats cannot overtake a frame that is on its way, so over a slow link silence says little about a connection that carries
pictures. The watch carries none: a PING every second, and a daemon that pings as often, so that three seconds of silence mean
that the link is dead, however much travels beside it.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from enum import Enum

import zmq

from overpaint_backend.server.zap import TURNED_AWAY
from overpaint_backend.sockets import monitor_events, receive_frames, send_frames
from overpaint_protocol import framing
from overpaint_protocol.messages import Ping
from overpaint_protocol.pixels import Bytes

from .addresses import RemoteAddress
from .keys import RelayKey

__all__ = ["LINK_DEATH_S", "Bridge", "LinkState", "Watch"]

LINK_DEATH_S = 3.0
"""After so long without a sign the link is dead."""

_PING_MS = 500
_TELLING_MS = 100
"""Until an editor has heard of it."""
_SILENCE_MS = round(LINK_DEATH_S * 1000) - _PING_MS - _TELLING_MS
"""Counted from a PING that was not answered, which may be sent only an interval after the last sign."""

_BRIDGE_SILENCE_MS = 30_000
_CONNECT_MS = 3000
_HANDSHAKE_MS = 10_000
"""CURVE goes to and fro four times, and each may have to be sent again."""
_RETRY_MS, _LONGEST_RETRY_MS = 200, 1000
_AGAIN_S = 2.0
_LAST_LINGER_MS = 2000
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_ENDED = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | _FAILED


class LinkState(Enum):
    """unknown: nothing has been heard yet. silent: nobody answers. lost: it was up. refused: our key is not on the list.

    full: the daemon has no room for another connection. mistaken: somebody answers who does not have the daemon's key.
    """

    UNKNOWN = "unknown"
    UP = "up"
    SILENT = "silent"
    LOST = "lost"
    REFUSED = "refused"
    FULL = "full"
    MISTAKEN = "mistaken"


class Watch:
    """Keeps an idle connection to the daemon, for as long as it takes, and knows how that goes."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: RemoteAddress, key: RelayKey
    ) -> None:
        self.state = LinkState.UNKNOWN
        self._context, self._address, self._key = context, address, key
        self._is_connected = False
        self._was_up = False
        self._again_at: float | None = None
        self._connect()

    def hear(self, now: float) -> bool:
        """Take note of what has happened; returns whether the state is another. Call at least every second."""
        before = self.state
        for event, value, _ in monitor_events(self.monitor):
            self._take(event, value, now)
        with contextlib.suppress(zmq.Again):
            self._socket.recv_multipart(zmq.NOBLOCK)
        if self._again_at is not None and now >= self._again_at:
            self.close()
            self._connect()
        return self.state is not before

    def close(self) -> None:
        """Let go of the link."""
        _close(self._socket, self.monitor, 0)

    def _connect(self) -> None:
        self._again_at = None
        self._is_connected = False
        self._socket = _dealer(self._context, self._address, self._key, _SILENCE_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL, _RETRY_MS)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, _LONGEST_RETRY_MS)
        self.monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(
            zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | _ENDED
        )
        self._socket.connect(str(self._address))

    def _take(self, event: int, value: int, now: float) -> None:
        if event == zmq.EVENT_CONNECTED:
            self._is_connected = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.state, self._was_up = LinkState.UP, True
            # The daemon tells the principal of a connection by what comes on it, and can only then end it when the key is revoked.
            # The answer is that a ping needs a session, and does not matter.
            self._socket.send_multipart(framing.encode(Ping(nonce=0), id="watch"))
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.state = LinkState.FULL if value == TURNED_AWAY else LinkState.REFUSED
            self._is_connected = False
        elif event == zmq.EVENT_DISCONNECTED or event & _FAILED:
            if self.state is LinkState.UP:
                self.state = LinkState.LOST
            elif (
                self._is_connected
            ):  # the daemon does not say why it lets go of who takes it for somebody else
                self.state = LinkState.MISTAKEN
            self._is_connected = False
        else:  # an attempt to connect came to nothing
            self.state = LinkState.LOST if self._was_up else LinkState.SILENT
        if self.state in (LinkState.REFUSED, LinkState.MISTAKEN, LinkState.FULL):
            self._again_at = now + _AGAIN_S  # libzmq gives up for good after a handshake that failed


class Bridge:
    """One connection to the daemon for one connection of an editor. It ends with it and is never made again."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        address: RemoteAddress,
        key: RelayKey,
        *,
        max_frame_bytes: int,
        max_waiting_messages: int,
    ) -> None:
        self.held: list[Bytes] | None = None
        """A message from the daemon that the editor has no room for yet."""
        self._outgoing: deque[Sequence[Bytes]] = deque()
        self.pending_bytes = 0
        self.socket = _dealer(context, address, key, _BRIDGE_SILENCE_MS)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, max_frame_bytes)
        self.socket.setsockopt(zmq.SNDHWM, max_waiting_messages)
        self.socket.setsockopt(zmq.RCVHWM, max_waiting_messages)
        self.monitor: zmq.Socket[bytes] = self.socket.get_monitor_socket(_ENDED)
        self.socket.connect(str(address))

    def has_ended(self) -> bool:
        """Whether the connection is over, or never came to be."""
        return bool(self.monitor.poll(0))

    def push(self, frames: Sequence[Bytes]) -> None:
        """Pass a message on, now or as soon as there is room."""
        self._outgoing.append(frames)
        self.pending_bytes += _length(frames)
        self.pump()

    def pump(self) -> None:
        """Hand over what there is room for."""
        while self._outgoing:
            try:
                send_frames(self.socket, self._outgoing[0])
            except zmq.Again:
                return
            self.pending_bytes -= _length(self._outgoing.popleft())

    def take(self) -> list[Bytes] | None:
        """The next message of the daemon: the one that was held, or one that has come; None if there is none."""
        if self.held is None:
            try:
                frames = receive_frames(self.socket)
            except zmq.Again:
                return None
            return [frame.buffer for frame in frames]
        held, self.held = self.held, None
        return held

    def close(self) -> None:
        """End it; last words get a moment to leave."""
        self.pump()
        _close(self.socket, self.monitor, _LAST_LINGER_MS)


def _dealer(
    context: zmq.Context[zmq.Socket[bytes]], address: RemoteAddress, key: RelayKey, silence_ms: int
) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.IPV6, int(address.is_ipv6)),
        (zmq.CONNECT_TIMEOUT, _CONNECT_MS),
        (zmq.HANDSHAKE_IVL, _HANDSHAKE_MS),
        (zmq.HEARTBEAT_IVL, _PING_MS),
        (zmq.HEARTBEAT_TIMEOUT, silence_ms),
    ):
        socket.setsockopt(option, value)
    key.own.call(socket, key.daemon)
    return socket


def _close(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes], linger_ms: int) -> None:
    socket.disable_monitor()
    monitor.close(linger=0)
    socket.close(linger=linger_ms)


def _length(frames: Sequence[Bytes]) -> int:
    return sum(len(frame) for frame in frames)
