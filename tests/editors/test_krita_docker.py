"""The whole path in the real Krita: the docker's own buttons, a real daemon outside, layers in the document."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.editors.driving import EditorRoot, KritaDriver, fresh_driver
from tests.editors.driving.root import short_folder
from tests.editors.krita_install import PRELUDE, PROJECT, install_plug_in
from tests.integration.daemon_process import DaemonProcess

_PHOTO = PROJECT / "tests/data/china.jpg"

_FILL_PHOTO = f"""
size = pilot.open({str(_PHOTO)!r})
mask = pilot.select_ellipse(200, 120, 180, 140, 20)
before = pilot.state()
pilot.choose_engine(ENGINE)
pilot.widget("variants").setValue(VARIANTS)
pilot.press("fill")
arrived = pilot.wait_for_layer(len(before[1]))
texts = pilot.texts()
pilot.settle()
"""


def _environment(folder: Path) -> dict[str, str]:
    """What makes Krita find the daemon of ``folder`` and keep its session files there."""
    return {"OVERPAINT_STATE_DIR": str(folder / "state")}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def krita(editor_root: EditorRoot, folder: Path) -> Iterator[KritaDriver]:
    """Krita with the plug-in and a daemon it can reach."""
    environment = _environment(folder)
    with (
        DaemonProcess.start(folder),
        fresh_driver(KritaDriver, editor_root, binds=[PROJECT, folder], environment=environment) as driver,
    ):
        install_plug_in(driver)
        driver.start()
        driver.run(PRELUDE)
        assert "Automatic" in driver.run("result = pilot.wait_for_engines()")
        yield driver


def _run(krita: KritaDriver, code: str, **names: Any) -> dict[str, Any]:
    given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    return krita.run(given + code)


def test_fill_adds_one_layer_and_leaves_the_rest_alone(krita: KritaDriver) -> None:
    result = _run(
        krita,
        _FILL_PHOTO
        + """
layer = pilot.layers()[0]
bounds = layer.bounds()
after = pilot.picture()
outside = all(after[4 * i : 4 * i + 4] == before[2][4 * i : 4 * i + 4] for i, m in enumerate(mask) if m == 0)
changed = sum(after[4 * i : 4 * i + 4] != before[2][4 * i : 4 * i + 4] for i, m in enumerate(mask) if m == 255)
alpha = bytes(layer.pixelData(0, 0, *size))[3::4]
graded = sum(0 < a < 255 for a in alpha)
leaks = sum(a > 0 for a, m in zip(alpha, mask) if m == 0)
opaque = sum(m == 255 for m in mask)
selection_kept = bytes(pilot.document.selection().pixelData(0, 0, *size)) == mask
pilot.undo()
result = dict(arrived=arrived, texts=texts, name=layer.name(), visible=layer.visible(),
    bounds=[bounds.x(), bounds.y(), bounds.width(), bounds.height()],
    outside=outside, changed=changed, opaque=opaque, graded=graded, leaks=leaks, selection_kept=selection_kept,
    undone=pilot.state() == before)
""",
        ENGINE="embedded",
        VARIANTS=1,
    )
    assert result["arrived"], result["texts"]
    assert result["name"] == "Fill"
    assert result["visible"]
    x, y, width, height = result["bounds"]
    assert x >= 200, result["bounds"]
    assert y >= 120, result["bounds"]
    assert x + width <= 380, result["bounds"]
    assert y + height <= 260, result["bounds"]
    assert result["outside"], "pixels outside the selection changed"
    assert result["changed"] > result["opaque"] / 2, "the selected area looks as before"
    assert result["graded"] > 1000, "the soft edge of the selection is not a soft edge of the layer"
    assert result["leaks"] == 0, "the layer covers pixels that are not selected"
    assert result["selection_kept"]
    assert result["undone"], "one undo did not restore the picture"


def test_variants_come_as_one_group_and_one_undo(krita: KritaDriver) -> None:
    result = _run(
        krita,
        _FILL_PHOTO
        + """
group = pilot.layers()[0]
children = [[node.name(), node.visible()] for node in reversed(group.childNodes())]
shows = pilot.picture() != before[2]
pilot.undo()
undone = pilot.state() == before
next_step = app.action("edit_undo").text()
pilot.widget("variants").setValue(1)
result = dict(arrived=arrived, texts=texts, kind=group.type(), name=group.name(), children=children, shows=shows,
    undone=undone, next_step=next_step)
