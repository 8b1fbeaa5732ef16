"""KritaEditor keeps the EditorContract inside the real Krita."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.editors.driving import EditorRoot, KritaDriver, fresh_driver
from tests.editors.krita_install import PROJECT, install_plug_in

_RUN_CONTRACT = f"""
import sys
sys.dont_write_bytecode = True
sys.path.append({str(PROJECT)!r})
import overpaint_client  # the bundle's, which leaves out what is for tests only
overpaint_client.__path__.append({str(PROJECT / "plugins/common/overpaint_client")!r})
from overpaint_client.testing.contract import run_contract
from tests.editors.krita_harness import KritaHarness
harnesses = []
def make():
    for harness in harnesses:
        harness.close_all()
    harnesses[:] = [KritaHarness(spin)]
    return harnesses[0]
result = run_contract(make)
"""


@pytest.fixture(scope="module")
def krita(editor_root: EditorRoot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KritaDriver]:
    with fresh_driver(KritaDriver, editor_root, binds=[PROJECT]) as driver:
        install_plug_in(driver)
        yield driver.start()


def test_krita_editor_keeps_the_contract(krita: KritaDriver) -> None:
    results = krita.run(_RUN_CONTRACT, timeout=100.0)
    assert len(results) >= 15
    failures = [f"{name}\n{trace}" for name, trace in results if trace]
    assert not failures, "\n\n".join(failures)
