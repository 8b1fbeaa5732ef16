"""Memory that pictures have left: kept for the next ones, and given back when none have come for a while.

glibc returns what is freed at the end of its heaps to the system at once, which then has to clear each page anew when the next
picture comes: a quarter of the processor time of a job of 2048 px. Other allocators are left as they are.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence

__all__ = ["FreedMemory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt``, from malloc.h."""
_KEPT_BYTES = 256 << 20
_HEAP_BYTES = 32 << 20
"""The largest block that glibc takes from a heap rather than from the system, by itself and by its own rules at most."""
_QUIET_S = 10.0
_FRAMES_WITHOUT_PIXELS = 3


class FreedMemory:
    """One for the process, made before its threads.

    Args:
        give_back_on: has something called where it keeps nobody waiting.
    """

    def __init__(self, give_back_on: Callable[[Callable[[], object]], object]) -> None:
        self._give_back_on = give_back_on
        self._is_used = False
        self._quiet_since: float | None = None
        self._trim: Callable[[int], int] | None = None
        if sys.platform == "linux":
            library = ctypes.CDLL(None)
            if hasattr(library, "mallopt") and hasattr(library, "malloc_trim"):
                # Only of the first heap is all given back that is free: further threads are not to have their own.
                library.mallopt(_ARENA_MAX, 1)
                library.mallopt(_MMAP_THRESHOLD, _HEAP_BYTES)
                library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
                self._trim = library.malloc_trim

    def use(self) -> None:
        """Pictures are under way."""
        self._is_used = True

    def saw(self, frames: Sequence[object]) -> None:
        """A message has come or gone, laid out as in ``framing``; if it carries pixels, that is use."""
        if len(frames) > _FRAMES_WITHOUT_PIXELS:
            self.use()

    def look(self, now: float) -> None:
        """Call now and then. now: in seconds of a monotonic clock.

        Without use memory is given back every so often, for what comes of a message that never gets whole is seen by nobody.
        """
        if self._is_used or self._quiet_since is None:
            self._is_used, self._quiet_since = False, now
        elif now - self._quiet_since >= _QUIET_S:
            self._quiet_since = now
            self._give_back_on(self.give_back)

    def give_back(self) -> None:
        """Let the system have all that is not used; from any thread."""
        if self._trim is not None:
            self._trim(0)
