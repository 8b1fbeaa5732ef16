"""Krita's docker with models: what a prompt does, and what recipes, engines and settings show and send."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import pytest
from tests.editors.driving import EditorRoot, KritaDriver, fresh_driver
from tests.editors.krita_install import PRELUDE, PROJECT, install_plug_in
from tests.editors.models import PLACE, TOY, TURBO, write_original, write_recipe
from tests.editors.prompt_promises import GUIDANCE, STEPS, Ask, Paint, PromptPromises
from tests.integration.daemon_process import DaemonProcess
from tests.toy_model.pictures import color_of

_HELPERS = f"""
pilot.wait_for_engines(40.0)
PLACE = {PLACE!r}
number_fields = [pilot.widget(name) for name in ("strength", "steps", "guidance")]
def open_original(path):
    pilot.open(path)
    pilot.select(*PLACE)
def layers_of(node):
    children = node.childNodes() if node.type() == "grouplayer" else [node]
    return [base64.b64encode(bytes(child.pixelData(*PLACE))).decode() for child in reversed(children)]
def fill(avoid="", seed="", variants=1, strength=None):
    pilot.widget("avoid").setText(avoid)
    pilot.widget("seed").setText(str(seed))
    pilot.widget("variants").setValue(variants)
    number_fields[0].reset() if strength is None else number_fields[0].setValue(round(100 * strength))
    known = len(pilot.layers())
    pilot.press("fill")
    assert pilot.wait_for_layer(known), pilot.texts()
    found = layers_of(pilot.layers()[0])
    pilot.undo()
    return found
def last_job():
    return pilot.docker._controller.jobs[-1]
"""


@pytest.fixture(scope="module")
def krita(editor_root: EditorRoot, model_daemon: DaemonProcess) -> Iterator[KritaDriver]:
    folder = model_daemon.folder
    environment = {"OVERPAINT_STATE_DIR": str(folder / "state")}
    with fresh_driver(KritaDriver, editor_root, binds=[PROJECT, folder], environment=environment) as driver:
        install_plug_in(driver)
        driver.start()
        driver.run(PRELUDE + _HELPERS)
        driver.run(f"open_original({str(write_original(driver.folder / 'original.png'))!r})")
        yield driver


@pytest.fixture
def docker(krita: KritaDriver) -> KritaDriver:
    """The docker with nothing chosen and nothing set."""
    krita.run("""
for name in ("recipe", "engine"):
    pilot.widget(name).setCurrentIndex(0)
for field in number_fields:
    field.reset()
for name in ("prompt", "avoid", "seed"):
    pilot.widget(name).clear()
pilot.widget("variants").setValue(1)
""")
    return krita


class TestPrompts(PromptPromises):
    """The prompt is typed, the buttons are pressed, the layers are read back."""

    @pytest.fixture
    def paint(self, docker: KritaDriver) -> Paint:
        docker.run(f"""
pilot.choose_engine({TOY!r})
number_fields[1].setValue({STEPS})
number_fields[2].setValue({GUIDANCE})
""")
        typed = ""

        def paint_one(ask: Ask) -> list[np.ndarray]:
            nonlocal typed
            if ask.prompt != typed:
                type_prompt(docker, ask.prompt)
                typed = ask.prompt
            code = f"result = fill({ask.avoid!r}, {ask.seed}, {ask.variants}, {ask.strength})"
            return [pixels(layer) for layer in docker.run(code)]

        return lambda *asked: [paint_one(ask) for ask in asked]


def test_a_prompt_with_nothing_selected_paints_the_whole_picture(docker: KritaDriver) -> None:
    result = docker.run(
        f"""
pilot.choose_engine({TOY!r})
pilot.deselect()
pilot.press("fill")
pilot.wait_for_text("status", "Nothing is selected")
refused = pilot.texts()["overpaint_status"]
pilot.widget("prompt").setPlainText("a red disc")
pilot.press("fill")
arrived = pilot.wait_for_layer(1)
bounds = pilot.layers()[0].bounds()
pilot.undo()
pilot.select(*PLACE)
result = dict(refused=refused, arrived=arrived, texts=pilot.texts(),
    bounds=[bounds.x(), bounds.y(), bounds.width(), bounds.height()])
