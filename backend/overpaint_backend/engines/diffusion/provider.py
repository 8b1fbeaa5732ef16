"""The installed models as engines, without importing torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from overpaint_backend.engines.base import (
    Device,
    EngineInfo,
    EngineSession,
    GenerationSettings,
    MakeRoom,
    OperationName,
    no_room,
)
from overpaint_backend.models.companions import ALONE, Companions, can_paint, companions_of
from overpaint_backend.models.families import FAMILIES, Family
from overpaint_backend.models.loras import fitting_loras
from overpaint_backend.models.store import InstalledModel, ModelStore
from overpaint_protocol.errors import EngineError
from overpaint_protocol.messages import LoraInfo

__all__ = ["DiffusionEngine", "DiffusionProvider"]

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "peft")


class DiffusionProvider:
    """Every installed model that paints as an engine: its id is the model's id, its name the model's title."""

    def __init__(self, store: ModelStore | None = None) -> None:
        self._store = store or ModelStore.from_environment()

    def stamp(self) -> object:
        """That of the store: models are installed and removed while the worker runs."""
        return self._store.stamp()

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
        return [
            DiffusionEngine(
                model, FAMILIES[model.family], self._store, companions=companions, installed=installed
            )
            for model, companions in models
        ]


class DiffusionEngine:
    """One model with what it is run with; equal to another engine of the same.

    Args:
        model: the installed model.
        family: what it is like.
        store: where it is installed, and the LoRAs of jobs; None for the user's.
        companions: what it is run with.
        installed: what else is, for telling which LoRAs there are.
    """

    def __init__(
        self,
        model: InstalledModel,
        family: Family,
        store: ModelStore | None = None,
        *,
        companions: Companions = ALONE,
        installed: Iterable[InstalledModel] = (),
    ) -> None:
        self._model = model
        self._family = family
        self._store = store or ModelStore.from_environment()
        self._companions = companions
        self._loras = fitting_loras(installed, family)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DiffusionEngine):
            return NotImplemented
        return (self._model, self._companions) == (other._model, other._companions)

    def __hash__(self) -> int:
        return hash(self._model.id)

    def info(self) -> EngineInfo:
        """What the model can do."""
        family = self._family
        edits = (OperationName.EDIT,) if family.pipelines.edit else ()
        return EngineInfo(
            id=self._model.id,
            name=self._model.title,
            operations=(OperationName.FILL, OperationName.REMOVE, OperationName.EXPAND, *edits),
            follows_prompt=True,
            follows_negative_prompt=family.follows_negative,
            needs_surroundings=False,
            defaults=self._defaults(),
            loras=tuple(LoraInfo(id=lora.id, name=lora.title) for lora in self._loras),
        )

    def weight_bytes(self, device: Device) -> int:
        """Bytes of its weights, in the numbers the device computes in. Reads the files' headers and imports torch."""
        from .memory import weight_bytes

        return weight_bytes(self._model, self._family, self._companions, device)

    def open(self, device: Device, make_room: MakeRoom = no_room) -> EngineSession:
        """Load the model; takes seconds to minutes.

        Raises:
            EngineError: its files or the libraries do not fit together.
            OutOfMemory: it does not fit into memory.
        """
        from .session import DiffusionSession

        return DiffusionSession(self._model, self._family, self._store, device, make_room, self._companions)

    def _defaults(self) -> GenerationSettings:
        """What is chosen where a job leaves it open. A strength of 1 starts as a job without one does."""
        family = self._family
        is_controlled = self._companions.is_controlled(self._model, family)
        return GenerationSettings(
            steps=family.steps,
            guidance=family.guidance if family.guidance_argument else None,
            strength=1.0 if family.takes_strength(is_controlled) else None,
        )
