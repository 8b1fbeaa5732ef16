"""The GIMP plug-in with its dialog, used by keyboard in a GIMP with a window, against the real daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.editors.driving import EditorRoot, GimpDriver, fresh_driver, short_folder
from tests.editors.gimp_plugin import (
    PRELUDE,
    SELECT_SPECK,
    client_environ,
    count_in_log,
    end_plug_in,
    install_plug_in,
)
from tests.integration.daemon_process import DaemonProcess, wait_until

_TRIES = 3
_PATIENCE_S = 30.0

_PHOTO = Path(__file__).parents[2] / "docs/example/dahlia.jpg"


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """The folder of a running daemon."""
    with short_folder() as folder, DaemonProcess.start(folder):
        yield folder / "state"


@pytest.fixture(scope="module")
def gimp(editor_root: EditorRoot, state: Path) -> Iterator[GimpDriver]:
    with fresh_driver(
        GimpDriver, editor_root, binds=[state, _PHOTO.parent], environment=client_environ(state)
    ) as driver:
        install_plug_in(driver.gimp_config)
        driver.start()
        driver.run(PRELUDE)
        yield driver


@pytest.fixture
def photo(gimp: GimpDriver) -> Iterator[GimpDriver]:
    """The photograph in a window, a soft ellipse selected."""
    gimp.run(f"""
image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path({str(_PHOTO)!r}))
image.undo_enable()  # a plug-in that loads an image gets it without undo; Open gives it back
display = Gimp.Display.new(image)
image.select_ellipse(Gimp.ChannelOps.REPLACE, 120, 90, 140, 110)
Gimp.Selection.feather(image, 16)
Gimp.displays_flush()
mask, before = selection(image), composite(image)
""")
    yield gimp
    gimp.run("display.delete(); wait_until(lambda: not image.is_valid())")


def test_every_command_is_in_the_menus(gimp: GimpDriver) -> None:
    result = gimp.run("""