""",
        ENGINE="test-invert",
        VARIANTS=3,
    )
    assert result["arrived"], result["texts"]
    assert (result["kind"], result["name"]) == ("grouplayer", "Fill")
    assert result["children"] == [["Fill (1)", True], ["Fill (2)", False], ["Fill (3)", False]]
    assert result["shows"]
    assert result["undone"]
    assert "Add Layer" not in result["next_step"], "an undo step is left that does nothing"


def test_expand_grows_the_canvas_and_two_undos_restore_it(krita: KritaDriver) -> None:
    result = _run(
        krita,
        f"""
size = pilot.open({str(_PHOTO)!r})
before = pilot.state()
pilot.choose_engine("embedded")
pilot.widget("margin_right").setValue(200)
pilot.widget("margin_bottom").setValue(200)
pilot.widget("protect_original").setChecked(True)
pilot.press("expand")
arrived = pilot.wait_for_layer(len(before[1]))
pilot.widget("protect_original").setChecked(False)
texts = pilot.texts()
pilot.settle()
w, h = size
grown = [pilot.document.width(), pilot.document.height()]
old_kept = bytes(pilot.document.pixelData(0, 0, w, h)) == before[2]
layer = pilot.layers()[0]
def opaque(x, y, width, height):
    return min(bytes(layer.pixelData(x, y, width, height))[3::4]) == 255
covers = opaque(w, 0, 200, h + 200) and opaque(0, h, w, 200)
name = layer.name()
pilot.undo()
pilot.undo()
pilot.widget("margin_right").setValue(0)
pilot.widget("margin_bottom").setValue(0)
result = dict(arrived=arrived, texts=texts, size=size, grown=grown, old_kept=old_kept, covers=covers, name=name,
    undone=pilot.state() == before)
""",
    )
    assert result["arrived"], result["texts"]
    assert result["grown"] == [side + 200 for side in result["size"]]
    assert result["old_kept"], "the old picture changed"
    assert result["covers"], "the layer does not cover the whole new area"
    assert result["name"] == "Expand"
    assert result["undone"], "two undos did not restore the picture"


@pytest.mark.parametrize(
    ("model", "depth"), [("RGBA", "U16"), ("RGBA", "F32"), ("GRAYA", "U8"), ("GRAYA", "F16")]
)
def test_other_depths_come_back_in_their_own_numbers(krita: KritaDriver, model: str, depth: str) -> None:
    result = _run(
        krita,
        """
size = pilot.create(96, 80, MODEL, DEPTH)
mask = pilot.select_ellipse(20, 16, 48, 40, 6)
before = pilot.state()
pilot.choose_engine("test-invert")
pilot.widget("protect_original").setChecked(True)
pilot.press("remove")
arrived = pilot.wait_for_layer(len(before[1]))
pilot.widget("protect_original").setChecked(False)
texts = pilot.texts()
pilot.settle()
after = pilot.picture()
n = len(after) // (96 * 80)
outside = all(after[n * i : n * i + n] == before[2][n * i : n * i + n] for i, m in enumerate(mask) if m == 0)
changed = sum(after[n * i : n * i + n] != before[2][n * i : n * i + n] for i, m in enumerate(mask) if m == 255)
layer = pilot.layers()[0]
result = dict(arrived=arrived, texts=texts, outside=outside, changed=changed, format=[layer.colorModel(), layer.colorDepth()])
""",
        MODEL=model,
        DEPTH=depth,
    )
    assert result["arrived"], result["texts"]
    assert result["format"] == [model, depth]
    assert result["outside"]
    assert result["changed"] > 300


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        pytest.param("pilot.create(64, 64); pilot.deselect()", "Nothing is selected", id="nothing selected"),
        pytest.param(
            "pilot.create(64, 64); pilot.select_ellipse(200, 200, 20, 20, 2)", "outside", id="outside"
        ),
        pytest.param("pilot.create(16, 16, 'A', 'U8')", "Convert Image Color Space", id="alpha mask"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(krita: KritaDriver, prepare: str, sentence: str) -> None:
    result = _run(
        krita,
        f"""
{prepare}
known = len(pilot.layers())
pilot.press("fill")
pilot.wait_for_text("status", {sentence!r}, 10.0)
result = dict(texts=pilot.texts(), added=len(pilot.layers()) - known)
""",
    )
    assert sentence in result["texts"]["overpaint_status"]
    assert result["added"] == 0


def test_one_pixel_can_be_removed(krita: KritaDriver) -> None:
    result = _run(
        krita,
        """
