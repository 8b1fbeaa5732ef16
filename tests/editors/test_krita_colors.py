"""Every depth and color space of Krita through the real daemon: what was not selected is the same to the bit."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.editors.driving import EditorRoot, KritaDriver, fresh_driver, short_folder
from tests.editors.krita_install import PRELUDE, PROJECT, install_plug_in
from tests.integration.daemon_process import DaemonProcess

WIDTH, HEIGHT = 96, 80
PROFILES = {
    "RGBA": (
        "sRGB-elle-V2-srgbtrc.icc",
        "sRGB-elle-V2-g10.icc",
        "ClayRGB-elle-V2-g22.icc",
        "Rec2020-elle-V4-g10.icc",
    ),
    "GRAYA": ("Gray-D50-elle-V2-srgbtrc.icc", "Gray-D50-elle-V2-g10.icc", "Gray-D50-elle-V2-g22.icc"),
}
DEPTHS = ("U8", "U16", "F16", "F32")

_HELPERS = f"""
pilot.wait_for_engines(40.0)
def text(data):
    return base64.b64encode(bytes(data)).decode()
def remove(model, depth, profile, mask, engine, protect):
    size = pilot.create({WIDTH}, {HEIGHT}, model, depth, profile)
    pilot.select_mask(base64.b64decode(mask))
    original = pilot.layers()[0]
    before, pixels = pilot.picture(), bytes(original.pixelData(0, 0, *size))
    pilot.choose_engine(engine)
    pilot.widget("protect_original").setChecked(protect)
    jobs = len(pilot.docker._controller.jobs)
    pilot.press("remove")
    wait_until(lambda: len(pilot.docker._controller.jobs) > jobs, 10.0)
    job = pilot.docker._controller.jobs[-1]
    wait_until(lambda: job.phase.is_final, 240.0)
    pilot.settle()
    found = dict(sentence=job.sentence, layers=len(pilot.layers()), before=text(before), after=text(pilot.picture()),
        kept=bytes(original.pixelData(0, 0, *size)) == pixels, layer=text(pilot.layers()[0].pixelData(0, 0, *size)),
        kind=[pilot.layers()[0].colorModel(), pilot.layers()[0].colorDepth(), pilot.layers()[0].colorProfile()])
    pilot.document.setModified(False)
    return found