""",
    )
    assert "write a prompt to paint the whole picture" in result["refused"]
    assert result["arrived"], result["texts"]
    assert result["bounds"] == [0, 0, 64, 64]


def test_an_edit_is_offered_where_an_engine_follows_instructions(docker: KritaDriver) -> None:
    result = docker.run(
        f"""
pilot.choose_engine({TOY!r})
edit = pilot.widget("edit")
greyed = [edit.isEnabled(), edit.toolTip()]
pilot.choose_engine("test-invert")
pilot.press("edit")
empty = pilot.texts().get("overpaint_status")
pilot.widget("prompt").setPlainText("make it night")
pilot.press("edit")
arrived = pilot.wait_for_layer(1)
name = pilot.layers()[0].name()
pilot.undo()
result = dict(greyed=greyed, empty=empty, arrived=arrived, texts=pilot.texts(), name=name)
""",
    )
    assert result["greyed"] == [False, "The chosen engine cannot follow instructions. Choose another engine."]
    assert result["empty"] == "Write what should change, such as “make it night”."
    assert result["arrived"], result["texts"]
    assert result["name"] == "Edit: make it night"


def test_settings_show_the_engines_defaults_or_why_there_are_none(docker: KritaDriver) -> None:
    result = docker.run(f"""
def shown():
    return [[field.text(), field.isEnabled(), field.toolTip()] for field in number_fields]
pilot.choose_engine({TOY!r})
toy = shown()
pilot.choose_engine({TURBO!r})
avoid = pilot.widget("avoid")
turbo = shown(), avoid.isEnabled(), avoid.toolTip()
pilot.choose_engine("embedded")
result = dict(toy=toy, turbo=turbo, embedded=shown())
""")
    toy, (turbo, avoids, avoid_reason), embedded = result["toy"], result["turbo"], result["embedded"]
    assert [[text, is_enabled] for text, is_enabled, _ in toy] == [
        ["100 % (default)", True],
        ["25 (default)", True],
        ["7.5 (default)", True],
    ]
    assert turbo[0] == ["–", False, "Toy Z-Image-Turbo always paints anew."]
    assert turbo[1][1]
    assert not avoids
    assert "nothing to avoid" in avoid_reason
    assert [text for text, _, _ in embedded] == ["–"] * 3
    assert embedded[1][1:] == [False, "Embedded (no model) has no steps."]


def test_a_setting_is_sent_once_it_was_set_and_changes_something(docker: KritaDriver) -> None:
    result = docker.run(
        f"""
def sent():
    fill(strength=pilot_strength)
    settings = last_job().operation.settings
    return [settings.strength, settings.steps, settings.guidance]
pilot_strength = None
pilot.choose_engine({TOY!r})
reset = pilot.widget("reset")
untouched = sent(), reset.isEnabled()
pilot_strength = 0.4
number_fields[1].setValue(3)
touched = sent(), reset.isEnabled()
pilot.choose_engine({TURBO!r})
greyed = sent()
pilot.choose_engine({TOY!r})
reset.click()
result = dict(untouched=untouched, touched=touched, greyed=greyed, reset=[field.number() for field in number_fields])
""",
    )
    assert result["untouched"] == [[None, None, None], False]
    assert result["touched"] == [[0.4, 3, None], True]
    assert result["greyed"] == [None, 3, None]
    assert result["reset"] == [None, None, None]


def test_a_number_is_typed_over_the_words_and_stepped_from_the_default(docker: KritaDriver) -> None:
    place = docker.run(f"""
pilot.choose_engine({TOY!r})
pilot.docker.activateWindow()
spin(0.2)
point = number_fields[0].mapToGlobal(number_fields[0].rect().center())
result = [point.x(), point.y()]
""")
    docker.xdotool("mousemove", str(place[0]), str(place[1]), "click", "1")
    docker.xdotool("type", "40")
    assert (
        docker.run("wait_until(lambda: number_fields[0].number() == 40); result = number_fields[0].text()")
        == "40 %"
    )
    docker.run("number_fields[0].reset()")
    docker.xdotool("key", "Down")
    assert (
        docker.run("wait_until(lambda: number_fields[0].number() == 95); result = number_fields[0].number()")
        == 95
    )


def test_a_recipe_brings_its_engine_and_words(docker: KritaDriver) -> None:
    result = docker.run(
        """
