"""Which installed LoRAs a model can use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from overpaint_protocol.errors import RequestError, UnsupportedOperation
from overpaint_protocol.messages import LoraWeight

from .families import FAMILIES, Family
from .manifest import InstalledModel

__all__ = ["ChosenLora", "choose_loras", "fitting_loras"]


@dataclass(frozen=True, slots=True)
class ChosenLora:
    """A LoRA to mix in. weight: how much of it. digest: the sha256 of its file, which names what it holds."""

    id: str
    title: str
    path: Path
    digest: str
    weight: float


def fitting_loras(models: Iterable[InstalledModel], family: Family) -> tuple[InstalledModel, ...]:
    """Those of ``models`` that are LoRAs for models of ``family``."""
    return tuple(model for model in models if model.kind == "lora" and _fits(model, family))


def choose_loras(
    wanted: Iterable[LoraWeight], family: Family, models: Iterable[InstalledModel]
) -> tuple[ChosenLora, ...]:
    """Find what a job asks for, without those that have no weight.

    Args:
        wanted: ids and weights.
        family: of the model that paints.
        models: what is installed and may be offered.

    Raises:
        RequestError: there is no LoRA of that id.
        UnsupportedOperation: it is for models of another kind.
    """
    installed = {model.id: model for model in models if model.kind == "lora"}
    chosen: list[ChosenLora] = []
    for lora in wanted:
        model = installed.get(lora.id)
        if model is None:
            fitting = ", ".join(model.id for model in fitting_loras(installed.values(), family)) or "none yet"
            raise RequestError(
                f"There is no LoRA called “{lora.id}”. Leave it out, or import it with: overpaint models import FILE. "
                f"Installed for {family.title}: {fitting}."
            )
        if not family.lora_base:
            raise UnsupportedOperation(
                f"{family.title} takes no LoRAs. Leave them out, or choose another model."
            )
        if not _fits(model, family):
            made_for = FAMILIES[model.family].title if model.family in FAMILIES else model.family
            raise UnsupportedOperation(
                f"The LoRA “{model.title}” is made for {made_for} and does not fit {family.title}. "
                "Leave it out, or choose a model it fits."
            )
        if lora.weight:
            chosen.append(ChosenLora(model.id, model.title, model.path, model.files[0].sha256, lora.weight))
    return tuple(chosen)


def _fits(lora: InstalledModel, family: Family) -> bool:
    made_for = FAMILIES.get(lora.family)
    return made_for is not None and bool(family.lora_base) and made_for.lora_base == family.lora_base
