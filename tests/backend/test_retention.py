"""How long what is kept: pure, and by a time of its own."""

from __future__ import annotations

import pytest

from overpaint_backend.durability.orders import KeptTimeNote
from overpaint_backend.durability.retention import MAX_GAP_S, Kept, KeptTime, expired

DAY_S = 86_400.0


def kept(key, ended_at_s, *, mib=1, is_away=True):
    return Kept(key=key, ended_at_s=ended_at_s, byte_length=mib << 20, is_away=is_away)


@pytest.mark.parametrize(
    ("jobs", "gone"),
    [
        ([], []),
        ([kept(1, 0.0), kept(2, 0.1)], [1]),
        ([kept(1, 0.0, is_away=False)], [1]),
        ([kept(1, 10.0, mib=3), kept(2, 20.0, mib=3), kept(3, 30.0, mib=3)], [1]),
        ([kept(1, 10.0, mib=9), kept(2, 20.0, mib=1)], [1]),
        ([kept(1, 10.0, mib=9, is_away=False), kept(2, 20.0, mib=6)], []),
        ([kept(1, 10.0, mib=3), kept(2, 10.0, mib=3), kept(3, 10.0, mib=3)], [1]),
        ([kept(key, 10.0, mib=0) for key in range(1, 99)], list(range(1, 3))),
    ],
    ids=["none", "age", "age here", "bytes", "one too big", "here", "same time", "without pixels"],
)
def test_what_is_too_old_or_too_much_goes_oldest_first(jobs, gone):
    assert expired(jobs, 7 * DAY_S, 7 * DAY_S, 6 << 20) == gone


@pytest.mark.parametrize(
    ("wall_s", "elapsed_s"),
    [(1000.0, 500.0), (1060.0, 560.0), (0.0, 500.0), (1000 + 3650 * DAY_S, 500.0 + MAX_GAP_S)],
    ids=["at once", "a minute later", "clock put back", "clock put on by ten years"],
)
def test_the_time_between_two_daemons_counts_and_no_clock_turns_it(wall_s, elapsed_s):
    time = KeptTime(KeptTimeNote(500.0, 1000.0), wall_s, now=77.0)
    assert time.at(77.0) == elapsed_s
    assert time.at(79.5) == elapsed_s + 2.5
