"""The GIMP plug-in without its dialog: the real daemon outside, gimp-console inside, as a script would use it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.editors.driving import EditorRoot, new_home, short_folder
from tests.editors.gimp_plugin import (
    SELECT_SPECK,
    client_environ,
    count_in_log,
    end_plug_in,
    install_plug_in,
    run_script,
)
from tests.integration.daemon_process import DaemonProcess, wait_until

_PHOTO = Path(__file__).parents[2] / "docs/example/dahlia.jpg"


class Gimp:
    """A profile with the plug-in in it, and a state folder for a daemon.

    messages: what the last GIMP wrote on its standard error, its messages to the artist among it.
    """

    def __init__(self, root: EditorRoot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.state = folder / "state"
        self.home = new_home(root, folder / "home")
        self.folder = folder
        self.messages = ""
        install_plug_in(self.home / ".config/GIMP" / root.gimp_config_name)
        for name, value in client_environ(self.state).items():
            monkeypatch.setenv(name, value)

    def run(self, code: str) -> dict[str, object]:
        run = run_script(self.root, self.home, code, binds=[self.folder, _PHOTO.parent])
        self.messages = run.done.stderr
        return run.results


@pytest.fixture
def gimp(editor_root: EditorRoot, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gimp]:
    with short_folder() as folder:
        yield Gimp(editor_root, folder, monkeypatch)


def test_fill_without_daemon_or_with_bad_input_says_what_to_do(gimp: Gimp) -> None:
    results = gimp.run("""
image = picture(64, 48)
select = lambda *place: image.select_rectangle(Gimp.ChannelOps.REPLACE, *place)
RESULTS["nothing selected"] = call("plug-in-overpaint-fill", image)
select(100, 100, 20, 20)
RESULTS["selected outside the canvas"] = call("plug-in-overpaint-remove", image)
RESULTS["no margins"] = call("plug-in-overpaint-expand", image)
RESULTS["long prompt"] = call("plug-in-overpaint-expand", image, right=5, prompt="x" * 9000)
select(10, 10, 20, 20)
RESULTS["too fine"] = call("plug-in-overpaint-fill", image, detail=0.05)
RESULTS["no daemon"] = call("plug-in-overpaint-fill", image, prompt="a red door")
Gimp.Selection.float(image, image.get_layers(), 0, 0)
RESULTS["floating"] = call("plug-in-overpaint-fill", image)
indexed = picture(20, 20)
indexed.convert_indexed(Gimp.ConvertDitherType.NONE, Gimp.ConvertPaletteType.GENERATE, 16, False, False, "")
RESULTS["indexed"] = call("plug-in-overpaint-expand", indexed, left=5)
RESULTS["nothing waits"] = call("plug-in-overpaint-recover", picture(8, 8))
RESULTS["images"] = len(Gimp.get_images())
for one in Gimp.get_images(): one.delete()
""")
    assert results.pop("images") == 3
    assert results.pop("nothing waits") == ["success", ""]
    assert {status for status, _ in results.values()} == {"execution-error"}
    expected = {
        "nothing selected": "Select",
        "selected outside the canvas": "Select",
        "no margins": "how many pixels",
        "long prompt": "shorten",
        "too fine": "0.1 to 4",
        "no daemon": "overpaint serve",
        "floating": "Anchor",
        "indexed": "Image > Mode > RGB",
    }
    missed = {case: results[case] for case, words in expected.items() if words not in results[case][1]}
    assert not missed


def test_fill_with_wrong_token_says_so(gimp: Gimp, monkeypatch: pytest.MonkeyPatch) -> None:
    with DaemonProcess.start(gimp.folder):
        plain = json.loads((gimp.state / "daemon.json").read_text())
        stale = gimp.state / "stale.json"
        stale.touch(mode=0o600)
        stale.write_text(json.dumps({**plain, "token": "0" * len(plain["token"])}))
        monkeypatch.setenv("OVERPAINT_CONNECTION", str(stale))
        results = gimp.run("""
