"""GIMP with models: what a prompt does by script and by dialog, and what recipes, engines and settings show and send."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.editors.driving import EditorRoot, GimpDriver, fresh_driver, new_home, short_folder
from tests.editors.gimp_plugin import PRELUDE, client_environ, install_plug_in, run_script
from tests.editors.models import PLACE, TOY, TURBO, write_original
from tests.editors.prompt_promises import GUIDANCE, STEPS, Ask, Paint, PromptPromises
from tests.editors.test_gimp_dialog import is_shown, open_dialog, write_prompt
from tests.integration.daemon_process import DaemonProcess, wait_until
from tests.toy_model.pictures import color_of

_OPEN = """
import base64
def open_original():
    image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path({path!r}))
    image.select_rectangle(Gimp.ChannelOps.REPLACE, *{place})
    return image
def selected_part(layer):
    x, y, width, height = {place}
    _, left, top = layer.get_offsets()
    return base64.b64encode(pixels(layer, x - left, y - top, width, height)).decode()
def layers_of(image):
    top = image.get_layers()[0]
    return [selected_part(layer) for layer in (top.get_children() if top.is_group() else [top])]
"""


class Script:
    """A profile with the plug-in in it, for gimp-console, and the daemon with models."""

    def __init__(self, root: EditorRoot, folder: Path, daemon: Path) -> None:
        self._root = root
        self._binds = [folder, daemon]
        self._home = new_home(root, folder / "home")
        self._open = _OPEN.format(path=str(write_original(folder / "original.png")), place=PLACE)
        install_plug_in(self._home / ".config/GIMP" / root.gimp_config_name)

    def run(self, code: str) -> dict[str, Any]:
        done = run_script(self._root, self._home, self._open + code, binds=self._binds)
        return done.results


@pytest.fixture(scope="module")
def script(editor_root: EditorRoot, model_daemon: DaemonProcess) -> Iterator[Script]:
    with short_folder() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in client_environ(model_daemon.folder / "state").items():
            monkeypatch.setenv(name, value)
        yield Script(editor_root, folder, model_daemon.folder)


class TestPrompts(PromptPromises):
    """The procedure is called in gimp-console, the layers are read back."""

    @pytest.fixture
    def paint(self, script: Script) -> Paint:
        def paint(*asked: Ask) -> list[list[np.ndarray]]:
            calls = "".join(_call(index, ask) for index, ask in enumerate(asked))
            results = script.run(calls)
            assert [results[f"status {index}"] for index in range(len(asked))] == [["success", ""]] * len(
                asked
            )
            return [[_pixels(layer) for layer in results[f"layers {index}"]] for index in range(len(asked))]

        return paint


def _call(index: int, ask: Ask) -> str:
    strength = -1 if ask.strength is None else ask.strength
    return f"""
image = open_original()
RESULTS["status {index}"] = call("plug-in-overpaint-fill", image, engine={TOY!r}, steps={STEPS}, guidance={GUIDANCE},
    prompt={ask.prompt!r}, negative_prompt={ask.avoid!r}, seed={ask.seed}, variants={ask.variants}, strength={strength})
RESULTS["layers {index}"] = layers_of(image)
image.delete()
"""


def test_scripts_take_recipes_settings_and_loras(script: Script) -> None:
    results = script.run(f"""
