"""Who may connect: ZeroMQ's authentication protocol (RFC 27), for each domain either a token (PLAIN) or a list of keys (CURVE).

libzmq asks before it lets any frame of a new connection through. The answers are given on the daemon's only
thread, between two turns of its loop, and name the principal, which libzmq then gives out with every message as ``User-Id``.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Container

import zmq

from overpaint_backend.jobs.model import LOCAL
from overpaint_backend.sockets import is_readable

__all__ = ["TURNED_AWAY", "Authenticator"]

TURNED_AWAY = 500
"""Status of who may come in and finds no room. Not 300, which RFC 27 has for this: libzmq would neither tell nor hang up."""

_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_PLAIN_FRAMES = 8
_CURVE_FRAMES = 7
_MAX_REQUESTS_A_TURN = 64

_log = logging.getLogger(__name__)


class Authenticator:
    """Compares PLAIN passwords with the tokens of the domains, whatever the user name, and looks for CURVE keys in their lists.

    A domain has one of the two, and whoever comes with the other is refused.
    A context can hold one. Make it before binding the sockets it guards.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._rooms: dict[bytes, Callable[[], bool]] = {}
        self._turned_away = 0
        self._tokens: dict[bytes, bytes] = {}
        self._lists: dict[bytes, Container[str]] = {}
        self.socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_ENDPOINT)

    def allow(self, domain: str, token: str) -> None:
        """From now on ``token``, and no earlier one, opens the sockets of ``domain``."""
        self._tokens[domain.encode()] = token.encode()

    def limit(self, domain: str, has_room: Callable[[], bool]) -> None:
        """Turn those away who come to ``domain`` while ``has_room`` is false."""
        self._rooms[domain.encode()] = has_room

    def admit(self, domain: str, keys: Container[str]) -> None:
        """Who proves to have one of ``keys``, in hexadecimal, may enter the sockets of ``domain`` and is its principal."""
        self._lists[domain.encode()] = keys

    def answer(self) -> None:
        """Answer the requests that wait."""
        for _ in range(_MAX_REQUESTS_A_TURN):
            if not is_readable(self.socket):
                return
            request = self.socket.recv_multipart(zmq.NOBLOCK)
            self.socket.send_multipart(self._decide(request))

    def close(self) -> None:
        """Stop answering; nobody can connect any more."""
        self.socket.close()

    def _decide(self, request: list[bytes]) -> list[bytes]:
        request_id = request[1] if len(request) > 1 else b""
        principal = self._principal(request)
        if principal is None:
            _log.debug("a connection was refused")
            return [_VERSION, request_id, b"400", b"The token or key is not accepted", b"", b""]
        has_room = self._rooms.get(request[2])
        if has_room is not None and not has_room():
            self._turned_away += 1
            if self._turned_away & (self._turned_away - 1) == 0:  # ever more rarely, whoever keeps trying
                _log.warning(
                    "connections were turned away for want of descriptors: %d so far", self._turned_away
                )
            return [_VERSION, request_id, b"%d" % TURNED_AWAY, b"Too many connections", b"", b""]
        return [_VERSION, request_id, b"200", b"OK", principal.encode(), b""]

    def _principal(self, request: list[bytes]) -> str | None:
        """Who asks, if they may come in."""
        if len(request) == _PLAIN_FRAMES and request[0] == _VERSION and request[5] == b"PLAIN":
            token = self._tokens.get(request[2])
            if token is not None and hmac.compare_digest(token, request[7]):
                return LOCAL
        if len(request) == _CURVE_FRAMES and request[0] == _VERSION and request[5] == b"CURVE":
            key = request[6].hex()
            if key in self._lists.get(request[2], ()):
                return key
        return None
