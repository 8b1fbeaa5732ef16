"""File descriptors: as many as the system gives, and some kept back for the daemon's own work.

Every connection takes one. libzmq ends the process when it has none left for a client on a Unix socket, and without one no
job can be written down; so new clients are turned away before that, and those that are there go on.
"""

from __future__ import annotations

import sys

import psutil

__all__ = ["DescriptorLimit"]

_ENOUGH = 65_536
_LEAST_RESERVE = 16
"""For the files of the spool, a new log, a new worker with its pipes and socket, and clients that knock meanwhile."""


class DescriptorLimit:
    """This process's limit, raised to what the system allows."""

    def __init__(self) -> None:
        self._most = _raised()
        self._process = psutil.Process()

    def has_room(self) -> bool:
        """Whether another client may come in."""
        if self._most is None:
            return True
        try:
            return self._process.num_fds() <= self._most - max(_LEAST_RESERVE, self._most // 8)
        except OSError:  # not even one to count them with
            return False


def _raised() -> int | None:
    """Raise the soft limit as far as is useful; returns it, or None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS allows less than it says
            return soft
        return wanted
    return None if soft == resource.RLIM_INFINITY else soft