recipe, engine = pilot.widget("recipe"), pilot.widget("engine")
names = [recipe.itemText(index) for index in range(recipe.count())]
gone = recipe.findText("Gone")
problem = recipe.itemData(gone, QtCore.Qt.ItemDataRole.ToolTipRole)
can_choose_gone = bool(recipe.model().flags(recipe.model().index(gone, 0)) & QtCore.Qt.ItemFlag.ItemIsEnabled)
recipe.setCurrentIndex(recipe.findText("Red things"))
fixed = [engine.currentData(), engine.isEnabled(), engine.toolTip()]
texts = [field.text() for field in number_fields]
pilot.widget("prompt").setPlainText("disc")
layers = fill(variants=8, seed=0)
asked = [last_job().engine, last_job().operation.settings.steps]
recipe.setCurrentIndex(recipe.findText("Soft"))
result = dict(names=names, problem=problem, can_choose_gone=can_choose_gone, fixed=fixed, texts=texts, layers=layers,
    asked=asked, open=[engine.currentData(), engine.isEnabled()])
""",
    )
    assert result["names"] == ["None", "Gone", "Red things", "Soft"]
    assert "no-such-model" in result["problem"]
    assert not result["can_choose_gone"]
    assert result["fixed"] == [TOY, False, "The recipe “Red things” runs on this one."]
    assert result["texts"] == ["by recipe"] * 3
    everywhere = np.ones((PLACE[3], PLACE[2]), bool)
    assert sum(color_of(pixels(layer), everywhere) == "red" for layer in result["layers"]) >= 7
    assert result["asked"] == [TOY, None]
    assert result["open"] == [None, True]


def test_a_recipe_written_meanwhile_is_offered(docker: KritaDriver, model_daemon: DaemonProcess) -> None:
    find = "wait_until(lambda: pilot.widget('recipe').findText('Later') {} 0, 20.0)"
    try:
        write_recipe(model_daemon.folder, "later", 'name = "Later"')
        assert docker.run(f"result = {find.format('>=')}")
    finally:
        (model_daemon.folder / "recipes/later.toml").unlink()
    assert docker.run(f"result = {find.format('<')}")


def test_the_time_left_is_said(docker: KritaDriver) -> None:
    """No job of the tests before is like this one: a quarter of it is done until there is something to judge by."""
    result = docker.run(f"""
pilot.choose_engine({TOY!r})
pilot.widget("prompt").setPlainText("a red disc")
number_fields[1].setValue(150)
pilot.widget("variants").setValue(8)
pilot.press("fill")
said = wait_until(lambda: " left." in pilot.texts().get("overpaint_job_sentence", ""), 240.0)
sentence = pilot.texts().get("overpaint_job_sentence")
pilot.press("cancel")
pilot.wait_for_text("status", "cancelled")
result = dict(said=said, sentence=sentence)
""")
    assert result["said"], result["sentence"]
    assert ", about " in result["sentence"]


def type_prompt(driver: KritaDriver, prompt: str) -> None:
    place = driver.run("""
prompt = pilot.widget("prompt")
prompt.clear()
pilot.docker.activateWindow()
spin(0.2)
point = prompt.mapToGlobal(prompt.rect().center())
result = [point.x(), point.y()]
""")
    driver.xdotool("mousemove", str(place[0]), str(place[1]), "click", "1")
    driver.xdotool("type", prompt)
    assert driver.run(f"result = wait_until(lambda: prompt.toPlainText() == {prompt!r}, 10.0)")


def pixels(layer: str) -> np.ndarray:
    """What ``layers_of`` gave, as (40, 40, 3) uint8."""
    bgra = np.frombuffer(base64.b64decode(layer), np.uint8).reshape(PLACE[3], PLACE[2], 4)
    assert (bgra[..., 3] == 255).all()
    return bgra[..., 2::-1]