image = picture(64, 48)
image.select_rectangle(Gimp.ChannelOps.REPLACE, 10, 10, 20, 20)
RESULTS["fill"] = call("plug-in-overpaint-fill", image)
image.delete()
""")
    status, sentence = results["fill"]
    assert status == "execution-error"
    assert "token" in sentence
    assert "overpaint serve" in sentence


def test_fill_expand_remove_change_only_what_was_asked(gimp: Gimp) -> None:
    with DaemonProcess.start(gimp.folder):
        results = gimp.run(f"""
image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path({str(_PHOTO)!r}))
RESULTS["size"] = [image.get_width(), image.get_height()]
image.select_ellipse(Gimp.ChannelOps.REPLACE, 120, 90, 140, 110)
Gimp.Selection.feather(image, 16)
mask, before = selection(image), composite(image)
RESULTS["fill"] = call("plug-in-overpaint-fill", image, prompt="a red door", seed=7, engine="embedded")
after = composite(image)
RESULTS["outside"], RESULTS["inside"] = changed_outside(before, after, mask), changed_inside(before, after, mask)
RESULTS["selection kept"] = selection(image) == mask
RESULTS["layers"] = tree(image)
RESULTS["variants"] = call("plug-in-overpaint-remove", image, variants=3, engine="test-invert")
RESULTS["outside variants"] = changed_outside(before, composite(image), mask)
RESULTS["group"] = tree(image)[0]
image.select_rectangle(Gimp.ChannelOps.REPLACE, 5, 6, 1, 1)
RESULTS["one pixel"] = call("plug-in-overpaint-remove", image, protect_original=True)
RESULTS["one pixel layer"] = tree(image)[0]
Gimp.Selection.none(image)
flat = composite(image)
width, height, number = image.get_width(), image.get_height(), image.get_id()
RESULTS["expand"] = call("plug-in-overpaint-expand", image, right=200, bottom=200, protect_original=True)
RESULTS["same image"] = [len(Gimp.get_images()), image.get_id() == number]
RESULTS["grown"] = [image.get_width() - width, image.get_height() - height]
RESULTS["expand layer"] = tree(image)[0]
grown = composite(image)
rows = [grown[y * (width + 200) * 4:(y * (width + 200) + width) * 4] for y in range(height)]
RESULTS["old kept"] = b"".join(rows) == flat
RESULTS["new opaque"] = all(grown[4 * (y * (width + 200) + width + x) + 3] == 255 for x, y in ((100, 100), (199, height + 199)))
image.delete()
""")
    layers = results.pop("layers")
    group = results.pop("group")
    one_pixel = results.pop("one pixel layer")
    expanded = results.pop("expand layer")
    width, height = results.pop("size")
    assert results.pop("inside") > 1000
    done = ["success", ""]
    assert results == {
        "fill": done,
        "outside": 0,
        "selection kept": True,
        "variants": done,
        "outside variants": 0,
        "one pixel": done,
        "expand": done,
        "same image": [1, True],
        "grown": [200, 200],
        "old kept": True,
        "new opaque": True,
    }
    name, x, y, layer_width, layer_height, is_visible, inner = layers[0]
    assert [name, is_visible, inner, len(layers)] == ["Fill: a red door", True, None, 2]
    assert 90 <= x <= 120
    assert 60 <= y <= 90
    assert x + layer_width <= 300
    assert y + layer_height <= 240
    assert [group[0], [one[5] for one in group[6]]] == ["Remove", [True, False, False]]
    assert [one[0] for one in group[6]] == ["Remove (1)", "Remove (2)", "Remove (3)"]
    assert one_pixel[1:5] == [5, 6, 1, 1]
    assert expanded[1] + expanded[3] == width + 200
    assert expanded[2] + expanded[4] == height + 200


def test_a_note_about_the_result_is_told(gimp: Gimp) -> None:
    note = "Specks that were selected by less than 2 % were left as they are."
    with DaemonProcess.start(gimp.folder):
        results = gimp.run(f"""
{SELECT_SPECK}
image = picture(128, 96)
image.select_rectangle(Gimp.ChannelOps.REPLACE, 60, 40, 30, 20)
RESULTS["plain"] = call("plug-in-overpaint-remove", image)
import sys
print("PLAIN", file=sys.stderr, flush=True)
select_speck(image)
RESULTS["noted"] = call("plug-in-overpaint-remove", image)
RESULTS["places"] = [one[1:5] for one in tree(image)]
image.delete()
""")
    assert [results["plain"], results["noted"]] == [["success", ""]] * 2
    assert results["places"][0] == results["places"][1], "the speck was painted"
    before, _, after = gimp.messages.partition("PLAIN\n")
    assert note not in before
    assert note in after


def end_when_queued(state: Path) -> None:
    wait_until(lambda: count_in_log(state, " queued: fill") > 0, timeout_s=60.0)
    end_plug_in(state)


def test_fill_ended_in_the_middle_is_recovered(gimp: Gimp) -> None:
    with DaemonProcess.start(gimp.folder):
        ender = threading.Thread(target=end_when_queued, args=(gimp.state,))
        ender.start()
        results = gimp.run("""
