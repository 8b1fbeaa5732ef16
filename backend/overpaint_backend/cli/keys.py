"""``overpaint keys``: which other machines may use the daemon on this one."""

from __future__ import annotations

from overpaint_backend.config import DaemonSettings
from overpaint_backend.remote.keys import AllowList, own_key
from overpaint_backend.server.router import private_dir

from .outcome import OK, print_json, say

__all__ = ["run_add", "run_list", "run_revoke"]


def run_list(*, as_json: bool) -> int:
    """Print the list of keys and the daemon's own."""
    settings = _settings()
    own, entries = own_key(settings.key_path).public, AllowList(settings.allowed_path).entries()
    if as_json:
        print_json({"ok": True, "daemon": own, "allowed": entries})
        return OK
    say(f"The key of the daemon here: {own}")
    if not entries:
        say("No other machine may connect. Let one in: overpaint keys add NAME KEY")
    for name, key in entries.items():
        say(f"{name}: {key}")
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
