"""Keys of machines: the daemon's own, and the list of those it lets in from elsewhere.

All are Curve25519 keys of ZeroMQ's CURVE, written as 64 hexadecimal digits, which survive any shell and any chat. A public key
is also the name of its principal. The list says who may connect; a machine that is not on it gets no byte beyond the handshake.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import filelock
import zmq
from zmq.utils import z85

from overpaint_backend.stamps import Stamp, stamp_of
from overpaint_protocol.errors import DaemonError, RequestError
from overpaint_protocol.private_files import NotPrivate, read_private, write_private

__all__ = ["KEY_BYTES", "AllowList", "KeyPair", "RelayKey", "checked_key", "own_key"]

KEY_BYTES = 32

_MAX_FILE_BYTES = 1024 * 1024
_MAX_KEYS = 1000
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(r"[0-9a-f]{64}")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key of CURVE. public: to give away. secret: never leaves its file."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """A random one.

        Raises:
            DaemonError: this libzmq cannot do CURVE.
        """
        _check_curve()
        public, secret = zmq.curve_keypair()
        return cls(z85.decode(public).hex(), z85.decode(secret).hex())

    @classmethod
    def of_secret(cls, secret: bytes) -> KeyPair:
        """The one whose secret half is these 32 bytes.

        Raises:
            DaemonError: this libzmq cannot do CURVE.
        """
        _check_curve()
        return cls(z85.decode(zmq.curve_public(z85.encode(secret))).hex(), secret.hex())

    def serve(self, socket: zmq.Socket[bytes]) -> None:
        """What ``socket`` binds from now on is reached with this key."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(self.secret))

    def call(self, socket: zmq.Socket[bytes], server: str) -> None:
        """``socket`` connects with this key, to nobody but who has the secret half of ``server``."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, bytes.fromhex(server))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, bytes.fromhex(self.public))
        socket.setsockopt(zmq.CURVE_SECRETKEY, bytes.fromhex(self.secret))


@dataclass(frozen=True, slots=True)
class RelayKey:
    """What a relay needs. own: this machine's key. daemon: the public key of the daemon on the other machine."""

    own: KeyPair
    daemon: str

    def write(self, path: Path) -> None:
        """Keep it in a file for its owner alone.

        Raises:
            OSError: it cannot be written.
        """
        write_private(path, json.dumps({"secret": self.own.secret, "daemon": self.daemon}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> RelayKey:
        """What is in the file.

        Raises:
            FileNotFoundError: there is none.
            DaemonError: it cannot be trusted or read.
        """
        text = _read(path, "the file with this machine's key")
        try:
            plain = json.loads(text)
            secret, daemon = plain["secret"], plain["daemon"]
            if not (_KEY.fullmatch(secret) and _KEY.fullmatch(daemon)):
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise DaemonError(
                f"The file with this machine's key is damaged. Delete it and pair the machines again: {path}"
            ) from None
        return cls(KeyPair.of_secret(bytes.fromhex(secret)), daemon)


def own_key(path: Path) -> KeyPair:
    """The key in the file, made if there is none.

    Raises:
        DaemonError: the file cannot be trusted or read, or this libzmq cannot do CURVE.
        OSError: the folder cannot be written.
    """
    with _locked(path):
        if not path.exists() and not path.is_symlink():
            made = KeyPair.new()
            write_private(path, f"{made.secret}\n")
            return made
        text = _read(path, "the file with the daemon's key")
    secret = text.strip()
    if _KEY.fullmatch(secret) is None:
        raise DaemonError(
            f"The file with the daemon's key is damaged. Put the right one back, or delete {path}; every other machine has to be "
            "paired again then."
        )
    return KeyPair.of_secret(bytes.fromhex(secret))


def checked_key(text: str) -> str:
    """A public key as somebody wrote it, in the one spelling used here.

    Raises:
        RequestError: it is none.
    """
    key = re.sub(r"\s", "", text).lower()
    if _KEY.fullmatch(key) is None:
        raise RequestError(f"A key has 64 digits, each of 0-9 and a-f; “{text[:80]}” is none.")
    return key


class AllowList:
    """The machines that may connect, by name. A file others can use or that is damaged lets nobody in.

    Args:
        path: the file. Programs may change it at any time; ``look`` notices.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: Stamp | None = None
        self._keys: dict[str, str] = {}
        self._allowed: frozenset[str] = frozenset()

    def __contains__(self, key: object) -> bool:
        """Whether the list, when it was last looked at, had the key."""
        return key in self._allowed

    def look(self) -> bool:
        """Read the file if it has changed; returns whether it has. What cannot be read is logged and lets nobody in."""
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._take(self._load())
        except DaemonError as error:
            self._take({})
            _log.error("nobody is let in from other machines: %s", error.message)
        return True

    def entries(self) -> dict[str, str]:
        """Names and keys.

        Raises:
            DaemonError: the file cannot be trusted or read.
        """
        self._take(self._load())
        return dict(self._keys)

    def add(self, name: str, key: str) -> None:
        """Let a machine in under a name of its own, from now on.

        Raises:
            RequestError: not a name or key that can be used, or one of them is on the list.
            DaemonError: the file cannot be trusted or read.
            OSError: it cannot be written.
        """
        key = checked_key(key)
        if _NAME.fullmatch(name) is None:
            raise RequestError(
                f"“{name[:80]}” cannot be a name: up to 64 letters, digits and the signs . - _ can."
            )
        with self._changing() as keys:
            if name in keys:
                raise RequestError(
                    f"There is a key with the name {name}. Choose another, or first: overpaint keys revoke {name}"
                )
            known = next((other for other, other_key in keys.items() if other_key == key), None)
            if known is not None:
                raise RequestError(f"That key is on the list already, as {known}.")
            if len(keys) >= _MAX_KEYS:
                raise RequestError(f"There are {_MAX_KEYS} keys on the list. Revoke one that is not used.")
            keys[name] = key

    def revoke(self, name: str) -> None:
        """Let a machine in no more.

        Raises:
            RequestError: no key has that name.
            DaemonError, OSError: as for ``add``.
        """
        with self._changing() as keys:
            if name not in keys:
                names = ", ".join(keys) or "none"
                raise RequestError(f"No key has the name {name}. Those on the list: {names}.")
            del keys[name]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        with _locked(self._path):
            keys = self.entries()
            yield keys
            write_private(self._path, json.dumps(keys, indent=1) + "\n")
        self._take(keys)

    def _load(self) -> dict[str, str]:
        try:
            plain = json.loads(_read(self._path, "the list of keys"))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            plain = None
        if not isinstance(plain, dict) or not all(
            isinstance(key, str) and _KEY.fullmatch(key) and _NAME.fullmatch(name)
            for name, key in plain.items()
        ):
            raise DaemonError(f"The list of keys is damaged. Correct or delete it: {self._path}")
        return plain

    def _take(self, keys: dict[str, str]) -> None:
        self._keys = dict(keys)
        self._allowed = frozenset(keys.values())


def _read(path: Path, what: str) -> str:
    try:
        return read_private(path, _MAX_FILE_BYTES, what).decode("utf-8")
    except FileNotFoundError:
        raise
    except NotPrivate as reason:
        raise DaemonError(f"{reason}, so it is not used: {path}") from reason
    except OSError as error:
        raise DaemonError(
            f"{what[0].upper()}{what[1:]} cannot be read: {error.strerror} ({path})."
        ) from error
    except UnicodeDecodeError as error:
        raise DaemonError(f"{what[0].upper()}{what[1:]} is damaged: {path}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One program at a time changes the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f"{path.name}.lock"), timeout=10, mode=0o600):
        yield


def _check_curve() -> None:
    if not zmq.has("curve"):
        raise DaemonError(
            "This libzmq was built without CURVE, so other machines cannot be reached safely. "
            "Run: pip install --upgrade --force-reinstall pyzmq"
        )