image = open_original()
fill = lambda **arguments: call("plug-in-overpaint-fill", image, **arguments)
RESULTS["recipe"] = fill(recipe="red", prompt="disc", seed=0, variants=8)
RESULTS["layers"] = layers_of(image)
RESULTS["unknown recipe"] = fill(recipe="no-such")
RESULTS["unusable recipe"] = fill(recipe="gone", prompt="disc")
RESULTS["unknown LoRA"] = fill(engine={TOY!r}, prompt="disc", loras="no-such:0.5")
RESULTS["no weight"] = fill(engine={TOY!r}, prompt="disc", loras="ink:much")
RESULTS["too much"] = fill(engine={TOY!r}, prompt="disc", loras="ink:9, other")
RESULTS["twice"] = fill(engine={TOY!r}, prompt="disc", loras="ink, ink:2")
RESULTS["edit"] = call("plug-in-overpaint-edit", image, prompt="make it night", engine="test-invert")
RESULTS["edit layer"] = tree(image)[0][0]
RESULTS["edit nothing"] = call("plug-in-overpaint-edit", image, engine="test-invert")
Gimp.Selection.none(image)
RESULTS["nothing selected"] = fill(engine={TOY!r})
RESULTS["whole"] = fill(engine={TOY!r}, prompt="a red disc")
RESULTS["whole layer"] = tree(image)[0][1:5]
image.delete()
""")
    done = ["success", ""]
    assert [results.pop(name) for name in ("recipe", "edit", "whole")] == [done] * 3
    everywhere = np.ones((PLACE[3], PLACE[2]), bool)
    assert sum(color_of(_pixels(layer), everywhere) == "red" for layer in results.pop("layers")) >= 7
    assert results.pop("edit layer") == "Edit: make it night"
    assert results.pop("whole layer") == [0, 0, 64, 64]
    expected = {
        "unknown recipe": "no-such",
        "unusable recipe": "no-such-model",
        "unknown LoRA": "no-such",
        "no weight": "“ink:much” names no LoRA with its weight",
        "too much": "-4 to 4",
        "twice": "once",
        "edit nothing": "make it night",
        "nothing selected": "write a prompt to paint the whole picture",
    }
    assert {name for name, (status, _) in results.items() if status == "execution-error"} == set(expected)
    missed = {name: results[name] for name, words in expected.items() if words not in results[name][1]}
    assert not missed


@pytest.fixture(scope="module")
def gimp(editor_root: EditorRoot, model_daemon: DaemonProcess) -> Iterator[GimpDriver]:
    """GIMP with a window, and the original in it."""
    state = model_daemon.folder / "state"
    with fresh_driver(
        GimpDriver, editor_root, binds=[model_daemon.folder], environment=client_environ(state)
    ) as driver:
        plug_in = install_plug_in(driver.gimp_config)
        path = write_original(driver.folder / "original.png")
        driver.start()
        driver.run(PRELUDE + _OPEN.format(path=str(path), place=PLACE))
        driver.run(_DIALOGS.format(plug_in=f"/home/editor/{plug_in.relative_to(driver.home)}"))
        driver.run("""
image = open_original()
display = Gimp.Display.new(image)
Gimp.displays_flush()
""")
        yield driver


def test_a_prompt_typed_into_the_dialog_is_followed(gimp: GimpDriver) -> None:
    gimp.run("known = len(image.get_layers())")
    open_dialog(gimp, "Generative Fill")
    write_prompt(gimp, "a red disc")
    gimp.xdotool("key", "alt+v")
    gimp.xdotool("type", "8")
    gimp.xdotool("key", "Tab")
    gimp.xdotool("key", "alt+g")
    assert gimp.run("result = wait_until(lambda: len(image.get_layers()) > known, 240)")
    wait_until(lambda: not is_shown(gimp, "^Generative Fill"))
    layers = [_pixels(layer) for layer in gimp.run("result = layers_of(image)")]
    everywhere = np.ones((PLACE[3], PLACE[2]), bool)
    assert len(layers) == 8
    assert sum(color_of(layer, everywhere) == "red" for layer in layers) >= 7


_DIALOGS = """
import sys
sys.dont_write_bytecode = True
sys.path[:0] = [{plug_in!r}, {plug_in!r} + "/_vendor"]
import gi
gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import Gtk
from overpaint_client.controller import Controller
from overpaint_client.settings import ClientSettings
from overpaint_gimp.dialog import CommandDialog
from overpaint_gimp.editor import GimpEditor
from overpaint_gimp.net import GLibLoop
from overpaint_gimp.procedures import COMMANDS, choice_from, create_command, request_from
class Dialog:
    '''The plug-in's own dialog in this process, where its widgets can be looked at.'''
    def __init__(self, operation):
        self.command = COMMANDS["plug-in-overpaint-" + operation]
        self.operation = operation
        procedure = create_command(plug_in, self.command, lambda *_: None)
        self.config = procedure.create_config()
        loop = GLibLoop()
        self.controller = Controller(GimpEditor(image), loop, ClientSettings.for_editor("gimp"))
        self.dialog = CommandDialog(self.command, procedure, self.config, self.controller, loop)
        self.controller.start()
        loop.run_until(lambda: self.controller.link.is_open, 20)
        spin(0.1)
        self.window = next(w for w in Gtk.Window.list_toplevels() if w.get_title() == self.command.title)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.dialog.__exit__(None, None, None)
        self.controller.close()
    def choose(self, **arguments):
        for name, value in arguments.items():
            self.config.set_property(name, value)
        spin(0.05)
    def widgets(self):
        def below(widget):
            yield widget
            if isinstance(widget, Gtk.Container):
                found = []
                widget.forall(found.append)
                for child in found:
                    yield from below(child)
        return below(self.window)
    def field(self, label):
        return next(w.get_mnemonic_widget() for w in self.widgets() if isinstance(w, Gtk.Label)
            and w.get_text() == label and w.get_mnemonic_widget() is not None)
    def shown(self, label):
        field = owner = self.field(label)
        while owner is not self.window and not owner.get_tooltip_text():
            owner = owner.get_parent()  # GIMP's own rows are explained as a whole
        return [field.get_text(), field.is_sensitive(), owner.get_tooltip_text()]
    def can_generate(self):
        return self.window.get_widget_for_response(Gtk.ResponseType.OK).is_sensitive()
    def sentences(self):
        return [w.get_text() for w in self.widgets() if isinstance(w, Gtk.Label) and w.get_line_wrap()]
    def request(self):
        controller = self.controller
        return request_from(self.command, self.config, choice_from(self.config, controller.engines, controller.recipes))
