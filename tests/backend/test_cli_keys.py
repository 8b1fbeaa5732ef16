"""``overpaint keys`` and the address of ``overpaint serve``, as the commands do it."""

from __future__ import annotations

import json

import pytest

from overpaint_backend.cli.keys import run_add, run_list, run_revoke
from overpaint_backend.cli.serve import run_serve
from overpaint_backend.config import DaemonSettings
from overpaint_backend.remote.keys import KeyPair, own_key
from overpaint_protocol.errors import RequestError

ANNA = KeyPair.new().public


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("OVERPAINT_STATE_DIR", str(tmp_path / "state"))
    return DaemonSettings.from_environment()


def test_keys_are_added_listed_and_revoked(settings, capsys):
    assert run_list(as_json=False) == 0
    own = own_key(settings.key_path)
    assert own.public in capsys.readouterr().out
    assert run_add("anna", ANNA, as_json=False) == 0
    assert own.public in capsys.readouterr().out, "the other machine needs it"
    assert run_list(as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {
        "ok": True,
        "daemon": own.public,
        "allowed": {"anna": ANNA},
    }
    assert run_revoke("anna", as_json=True) == 0
    capsys.readouterr()
    run_list(as_json=True)
    assert json.loads(capsys.readouterr().out)["allowed"] == {}


def test_the_secret_half_is_never_shown(settings, capsys):
    run_add("anna", ANNA, as_json=False)
    run_list(as_json=False)
    run_list(as_json=True)
    said = capsys.readouterr()
    assert own_key(settings.key_path).secret not in said.out + said.err


def test_the_folder_of_keys_is_made_private(settings):
    run_add("anna", ANNA, as_json=False)
    for path in (settings.state_dir, settings.key_path.parent, *settings.key_path.parent.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_daemon_does_not_start_at_every_address_unasked(settings):
    with pytest.raises(RequestError, match="--on-every-address"):
        run_serve(None, "tcp://0.0.0.0:5577")
    assert not settings.connection_path.exists()
