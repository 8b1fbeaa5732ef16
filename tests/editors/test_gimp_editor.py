"""GimpEditor keeps the EditorContract inside the real GIMP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.editors.driving import EditorRoot, GimpDriver, fresh_driver, run_gimp_console

_PROJECT = Path(__file__).parents[2]
_PATHS = [str(_PROJECT / part) for part in ("protocol", "plugins/common", "plugins/gimp", "")]

_RUN_CONTRACT = f"""
import sys
sys.path[:0] = {_PATHS!r}
sys.dont_write_bytecode = True
from overpaint_client.testing.contract import run_contract
from tests.editors.gimp_harness import GimpHarness
harnesses = []
def make():
    for harness in harnesses:
        harness.close_all()
    harnesses[:] = [GimpHarness()]
    return harnesses[0]
result = run_contract(make)
"""


@pytest.fixture(scope="module")
def gimp(editor_root: EditorRoot) -> Iterator[GimpDriver]:
    with fresh_driver(GimpDriver, editor_root, binds=[_PROJECT]) as driver:
        yield driver.start()


def test_gimp_editor_keeps_the_contract(gimp: GimpDriver) -> None:
    results = gimp.run(_RUN_CONTRACT)
    assert len(results) >= 15
    failures = [f"{name}\n{trace}" for name, trace in results if trace]
    assert not failures, "\n\n".join(failures)


_CHECKS = ("check_depths", "check_colors", "check_stacks", "check_floating", "check_closed")


def test_gimp_editor_every_depth_and_stack_passes(editor_root: EditorRoot) -> None:
    code = f"""
import sys, json
sys.path[:0] = {_PATHS!r}
sys.dont_write_bytecode = True
from tests.editors import gimp_depths
for name in {_CHECKS!r}:
    print("CHECK", json.dumps([name, getattr(gimp_depths, name)()]), flush=True)
"""
    done = run_gimp_console(editor_root, code, binds=[_PROJECT])
    found = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("CHECK ")]
    assert found == [[name, []] for name in _CHECKS], done.stderr
