"""Which card a model needs: the arithmetic, the computer's own answer, and the documentation that repeats both."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from overpaint_backend.models.catalog import CATALOG
from overpaint_backend.models.families import FAMILIES
from overpaint_backend.models.licences import describe_commercial_use
from overpaint_backend.models.machine import this_machine
from overpaint_backend.models.tiers import (
    CARD_FRACTION,
    CARDS_GB,
    HEADROOM_FRACTION,
    TIERS,
    Fit,
    Need,
    need_of,
    need_of_known,
)

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
GIB = 2**30


@pytest.mark.parametrize("size", CARDS_GB)
def test_a_card_is_large_enough_up_to_its_limit_and_not_one_byte_beyond(size: int):
    most = int(size * GIB * CARD_FRACTION * HEADROOM_FRACTION)
    assert Need(most, most).smallest_card_gb(takes_turns=False) == size
    larger = Need(most + 1, most + 1).smallest_card_gb(takes_turns=False)
    assert larger == next((card for card in CARDS_GB if card > size), None)


def test_parts_that_take_turns_need_main_memory_for_all_of_them():
    need = Need(whole=20 * 10**9, turn=8 * 10**9)
    assert need.main_memory_gb == 25
    assert need.fits(48 * GIB, 8 * 10**9) is Fit.WHOLE
    assert need.fits(12 * GIB, 25 * 10**9) is Fit.TURNS
    assert need.fits(12 * GIB, 24 * 10**9) is Fit.NO
    assert need.fits(8 * GIB, 64 * 10**9) is Fit.NO


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_needs_what_its_weights_take(family):
    need = need_of(family)
    assert need.whole == family.memory_bytes("bfloat16")
    assert 0 < need.turn <= need.whole


def test_a_controlnet_is_on_the_card_with_the_network_and_brings_its_copies():
    family = FAMILIES["z-image-turbo"]
    alone, controlled = need_of(family), need_of(family, controlnet_bytes=2 * 10**9)
    assert controlled.whole - alone.whole == controlled.turn - alone.turn == 2 * 10**9 + 1_460_000_000
    assert need_of(FAMILIES["qwen-image"], 10**9).turn == need_of(FAMILIES["qwen-image"]).turn + 10**9


@pytest.mark.parametrize("size", TIERS)
def test_what_is_advised_for_a_card_runs_on_it(size: int):
    for name in TIERS[size]:
        card = need_of_known(CATALOG[name]).smallest_card_gb(takes_turns=True)
        assert card is not None
        assert card <= size


@pytest.mark.parametrize("model", CATALOG.values(), ids=CATALOG)
def test_every_known_model_has_a_card_that_is_large_enough(model):
    turns, whole = (need_of_known(model).smallest_card_gb(takes_turns=each) for each in (True, False))
    assert turns is not None
    assert whole is not None
    assert turns <= whole


def test_the_tiers_are_those_promised_and_each_begins_with_something_that_may_be_sold():
    assert list(TIERS) == [4, 8, 12, 16, 24]
    assert all(CATALOG[names[0]].licence.commercial_use for names in TIERS.values())


def test_the_card_is_asked_of_its_driver():
    machine = this_machine(lambda command: "NVIDIA GeForce RTX 3060, 12288\nNVIDIA T400, 2048\n")
    assert (machine.card, machine.card_bytes) == ("NVIDIA GeForce RTX 3060", 12 * GIB)
    assert machine.memory_bytes == psutil.virtual_memory().total


@pytest.mark.parametrize("answer", ["", "No devices were found\n", "NVIDIA, [N/A]\n"])
def test_an_answer_without_a_card_is_no_card(answer: str):
    machine = this_machine(lambda command: answer)
    assert (machine.card, machine.card_bytes) == ("", 0)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi"), subprocess.TimeoutExpired("x", 1)],
)
def test_a_driver_that_fails_is_no_card(error: Exception):
    def fail(command):
        raise error

    assert this_machine(fail).card_bytes == 0


def steps_of(model) -> str:
    family = FAMILIES[model.family]
    ways = [f"{way.steps} with {way.name}" for way in family.few_step]
    return ", or ".join([str(family.steps), *ways])


def terms_of(model) -> str:
    return f"{model.licence.title}: {describe_commercial_use(model.licence.commercial_use)}"


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def test_the_documentations_table_of_cards_is_this_one():
    text = DOCS.read_text(encoding="utf-8")
    rows = [
        row(
            f"{size} GB",
            f"`overpaint models add {name}`",
            f"{need_of_known(CATALOG[name]).main_memory_gb} GB",
            terms_of(CATALOG[name]),
            steps_of(CATALOG[name]),
        )
        for size, names in TIERS.items()
        for name in names
    ]
    assert table_after(text, "| Card |") == rows


def test_the_documentations_table_of_models_is_the_catalog():
    text = DOCS.read_text(encoding="utf-8")
    rows = []
    for model in CATALOG.values():
        need = need_of_known(model)
        turns, whole = (need.smallest_card_gb(takes_turns=each) for each in (True, False))
        rows.append(
            row(
                f"`{model.id}`",
                f"{turns} GB",
                f"{need.main_memory_gb} GB",
                f"{whole} GB",
                terms_of(model),
                steps_of(model),
            )
        )
    assert table_after(text, "| Model |") == rows


def table_after(text: str, start: str) -> list[str]:
    lines = text[text.index(start) :].splitlines()[2:]
    end = next(number for number, line in enumerate(lines) if not line.startswith("|"))
    return lines[:end]
