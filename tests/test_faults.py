"""``docs/faults.md`` names a test for every fault and attack, and each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()


def _rows(heading):
    """The table below that heading: by what is in its first column."""
    begin = LINES.index(f"## {heading}") + 1
    end = next((at for at in range(begin, len(LINES)) if LINES[at].startswith("## ")), len(LINES))
    return {line.split("|")[1].strip(): line for line in LINES[begin:end] if re.match(r"\| [FT]\d+ \|", line)}


FAULTS, WITH_RAY, ATTACKS = map(_rows, ("Faults", "Faults with Ray", "Attacks"))
ROWS = {**FAULTS, **{f"{fault} with Ray": row for fault, row in WITH_RAY.items()}, **ATTACKS}


def test_every_fault_and_attack_has_a_row():
    faults = [f"F{n}" for n in range(1, 25)]
    assert list(FAULTS) == list(WITH_RAY) == faults
    assert list(ATTACKS) == [f"T{n}" for n in range(1, 13)]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_tests_that_are_named_exist(row):
    names = re.findall(r"`(tests/[^`]+)`", row)
    tests = [name.partition("::")[::2] for name in names if "::" in name]
    missing = [f"{path}::{test}" for path, test in tests if test not in functions(ROOT / path)]
    missing += [name for name in names if "::" not in name and not (ROOT / name).is_file()]
    assert missing == []


@pytest.mark.parametrize("row", [*FAULTS.values(), *ATTACKS.values()], ids=[*FAULTS, *ATTACKS])
def test_each_has_a_test(row):
    assert re.search(r"`tests/[^`]+::", row)


@pytest.mark.parametrize("row", WITH_RAY.values(), ids=WITH_RAY)
def test_with_ray_each_has_a_test_or_says_why_not(row):
    _, _, what, tests, _ = row.split("|")
    assert "`tests/" in tests or what.strip().startswith("the same") or "no test" in what


def functions(path):
    """Names of the test functions of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
