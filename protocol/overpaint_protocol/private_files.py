"""What is for its owner alone: small files that hold secrets, and folders. Refused if anybody else can use them."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from pathlib import Path

__all__ = ["NotPrivate", "check_private_folder", "read_private", "write_private"]

_READ_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)
"""Links are not followed, and a pipe in the file's place does not block."""


class NotPrivate(Exception):
    """The file or folder cannot be trusted. ``str`` says why, without a full stop; owner: another user's id, if it is theirs."""

    def __init__(self, why: str, owner: int | None = None) -> None:
        super().__init__(why)
        self.owner = owner


def write_private(path: Path, text: str) -> None:
    """Put the file in place in one step, readable by its owner only; missing folders are made.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_private(path: Path, max_bytes: int, what: str) -> bytes:
    """Read up to ``max_bytes`` + 1 bytes of the file, so that one that is too large is noticed.

    what: the file in a sentence, such as ``the daemon's connection file``.

    Raises:
        NotPrivate: it is no file, belongs to somebody else, or others can read it.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, _READ_FLAGS)
    try:
        # On what was opened, not on the path, which could be changed in between.
        _check(os.fstat(descriptor), what)
        return os.read(descriptor, max_bytes + 1)
    finally:
        os.close(descriptor)


def check_private_folder(path: Path, what: str) -> None:
    """Make sure that nobody else can put anything into the folder.

    what: the folder in a sentence, such as ``the folder of the daemon's socket``.

    Raises:
        NotPrivate: it is a link or no folder, belongs to somebody else, or others can enter it.
        OSError: it is not there, or cannot be looked at.
    """
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotPrivate(f"{_capital(what)} is a link or no folder")
    _check_owner(status, what, "enter")


def _check(status: os.stat_result, what: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotPrivate(f"{_capital(what)} is not a file")
    _check_owner(status, what, "read")


def _check_owner(status: os.stat_result, what: str, use: str) -> None:
    # Windows has neither; there the folder in the user's profile keeps others out.
    if sys.platform != "win32":
        if status.st_uid != os.geteuid():
            raise NotPrivate(f"{_capital(what)} belongs to another user", status.st_uid)
        if status.st_mode & 0o077:
            raise NotPrivate(f"Other users can {use} {what}")


def _capital(what: str) -> str:
    return what[0].upper() + what[1:]
