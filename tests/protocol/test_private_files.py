"""A folder that is to be its owner's alone."""

from __future__ import annotations

import os
import sys

import pytest

from overpaint_protocol.private_files import NotPrivate, check_private_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes and owners like these")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return path


def test_a_folder_of_ones_own_is_private(folder):
    check_private_folder(folder, "the folder")


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o720, 0o755, 0o777, 0o1777], ids=oct)
def test_a_folder_others_can_use_is_not(folder, mode):
    folder.chmod(mode)
    with pytest.raises(NotPrivate, match=r"^Other users can enter the folder$"):
        check_private_folder(folder, "the folder")


def test_a_folder_of_another_user_is_not(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(NotPrivate, match=r"^The folder belongs to another user$"):
        check_private_folder(folder, "the folder")


def test_neither_a_link_nor_a_file_is(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    (folder / "file").touch(mode=0o600)
    for path in (link, folder / "file"):
        with pytest.raises(NotPrivate, match="is a link or no folder"):
            check_private_folder(path, "the folder")
