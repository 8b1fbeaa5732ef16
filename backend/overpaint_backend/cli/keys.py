"""``overpaint keys``: which other machines may use the daemon on this one."""

from __future__ import annotations

import zmq

from overpaint_backend.config import DaemonSettings
from overpaint_backend.remote.addresses import RemoteAddress
from overpaint_backend.remote.keys import AllowList, own_key
from overpaint_backend.remote.pairing import Offer, new_code
from overpaint_backend.server.hosting import check_libzmq
from overpaint_backend.server.router import private_dir
from overpaint_protocol import connection
from overpaint_protocol.errors import DaemonError, RequestError

from .outcome import OK, complain, print_json, say
from .situation import describe_duration

__all__ = ["run_add", "run_list", "run_pair", "run_revoke"]

_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - to name none of them to others


def run_list(*, as_json: bool) -> int:
    """Print the list of keys and the daemon's own."""
    settings = _settings()
    own, entries = own_key(settings.key_path).public, AllowList(settings.allowed_path).entries()
    if as_json:
        print_json({"ok": True, "daemon": own, "allowed": entries})
        return OK
    say(f"The key of the daemon here: {own}")
    if not entries:
        say("No other machine may connect. Let one in: overpaint keys pair NAME")
    for name, key in entries.items():
        say(f"{name}: {key}")
    return OK


def run_pair(name: str, seconds: float, *, as_json: bool) -> int:
    """Show a code and wait for the one machine that comes with it.

    Raises:
        DaemonError: the daemon does not listen for other machines, or the port for pairing cannot be had.
        OverpaintError: as for ``Offer.wait``.
    """
    check_libzmq()
    settings, allowed = _settings(), AllowList(DaemonSettings.from_environment().allowed_path)
    remote = connection.find().remote
    if not remote:
        raise DaemonError(
            "The daemon does not listen for other machines. Start it again: overpaint stop, then overpaint serve --listen "
            "tcp://ADDRESS:PORT"
        )
    if name in allowed.entries():
        raise RequestError(
            f"There is a key with the name {name}. Choose another, or first: overpaint keys revoke {name}"
        )
    address, code = RemoteAddress.parse(remote), new_code()
    try:
        offer = Offer(address.pairing, code, own_key(settings.key_path), name, allowed)
    except zmq.ZMQError as error:
        raise DaemonError(
            f"Port {address.pairing.port}, which pairing needs, cannot be had: {error.strerror}. If another “overpaint keys pair” "
            "runs, wait for it."
        ) from error
    try:
        shown = RemoteAddress("THIS-MACHINE", address.port) if address.host in _EVERY_ADDRESS else address
        complain(
            f"On the other machine, within {describe_duration(seconds)}:\n\n    overpaint relay {shown} --pair {code}\n"
        )
        offer.wait(seconds)
    finally:
        offer.close()
    if as_json:
        print_json({"ok": True, "name": name, "key": allowed.entries()[name]})
    else:
        say(f"{name} may connect now.")
    return OK


def run_add(name: str, key: str, *, as_json: bool) -> int:
    """Put a key on the list."""
    settings = _settings()
    own = own_key(settings.key_path).public
    AllowList(settings.allowed_path).add(name, key)
    if as_json:
        print_json({"ok": True, "daemon": own})
    else:
        say(f"{name} may connect. Its relay needs the key of the daemon here: {own}")
    return OK


def run_revoke(name: str, *, as_json: bool) -> int:
    """Take a key off the list."""
    AllowList(_settings().allowed_path).revoke(name)
    if as_json:
        print_json({"ok": True})
    else:
        say(f"{name} may connect no more.")
    return OK


def _settings() -> DaemonSettings:
    settings = DaemonSettings.from_environment()
    private_dir(settings.state_dir)
    return settings
