"""How often a run is shown while it paints: early once, then as often as next to no time allows.

There is no clock in here: times are arguments, in seconds of one monotonic clock.
"""

from __future__ import annotations

__all__ = ["PREVIEW_SHARE", "PreviewTurns"]

PREVIEW_SHARE = 0.02
"""Of the time a run paints, what previews may take of it."""

_INTERVAL_S = 0.25
"""How long one is to be seen at least, however little it costs."""


class PreviewTurns:
    """Whether a preview's turn has come; for one run.

    The first one comes at once. Each other one waits until all of them together, itself included if it costs what the
    last one did, are within PREVIEW_SHARE of the time since then.
    """

    def __init__(self) -> None:
        self._begun_at: float | None = None
        self._shown_at = float("-inf")
        self._spent_s = self._last_s = 0.0

    def has_come(self, now: float) -> bool:
        """Ask at each step that has something to see."""
        if self._begun_at is None:
            self._begun_at = now
        is_affordable = self._spent_s + self._last_s <= PREVIEW_SHARE * (now - self._begun_at)
        return is_affordable and now - self._shown_at >= _INTERVAL_S

    def taken(self, begun_at: float, now: float) -> None:
        """A preview was made and sent between these times."""
        self._shown_at = now
        self._last_s = now - begun_at
        self._spent_s += self._last_s
