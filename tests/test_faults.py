"""``docs/faults.md`` names a test for every fault and attack, and each of them is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").splitlines()
ROWS = {line.split("|")[1].strip(): line for line in LINES if re.match(r"\| [FT]\d+ \|", line)}


def test_every_fault_and_attack_has_a_row():
    assert list(ROWS) == [f"F{n}" for n in range(1, 25)] + [f"T{n}" for n in range(1, 13)]


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_tests_that_are_named_exist(row):
    names = re.findall(r"`(tests/[^`]+)`", row)
    tests = [name.partition("::")[::2] for name in names if "::" in name]
    missing = [f"{path}::{test}" for path, test in tests if test not in functions(ROOT / path)]
    missing += [name for name in names if "::" not in name and not (ROOT / name).is_file()]
    assert missing == []
    assert tests


def functions(path):
    """Names of the test functions of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
