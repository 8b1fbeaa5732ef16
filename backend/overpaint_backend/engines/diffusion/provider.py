"""The installed models as engines, without importing torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from overpaint_backend.engines.base import Device, EngineInfo, EngineSession, MakeRoom, OperationName, no_room
from overpaint_backend.models.families import FAMILIES, Family
from overpaint_backend.models.single_file import RUNNABLE_FAMILIES
from overpaint_backend.models.store import InstalledModel, ModelStore
from overpaint_protocol.errors import EngineError

__all__ = ["DiffusionEngine", "DiffusionProvider"]

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors")


class DiffusionProvider:
    """Every installed base model as an engine: its id is the model's id, its name the model's title."""

    def __init__(self, store: ModelStore | None = None) -> None:
        self._store = store or ModelStore.from_environment()

    def engines(self) -> Iterable[DiffusionEngine]:
        """One engine for each model that can be run.

        Raises:
            EngineError: models are installed and the libraries to run them are not.
        """
        models = [model for model in self._store.models() if _can_run(model)]
        missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
        if models and missing:
            raise EngineError(
                "Models are installed, but not what runs them. Install it with: pip install 'overpaint[diffusion]'",
                detail=f"missing: {', '.join(missing)}",
            )
        return [DiffusionEngine(model, FAMILIES[model.family]) for model in models]


def _can_run(model: InstalledModel) -> bool:
    if model.kind == "single-file":
        return model.family in RUNNABLE_FAMILIES
    return model.kind == "diffusers" and model.family in FAMILIES


class DiffusionEngine:
    """One model."""

    def __init__(self, model: InstalledModel, family: Family) -> None:
        self._model = model
        self._family = family

    def info(self) -> EngineInfo:
        """What the model can do."""
        return EngineInfo(
            id=self._model.id,
            name=self._model.title,
            operations=(OperationName.FILL, OperationName.REMOVE, OperationName.EXPAND),
            follows_prompt=True,
            follows_negative_prompt=self._family.follows_negative,
            needs_surroundings=False,
        )

    def weight_bytes(self, device: Device) -> int:
        """Bytes of its weights, in the numbers the device computes in. Reads the files' headers and imports torch."""
        from .memory import weight_bytes

        return weight_bytes(self._model, device)

    def open(self, device: Device, make_room: MakeRoom = no_room) -> EngineSession:
        """Load the model; takes seconds to minutes.

        Raises:
            EngineError: its files or the libraries do not fit together.
            OutOfMemory: it does not fit into memory.
        """
        from .session import DiffusionSession

        return DiffusionSession(self._model, self._family, device, make_room)
