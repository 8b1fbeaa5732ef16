"""Noticing between jobs that engines came or went, so that no model needs a restart."""

from __future__ import annotations

from collections.abc import Callable

from overpaint_backend.engines.registry import EngineRegistry

from .base import EnginesChanged

__all__ = ["WATCH_INTERVAL_S", "EngineWatch"]

WATCH_INTERVAL_S = 2.0
"""How often engines are looked for, and so how late a new one is offered while no job runs."""


class EngineWatch:
    """Keeps a registry up to date.

    Args:
        registry: the engines, all of them loaded.
        close: ends the session of an engine, if it has one.
        announce: tells the daemon.
        now: in seconds of a monotonic clock.
    """

    def __init__(
        self,
        registry: EngineRegistry,
        close: Callable[[str], None],
        announce: Callable[[EnginesChanged], None],
        now: float,
    ) -> None:
        self._registry = registry
        self._close = close
        self._announce = announce
        self._looked_at = now

    def look(self, now: float) -> None:
        """Look for news if it is time to. Call it while no job runs: sessions may be closed."""
        if now - self._looked_at < WATCH_INTERVAL_S:
            return
        self._looked_at = now
        useless = self._registry.refresh()
        if useless is None:
            return
        for engine_id in useless:
            self._close(engine_id)
        self._announce(EnginesChanged(engines=self._registry.infos(), broken_engines=self._registry.broken()))