"""


def test_the_dialog_shows_defaults_or_why_there_are_none(gimp: GimpDriver) -> None:
    result = gimp.run(f"""
NUMBERS = ("Strength (%)", "Steps", "Guidance")
with Dialog("fill") as dialog:
    result = dict()
    for engine in ({TOY!r}, {TURBO!r}, "embedded"):
        dialog.choose(engine=engine)
        result[engine] = [dialog.shown(label) for label in NUMBERS]
        result[engine + " avoid"] = dialog.shown("Avoid")
        result[engine + " prompt"] = dialog.field("Prompt").is_sensitive()
""")
    assert [[text, is_used] for text, is_used, _ in result[TOY]] == [
        ["100 % (default)", True],
        ["25 (default)", True],
        ["7.5 (default)", True],
    ]
    assert result[TURBO][0] == ["–", False, "Toy Z-Image-Turbo always paints anew."]
    assert result[TURBO][1][1]
    assert not result[f"{TURBO} avoid"][1]
    assert "nothing to avoid" in result[f"{TURBO} avoid"][2]
    assert [text for text, _, _ in result["embedded"]] == ["–"] * 3
    assert result["embedded"][1][1:] == [False, "Embedded (no model) has no steps."]
    assert [result[f"{engine} prompt"] for engine in (TOY, TURBO, "embedded")] == [True, True, False]


def test_the_dialog_sends_what_was_set_and_changes_something(gimp: GimpDriver) -> None:
    result = gimp.run(f"""
def sent():
    settings = dialog.request().operation.settings
    return [settings.strength, settings.steps, settings.guidance]
with Dialog("fill") as dialog:
    dialog.choose(engine={TOY!r})
    untouched = sent()
    strength = dialog.field("Strength (%)")
    strength.spin(Gtk.SpinType.STEP_BACKWARD, 5)
    stepped = strength.get_text(), sent()
    strength.set_text("40"); strength.update()
    steps = dialog.field("Steps")
    steps.set_text("25"); steps.update()
    typed = strength.get_text(), steps.get_text(), sent()
    dialog.choose(engine={TURBO!r}, **{{"negative-prompt": "red"}})
    greyed = sent(), dialog.request().operation.negative_prompt
    dialog.choose(engine={TOY!r}, strength=-1.0, steps=0)
    result = dict(untouched=untouched, stepped=stepped, typed=typed, greyed=greyed, reset=sent(), text=strength.get_text())
""")
    assert result["untouched"] == [None, None, None]
    assert result["stepped"] == ["95", [0.95, None, None]]
    assert result["typed"] == ["40", "25", [0.4, 25, None]]
    assert result["greyed"] == [[None, 25, None], ""]
    assert result["reset"] == [None, None, None]
    assert result["text"] == "100 % (default)"


def test_the_dialog_sends_how_the_result_ends(gimp: GimpDriver) -> None:
    result = gimp.run("""
LENGTHS = ("Grow (px)", "Blend (px)", "Feather (px)")
def sent():
    request = dialog.request()
    edges = request.edges
    return [edges.grow_px, edges.blend_px, edges.feather_px, edges.fill_holes, request.operation.settings.detail]
def press(button):
    next(w for w in dialog.widgets() if isinstance(w, Gtk.CheckButton) and w.get_label().replace("_", "") == button).clicked()
    spin(0.05)
