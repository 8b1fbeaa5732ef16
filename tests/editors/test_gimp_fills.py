"""What was not selected never changes, in every kind of image GIMP has: its own process, the real daemon outside."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.backend.icc import table_profile
from tests.editors.driving import EditorRoot, run_gimp_console, short_folder
from tests.editors.gimp_plugin import client_environ
from tests.integration.daemon_process import DaemonProcess

_PROJECT = Path(__file__).parents[2]
_PATHS = [str(_PROJECT / part) for part in ("protocol", "plugins/common", "plugins/gimp", "")]
_WIDTH, _HEIGHT = 72, 56
_LONGEST_DERIVED_PX = 5
"""Of a selection that is smaller than 800 px across; nobody set how far beyond it the result reaches."""


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[DaemonProcess]:
    with short_folder() as folder, DaemonProcess.start(folder) as daemon:
        for name, value in client_environ(folder / "state").items():
            monkeypatch.setenv(name, value)
        yield daemon


def _cases(root: EditorRoot, daemon: DaemonProcess, call: str) -> list[dict[str, Any]]:
    """What ``call`` of ``gimp_fills`` printed in one GIMP."""
    code = f"""
import sys
sys.path[:0] = {_PATHS!r}
sys.dont_write_bytecode = True
from tests.editors import gimp_fills
gimp_fills.{call}
print("END", flush=True)
"""
    done = run_gimp_console(root, code, binds=[_PROJECT, daemon.folder])
    lines = done.stdout.splitlines()
    assert "END" in lines, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return [json.loads(line[5:]) for line in lines if line.startswith("CASE ")]


def test_what_is_not_selected_never_changes_in_any_kind_of_image(
    editor_root: EditorRoot, daemon: DaemonProcess
) -> None:
    cases = _cases(editor_root, daemon, f"fill_every_kind(seed={4 if editor_root.name == 'sid' else 3})")
    assert len(cases) == 18 * (3 + 2) * 2  # precisions, profiles of color and of gray, with alpha and without
    faults = [f"{case['case']}: {fault}" for case in cases for fault in _faults(case)]
    assert not faults, "\n".join(faults)


def _faults(case: dict[str, Any]) -> Iterator[str]:
    if case["error"]:
        yield case["error"]
        return
    if not case["kept"]:
        yield "an original layer changed"
    if not case["selection_kept"]:
        yield "the selection changed"
    if case["added"] != 1 or not case["same_format"]:
        yield f"{case['added']} layers came, in the image's own format: {case['same_format']}"
    selected, painted = _picture(case["selected"]), _picture(case["painted"])
    if not painted[selected == 255].all():
        yield "not all of what is selected was painted"
    reach = _LONGEST_DERIVED_PX if case["reach"] is None else case["reach"]
    furthest = _furthest(painted > 0, selected > 0)
    if furthest > reach:
        yield f"painted {furthest:.2f} px beyond the selection, {reach} were asked for"


def _furthest(painted: np.ndarray, selected: np.ndarray) -> float:
    """How far from what is selected anything is painted, in px; 0 where it is inside."""
    beyond = np.argwhere(painted & ~selected)
    if not len(beyond):
        return 0.0
    offsets = beyond[:, None, :] - np.argwhere(selected)[None, :, :]
    return float(np.sqrt((offsets**2).sum(axis=-1).min(axis=1).max()))


def _picture(packed: str) -> np.ndarray:
    data = zlib.decompress(base64.b64decode(packed))
    return np.frombuffer(data, np.uint8).reshape(_HEIGHT, _WIDTH)


def test_a_gradient_of_16_bits_keeps_its_levels(editor_root: EditorRoot, daemon: DaemonProcess) -> None:
    cases = _cases(editor_root, daemon, "fill_ramps()")
    assert len(cases) == 10
    assert {case["case"]: case["error"] for case in cases if case["error"]} == {}
    poor = {case["case"]: case["levels"] for case in cases if case["levels"] < 1000}
    assert not poor, "of 1024 levels"


def test_empty_opaque_and_cut_out_images_can_be_filled(
    editor_root: EditorRoot, daemon: DaemonProcess
) -> None:
    cases = _cases(editor_root, daemon, "fill_transparent()")
    assert len(cases) == 2 * 5 * 3  # precisions, profiles; empty, cut-out and opaque
    faults = [
        f"{case['case']}: {case}"
        for case in cases
        # an engine that inverts what it cannot see, and one that continues white
        if case["error"]
        or not case["kept"]
        or case["place"] != [20, 16, 24, 20]
        or not case["is_covered"]
        or case["shade"] < 250
    ]
    assert not faults, "\n".join(faults)


def test_an_image_with_a_table_for_a_profile_is_filled_in_its_colors(
    editor_root: EditorRoot, daemon: DaemonProcess
) -> None:
    """GIMP takes the numbers of such an image as they are, in every precision."""
    path = daemon.folder / "table.icc"
    path.write_bytes(table_profile(b"A2B0", b"B2A0"))
    cases = _cases(editor_root, daemon, f"fill_tables({str(path)!r})")
    assert len(cases) == 18 * 2
    faults = [
        f"{case}"
        for case in cases
        if case["error"]
        or not case["kept"]
        or case["changed_outside"]
        # as GIMP itself shows the two: the engine inverts what is seen
        or any(abs(below + above - 255) > 3 for below, above in zip(*case["seen"], strict=True))
    ]
    assert not faults, "\n".join(faults)


def test_a_profile_that_only_reads_is_refused(editor_root: EditorRoot, daemon: DaemonProcess) -> None:
    path = daemon.folder / "scanner.icc"
    path.write_bytes(table_profile(b"A2B0"))
    cases = _cases(editor_root, daemon, f"fill_tables({str(path)!r}, 'u8-non-linear')")
    assert len(cases) == 2
    assert all("can be read from and not written to" in case["error"] for case in cases), cases
    assert all(case["kept"] and not case["changed_outside"] for case in cases), cases
