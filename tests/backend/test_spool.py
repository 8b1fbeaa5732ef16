"""The spool by itself: written whole, and never handed out damaged."""

from __future__ import annotations

import errno
import os
import random
import stat
import zlib

import pytest
from tests.backend.scripted_daemon import pixels

from overpaint_backend.durability.spool import Spool
from overpaint_protocol.errors import ImageError


def test_frames_come_back_as_they_were_written_in_a_file_for_its_owner_alone(tmp_path):
    spool = Spool(tmp_path)
    frames = (b"abc", memoryview(b"defgh"), bytearray(b""), b"i")
    kept = spool.write("1-0", frames)
    assert [bytes(frame) for frame in spool.read("1-0", kept)] == [b"abc", b"defgh", b"", b"i"]
    assert kept.byte_length == 9
    assert stat.S_IMODE((tmp_path / "1-0").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["1-0"]


@pytest.mark.parametrize("lengths", [(1,), (4096,), (5000, 0, 7), (2 << 20, 1), ((2 << 20) - 3, 4 << 20, 99)])
@pytest.mark.parametrize("how", ["write", "write_through", "write_through without O_DIRECT"])
def test_files_of_any_size_have_what_was_written_and_its_checksums(tmp_path, monkeypatch, lengths, how):
    real_open = os.open

    def without(path, flags, *mode):
        if flags & getattr(os, "O_DIRECT", 0):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))  # as file systems do that lack it
        return real_open(path, flags, *mode)

    if how.endswith("O_DIRECT"):
        monkeypatch.setattr(os, "open", without)
    chance = random.Random(20261127)
    frames = tuple(chance.randbytes(length) for length in lengths)
    write = getattr(Spool(tmp_path), how.split()[0])
    for name in ("1-0", "1-1"):  # the second finds what the first has left in the buffer
        kept = write(name, frames)
        assert (tmp_path / name).read_bytes() == b"".join(frames)
        assert kept.checksums == tuple(map(zlib.crc32, frames))


@pytest.mark.parametrize(
    ("how", "call"), [("write", "write"), ("write_through", "write"), ("write_through", "fsync")]
)
def test_what_cannot_be_written_whole_leaves_nothing(tmp_path, monkeypatch, how, call):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space"):
        getattr(Spool(tmp_path), how)("1-0", (b"abc",))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_disk_does_not_take_or_that_is_gone_is_told(tmp_path, monkeypatch):
    spool = Spool(tmp_path)
    spool.write("1-0", (b"abc",))
    spool.flush("1-0")
    spool.flush_names()
    assert spool.has("1-0") and not spool.has("2-0")
    with pytest.raises(FileNotFoundError):
        spool.flush("2-0")

    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    for flush in (lambda: spool.flush("1-0"), spool.flush_names):
        with pytest.raises(OSError, match="Input/output"):
            flush()


def test_a_short_write_is_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    spool = Spool(tmp_path)
    kept = spool.write("1-0", (b"abcde", b"f"))
    assert b"".join(spool.read("1-0", kept)) == b"abcdef"


def test_every_flipped_byte_is_noticed(tmp_path):
    spool = Spool(tmp_path)
    kept = spool.write("1-0", pixels())
    path = tmp_path / "1-0"
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(bytes((*whole[:index], whole[index] ^ 4, *whole[index + 1 :])))
        with pytest.raises(ImageError):
            spool.read("1-0", kept)
    for damaged in (whole[:-1], whole + b"\0", b""):
        path.write_bytes(damaged)
        with pytest.raises(ImageError):
            spool.read("1-0", kept)
    path.unlink()
    with pytest.raises(ImageError):
        spool.read("1-0", kept)


def test_what_nobody_names_is_swept_away(tmp_path):
    spool = Spool(tmp_path)
    spool.write("1-0", (b"a",))
    (tmp_path / "2-0").write_bytes(b"cut sh")
    (tmp_path / "3-order").write_bytes(b"orphan")
    assert spool.sweep(["1-0", "9-0"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["1-0"]
