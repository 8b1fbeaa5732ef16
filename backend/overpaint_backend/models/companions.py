"""What installed models are run with: a ControlNet of their family, and the whole model that a bare network needs.

Also the other way round: what becomes of each installed thing, in a sentence. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .catalog import CATALOG
from .families import FAMILIES, Family
from .manifest import InstalledModel
from .single_file import RUNNABLE_FAMILIES

__all__ = ["ALONE", "Companions", "can_paint", "companions_of", "describe_use"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Companions:
    """What is loaded beside a model.

    base: the model of the same family whose other parts a bare network uses; None for a whole model.
    controlnet: of the same family, for the hole's surroundings; None also for a model with one of its own.
    """

    base: InstalledModel | None = None
    controlnet: InstalledModel | None = None

    @property
    def models(self) -> tuple[InstalledModel, ...]:
        """All of them."""
        return tuple(each for each in (self.base, self.controlnet) if each is not None)

    def is_controlled(self, model: InstalledModel, family: Family) -> bool:
        """Whether ``model`` paints with a ControlNet, its own or this one."""
        has_one = self.controlnet is not None or (self.base or model).has_part("controlnet")
        return bool(family.pipelines.controlled) and has_one

    @property
    def total_bytes(self) -> int:
        """Size of all their files."""
        return sum(each.total_bytes for each in self.models)


ALONE = Companions()
"""Of a model that needs nothing beside it."""


def companions_of(model: InstalledModel, installed: Iterable[InstalledModel]) -> Companions:
    """What ``model`` is run with, out of what is ``installed`` and not hidden: of several, what came last.

    A model whose folder has a ControlNet keeps that.
    """
    kin = [each for each in installed if each.family == model.family]
    bases = [each for each in kin if each.kind == "diffusers"] if model.kind == "denoiser" else []
    base = _last(bases)
    if (base or model).has_part("controlnet"):
        return Companions(base=base)
    return Companions(base=base, controlnet=_last(each for each in kin if each.kind == "controlnet"))


def can_paint(model: InstalledModel, companions: Companions) -> bool:
    """Whether ``model`` can be offered as an engine together with its ``companions``."""
    if model.kind == "denoiser":
        return companions.base is not None
    if model.kind == "single-file":
        return model.family in RUNNABLE_FAMILIES
    return model.kind == "diffusers" and model.family in FAMILIES


def describe_use(model: InstalledModel, installed: Iterable[InstalledModel]) -> str:
    """A sentence on what ``model`` is used with or why it is not offered; empty if it paints by itself."""
    installed = tuple(installed)
    family = FAMILIES.get(model.family)
    if family is None:
        return f"Not offered: this version of Overpaint does not run models of {model.family}."
    companions = companions_of(model, installed)
    if model.kind == "lora":
        return f"A LoRA for models of {family.title}."
    if model.kind == "controlnet":
        users = [each.id for each in installed if _uses(each, model, installed)]
        if users:
            return f"It shows {', '.join(users)} what surrounds the hole."
        return f"It waits for a model of {family.title}, which uses it by itself. {_advice(model.family)}"
    if can_paint(model, companions):
        return f"It uses the text encoder and VAE of {companions.base.id}." if companions.base else ""
    if model.kind == "denoiser":
        return (
            f"Not offered: it is the network alone, without text encoder and VAE. Those of any installed {family.title} in "
            f"diffusers' format would do. {_advice(model.family)}"
        )
    return (
        f"Not offered: a single file of {family.title} lacks configurations that only its diffusers folder has. "
        f"{_advice(model.family)}"
    )


def _uses(model: InstalledModel, controlnet: InstalledModel, installed: Iterable[InstalledModel]) -> bool:
    companions = companions_of(model, installed)
    return can_paint(model, companions) and companions.controlnet == controlnet


def _advice(family: str) -> str:
    known = [model.id for model in CATALOG.values() if model.family == family and model.kind == "diffusers"]
    return f"Get it with: overpaint models add {known[0]}" if known else "Import its diffusers folder."


def _last(models: Iterable[InstalledModel]) -> InstalledModel | None:
    return max(models, key=lambda model: (model.installed_at, model.id), default=None)
