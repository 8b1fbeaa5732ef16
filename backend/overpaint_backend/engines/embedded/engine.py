"""What the embedded engine offers, and loading its library."""

from __future__ import annotations

from typing import Literal

from overpaint_backend.engines.base import Device, EngineInfo, MakeRoom, OperationName, no_room
from overpaint_protocol.errors import EngineError

from .session import EmbeddedSession

__all__ = ["EmbeddedEngine"]


class EmbeddedEngine:
    """Fill, remove and expand without weights, on any machine."""

    uses_own_primaries: Literal[True] = True

    def info(self) -> EngineInfo:
        """What the engine can do."""
        return EngineInfo(
            id="embedded",
            name="Embedded (no model)",
            operations=(OperationName.FILL, OperationName.REMOVE, OperationName.EXPAND),
            follows_prompt=False,
            follows_negative_prompt=False,
            needs_surroundings=True,
        )

    def weight_bytes(self, device: Device) -> int:
        """Nothing: it has no model."""
        return 0

    def open(self, device: Device, make_room: MakeRoom = no_room) -> EmbeddedSession:
        """Load the library; it always computes on the processor.

        Raises:
            EngineError: the library is missing or has no build for this machine.
        """
        try:
            import patchmatch
        except ImportError as error:
            raise EngineError(
                "The embedded engine's library is missing. Install Overpaint again.", detail=str(error)
            ) from error
        if not patchmatch.patchmatch_available:
            raise EngineError(
                "The embedded engine's library does not run on this machine. "
                "Install Overpaint again with: pip install --force-reinstall pypatchmatch"
            )
        return EmbeddedSession(patchmatch)