pilot.create(96, 80)
pilot.select(95, 79, 1, 1)
pilot.choose_engine("embedded")
pilot.widget("protect_original").setChecked(True)
pilot.press("remove")
arrived = pilot.wait_for_layer(1)
pilot.widget("protect_original").setChecked(False)
bounds = pilot.layers()[0].bounds()
result = dict(arrived=arrived, texts=pilot.texts(),
    bounds=[bounds.x(), bounds.y(), bounds.width(), bounds.height()])
""",
    )
    assert result["arrived"], result["texts"]
    assert result["bounds"] == [95, 79, 1, 1]


def test_the_prompt_is_greyed_with_a_reason_where_it_changes_nothing(krita: KritaDriver) -> None:
    result = _run(
        krita,
        """
pilot.create(64, 64)
prompt = pilot.widget("prompt")
avoid = pilot.widget("avoid")
pilot.choose_engine("embedded")
greyed = [prompt.isEnabled(), prompt.placeholderText()]
pilot.choose_engine("test-invert")
result = dict(
    greyed=greyed, enabled=prompt.isEnabled(), avoids=avoid.isEnabled(), reason=avoid.toolTip()
)
""",
    )
    assert result["greyed"][0] is False
    assert "does not follow prompts" in result["greyed"][1]
    assert result["enabled"]
    assert result["avoids"] is False
    assert "nothing to avoid" in result["reason"]


def test_ctrl_enter_in_the_prompt_fills_and_cancel_cancels(krita: KritaDriver) -> None:
    place = _run(
        krita,
        """
pilot.create(128, 128)
pilot.select_ellipse(30, 30, 60, 60, 4)
known = len(pilot.layers())
pilot.choose_engine("test-invert")
prompt = pilot.widget("prompt")
prompt.clear()
pilot.docker.activateWindow()
spin(0.2)
point = prompt.mapToGlobal(prompt.rect().center())
result = [point.x(), point.y()]
""",
    )
    krita.xdotool("mousemove", str(place[0]), str(place[1]), "click", "1")
    krita.xdotool("type", "steps=400 delay=0.05")
    krita.xdotool("key", "ctrl+Return")
    result = _run(
        krita,
        """
running = wait_until(lambda: "%" in pilot.texts().get("overpaint_job_sentence", ""), 20.0)
sentence = pilot.texts().get("overpaint_job_sentence", "")
pilot.press("cancel")
cancelled = pilot.wait_for_text("status", "cancelled", 10.0)
spin(0.5)
prompt.clear()
result = dict(running=running, sentence=sentence, cancelled=cancelled, texts=pilot.texts(),
    added=len(pilot.layers()) - known)
""",
    )
    assert result["running"], result
    assert result["sentence"].startswith("Fill: steps=400 delay=0.05"), result
    assert result["cancelled"], result
    assert result["added"] == 0


def test_a_job_that_waits_shows_its_place_in_the_queue(krita: KritaDriver) -> None:
    result = _run(
        krita,
        """
pilot.create(128, 128)
pilot.select_ellipse(30, 30, 60, 60, 4)
pilot.choose_engine("test-invert")
pilot.widget("prompt").setPlainText("steps=400 delay=0.05")
pilot.press("fill")
running = wait_until(lambda: any("%" in sentence for sentence in pilot.job_sentences()), 20.0)
pilot.press("fill")
waiting = wait_until(lambda: any(", 1 ahead" in sentence for sentence in pilot.job_sentences()), 20.0)
sentences = pilot.job_sentences()
for _ in range(2):
    pilot.press("cancel")
    spin(0.5)
pilot.widget("prompt").clear()
result = dict(running=running, waiting=waiting, sentences=sentences, left=pilot.job_sentences())
""",
    )
    assert result["running"], result
    assert result["waiting"], result
    assert result["left"] == [], result


@pytest.mark.alone
def test_krita_stays_responsive_with_a_large_picture(krita: KritaDriver) -> None:
    """4096 × 4096 pixels are read, sent, filled, received and inserted while a timer watches the event loop."""
    result = _run(
        krita,
        """
