"""``overpaint relay``: work with a daemon on another machine."""

from __future__ import annotations

import re
from pathlib import Path

from overpaint_backend.config import DaemonSettings
from overpaint_backend.remote.addresses import RemoteAddress
from overpaint_backend.remote.keys import KeyPair, RelayKey, checked_key
from overpaint_backend.remote.pairing import accept, checked_code
from overpaint_backend.remote.relay import run_relay
from overpaint_backend.server.hosting import check_libzmq
from overpaint_backend.server.router import private_dir
from overpaint_protocol.errors import RequestError

from .outcome import say

__all__ = ["run_relay_command"]


def run_relay_command(address_text: str, key_file: Path | None, *, daemon_key: str, code: str) -> int:
    """Run the relay until it is told to stop; returns its exit code.

    key_file: where this machine's key and the daemon's lie; None for the usual place, one for each daemon.
    daemon_key: the daemon's public key, to be kept for later; empty if it is known or comes with the code.
    code: that ``overpaint keys pair`` shows there, to exchange keys first; empty if that has been done.

    Raises:
        RequestError: not an address, a key or a code, or the daemon's key is not known.
        OverpaintError: as for ``pairing.accept``.
        DaemonError: the file cannot be used.
    """
    check_libzmq()
    settings, address = DaemonSettings.from_environment(), RemoteAddress.parse(address_text)
    private_dir(settings.state_dir)
    path = (
        key_file
        or settings.keys_dir / f"relay-{re.sub('[^A-Za-z0-9.-]', '_', address.host)}-{address.port}.json"
    )
    try:
        known = RelayKey.read(path)
    except FileNotFoundError:
        known = None
    if code:
        known = accept(address, checked_code(code))
        known.write(path)
        say(f"This machine is paired with {address.host}. From now on: overpaint relay {address}")
    elif daemon_key:
        known = RelayKey(KeyPair.new() if known is None else known.own, checked_key(daemon_key))
        known.write(path)
    elif known is None:
        raise RequestError(
            f"This machine is not paired with {address.host} yet. Have a code made there, “overpaint keys pair NAME”, and add it "
            "here: --pair CODE"
        )
    return run_relay(settings, address, known, say)
