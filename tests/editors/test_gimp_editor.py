"""GimpEditor keeps the EditorContract inside the real GIMP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.editors.driving import EditorRoot, GimpDriver, fresh_driver

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
    results = gimp.run(_RUN_CONTRACT, timeout=100.0)
    assert len(results) >= 15
    failures = [f"{name}\n{trace}" for name, trace in results if trace]
    assert not failures, "\n\n".join(failures)