with Dialog("fill") as dialog:
    untouched = [dialog.shown(label)[:2] for label in (*LENGTHS, "Detail (%)")], sent()
    dialog.field("Grow (px)").spin(Gtk.SpinType.STEP_FORWARD, 1)
    stepped = dialog.shown("Grow (px)")[0], sent()
    for label, text in zip((*LENGTHS, "Detail (%)"), ("12", "0", "3", "75")):
        dialog.field(label).set_text(text); dialog.field(label).update()
    press("Fill holes")
    typed = [dialog.field(label).get_text() for label in LENGTHS], sent()
    press("Protect original")
    protected = [dialog.shown(label) for label in LENGTHS], sent()
    press("Protect original")
    dialog.choose(grow=-1, blend=-1, feather=-1, detail=0.0)
    reset = [dialog.shown(label)[:2] for label in LENGTHS], sent()
with Dialog("remove") as dialog:
    press("Protect original")
    edges = dialog.request().edges
    remove = [dialog.shown("Grow (px)")[:2], dialog.shown("Feather (px)")[:2], edges.grow_px, edges.feather_px]
with Dialog("expand") as dialog:
    expand = [w.get_text() for w in dialog.widgets() if isinstance(w, Gtk.Label) and w.get_text() in LENGTHS]
result = dict(untouched=untouched, stepped=stepped, typed=typed, protected=protected, reset=reset, remove=remove,
    expand=expand)
""")
    assert result["untouched"] == [[["automatic", True]] * 4, [None, None, None, False, None]]
    assert result["stepped"] == ["0", [0, None, None, False, None]]
    assert result["typed"] == [["12", "0", "3"], [12, 0, 3, True, 0.75]]
    shown, sent = result["protected"]
    reason = "The original is protected: the result ends where the selection does."
    assert [row[1:] for row in shown[:2]] == [[False, reason]] * 2
    assert shown[2][:2] == ["3", True]
    assert sent == [0, 0, 3, True, 0.75]
    assert result["reset"] == [[["automatic", True]] * 3, [None, None, None, True, None]]
    assert result["remove"] == [["0", False], ["automatic", True], 0, None]
    assert result["expand"] == ["Grow (px)", "Blend (px)"]


def test_the_dialog_offers_recipes_and_lets_them_choose_the_engine(gimp: GimpDriver) -> None:
    result = gimp.run("""
def rows(combo):
    return [[row[1], row[2]] for row in combo.get_model()]
with Dialog("fill") as dialog:
    recipe, engine = dialog.field("Recipe"), dialog.field("Engine")
    offered = rows(recipe), recipe.get_tooltip_text()
    recipe.set_active_id("red")
    spin(0.05)
    fixed = engine.get_active_id(), engine.is_sensitive(), engine.get_tooltip_text(), dialog.shown("Steps")[0]
    request = dialog.request()
    recipe.set_active_id("soft")
    spin(0.05)
    result = dict(offered=offered, fixed=fixed, request=[request.recipe, request.engine],
        open=[engine.get_active_id(), engine.is_sensitive()])
""")
    names, tip = result["offered"]
    assert names == [["None", True], ["Gone", False], ["Red things", True], ["Soft", True]]
    assert "Gone: " in tip
    assert "no-such-model" in tip
    assert result["fixed"] == [TOY, False, "The recipe “Red things” runs on this one.", "by recipe"]
    assert result["request"] == ["red", None]
    assert result["open"] == ["", True]


def test_the_edit_dialog_generates_only_where_an_engine_follows_instructions(gimp: GimpDriver) -> None:
    result = gimp.run(f"""
with Dialog("edit") as dialog:
    able = dialog.can_generate(), [row[0] for row in dialog.field("Engine").get_model()]
    dialog.choose(engine={TOY!r})
    result = dict(able=able, unable=dialog.can_generate(), sentences=dialog.sentences())
""")
    assert result["able"] == [True, ["", "test-invert"]]
    assert not result["unable"]
    assert "The chosen engine cannot follow instructions. Choose another engine." in result["sentences"]


def _pixels(layer: str) -> np.ndarray:
    """What ``layers_of`` gave, as (40, 40, 3) uint8."""
    rgba = np.frombuffer(base64.b64decode(layer), np.uint8).reshape(PLACE[3], PLACE[2], 4)
    assert (rgba[..., 3] == 255).all()
    return rgba[..., :3]
