"""Where the daemon listens: ``ipc:///path/to.sock`` and ``tcp://127.0.0.1:5555``.

The spelling is ZeroMQ's, so the same string serves ``zmq_bind`` in the daemon and the standard library's
sockets in an editor. Host names other than ``localhost`` are refused: looking one up may block for seconds,
and an editor would freeze meanwhile.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from .errors import ProtocolError

__all__ = ["MAX_IPC_PATH_BYTES", "Endpoint"]

MAX_IPC_PATH_BYTES = 107
"""Longest socket path in bytes: ``sun_path`` holds 108 with its NUL on Linux (macOS: 104)."""

_MAX_PORT_DIGITS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An address of the daemon.

    Attributes:
        kind: ``"ipc"`` for a Unix socket, ``"tcp"`` for TCP.
        path: absolute path of the socket; empty unless ``kind`` is ``"ipc"``.
        host: IPv4 or IPv6 address without brackets, or ``localhost``; empty unless ``kind`` is ``"tcp"``.
        port: 1 to 65535; 0 unless ``kind`` is ``"tcp"``.
    """

    kind: Literal["ipc", "tcp"]
    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read an endpoint as it stands in the connection file.

        Raises:
            ProtocolError: ``text`` is no ``ipc://`` or ``tcp://`` address that can be connected to.
        """
        scheme, separator, rest = text.partition("://")
        if separator and scheme == "ipc":
            return cls(kind="ipc", path=_checked_path(rest, text))
        if separator and scheme == "tcp":
            host, port = _split_host_port(rest, text)
            return cls(kind="tcp", host=host, port=port)
        raise _bad(text, "known schemes: ipc, tcp")

    @property
    def is_loopback(self) -> bool:
        """Whether bytes sent here stay on this machine."""
        if self.kind == "ipc" or self.host == "localhost":
            return True
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        if self.kind == "ipc":
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def _checked_path(path: str, text: str) -> str:
    if not path.startswith("/"):
        raise _bad(text, "the path of an ipc endpoint is absolute: ipc:///run/...")
    if "\0" in path:
        raise _bad(text, "NUL in path")
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise _bad(text, "the path is not valid Unicode") from None
    if size_bytes > MAX_IPC_PATH_BYTES:
        raise _bad(text, f"path of {size_bytes} bytes, at most {MAX_IPC_PATH_BYTES}")
    return path


def _split_host_port(rest: str, text: str) -> tuple[str, int]:
    host, separator, digits = rest.rpartition(":")
    if not separator or not (digits.isascii() and digits.isdigit()) or len(digits) > _MAX_PORT_DIGITS:
        raise _bad(text, "a tcp endpoint ends in :PORT")
    port = int(digits)
    if not 1 <= port <= 65535:
        raise _bad(text, f"port {port}, allowed are 1 to 65535")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if is_bracketed:
        host = host[1:-1]
    if host == "localhost" and not is_bracketed:
        return host, port
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise _bad(text, "the host is an IP address or localhost") from None
    if is_bracketed != (address.version == 6):
        raise _bad(text, "an IPv6 address, and only that, stands in brackets")
    return host, port


def _bad(text: str, detail: str) -> ProtocolError:
    return ProtocolError(
        "The daemon's address cannot be read. Restart the daemon with 'overpaint stop' and 'overpaint serve'.",
        detail=f"{text[:200]!r}: {detail}",
    )
