"""Keys and the list of those who may come from elsewhere: private, exact, and changed at once."""

from __future__ import annotations

import os
import stat
import sys
import threading

import pytest

from overpaint_backend.remote.addresses import RemoteAddress, listen_address
from overpaint_backend.remote.keys import AllowList, KeyPair, checked_key, own_key
from overpaint_protocol.errors import DaemonError, RequestError

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="files have no modes there")

KEY, OTHER = "0" * 63 + "1", "a" * 64


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "allowed.json"


def test_a_key_is_made_once_and_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "keys" / "daemon.key"
    made = own_key(path)
    assert own_key(path) == made
    assert KeyPair.of_secret(bytes.fromhex(made.secret)) == made
    assert made.secret not in repr(made)
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@posix_only
def test_a_key_others_could_read_is_refused(tmp_path):
    path = tmp_path / "daemon.key"
    own_key(path)
    path.chmod(0o640)
    with pytest.raises(DaemonError, match="Other users can read"):
        own_key(path)


@posix_only
def test_a_link_in_the_place_of_a_key_is_refused(tmp_path):
    own_key(tmp_path / "elsewhere")
    (tmp_path / "daemon.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DaemonError, match="cannot be read"):
        own_key(tmp_path / "daemon.key")


@pytest.mark.parametrize("content", [b"", b"x" * 64, b"a" * 63, b"\xff" * 64], ids=repr)
def test_a_damaged_key_is_never_replaced(tmp_path, content):
    path = tmp_path / "daemon.key"
    own_key(path)
    path.write_bytes(content)
    with pytest.raises(DaemonError, match="damaged"):
        own_key(path)
    assert path.read_bytes() == content


def test_who_is_added_is_in_and_who_is_revoked_is_out_at_the_next_look(path):
    seen = AllowList(path)
    assert KEY not in seen
    AllowList(path).add("anna", KEY.upper())
    assert KEY not in seen, "it has not looked yet"
    assert seen.look()
    assert KEY in seen
    assert not seen.look()
    AllowList(path).add("bo", OTHER)
    AllowList(path).revoke("anna")
    assert seen.look()
    assert KEY not in seen
    assert seen.entries() == {"bo": OTHER}
    path.unlink()
    assert seen.look()
    assert OTHER not in seen


@pytest.mark.parametrize(
    ("name", "key", "says"),
    [
        ("anna", OTHER, "name anna"),
        ("bo", KEY, "already, as anna"),
        ("", OTHER, "name"),
        ("a b", OTHER, "name"),
        ("a\n", OTHER, "name"),
        ("x" * 65, OTHER, "name"),
        ("bo", OTHER[:-1], "64 digits"),
        ("bo", OTHER[:-1] + "g", "64 digits"),
        ("bo", "local", "64 digits"),
    ],
)
def test_what_cannot_be_added_changes_nothing(path, name, key, says):
    AllowList(path).add("anna", KEY)
    with pytest.raises(RequestError, match=says):
        AllowList(path).add(name, key)
    assert AllowList(path).entries() == {"anna": KEY}


def test_revoking_an_unknown_name_says_which_there_are(path):
    AllowList(path).add("anna", KEY)
    with pytest.raises(RequestError, match="anna"):
        AllowList(path).revoke("ana")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"anna": 1}', '{"anna": "abc"}', f'{{"a b": "{OTHER}"}}', "[" * 5000],
    ids=repr,
)
def test_a_damaged_list_lets_nobody_in_and_is_not_overwritten(path, content, caplog):
    seen = AllowList(path)
    seen.add("anna", KEY)
    path.write_text(content)
    assert seen.look()
    assert KEY not in seen
    assert "damaged" in caplog.text
    with pytest.raises(DaemonError, match="damaged"):
        AllowList(path).add("bo", OTHER)
    assert path.read_text() == content


@posix_only
@pytest.mark.parametrize("mode", [0o620, 0o644])
def test_a_list_others_can_use_lets_nobody_in(path, mode):
    seen = AllowList(path)
    seen.add("anna", KEY)
    path.chmod(mode)
    os.utime(path, (1, 1))
    seen.look()
    assert KEY not in seen


def test_programs_that_add_at_once_lose_nothing(path):
    threads = [threading.Thread(target=AllowList(path).add, args=(f"n{i}", f"{i:064x}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(AllowList(path).entries()) == {f"n{i}" for i in range(8)}


def test_a_key_may_be_typed_with_blanks_and_capitals():
    assert checked_key(f" {KEY[:32]} {KEY[32:].upper()}\n") == KEY


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tcp://192.168.1.5:5577", "tcp://192.168.1.5:5577"),
        ("192.168.1.5:5577", "tcp://192.168.1.5:5577"),
        ("tcp://[fe80::1]:80", "tcp://[fe80::1]:80"),
    ],
)
def test_one_named_address_is_listened_at(text, wanted):
    assert listen_address(text, on_every_address=False) == wanted


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "::"])
def test_every_address_has_to_be_agreed_to(host):
    with pytest.raises(RequestError, match="--on-every-address"):
        listen_address(f"tcp://{host}:5577", on_every_address=False)
    wanted = "tcp://[::]:5577" if ":" in host else "tcp://0.0.0.0:5577"
    assert listen_address(f"tcp://{host}:5577", on_every_address=True) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5577",
        "tcp://:5577",
        "tcp://gpu-box:5577",
        "tcp://eth0:5577",
        "tcp://192.168.1.5",
        "tcp://192.168.1.5:0",
        "tcp://192.168.1.5:65535",
        "tcp://192.168.1.5:*",
        "ipc:///tmp/x",
        "tcp://fe80::1:80",
    ],
)
def test_what_is_no_address_to_listen_at_is_told(text):
    for agreed in (False, True):
        with pytest.raises(RequestError, match="--listen"):
            listen_address(text, on_every_address=agreed)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("tcp://gpu-box:5577", "tcp://gpu-box:5577"),
        ("gpu-box.studio.example:1", "tcp://gpu-box.studio.example:1"),
        ("10.0.0.7:5577", "tcp://10.0.0.7:5577"),
        ("tcp://[::1]:5577", "tcp://[::1]:5577"),
    ],
)
def test_a_daemon_elsewhere_has_a_name_or_an_address(text, wanted):
    address = RemoteAddress.parse(text)
    assert str(address) == wanted
    assert address.pairing.port == address.port + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpu-box",
        "gpu-box:",
        "gpu-box:x",
        "gpu-box:0",
        "gpu-box:65535",
        "-x:1",
        "a b:1",
        "[x]:1",
        "http://a:1",
    ],
)
def test_what_is_no_daemon_elsewhere_is_told(text):
    with pytest.raises(RequestError, match="tcp://gpu-box:5577"):
        RemoteAddress.parse(text)
