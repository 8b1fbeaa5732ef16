"""Put the GIMP plug-in, bundled as for an artist, into a test's profile, and call it in gimp-console."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from tests.editors.driving import BatchResult, EditorRoot, run_gimp_console

from overpaint_backend.editors.bundle import build
from overpaint_backend.editors.locate import Editor

_MARK = "RESULT "

PRELUDE = """
import json, struct
RESULTS = {}
def call(name, image, run_mode=Gimp.RunMode.NONINTERACTIVE, **arguments):
    procedure = Gimp.get_pdb().lookup_procedure(name)
    config = procedure.create_config()
    config.set_property("run-mode", run_mode)
    config.set_property("image", image)
    config.set_core_object_array("drawables", image.get_selected_layers())
    for key, value in arguments.items():
        config.set_property(key.replace("_", "-"), value)
    values = procedure.run(config)
    status = values.index(0).value_nick
    return [status, values.index(1) if values.length() > 1 and status != "success" else ""]
def picture(width, height, base=Gimp.ImageBaseType.RGB, precision=Gimp.Precision.U8_NON_LINEAR):
    image = Gimp.Image.new_with_precision(width, height, base, precision)
    kind = Gimp.ImageType.GRAY_IMAGE if base == Gimp.ImageBaseType.GRAY else Gimp.ImageType.RGB_IMAGE
    layer = Gimp.Layer.new(image, "Background", width, height, kind, 100.0, Gimp.LayerMode.NORMAL)
    image.insert_layer(layer, None, 0)
    rows = bytes((x * 3 + y * 5 + c * 40) % 256 if c < 3 else 255 for y in range(height) for x in range(width) for c in range(4))
    put(layer, rows)
    return image
def put(layer, rgba8):
    rect = Gegl.Rectangle.new(0, 0, layer.get_width(), layer.get_height())
    buffer = layer.get_buffer()
    buffer.set(rect, "R'G'B'A u8", rgba8)
    buffer.flush()
    layer.update(0, 0, layer.get_width(), layer.get_height())
def pixels(drawable, x=0, y=0, width=None, height=None, form="R'G'B'A u8"):
    rect = Gegl.Rectangle.new(x, y, width or drawable.get_width(), height or drawable.get_height())
    return bytes(drawable.get_buffer().get(rect, 1.0, form, Gegl.AbyssPolicy.NONE))
def composite(image):
    copy = image.duplicate()
    flat = copy.merge_visible_layers(Gimp.MergeType.CLIP_TO_IMAGE)
    data = pixels(flat, 0, 0, image.get_width(), image.get_height())
    copy.delete()
    return data
def tree(image):
    def describe(layer):
        _, x, y = layer.get_offsets()
        inner = [describe(one) for one in layer.get_children()] if layer.is_group() else None
        return [layer.get_name(), x, y, layer.get_width(), layer.get_height(), layer.get_visible(), inner]
    return [describe(layer) for layer in image.get_layers()]
def changed_outside(before, after, mask):
    same = lambda i: mask[i] or before[4 * i:4 * i + 4] == after[4 * i:4 * i + 4]
    return sum(not same(i) for i in range(len(mask)))
def changed_inside(before, after, mask):
    return sum(mask[i] > 128 and before[4 * i:4 * i + 4] != after[4 * i:4 * i + 4] for i in range(len(mask)))
def selection(image):
    return pixels(image.get_selection(), 0, 0, image.get_width(), image.get_height(), "Y u8")
"""
"""Helpers for code that runs inside GIMP."""

SELECT_SPECK = """
def select_speck(image):
    place = Gegl.Rectangle.new(20, 20, 6, 6)
    buffer = image.get_selection().get_buffer()
    buffer.set(place, "Y u8", bytes((3,)) * 36)
    buffer.flush()
    image.get_selection().update(20, 20, 6, 6)
"""
"""Selects a speck at the upper left by 1 %, besides what is selected: too faint to be filled, which is noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GimpRun:
    """What a script left in ``RESULTS``, and how GIMP ended."""

    results: dict[str, object]
    done: BatchResult


def client_environ(state: Path) -> dict[str, str]:
    """What an editor's environment needs to find the daemon of ``state``, and to keep its session files there."""
    return {"OVERPAINT_STATE_DIR": str(state)}


def count_in_log(state: Path, words: str) -> int:
    """How often the daemon's log says ``words``."""
    log = state / "daemon.log"
    return log.read_text().count(words) if log.exists() else 0


def end_plug_in(state: Path) -> None:
    """Kill the plug-in's processes without a word, as the Cancel button in GIMP's status bar does."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        is_plug_in = any("overpaint-gimp.py" in word for word in process.info["cmdline"] or ())
        if is_plug_in and (process.info["environ"] or {}).get("OVERPAINT_STATE_DIR") == str(state):
            process.kill()


def install_plug_in(gimp_config: Path, daemon_command: Sequence[str] = ()) -> Path:
    """Write the bundle below ``gimp_config`` (``.config/GIMP/3.x``); returns the plug-in's folder."""
    bundle = build(Editor.GIMP, daemon_command)
    for file in bundle.files:
        path = gimp_config / "plug-ins" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        if file.is_executable:
            path.chmod(0o755)
    return gimp_config / "plug-ins" / bundle.root


def run_script(root: EditorRoot, home: Path, code: str, *, binds: Sequence[Path] = ()) -> GimpRun:
    """Run ``code`` after the prelude's helpers in gimp-console; what it puts into ``RESULTS`` comes back."""
    script = home / "test_script.py"
    script.write_text(f"{PRELUDE}\n{code}\nprint({_MARK!r} + json.dumps(RESULTS), flush=True)\n")
    inside = "/home/editor/test_script.py"
    text = f"exec(compile(open({inside!r}).read(), {inside!r}, 'exec'))"
    done = run_gimp_console(root, text, home=home, binds=binds)
    lines = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    assert lines, f"GIMP ended with {done.status}:\n{done.stdout}\n{done.stderr}"
    return GimpRun(results=json.loads(lines[-1][len(_MARK) :]), done=done)
