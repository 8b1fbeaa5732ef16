"""Pairing: two machines learn each other's public keys from a code that a person carries from one to the other.

Two things have to be right: the daemon must put the key of that one machine on its list and no other, and that machine must take
no other's key for the daemon's. The code settles both, with CURVE as it is and no cryptography of our own:

* The code is 19 random letters and digits, 95 bits, and one that tells typing mistakes. Both sides stretch it with scrypt into
  two key pairs, one for each side. They are used for this one exchange.
* The daemon's machine listens on the port after the daemon's, with the daemon's half, and lets in the other half only. The other
  machine connects, and says its real public key; it is put on the list, and the daemon's real one is the answer.
* CURVE makes each side prove that it has the secret half of its pair, and those come from the code. So who has not seen the code
  can neither answer in the daemon's place, nor come in the other machine's, nor sit between and read or change the keys.
* Trying codes at the door is hopeless at 95 bits, and the door closes for good after ``MAX_REFUSALS`` failures. Who records the
  exchange can try codes at home, at the price of scrypt for each; should it ever be found, it tells two public keys, which are no
  secret, and the door is long closed.
* A code is good for one machine and for some minutes, and is gone with the process that shows it.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import zmq

from overpaint_backend.server.zap import Authenticator
from overpaint_backend.sockets import monitor_events
from overpaint_protocol.errors import AccessError, LinkRefused, LinkTimeout, RequestError

from .addresses import RemoteAddress
from .keys import KEY_BYTES, AllowList, KeyPair, RelayKey

__all__ = ["MAX_REFUSALS", "Offer", "accept", "checked_code", "new_code"]

MAX_REFUSALS = 30
"""Connections that fail to prove the code before it is void."""

_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O and U."""
_READ_AS = str.maketrans("ILO", "110")
_RANDOM_LETTERS = 19
_GROUP = 5
_MAGIC = b"overpaint pairing 1"
_DOMAIN = "overpaint.pairing"
_SCRYPT_N, _SCRYPT_R = 2**15, 8
"""32 MiB and about a tenth of a second for each code that is tried."""
_MAX_FRAME_BYTES = 4096
"""CURVE counts its own handshake, some 300 bytes, as well."""
_CONNECT_MS = 5000
_TURN_MS = 200
_LAST_LINGER_MS = 2000
_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


def new_code() -> str:
    """A code nobody has seen, in groups."""
    letters = "".join(secrets.choice(_LETTERS) for _ in range(_RANDOM_LETTERS))
    letters += _check_letter(letters)
    return "-".join(letters[start : start + _GROUP] for start in range(0, len(letters), _GROUP))


def checked_code(text: str) -> str:
    """A code as somebody typed it, in the one spelling used here. Case, blanks and hyphens do not matter.

    Raises:
        RequestError: it is mistyped.
    """
    letters = "".join(text.split()).replace("-", "").upper().translate(_READ_AS)
    if len(letters) != _RANDOM_LETTERS + 1 or not set(letters) <= set(_LETTERS):
        raise RequestError(
            f"A pairing code has {_RANDOM_LETTERS + 1} letters and digits, such as 0A1B2-C3D4E-F5G6H-J7K8M. Compare it with the "
            "one on the other screen."
        )
    if _check_letter(letters[:-1]) != letters[-1]:
        raise RequestError(
            "There is a mistake in the pairing code. Compare it with the one on the other screen."
        )
    return letters