image = picture(120, 90)
image.select_rectangle(Gimp.ChannelOps.REPLACE, 20, 20, 70, 50)
RESULTS["ended"] = call("plug-in-overpaint-fill", image, prompt="a pond steps=40 delay=0.05", variants=4,
    engine="test-invert")[0]
RESULTS["before"] = len(image.get_layers())
other = picture(64, 64)
RESULTS["other"] = call("plug-in-overpaint-recover", other)
RESULTS["recover"] = call("plug-in-overpaint-recover", image)
RESULTS["after"] = tree(image)[0][0]
RESULTS["again"] = call("plug-in-overpaint-recover", image)
RESULTS["layers"] = len(image.get_layers())
for one in Gimp.get_images(): one.delete()
""")
        ender.join()
    assert results["ended"] != "success"
    assert results["before"] == 1
    status, sentence = results["other"]
    assert status == "execution-error"
    assert "belongs to" in sentence
    assert results["recover"] == ["success", ""]
    assert results["after"] == "Fill: a pond steps=40 delay=0.05"
    assert results["again"] == ["success", ""]
    assert results["layers"] == 2
    assert not list((gimp.state / "clients/gimp").glob("*.json"))


def test_a_small_part_of_a_huge_canvas_is_filled_and_all_of_it_refused(gimp: Gimp) -> None:
    with DaemonProcess.start(gimp.folder):
        results = gimp.run("""
image = Gimp.Image.new(30000, 30000, Gimp.ImageBaseType.RGB)
layer = Gimp.Layer.new(image, "Background", 30000, 30000, Gimp.ImageType.RGB_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
image.insert_layer(layer, None, 0)
patch = Gimp.Layer.new(image, "Patch", 900, 900, Gimp.ImageType.RGB_IMAGE, 100.0, Gimp.LayerMode.NORMAL)
image.insert_layer(patch, None, 0)
patch.set_offsets(14600, 14600)
put(patch, bytes((x * 7 + y * 3 + c * 50) % 256 if c < 3 else 255 for y in range(900) for x in range(900) for c in range(4)))
image.select_rectangle(Gimp.ChannelOps.REPLACE, 14950, 14950, 200, 200)
RESULTS["part"] = call("plug-in-overpaint-remove", image, engine="test-invert", seed=0, protect_original=True)
top = image.get_layers()[0]
RESULTS["place"] = tree(image)[0][1:5]
inverted = bytes(255 - value if i % 4 < 3 else 255 for i, value in enumerate(pixels(patch, 350, 350, 200, 200)))
RESULTS["right pixels"] = pixels(top) == inverted
Gimp.Selection.all(image)
RESULTS["all"] = call("plug-in-overpaint-remove", image)
image.delete()
""")
    assert results["part"] == ["success", ""]
    assert results["place"] == [14950, 14950, 200, 200]
    assert results["right pixels"]
    status, sentence = results["all"]
    assert status == "execution-error"
    assert "30000 × 30000" in sentence
    assert "smaller" in sentence
