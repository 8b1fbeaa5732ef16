"""What pictures have left of memory is kept for the next ones, and given back when none come."""

from __future__ import annotations

import subprocess
import sys

import pytest

from overpaint_backend.freed_memory import FreedMemory

MIB = 1 << 20


def test_it_is_given_back_now_and_then_while_no_picture_comes():
    given_back = []
    memory = FreedMemory(given_back.append)
    memory.look(100.0)
    memory.look(109.9)
    for now in (110.0, 115.0, 124.0):
        memory.use()
        memory.look(now)
    memory.look(133.9)
    assert given_back == []
    memory.look(134.0)
    memory.look(143.9)
    assert given_back == [memory.give_back]
    memory.look(144.0)
    assert given_back == [memory.give_back] * 2


def test_messages_with_pixels_are_use_and_others_are_not():
    given_back = []
    for frames in (3, 4):
        memory = FreedMemory(given_back.append)
        memory.look(0.0)
        memory.saw([b""] * frames)
        memory.look(100.0)
    assert len(given_back) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other allocators are left as they are")
def test_what_is_freed_stays_and_then_goes():
    """In a process of its own, whose allocator has no history."""
    script = f"""
import threading
import psutil
from overpaint_backend.freed_memory import FreedMemory
memory = FreedMemory(lambda work: work())
resident = psutil.Process().memory_info
before = resident().rss
pictures = []
def come():
    pictures.extend(b"x" * {4 * MIB} for _ in range(8))
come()
thread = threading.Thread(target=come)
thread.start()
thread.join()
pictures.clear()
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