class Offer:
    """The daemon's side: lets one machine in that knows the code.

    Args:
        address: where to listen. code: the code to show. daemon: the daemon's key.
        name: what to call the other machine on ``allowed``.

    Raises:
        zmq.ZMQError: the address cannot be had.
    """

    def __init__(
        self, address: RemoteAddress, code: str, daemon: KeyPair, name: str, allowed: AllowList
    ) -> None:
        self._daemon = daemon
        self._name = name
        self._allowed = allowed
        self._refusals = 0
        here, there = _pairs(code)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._gate = Authenticator(self._context)
        self._gate.admit(_DOMAIN, {there.public})
        self._socket = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.MAXMSGSIZE, _MAX_FRAME_BYTES),
            (zmq.HANDSHAKE_IVL, _CONNECT_MS),
            (zmq.IPV6, int(address.is_ipv6)),
        ):
            self._socket.setsockopt(option, value)
        here.serve(self._socket)
        self._socket.setsockopt_string(zmq.ZAP_DOMAIN, _DOMAIN)
        self._monitor = self._socket.get_monitor_socket(_FAILED)
        try:
            self._socket.bind(str(address))
        except BaseException:
            self.close()
            raise

    def wait(self, seconds: float) -> None:
        """Until a machine has come and is on the list.

        Raises:
            LinkTimeout: none has.
            AccessError: too many tried without the code.
            RequestError, DaemonError, OSError: as for ``AllowList.add``.
        """
        deadline = time.monotonic() + seconds
        poller = zmq.Poller()
        for socket in (self._gate.socket, self._monitor, self._socket):
            poller.register(socket, zmq.POLLIN)
        while time.monotonic() < deadline:
            poller.poll(_TURN_MS)
            self._gate.answer()
            self._count_refusals()
            if self._answer():
                return
        raise LinkTimeout(
            "Nobody came with the code in time, and it is void now. For a new one, start again."
        )

    def close(self) -> None:
        """Close the door; the answer gets a moment to leave."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=_LAST_LINGER_MS)
        self._gate.close()
        self._context.term()

    def _answer(self) -> bool:
        try:
            peer, *frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        if len(frames) != 2 or frames[0] != _MAGIC or len(frames[1]) != KEY_BYTES:
            return False
        self._allowed.add(self._name, frames[1].hex())
        self._socket.send_multipart([peer, _MAGIC, bytes.fromhex(self._daemon.public)])
        # A connection that ends takes what has come on it and was not read along, so the other side ends it.
        self._socket.poll(_CONNECT_MS)
        return True

    def _count_refusals(self) -> None:
        for _ in monitor_events(self._monitor):
            self._refusals += 1
        if self._refusals >= MAX_REFUSALS:
            raise AccessError(
                f"{self._refusals} connections came without the right code, so it is void now. For a new one, start again.",
                action="",
            )


def accept(address: RemoteAddress, code: str, timeout_s: float = 10.0) -> RelayKey:
    """The other machine's side: make a key for it, give the public half to the daemon and learn the daemon's.

    address: the daemon's. code: as ``checked_code`` returns it.

    Raises:
        LinkRefused: nobody waits for a code there.
        AccessError: who waits there waits for another code.
        LinkTimeout: no answer came.
    """
    own, (there, here) = KeyPair.new(), _pairs(code)
    with zmq.Context() as context, _calling(context, here, there, address.pairing) as (socket, monitor):
        _say(socket, bytes.fromhex(own.public))
        deadline = time.monotonic() + timeout_s
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        while time.monotonic() < deadline:
            poller.poll(_TURN_MS)
            ends = [event for event, _, _ in monitor_events(monitor)]
            if socket.poll(0):
                answer = socket.recv_multipart()
                if len(answer) == 2 and answer[0] == _MAGIC and len(answer[1]) == KEY_BYTES:
                    _say(socket, b"taken")
                    socket.setsockopt(zmq.LINGER, _LAST_LINGER_MS)
                    return RelayKey(own, answer[1].hex())
            if zmq.EVENT_CLOSED in ends:
                raise LinkRefused(
                    f"Nobody waits for a code at {address.host}, port {address.pairing.port}. Start it there, “overpaint keys pair "
                    "NAME”, and use the code while it is shown.",
                    action="",
                )
            if ends:
                raise AccessError(
                    f"{address.host} does not accept this code. It is good for one machine and some minutes; have a new one made "
                    "there: overpaint keys pair NAME",
                    action="",
                )
    raise LinkTimeout(
        f"{address.host} does not answer at port {address.pairing.port}. Look whether a firewall is between."
    )


@contextmanager
def _calling(
    context: zmq.Context[zmq.Socket[bytes]], key: KeyPair, server: KeyPair, address: RemoteAddress
) -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes]]]:
    socket = context.socket(zmq.DEALER)
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.MAXMSGSIZE, _MAX_FRAME_BYTES),
        (zmq.IPV6, int(address.is_ipv6)),
        (zmq.CONNECT_TIMEOUT, _CONNECT_MS),
        (zmq.HANDSHAKE_IVL, _CONNECT_MS),
        (zmq.RECONNECT_IVL, -1),
    ):
        socket.setsockopt(option, value)
    key.call(socket, server.public)
    monitor = socket.get_monitor_socket(zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED | _FAILED)
    try:
        socket.connect(str(address))
        yield socket, monitor
    finally:
        socket.disable_monitor()
        monitor.close(linger=0)
        socket.close()


def _say(socket: zmq.Socket[bytes], what: bytes) -> None:
    """Send that, unless the connection has ended already: nothing takes it then, and the monitor tells why."""
    with suppress(zmq.Again):
        socket.send_multipart([_MAGIC, what], zmq.NOBLOCK)


def _pairs(code: str) -> tuple[KeyPair, KeyPair]:
    """The daemon's and the other machine's key for one exchange."""
    stretched = hashlib.scrypt(
        checked_code(code).encode(),
        salt=_MAGIC,
        n=_SCRYPT_N,
        r=_SCRYPT_R,
        p=1,
        maxmem=4 * 128 * _SCRYPT_N * _SCRYPT_R,
        dklen=2 * KEY_BYTES,
    )
    return KeyPair.of_secret(stretched[:KEY_BYTES]), KeyPair.of_secret(stretched[KEY_BYTES:])


def _check_letter(letters: str) -> str:
    """Luhn's check digit, modulo 32: finds every wrong letter and nearly every swap of neighbors."""
    total = 0
    for index, letter in enumerate(reversed(letters)):
        addend = _LETTERS.index(letter) * (2 if index % 2 == 0 else 1)
        total += addend // len(_LETTERS) + addend % len(_LETTERS)
    return _LETTERS[-total % len(_LETTERS)]
