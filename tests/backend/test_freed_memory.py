"""What pictures have left of memory is kept for the next ones, and given back when none come."""

from __future__ import annotations

import subprocess
import sys

import pytest

from overpaint_backend.freed_memory import FreedMemory

MIB = 1 << 20


def test_it_is_given_back_once_when_no_picture_has_come_for_a_while():
    given_back = []
    memory = FreedMemory(given_back.append)
    memory.look(0.0)
    memory.look(100.0)
    assert given_back == [], "nothing was used"
    for now in (101.0, 105.0):
        memory.use()
        memory.look(now)
    memory.look(114.9)
    assert given_back == []
    memory.look(115.0)
    memory.look(200.0)
    assert given_back == [memory.give_back]


def test_messages_with_pixels_are_use_and_others_are_not():
    given_back = []
    for frames in (3, 4):
        memory = FreedMemory(given_back.append)
        memory.saw([b""] * frames)
        memory.look(0.0)
        memory.look(100.0)
        assert len(given_back) == (frames > 3)


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators are left as they are")
def test_what_is_freed_stays_and_then_goes():
    """In a process of its own, whose allocator has no history."""
    script = f"""
import psutil
from overpaint_backend.freed_memory import FreedMemory
memory = FreedMemory(lambda work: work())
resident = psutil.Process().memory_info
before = resident().rss
pictures = [b"x" * {4 * MIB} for _ in range(16)]
del pictures
kept = resident().rss
memory.use()
memory.look(0.0)
memory.look(60.0)
print(kept - before, resident().rss - before)
"""
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    kept, left = map(int, told.stdout.split())
    assert kept > 60 * MIB
    assert left < 8 * MIB