"""


@pytest.fixture(scope="module")
def krita(editor_root: EditorRoot) -> Iterator[KritaDriver]:
    with short_folder() as folder:
        environment = {"OVERPAINT_STATE_DIR": str(folder / "state")}
        with (
            DaemonProcess.start(folder),
            fresh_driver(
                KritaDriver, editor_root, binds=[PROJECT, folder], environment=environment
            ) as driver,
        ):
            install_plug_in(driver)
            driver.start()
            driver.run(PRELUDE + _HELPERS)
            yield driver


def _one_pixel(random: np.random.Generator) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[random.integers(HEIGHT), random.integers(WIDTH)] = 255
    return mask


def _at_the_edge(random: np.random.Generator) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[HEIGHT - random.integers(2, 20) :, : random.integers(2, 20)] = 255
    return mask


def _disjoint(random: np.random.Generator) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for left in (4, 70):
        top, side = random.integers(4, 50), random.integers(2, 14)
        mask[top : top + side, left : left + side] = 255
    return mask


def _feathered(random: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(y - random.integers(30, 50), x - random.integers(30, 60))
    return np.clip(255 * (20 - distance) / 12, 0, 255).astype(np.uint8)


def _everything(random: np.random.Generator) -> np.ndarray:
    return np.full((HEIGHT, WIDTH), 255, np.uint8)


SELECTIONS = (_one_pixel, _at_the_edge, _disjoint, _feathered, _everything)


def _remove(
    krita: KritaDriver,
    kind: tuple[str, str, str],
    mask: np.ndarray,
    engine: str = "embedded",
    protect: bool = False,
) -> dict[str, Any]:
    """Press Remove; pictures come back as (H, W, bytes of a pixel)."""
    encoded = base64.b64encode(mask.tobytes()).decode()
    found = krita.run(f"result = remove(*{kind!r}, {encoded!r}, {engine!r}, {protect})")
    for name in ("before", "after", "layer"):
        data = np.frombuffer(base64.b64decode(found[name]), np.uint8)
        found[name] = data.reshape(HEIGHT, WIDTH, -1)
    return found


def _alpha(layer: np.ndarray, depth: str) -> np.ndarray:
    dtype = {"U8": "u1", "U16": "<u2", "F16": "<f2", "F32": "<f4"}[depth]
    return np.ascontiguousarray(layer).view(dtype)[..., -1]


def _reach(alpha: np.ndarray, mask: np.ndarray) -> float:
    """How far, in px, the layer reaches beyond the selection."""
    assert (alpha > 0).any()
    beyond, selected = np.argwhere((alpha > 0) & (mask == 0)), np.argwhere(mask > 0)
    if not len(beyond):
        return 0.0
    distances = np.hypot(*(beyond[:, None, :] - selected[None, :, :]).transpose(2, 0, 1))
    return float(distances.min(axis=1).max())


def _allowed(mask: np.ndarray) -> float:
    """The widest reach of a result that nobody gave another, in px."""
    rows, columns = np.nonzero(mask)
    return max(5.0, 0.004 * float(np.hypot(np.ptp(rows) + 1, np.ptp(columns) + 1)))


@pytest.mark.parametrize("model", list(PROFILES))
def test_what_was_not_selected_is_the_same_to_the_bit(krita: KritaDriver, model: str) -> None:
    random = np.random.default_rng(20)
    kinds = [(model, depth, profile) for depth in DEPTHS for profile in PROFILES[model]]
    for place, kind in enumerate(kinds):
        select = SELECTIONS[place % len(SELECTIONS)]
        mask, protect = select(random), place % 2 == 1
        # the embedded engine needs something that stays
        engine = "test-invert" if select is _everything else "embedded"
        found = _remove(krita, kind, mask, engine, protect)
        case = f"{kind} {select.__name__} protect={protect}: {found['sentence']}"
        assert found["layers"] == 2, case
        assert found["kind"] == list(kind), case
        assert found["kept"], case
        alpha = _alpha(found["layer"], kind[1])
        assert _reach(alpha, mask) <= (0.0 if protect else _allowed(mask)), case
        untouched = alpha == 0
        assert np.array_equal(found["after"][untouched], found["before"][untouched]), case
        assert not np.array_equal(found["after"], found["before"]), case


@pytest.mark.parametrize(
    "kind",
    [("CMYKA", "U8", "Chemical proof"), ("LABA", "U16", ""), ("XYZA", "U16", ""), ("YCbCrA", "U8", "")],
    ids=lambda kind: kind[0],
)
def test_other_color_models_are_filled_and_keep_what_was_not_selected(
    krita: KritaDriver, kind: tuple[str, str, str]
) -> None:
    mask = _feathered(np.random.default_rng(3))
    found = _remove(krita, kind, mask)
    assert found["layers"] == 2, found["sentence"]
    assert found["kind"][:2] == list(kind[:2])
    assert found["kept"]
    untouched = _alpha(found["layer"], kind[1]) == 0
    assert untouched.any()
    assert np.array_equal(found["after"][untouched], found["before"][untouched])
    assert ("shift its colors" in found["sentence"]) == (kind[0] in ("CMYKA", "YCbCrA"))


def test_a_16_bit_layer_has_more_levels_than_8_bits(krita: KritaDriver) -> None:
    krita.run(f"""
def gradient():
    import struct
    rows = b"".join(struct.pack("<{4 * WIDTH}H", *[v for x in range({WIDTH}) for v in
        (x * 641 + y, x * 331 + 7 * y, 60000 - x * 601 - y, 65535)]) for y in range({HEIGHT}))
    node = pilot.document.topLevelNodes()[0]
    node.setPixelData(rows, 0, 0, {WIDTH}, {HEIGHT})
    pilot.document.refreshProjection()
    pilot.document.waitForDone()
plain = pilot.create
pilot.create = lambda *arguments: (plain(*arguments), gradient())[0]
""")
    krita.run('pilot.widget("seed").setText("0")')  # with which the engine inverts, and no more
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[20:60, 20:70] = 255
    found = _remove(krita, ("RGBA", "U16", "sRGB-elle-V2-srgbtrc.icc"), mask, "test-invert", protect=True)
    krita.run('pilot.create = plain; pilot.widget("seed").clear()')
    assert found["layers"] == 2, found["sentence"]
    own, before = (
        np.ascontiguousarray(found[name]).view("<u2")[20:60, 20:70, :3] for name in ("layer", "before")
    )
    assert len(np.unique(own)) > 1000
    assert np.abs(own.astype(int) - (65535 - before.astype(int))).max() <= 1
