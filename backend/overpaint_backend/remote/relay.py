"""The relay: editors on this machine work with a daemon on another one, and need not know.

It stands where a daemon would: same connection file, same token, same sockets. Each connection of an editor gets one of its own
to the daemon, over CURVE, and frames pass both ways unchanged and uncompressed, so sessions, jobs and results are the daemon's
and everything protocol/README.md says of them holds. Three messages end here: ``ping``, because an answer must not wait behind
an upload, ``daemon.shutdown``, which ends the relay, and whatever is said while the link is down, which is answered with a
sentence that says so.

A link that dies takes the editors' connections with it. They come back by themselves, as they do to a daemon that was restarted,
and ask for what they missed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import zmq

from overpaint_backend.config import DaemonSettings
from overpaint_backend.freed_memory import FreedMemory
from overpaint_backend.server.entrance import Entrance
from overpaint_backend.server.hosting import host, until_signalled
from overpaint_backend.server.router import Incoming, Sent
from overpaint_protocol import framing
from overpaint_protocol.errors import AccessError, OverpaintError, Unreachable
from overpaint_protocol.messages import DaemonStopping, ErrorInfo, ErrorReply, Ping, Pong, ShutDown, type_name

from .addresses import RemoteAddress
from .keys import RelayKey
from .link import LINK_DEATH_S, Bridge, LinkState, Watch

__all__ = ["run_relay"]

_RETRY_MS = 5
_MAX_PENDING_BYTES = 256 * 1024 * 1024
"""What may wait for the link; beyond it editors are not read from until there is room."""

_PING, _SHUT_DOWN = type_name(Ping(nonce=0)), type_name(ShutDown())

_log = logging.getLogger(__name__)


def run_relay(
    settings: DaemonSettings, address: RemoteAddress, key: RelayKey, say: Callable[[str], None]
) -> int:
    """Pass everything on to the daemon at ``address`` until a signal or ``daemon.shutdown`` ends it.

    say: is told how the link is, in a sentence, whenever that changes.

    Returns:
        The exit code: 0 after an ordered end, 1 if it could not start, also because the daemon does not accept the key; the
        reason is on standard error.
    """
    return host(settings, lambda: _Relay(settings, address, key, say).serve())


class _Relay:
    """Everything a running relay holds."""

    def __init__(
        self, settings: DaemonSettings, address: RemoteAddress, key: RelayKey, say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._address = address
        self._key = key
        self._say = say
        self._freed_memory = FreedMemory(lambda give_back: give_back())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._entrance = Entrance(self._context, settings)
        self._watch = Watch(self._context, address, key)
        self._bridges: dict[bytes, Bridge] = {}
        self._ended: set[bytes] = set()
        self._next_id = framing.message_ids()
        self._is_stopping = False

    def serve(self) -> None:
        """Find out whether the daemon lets us in, listen, and pass on."""
        with until_signalled() as is_signalled:
            try:
                self._wait_for_link()
                self._entrance.open(relay_to=str(self._address))
                while not (is_signalled() or self._is_stopping):
                    self._turn()
                if self._is_stopping:  # before editors see that this relay is gone
                    self._settings.mark_stopped()
                self._entrance.hide()
                for peer in self._bridges:
                    self._tell(peer, DaemonStopping())
            finally:
                for bridge in self._bridges.values():
                    bridge.close()
                self._watch.close()
                self._entrance.close()
                self._context.term()
        _log.info("ended")

    def _wait_for_link(self) -> None:
        """Until it is known how the link is, or for as long as a link may be silent.

        Raises:
            AccessError: the daemon does not accept our key, or is not the one we know.
        """
        deadline = time.monotonic() + LINK_DEATH_S
        while self._watch.state is LinkState.UNKNOWN and time.monotonic() < deadline:
            self._watch.monitor.poll(round(1000 * max(0.0, deadline - time.monotonic())))
            self._watch.hear(time.monotonic())
        if self._watch.state in (LinkState.REFUSED, LinkState.MISTAKEN):
            raise self._why_down()
        self._announce()

    # ------------------------------------------------------------ the loop

    def _turn(self) -> None:
        is_left = self._pass_back()
        gate, router = self._entrance.gate, self._entrance.router
        waiting_bytes = sum(bridge.pending_bytes for bridge in self._bridges.values())
        poller = zmq.Poller()
        for socket in (gate.socket, router.monitor, self._watch.monitor):
            poller.register(socket, zmq.POLLIN)
        if waiting_bytes < _MAX_PENDING_BYTES:
            poller.register(router.socket, zmq.POLLIN)
        for bridge in self._bridges.values():
            poller.register(bridge.monitor, zmq.POLLIN)
            if bridge.held is None:
                poller.register(bridge.socket, zmq.POLLIN)
        poller.poll(_RETRY_MS if is_left or waiting_bytes else round(self._settings.tick_s * 1000))
        gate.answer()
        self._look_at_link()
        if waiting_bytes < _MAX_PENDING_BYTES:
            for incoming in router.receive():
                self._on_message(incoming)
        for peer in router.take_gone():
            self._ended.discard(peer)
            self._drop(peer)
        self._freed_memory.look(time.monotonic())

    def _look_at_link(self) -> None:
        if self._watch.hear(time.monotonic()):
            self._announce()
        for peer, bridge in list(self._bridges.items()):
            if bridge.has_ended() or self._watch.state is not LinkState.UP:
                self._entrance.router.end(peer)
                self._ended.add(peer)
                self._drop(peer)

    def _drop(self, peer: bytes) -> None:
        bridge = self._bridges.pop(peer, None)
        if bridge is not None:
            bridge.close()

    def _pass_back(self) -> bool:
        """Hand on what the daemon has said and what waits for it; returns whether an editor has no room for more."""
        is_left = False
        for peer, bridge in list(self._bridges.items()):
            bridge.pump()
            while (frames := bridge.take()) is not None:
                self._freed_memory.saw(frames)
                sent = self._entrance.router.send(peer, frames)
                if sent is Sent.BLOCKED:
                    bridge.held = frames
                    is_left = True
                    break
                if sent is Sent.GONE:
                    self._drop(peer)
                    break
        return is_left

    # ------------------------------------------------------------ what editors say

    def _on_message(self, incoming: Incoming) -> None:
        if incoming.peer in self._ended:
            return
        self._freed_memory.saw(incoming.frames)
        bridge = self._bridges.get(incoming.peer)
        try:
            header = framing.read_header(incoming.frames)
        except OverpaintError:
            header = None  # the daemon has the words for that
        if header is not None and header.t == _SHUT_DOWN:
            self._is_stopping = True
            self._tell(incoming.peer, DaemonStopping(), header.id)
        elif header is not None and header.t == _PING and bridge is not None:
            self._answer_ping(incoming)
        elif bridge is not None:
            bridge.push(incoming.frames)
        elif self._watch.state is LinkState.UP:
            self._bridge(incoming.peer).push(incoming.frames)
        elif header is not None:
            self._tell(incoming.peer, ErrorReply(error=ErrorInfo.of(self._why_down())), header.id)

    def _answer_ping(self, incoming: Incoming) -> None:
        try:
            envelope = framing.decode(incoming.frames)
        except OverpaintError:
            self._bridges[incoming.peer].push(incoming.frames)
            return
        assert isinstance(envelope.message, Ping)  # noqa: S101 - the header said so
        self._tell(incoming.peer, Pong(nonce=envelope.message.nonce), envelope.header.id)

    def _bridge(self, peer: bytes) -> Bridge:
        bridge = self._bridges[peer] = Bridge(
            self._context,
            self._address,
            self._key,
            max_frame_bytes=self._settings.max_frame_bytes,
            max_waiting_messages=self._settings.max_waiting_messages,
        )
        return bridge

    def _tell(self, peer: bytes, message: object, re: str | None = None) -> None:
        """Say something of our own. Who has no room for it now asks again."""
        self._entrance.router.send(peer, framing.encode(message, id=self._next_id(), re=re))

    # ------------------------------------------------------------ how the link is

    def _announce(self) -> None:
        host_name = self._address.host
        if self._watch.state is LinkState.UP:
            sentence = f"Editors on this machine work with Overpaint on {host_name}."
            _log.info("connected to %s", self._address)
        else:
            sentence = self._why_down().message
            _log.warning("not connected to %s: %s", self._address, self._watch.state.value)
        self._say(sentence)

    def _why_down(self) -> OverpaintError:
        host_name = self._address.host
        match self._watch.state:
            case LinkState.REFUSED:
                return AccessError(
                    f"{host_name} does not accept this machine's key. Have it paired again, “overpaint keys pair NAME” there, or let in: "
                    f"overpaint keys add NAME {self._key.own.public}"
                )
            case LinkState.MISTAKEN:
                return AccessError(
                    f"What answers at {host_name} does not have the key that is known here. If the daemon there was set up anew, "
                    "pair this machine with it again; if not, somebody else answers."
                )
            case LinkState.FULL:
                return Unreachable(
                    f"{host_name} has too many connections now. It is tried again all the time."
                )
            case LinkState.LOST:
                return Unreachable(
                    f"The connection to {host_name} is lost and is made again as soon as possible. Jobs there go on."
                )
            case _:
                return Unreachable(
                    f"{host_name} does not answer and is tried again all the time. The daemon has to run there with “overpaint "
                    f"serve --listen” and port {self._address.port}."
                )
