"""Who may use the device: several engines stay loaded, as long as there is room.

Before a model is loaded, those that were used least recently leave until it has room. When memory runs out all the
same, what costs no quality comes first:

1. the session that ran short drops what it kept for re-rolls, and makes variants in smaller batches down to one;
2. every other model leaves, and the session tries again;
3. a session that can do with less (the autoencoder in tiles, parts in main memory, a smaller working size) does so,
   step by step: ``engines.diffusion.memory``;
4. the error goes out and says what is needed.

A session asks for 2 by its ``make_room``; for one that just fails the arbiter does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from overpaint_protocol.errors import OutOfMemory
from overpaint_protocol.messages import LoadedReport

from .base import Device, Engine, EngineSession, Saving, ThriftySession
from .devices import DeviceMemory

__all__ = ["Arbiter"]

_MAIN_MEMORY_SHARE = 0.5
"""What all models together may take of main memory, where the editors are. A graphics card is all theirs."""

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


@dataclass(slots=True)
class _Loaded:
    """idle_since: None while it is used, and until the next look at the time."""

    session: EngineSession
    weight_bytes: int
    idle_since: float | None = None


class Arbiter:
    """The loaded engines of one device. For one thread.

    Args:
        find: the engine of an id; raises UnknownEngine.
        device: where they compute. Engines that compute elsewhere are counted as if they were here.
        memory: what the device has at the moment.
        idle_unload_s: how long an engine stays that is not used.
    """

    def __init__(
        self,
        find: Callable[[str], Engine],
        device: Device,
        memory: Callable[[Device], DeviceMemory],
        idle_unload_s: float,
    ) -> None:
        self._find = find
        self._device = device
        self._memory = memory
        self._idle_unload_s = idle_unload_s
        self._loaded: dict[str, _Loaded] = {}  # least recently used first

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids of the engines that are loaded, least recently used first."""
        return tuple(self._loaded)

    @property
    def weights(self) -> dict[str, int]:
        """Bytes of each engine that is loaded, least recently used first."""
        return {engine_id: loaded.weight_bytes for engine_id, loaded in self._loaded.items()}

    def reports(self, now: float) -> tuple[LoadedReport, ...]:
        """What is loaded, least recently used first. now: as for ``close_idle``."""
        return tuple(
            LoadedReport(
                engine=engine_id,
                weight_bytes=loaded.weight_bytes,
                idle_s=None if loaded.idle_since is None else max(0.0, now - loaded.idle_since),
            )
            for engine_id, loaded in self._loaded.items()
        )

    def saving(self, engine_id: str) -> Saving | None:
        """How a loaded engine saves memory at present, if it does."""
        loaded = self._loaded.get(engine_id)
        session = None if loaded is None else loaded.session
        return session.saving() if isinstance(session, ThriftySession) else None

    def use(self, engine_id: str, work: Callable[[EngineSession], _T]) -> _T:
        """Do ``work`` with an engine, loaded if it was not; a second time, alone on the device, if memory runs out.

        Raises:
            UnknownEngine: there is none of that id.
            Exception: whatever opening it or ``work`` raises. It stays loaded if it was.
        """
        try:
            return work(self._session(engine_id))
        except (OutOfMemory, MemoryError):
            if not self._close_others(engine_id):
                raise
        return work(self._session(engine_id))

    def load(self, engine_id: str) -> None:
        """Load an engine, if it is not; raises as ``use``."""
        self.use(engine_id, lambda session: None)

    def close(self, engine_id: str) -> None:
        """Unload an engine, if it is loaded."""
        loaded = self._loaded.pop(engine_id, None)
        if loaded is None:
            return
        try:
            loaded.session.close()
        except Exception:  # the border to engines of others: this one is gone for us in any case
            _log.exception("%s does not close", engine_id)
        _log.info("%s is unloaded", engine_id)

    def close_idle(self, now: float) -> None:
        """Unload what was not used for so long. Call it when a job is over and every second or so.

        now: in seconds of a monotonic clock.
        """
        for engine_id, loaded in list(self._loaded.items()):
            if loaded.idle_since is None:
                loaded.idle_since = now
            elif now - loaded.idle_since >= self._idle_unload_s:
                self.close(engine_id)

    def _session(self, engine_id: str) -> EngineSession:
        loaded = self._loaded.pop(engine_id, None) or self._open(engine_id)
        loaded.idle_since = None
        self._loaded[engine_id] = loaded
        return loaded.session

    def _open(self, engine_id: str) -> _Loaded:
        engine = self._find(engine_id)
        needed = engine.weight_bytes(self._device)
        self._make_room_for(needed)
        session = engine.open(self._device, lambda: self._close_others(engine_id))
        _log.info("%s is loaded", engine_id)
        return _Loaded(session, needed)

    def _make_room_for(self, needed: int) -> None:
        """Unload the least recently used models until ``needed`` bytes fit, or none is left."""
        if needed == 0:
            return
        for engine_id in self._with_weights():
            if self._has_room_for(needed):
                break
            self.close(engine_id)

    def _has_room_for(self, needed: int) -> bool:
        memory = self._memory(self._device)
        share = _MAIN_MEMORY_SHARE if memory.is_main else 1.0
        taken = sum(loaded.weight_bytes for loaded in self._loaded.values())
        return needed <= memory.room_bytes and taken + needed <= memory.total_bytes * share

    def _close_others(self, engine_id: str) -> bool:
        """Unload every model but one; whether there was any."""
        others = [other for other in self._with_weights() if other != engine_id]
        for other in others:
            self.close(other)
        return bool(others)

    def _with_weights(self) -> list[str]:
        return [engine_id for engine_id, loaded in self._loaded.items() if loaded.weight_bytes]