size = pilot.create(4096, 4096)
pilot.select(0, 0, 4096, 4096)
spin(1.0)
known = len(pilot.layers())
pilot.choose_engine("test-invert")
meter = StallMeter()
meter.start()
pilot.press("fill")
arrived = pilot.wait_for_layer(known)
spin(0.5)
stalls = meter.stop()
texts = pilot.texts()
meter.start(); spin(1.0); idle = meter.stop()
result = dict(arrived=arrived, texts=texts, stalls=stalls, idle=idle)
""",
    )
    assert result["arrived"], result["texts"]
    print("stalls:", result["stalls"], "idle:", result["idle"])
    assert result["stalls"]["p95_ms"] <= 50.0, result


def test_a_result_that_came_while_krita_was_closed_is_offered(editor_root: EditorRoot) -> None:
    with (
        short_folder() as folder,
        DaemonProcess.start(folder),
        fresh_driver(
            KritaDriver, editor_root, binds=[PROJECT, folder], environment=_environment(folder)
        ) as driver,
    ):
        install_plug_in(driver)
        driver.start()
        driver.run(PRELUDE)
        started = _run(
            driver,
            f"""
pilot.wait_for_engines()
pilot.open({str(_PHOTO)!r})
pilot.select_ellipse(200, 120, 180, 140, 20)
pilot.choose_engine("test-invert")
pilot.press("more")
pilot.widget("prompt").setPlainText("steps=20 delay=0.1")
pilot.press("fill")
result = dict(running=wait_until(lambda: "%" in pilot.texts().get("overpaint_job_sentence", ""), 20.0))
""",
        )
        assert started["running"]
        assert driver.quit() == 0

        driver.start()
        driver.run(PRELUDE)
        result = _run(
            driver,
            f"""
offered = pilot.wait_for_text("job_sentence", "is waiting", 30.0)
remembered = [pilot.widget("engine").currentData(), pilot.widget("steps").isVisible()]
sentence = pilot.texts().get("overpaint_job_sentence", "")
pilot.create(64, 64)
pilot.press("insert")
refused = pilot.wait_for_text("job_sentence", "belongs to", 5.0)
pilot.open({str(_PHOTO)!r})
pilot.press("insert")
arrived = pilot.wait_for_layer(1, 20.0)
result = dict(offered=offered, remembered=remembered, sentence=sentence, refused=refused, arrived=arrived, texts=pilot.texts(),
    names=[node.name() for node in pilot.layers()])
""",
        )
    assert result["offered"], result
    assert result["remembered"] == ["test-invert", True]
    assert "china.jpg" in result["sentence"], result
    assert result["refused"], result
    assert result["arrived"], result
    assert result["names"] == ["Fill: steps=20 delay=0.1", "Background"]


_EDGES = """
NAMES = ("protect_original", "grow", "blend", "feather", "fill_holes", "detail")
protect, grow, blend, feather, fill_holes, detail = fields = [pilot.widget(name) for name in NAMES]
def shown():
    numbers = [[field.text(), field.isEnabled()] for field in (grow, blend, feather, detail)]
    return numbers, [protect.isChecked(), fill_holes.isChecked(), fill_holes.isEnabled()]
def sent():
    edges = pilot.docker._options.edges.edges()
    return [edges.grow_px, edges.blend_px, edges.feather_px, edges.fill_holes]
"""


def test_the_edges_are_remembered_over_a_restart_and_greyed_where_they_do_nothing(
    editor_root: EditorRoot,
) -> None:
    with (
        short_folder() as folder,
        fresh_driver(
            KritaDriver, editor_root, binds=[PROJECT, folder], environment=_environment(folder)
        ) as driver,
    ):
        install_plug_in(driver)
        driver.start()
        driver.run(PRELUDE + _EDGES)
        result = _run(
            driver,
            """
closed = [field.isVisible() for field in fields]
pilot.press("edges")
opened = [field.isVisible() for field in fields]
untouched = shown(), sent()
protect.click()
protected = shown(), sent(), grow.toolTip(), blend.toolTip()
protect.click()
freed = shown(), sent()
for field, number in ((grow, 12), (blend, 0), (feather, 3), (detail, 75)):
    field.setValue(number)