commands = [Gimp.get_pdb().lookup_procedure(f"plug-in-overpaint-{name}") for name in ("fill", "remove", "edit", "expand")]
result = [[one.get_menu_label().replace("_", ""), sorted(one.get_menu_paths())] for one in commands]
""")
    ai, edit, image = "<Image>/Filters/AI", "<Image>/Edit/[Stroke]", "<Image>/Image/[Scale]"
    assert result == [
        ["Generative Fill…", [edit, ai]],
        ["Generative Remove…", [edit, ai]],
        ["Generative Edit…", [edit, ai]],
        ["Generative Expand…", [ai, image]],
    ]


def test_fill_by_dialog_adds_a_layer_and_one_undo_takes_it_away(photo: GimpDriver) -> None:
    open_dialog(photo, "Generative Fill")
    write_prompt(photo, "a red door")
    photo.xdotool("key", "alt+g")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 2, 60)")
    wait_until(lambda: not is_shown(photo, "Generative Fill"))
    assert not is_shown(photo, "^GIMP Message$"), "there is nothing to tell"
    assert photo.run("result = tree(image)[0][0]") == "Fill: a red door"
    assert photo.run("after = composite(image); result = changed_outside(before, after, mask)") == 0
    assert photo.run("result = changed_inside(before, after, mask)") > 1000
    photo.screenshot(photo.folder / "filled.png")
    photo.press("ctrl+z")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 1)")
    assert photo.run("result = composite(image) == before and selection(image) == mask")
    photo.press("ctrl+y")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 2)")
    assert photo.run("result = composite(image) == after")


def test_a_note_about_the_result_is_shown_in_a_window(photo: GimpDriver) -> None:
    photo.run(f"{SELECT_SPECK}select_speck(image)")
    open_dialog(photo, "Generative Remove")
    photo.xdotool("key", "alt+g")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 2, 60)")
    wait_until(lambda: is_shown(photo, "^GIMP Message$"))
    photo.screenshot(photo.folder / "noted.png")
    activate(photo, "^GIMP Message$")
    photo.xdotool("key", "Return")
    wait_until(lambda: not is_shown(photo, "^GIMP Message$"))


def test_expand_by_dialog_grows_the_image_and_one_undo_takes_it_back(photo: GimpDriver) -> None:
    photo.run("width, height = image.get_width(), image.get_height()")
    open_dialog(photo, "Generative Expand")
    for side in ("i", "b"):
        photo.xdotool("key", f"alt+{side}")
        photo.xdotool("type", "200")
        photo.xdotool("key", "Tab")
    photo.xdotool("key", "alt+g")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 2, 60)")
    assert photo.run("result = [image.get_width() - width, image.get_height() - height]") == [200, 200]
    photo.screenshot(photo.folder / "expanded.png")
    photo.press("ctrl+z")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 1)")
    assert photo.run("result = [image.get_width() - width, image.get_height() - height]") == [0, 0]
    assert photo.run("result = composite(image) == before")


def test_dialog_says_what_is_wrong_and_stays_open(photo: GimpDriver) -> None:
    photo.run("Gimp.Selection.none(image); Gimp.displays_flush()")
    open_dialog(photo, "Generative Remove")
    photo.xdotool("key", "alt+g")
    # the artist selects something with the dialog still open, then tries again
    photo.run("wait_until(lambda: False, 0.5)")
    assert is_shown(photo, "Generative Remove")
    photo.screenshot(photo.folder / "refused.png")
    photo.run("image.select_rectangle(Gimp.ChannelOps.REPLACE, 50, 50, 60, 40); Gimp.displays_flush()")
    activate(photo, "Generative Remove")
    photo.xdotool("key", "alt+g")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 2, 60)")
    # the selection and the 5 px around it that a removal takes along
    assert photo.run("result = tree(image)[0][:5]") == ["Remove", 45, 45, 70, 50]


def test_dialog_escape_changes_nothing(photo: GimpDriver) -> None:
    open_dialog(photo, "Generative Fill")
    photo.xdotool("key", "Escape")
    wait_until(lambda: not is_shown(photo, "Generative Fill"))
    assert photo.run("result = len(image.get_layers()) == 1 and composite(image) == before")


def test_dialog_escape_cancels_the_job_and_leaves_the_dialog_open(photo: GimpDriver, state: Path) -> None:
    queued, ended = count_in_log(state, " queued: fill"), count_in_log(state, " cancelled")
    open_dialog(photo, "Generative Fill")
    write_prompt(photo, "a lake steps=400 delay=0.05")
    photo.xdotool("key", "alt+g")
    wait_until(lambda: count_in_log(state, " queued: fill") > queued)
    photo.xdotool("key", "Escape")
    wait_until(lambda: count_in_log(state, " cancelled") > ended)
    assert is_shown(photo, "^Generative Fill")
    photo.screenshot(photo.folder / "cancelled.png")
    photo.xdotool("key", "Escape")
    wait_until(lambda: not is_shown(photo, "^Generative Fill"))
    assert photo.run("result = len(image.get_layers()) == 1 and composite(image) == before")


def test_result_of_an_ended_dialog_is_offered_by_the_next(photo: GimpDriver, state: Path) -> None:
    queued, done = count_in_log(state, " queued: fill"), count_in_log(state, " done")
    open_dialog(photo, "Generative Fill")
    write_prompt(photo, "a pond steps=40 delay=0.05")
    photo.xdotool("key", "alt+g")
    wait_until(lambda: count_in_log(state, " queued: fill") > queued)
    end_plug_in(state)
    wait_until(lambda: not is_shown(photo, "^Generative Fill"))
    wait_until(lambda: count_in_log(state, " done") > done)
    assert photo.run("result = len(image.get_layers())") == 1
    open_dialog(photo, "Generative Remove")
    photo.run("wait_until(lambda: False, 1.0)")
    photo.screenshot(photo.folder / "offered.png")
    photo.xdotool("key", "alt+n")
    assert photo.run("result = wait_until(lambda: len(image.get_layers()) == 2)")
    assert photo.run("result = tree(image)[0][0]") == "Fill: a pond steps=40 delay=0.05"
    photo.xdotool("key", "Escape")
    wait_until(lambda: not is_shown(photo, "^Generative Remove"))


def open_dialog(driver: GimpDriver, title: str) -> None:
    """Open a dialog through GIMP's own search of actions."""
    for _ in range(_TRIES):
        driver.press("slash")
        wait_until(lambda: is_shown(driver, "Search Actions"))
        # the image window takes the focus once more after another dialog was closed
        wait_until(lambda: keeps_focus(driver, "Search Actions"))
        driver.xdotool("type", title)
        # the list of actions follows the typing some time later, and nothing says when
        driver.run("wait_until(lambda: False, 0.7)")
        driver.xdotool("key", "Return")
        if comes_up(driver, f"^{title}"):
            break
        driver.xdotool("key", "Escape")
    activate(driver, f"^{title}")


def write_prompt(driver: GimpDriver, prompt: str) -> None:
    # over the prompt of the last time, which GIMP remembers
    driver.xdotool("key", "ctrl+a")
    driver.xdotool("type", prompt)


def is_shown(driver: GimpDriver, title: str) -> bool:
    return bool(driver.find_windows("--name", title))


def activate(driver: GimpDriver, title: str) -> str:
    window = driver.find_windows("--name", title)[-1]
    driver.xdotool("windowactivate", "--sync", window)
    return window


def keeps_focus(driver: GimpDriver, title: str) -> bool:
    """Give a window the focus; returns whether it has it still a moment later."""
    window = activate(driver, title)
    driver.run("wait_until(lambda: False, 0.3)")
    return driver.xdotool("getactivewindow").strip() == window


def comes_up(driver: GimpDriver, title: str) -> bool:
    """Whether a window is shown before long."""
    end = time.monotonic() + _PATIENCE_S
    while not is_shown(driver, title):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
