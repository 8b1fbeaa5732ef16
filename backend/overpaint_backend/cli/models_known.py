"""``overpaint models list --known``: what can be got by a short name, and what of it fits this computer."""

from __future__ import annotations

from overpaint_backend.models.catalog import CATALOG, KnownModel
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.importer import format_bytes
from overpaint_backend.models.licences import Licence, describe_commercial_use
from overpaint_backend.models.machine import Machine, this_machine
from overpaint_backend.models.store import ModelStore
from overpaint_backend.models.tiers import Fit, need_of_known

from .outcome import OK, complain, print_json, say

__all__ = ["describe_terms", "run_list_known", "say_hidden"]

_FITS = {
    Fit.WHOLE: "Fits this computer.",
    Fit.TURNS: "Fits this computer, with parts taking turns on the card, which costs time.",
    Fit.NO: "Too large for this computer.",
}


def run_list_known(store: ModelStore, *, as_json: bool) -> int:
    """Print the models of the catalog. The setting commercial_only hides some."""
    only_commercial = store.settings().commercial_only
    entries = [model for model in CATALOG.values() if model.licence.commercial_use or not only_commercial]
    machine = this_machine()
    if as_json:
        print_json(
            {
                "ok": True,
                "commercial_only": only_commercial,
                "machine": {
                    "memory_bytes": machine.memory_bytes,
                    "card": machine.card or None,
                    "card_bytes": machine.card_bytes or None,
                },
                "known": [_plain(model, machine) for model in entries],
            }
        )
        return OK
    memory = f"{format_bytes(machine.memory_bytes)} of main memory"
    if machine.card:
        say(f"This computer: {machine.card} with {format_bytes(machine.card_bytes)}, {memory}.")
    else:
        say(f"This computer: {memory}; no NVIDIA card is known, so what fits it is not marked.")
    for model in entries:
        mark = " (asks for an account)" if model.is_gated else ""
        say(f"{model.id}: {model.title}; {describe_terms(model.licence)}; {model.repo}{mark}")
        fit = _fit(model, machine)
        say(f"  {_describe_need(model)}{f' {_FITS[fit]}' if fit is not None else ''}")
    say_hidden(len(CATALOG) - len(entries))
    return OK


def describe_terms(licence: Licence) -> str:
    """A licence and whether it allows selling, for a line of a list."""
    return f"{licence.title}, commercial use: {describe_commercial_use(licence.commercial_use)}"


def say_hidden(count: int) -> None:
    """Say how many models the setting commercial_only hides, if any."""
    if count:
        complain(
            f"{count} hidden: their licence does not plainly allow commercial use (overpaint models settings)."
        )


def _fit(model: KnownModel, machine: Machine) -> Fit | None:
    if not machine.card_bytes:
        return None
    return need_of_known(model).fits(machine.card_bytes, machine.memory_bytes)


def _describe_need(model: KnownModel) -> str:
    need = need_of_known(model)
    turns, whole = (need.smallest_card_gb(takes_turns=each) for each in (True, False))
    beside = f" together with {FAMILIES[model.family].title}" if model.kind == "controlnet" else ""
    if turns == whole:
        return f"Needs a card of {whole} GB{beside}."
    return f"Needs a card of {turns} GB and {need.main_memory_gb} GB of main memory, or a card of {whole} GB{beside}."


def _plain(model: KnownModel, machine: Machine) -> dict[str, object]:
    need = need_of_known(model)
    return {
        "id": model.id,
        "title": model.title,
        "family": model.family,
        "kind": model.kind,
        "repo": model.repo,
        "file": model.file or None,
        "revision": model.revision,
        "licence": model.licence.id,
        "commercial_use": model.licence.commercial_use,
        "bytes": model.bytes,
        "is_gated": model.is_gated,
        "weight_bytes": need.whole,
        "main_memory_gb": need.main_memory_gb,
        "card_gb": {
            "turns": need.smallest_card_gb(takes_turns=True),
            "whole": need.smallest_card_gb(takes_turns=False),
        },
        "fits": _fit(model, machine),
    }
