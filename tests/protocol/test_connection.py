"""The connection file: written privately in one step, read with suspicion."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import pytest

from overpaint_protocol import connection
from overpaint_protocol.connection import ConnectionInfo, candidates, find, state_dir
from overpaint_protocol.errors import DaemonNotRunning, LinkError

INFO = ConnectionInfo(
    endpoints=("ipc:///run/user/1000/overpaint/d.sock", "tcp://127.0.0.1:40123"),
    token="a" * 43,
    pid=4242,
    started_at=1790000000.5,
    product_version="0.1.0",
    major=1,
    identity="b" * 43,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes and owners like these")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "daemon.json"


def rewrite(path, **changes):
    plain = {**dataclasses.asdict(INFO), **changes}
    path.write_text(json.dumps({key: value for key, value in plain.items() if value is not None}))


def test_what_is_written_is_read_back(path):
    INFO.write(path)
    assert ConnectionInfo.read(path) == INFO


def test_writing_again_replaces_and_leaves_nothing_else(path):
    INFO.write(path)
    newer = dataclasses.replace(INFO, pid=4243)
    newer.write(path)
    assert ConnectionInfo.read(path) == newer
    assert [p.name for p in path.parent.iterdir()] == ["daemon.json"]


@posix_only
def test_file_and_new_folder_are_private(path):
    old = os.umask(0)
    try:
        INFO.write(path)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_token_is_not_in_the_repr():
    assert INFO.token not in repr(INFO)


def test_no_file_means_no_daemon(path):
    with pytest.raises(DaemonNotRunning, match="overpaint serve"):
        ConnectionInfo.read(path)


@posix_only
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_others_can_use_is_refused(path, mode):
    INFO.write(path)
    path.chmod(mode)
    with pytest.raises(LinkError, match="Other users can read"):
        ConnectionInfo.read(path)


@posix_only
def test_a_file_of_another_user_is_refused(path, monkeypatch):
    INFO.write(path)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(LinkError, match="another user"):
        ConnectionInfo.read(path)


@posix_only
def test_a_symbolic_link_is_refused(path):
    INFO.write(path)
    link = path.with_name("link.json")
    link.symlink_to(path)
    with pytest.raises(LinkError):
        ConnectionInfo.read(link)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(LinkError):
        ConnectionInfo.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints": None},
        {"endpoints": []},
        {"endpoints": "tcp://127.0.0.1:1"},
        {"endpoints": [1]},
        {"endpoints": ["http://127.0.0.1:80"]},
        {"endpoints": ["tcp://127.0.0.1:1"] * 9},
        {"token": ""},
        {"token": "x" * 256},
        {"token": None},
        {"pid": "1"},
        {"pid": True},
        {"started_at": "now"},
        {"major": 1.0},
        {"product_version": 1},
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_with_what_to_do(path, changes):
    INFO.write(path)
    rewrite(path, **changes)
    with pytest.raises(LinkError, match=r"damaged.*overpaint serve"):
        ConnectionInfo.read(path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 60_000, b" " * 70_000], ids=repr)
def test_bytes_that_are_no_connection_file_are_refused(path, data):
    INFO.write(path)
    path.write_bytes(data)
    with pytest.raises(LinkError, match="damaged"):
        ConnectionInfo.read(path)


def test_unknown_fields_are_ignored(path):
    INFO.write(path)
    rewrite(path, curve_key="…")
    assert ConnectionInfo.read(path) == INFO


def test_the_variable_names_the_only_place():
    places = candidates({"OVERPAINT_CONNECTION": "/x/y.json", "HOME": "/home/a"}, "linux")
    assert [p.as_posix() for p in places] == ["/x/y.json"]


def test_the_state_dir_variable_names_the_only_place():
    places = candidates({"OVERPAINT_STATE_DIR": "/x", "HOME": "/home/a"}, "linux")
    assert [p.as_posix() for p in places] == ["/x/daemon.json"]


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"HOME": "/home/a"}, "linux", ["/home/a/.local/state/overpaint"]),
        (
            {"HOME": "/home/a", "XDG_STATE_HOME": "/home/a/.var/app/org.gimp.GIMP/.local/state"},
            "linux",
            ["/home/a/.var/app/org.gimp.GIMP/.local/state/overpaint", "/home/a/.local/state/overpaint"],
        ),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "relative"}, "linux", ["/home/a/.local/state/overpaint"]),
        (
            {
                "HOME": "/home/a/snap/krita/5",
                "SNAP_REAL_HOME": "/home/a",
                "SNAP_USER_COMMON": "/home/a/snap/krita/common",
            },
            "linux",
            [
                "/home/a/snap/krita/5/.local/state/overpaint",
                "/home/a/.local/state/overpaint",
                "/home/a/snap/krita/common/overpaint",
            ],
        ),
        ({"HOME": "/Users/a"}, "darwin", ["/Users/a/Library/Application Support/Overpaint"]),
        (
            {"LOCALAPPDATA": "C:/Users/a/AppData/Local", "HOME": "x"},
            "win32",
            ["C:/Users/a/AppData/Local/Overpaint"],
        ),
    ],
    ids=["linux", "flatpak", "relative", "snap", "macos", "windows"],
)
def test_places_to_look(environ, platform, expected):
    assert [p.as_posix() for p in candidates(environ, platform)] == [f"{e}/daemon.json" for e in expected]
    assert state_dir(environ, platform).as_posix() == expected[0]


def test_find_skips_missing_and_damaged_files(path, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    broken.chmod(0o600)
    INFO.write(path)
    assert find([tmp_path / "none.json", broken, path]) == INFO


def test_find_reports_the_damaged_file_rather_than_the_missing(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    broken.chmod(0o600)
    with pytest.raises(LinkError, match="damaged"):
        find([broken, tmp_path / "none.json"])


def test_find_without_any_file_says_that_no_daemon_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "candidates", lambda: [tmp_path / "none.json"])
    with pytest.raises(DaemonNotRunning):
        find()
