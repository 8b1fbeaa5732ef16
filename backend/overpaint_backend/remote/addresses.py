"""Addresses between machines: where a daemon listens for others, and where a relay finds it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from overpaint_protocol.endpoint import Endpoint
from overpaint_protocol.errors import OverpaintError, RequestError

__all__ = ["RemoteAddress", "listen_address"]

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_EXAMPLE = "tcp://192.168.1.5:5577"


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """A daemon on another machine. host: a name or an address, without brackets. port: 1 to 65534."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> RemoteAddress:
        """Read what a user typed.

        Raises:
            RequestError: it is no address that can be connected to.
        """
        rest = text.removeprefix("tcp://")
        host, _, digits = rest.rpartition(":")
        is_port = digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65_534
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            is_host = _is_address(host, 6)
        else:
            is_host = _HOST_NAME.fullmatch(host) is not None
        if not (is_port and is_host):
            raise RequestError(
                f"“{text[:200]}” is not where a daemon can be. It is written like tcp://gpu-box:5577 or {_EXAMPLE}."
            )
        return cls(host, int(digits))

    @property
    def pairing(self) -> RemoteAddress:
        """Where keys are exchanged: the next port."""
        return RemoteAddress(self.host, self.port + 1)

    @property
    def is_ipv6(self) -> bool:
        """Whether it is an address of IPv6."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"tcp://{f'[{self.host}]' if self.is_ipv6 else self.host}:{self.port}"


def listen_address(text: str, *, on_every_address: bool) -> str:
    """What the daemon shall listen at for other machines: one address of this machine, unless all are agreed to.

    Raises:
        RequestError: it is not an address, or it means every network of this machine and that was not agreed to.
    """
    rest = text.removeprefix("tcp://")
    host, _, port = rest.rpartition(":")
    if host in ("*", "0.0.0.0", "::", "[::]"):  # noqa: S104 - to refuse them
        if not on_every_address:
            raise RequestError(
                f"{host} would open the daemon to every network this machine is in, also to guests' Wi-Fi or the internet. Name the "
                f"one address of this machine that the others use, such as --listen {_EXAMPLE}. If you do mean all of them, add "
                "--on-every-address."
            )
        host = "0.0.0.0" if host == "*" else host.strip("[]")  # noqa: S104 - agreed to
    elif not (_is_address(host, 4) or (host[:1] + host[-1:] == "[]" and _is_address(host[1:-1], 6))):
        raise RequestError(
            f"“{text[:200]}” does not name an address of this machine. It is written in digits, such as --listen {_EXAMPLE}."
        )
    host = f"[{host.strip('[]')}]" if ":" in host else host
    try:
        endpoint = Endpoint.parse(f"tcp://{host}:{port}")
        RemoteAddress.parse(str(endpoint))
    except OverpaintError as error:
        raise RequestError(
            f"“{text[:200]}” needs a port from 1 to 65534, such as --listen {_EXAMPLE}.", detail=error.detail
        ) from error
    return str(endpoint)


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
