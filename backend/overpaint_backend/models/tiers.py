"""Which graphics card a model needs, worked out from its size; and one model for each size of card.

The rule is the one that ``engines.diffusion.memory`` places models by. Weights take two bytes each, in bfloat16 as in
float16. A model stays *whole* on the card if its weights take at most HEADROOM_FRACTION of the card's memory; the rest is for
the steps. Otherwise its parts *take turns*: the largest must keep to the same fraction, the others wait in main memory,
which has to hold them all. A ControlNet works in every step, so it is on the card together with the network.

A card of N GB has N GiB, of which CARD_FRACTION are counted on: PyTorch reports 31.37 of 32, 23.65 of 24, 15.70 of 16 and
5.81 of 6 GiB (from its messages in Wan2.1 issue 465, lerf 73, VSmTrans 3, lcnn 23), and a screen takes some of it.

Counts of weights are those of ``families``. This is arithmetic; what the steps themselves need was measured for two models
(docs/models.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from .catalog import KnownModel
from .families import FAMILIES, Family

__all__ = [
    "CARDS_GB",
    "CARD_FRACTION",
    "HEADROOM_FRACTION",
    "TIERS",
    "Fit",
    "Need",
    "need_of",
    "need_of_known",
]

HEADROOM_FRACTION = 0.8
"""Of a device's free memory, what weights may take; the rest is for what the steps themselves need."""
CARD_FRACTION = 0.95
"""Of a card's nominal memory, what is free for models."""
CARDS_GB = (4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 80, 96)
"""Sizes that graphics cards come in."""

TIERS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        4: ("sd15-inpaint",),
        8: ("sdxl-inpaint",),
        12: ("flux2-klein",),
        16: ("z-image-turbo",),
        24: ("z-image-turbo-controlnet-lite", "chroma1-hd"),
    }
)
"""By size of a card in GB, the models of the catalog worth having for it, the first one first.

Those of smaller cards run there as well, and faster.
"""

_BYTES_PER_WEIGHT = 2
_SHARED_WEIGHTS = MappingProxyType({"ZImageControlNetModel": 0.73e9})
"""What a ControlNet takes from its network as a copy (``engines.diffusion.parts.separate``), by its class."""


class Fit(StrEnum):
    """How a model runs on a computer."""

    WHOLE = "whole"
    TURNS = "turns"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Need:
    """Memory for weights, in bytes. whole: of all of them. turn: of those that are on the card at one time."""

    whole: int
    turn: int

    def smallest_card_gb(self, *, takes_turns: bool) -> int | None:
        """The smallest of CARDS_GB it runs on, whole or with parts that take turns; None if none is large enough."""
        wanted = self.turn if takes_turns else self.whole
        return next((size for size in CARDS_GB if wanted <= _room(size * 2**30)), None)

    @property
    def main_memory_gb(self) -> int:
        """Main memory to have in GB, so that all of it can wait there."""
        return math.ceil(self.whole / HEADROOM_FRACTION / 1e9)

    def fits(self, card_bytes: int, main_memory_bytes: int) -> Fit:
        """How it runs on a card with ``card_bytes`` in all."""
        room = _room(card_bytes)
        if self.whole <= room:
            return Fit.WHOLE
        if self.turn <= room and self.whole <= main_memory_bytes * HEADROOM_FRACTION:
            return Fit.TURNS
        return Fit.NO


def _room(card_bytes: int) -> float:
    return card_bytes * CARD_FRACTION * HEADROOM_FRACTION


def need_of(family: Family, controlnet_bytes: int = 0) -> Need:
    """What a model of ``family`` needs, beside a ControlNet whose weights take that much if it is not 0."""
    extra = 0
    if controlnet_bytes:
        shared = _SHARED_WEIGHTS.get(family.pipelines.controlnet, 0)
        extra = controlnet_bytes + round(shared * _BYTES_PER_WEIGHT)
    return Need(
        whole=round(family.parameters * _BYTES_PER_WEIGHT) + extra,
        turn=round(family.largest * _BYTES_PER_WEIGHT) + extra,
    )


def need_of_known(model: KnownModel) -> Need:
    """What a model of the catalog needs; a ControlNet counts together with the model it is for."""
    family = FAMILIES[model.family]
    return need_of(family, model.bytes or 0) if model.kind == "controlnet" else need_of(family)