fill_holes.click()
free = shown(), sent()
protect.click()
result = dict(closed=closed, opened=opened, untouched=untouched, protected=protected, freed=freed, free=free)
""",
        )
        assert result["closed"] == [False] * 6
        assert result["opened"] == [True] * 6
        left_alone = [[["automatic", True]] * 4, [False, False, True]], [None, None, None, False]
        assert result["untouched"] == result["freed"] == list(left_alone)
        reason = "The original is protected: the result ends where the selection does."
        assert result["protected"] == [
            [[["0 px", False]] * 2 + [["automatic", True]] * 2, [True, False, True]],
            [0, 0, None, False],
            reason,
            reason,
        ]
        numbers = ["12 px", "0 px", "3 px", "75 %"]
        assert result["free"] == [
            [[[number, True] for number in numbers], [False, True, True]],
            [12, 0, 3, True],
        ]
        assert driver.quit() == 0

        driver.start()
        driver.run(PRELUDE + _EDGES)
        result = _run(
            driver,
            """
opened = [field.isVisible() for field in fields]
protected = shown(), sent()
protect.click()
result = dict(opened=opened, protected=protected, free=[shown(), sent()])
""",
        )
        assert result["opened"] == [True] * 6
        assert result["protected"] == [
            [[[number, number in ("3 px", "75 %")] for number in numbers], [True, True, True]],
            [0, 0, 3, True],
        ]
        assert result["free"] == [
            [[[number, True] for number in numbers], [False, True, True]],
            [12, 0, 3, True],
        ]


def test_a_shape_is_that_of_the_canvas_as_it_is_now(krita: KritaDriver) -> None:
    result = _run(
        krita,
        """
pilot.create(64, 64)
pilot.document.resizeImage(0, 0, 128, 64)
pilot.settle()
box = pilot.widget("shape")
square = box.findText("1 : 1")
box.setCurrentIndex(square)
box.activated.emit(square)
result = {side: pilot.widget(f"margin_{side}").value() for side in ("left", "top", "right", "bottom")}
for side in result:
    pilot.widget(f"margin_{side}").setValue(0)
""",
    )
    assert result == {"left": 0, "top": 32, "right": 0, "bottom": 32}


def test_a_state_folder_that_cannot_be_used_is_said_in_the_docker(editor_root: EditorRoot) -> None:
    with short_folder() as folder:
        (folder / "state").mkdir()
        (folder / "state" / "clients").write_text("in the way")
        with fresh_driver(
            KritaDriver, editor_root, binds=[PROJECT, folder], environment=_environment(folder)
        ) as driver:
            install_plug_in(driver)
            driver.start()
            result = driver.run(
                """
docker = next(d for d in Krita.instance().dockers() if d.objectName() == "overpaint_docker")
result = docker.widget().text()
"""
            )
    assert f"cannot keep its files in {folder}/state/clients/krita" in result
    assert "restart Krita" in result


def test_without_a_daemon_the_docker_says_what_to_do(editor_root: EditorRoot) -> None:
    with (
        short_folder() as folder,
        fresh_driver(
            KritaDriver, editor_root, binds=[PROJECT, folder], environment=_environment(folder)
        ) as driver,
    ):
        install_plug_in(driver)
        driver.start()
        driver.run(PRELUDE)
        result = _run(
            driver,
            """
pilot.create(64, 64)
pilot.select_ellipse(10, 10, 40, 40, 4)
link = pilot.texts()["overpaint_link"]
button = pilot.widget("start_daemon").isVisible()
pilot.press("fill")
pilot.wait_for_text("status", "does not run", 20.0)
result = dict(link=link, button=button, status=pilot.texts().get("overpaint_status"))
""",
        )
    assert "does not run" in result["link"]
    assert "overpaint serve" in result["link"]
    assert result["button"]
    assert "overpaint serve" in result["status"]


def test_a_wrong_token_is_said(editor_root: EditorRoot) -> None:
    with short_folder() as folder, DaemonProcess.start(folder) as daemon:
        stale = folder / "stale.json"
        dataclasses.replace(daemon.info, token="of a daemon before").write(stale)
        environment = {**_environment(folder), "OVERPAINT_CONNECTION": str(stale)}
        with fresh_driver(
            KritaDriver, editor_root, binds=[PROJECT, folder], environment=environment
        ) as driver:
            install_plug_in(driver)
            driver.start()
            driver.run(PRELUDE)
            result = _run(
                driver,
                """
pilot.create(64, 64)
pilot.select_ellipse(10, 10, 40, 40, 4)
said = pilot.wait_for_text("link", "token", 15.0)
pilot.press("fill")
pilot.wait_for_text("status", "token", 15.0)
result = dict(said=said, status=pilot.texts().get("overpaint_status"), layers=len(pilot.layers()))
""",
            )
    assert result["said"]
    assert "token" in result["status"]
    assert result["layers"] == 1
