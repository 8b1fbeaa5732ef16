"""The installed models as engines, without importing torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from overpaint_backend.engines.base import Device, EngineInfo, EngineSession, OperationName
from overpaint_backend.models.companions import ALONE, Companions, can_paint, companions_of
from overpaint_backend.models.families import FAMILIES, Family
from overpaint_backend.models.store import InstalledModel, ModelStore
from overpaint_protocol.errors import EngineError

__all__ = ["DiffusionEngine", "DiffusionProvider"]

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors")


class DiffusionProvider:
    """Every installed model that paints as an engine: its id is the model's id, its name the model's title."""

    def __init__(self, store: ModelStore | None = None) -> None:
        self._store = store or ModelStore.from_environment()

    def engines(self) -> Iterable[DiffusionEngine]:
        """One engine for each model that can be run.

        Raises:
            EngineError: models are installed and the libraries to run them are not.
        """
        installed = self._store.models()
        models = [(model, companions_of(model, installed)) for model in installed]
        models = [(model, companions) for model, companions in models if can_paint(model, companions)]
        missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
        if models and missing:
            raise EngineError(
                "Models are installed, but not what runs them. Install it with: pip install 'overpaint[diffusion]'",
                detail=f"missing: {', '.join(missing)}",
            )
        return [DiffusionEngine(model, FAMILIES[model.family], companions) for model, companions in models]


class DiffusionEngine:
    """One model with what it is run with."""

    def __init__(self, model: InstalledModel, family: Family, companions: Companions = ALONE) -> None:
        self._model = model
        self._family = family
        self._companions = companions

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

    def open(self, device: Device) -> EngineSession:
        """Load the model; takes seconds to minutes.

        Raises:
            EngineError: its files or the libraries do not fit together.
            OutOfMemory: it does not fit into memory.
        """
        from .session import DiffusionSession

        return DiffusionSession(self._model, self._family, device, self._companions)
