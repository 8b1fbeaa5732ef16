"""Take the README's pictures of Krita and GIMP: real editors, the plug-in in use, a result in the layer list.

To be run from the project's root, once the editors' roots are there: ``python -m tests.editors.screenshots``.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from tests.editors import gimp_plugin, krita_install
from tests.editors.driving import (
    EditorDriver,
    EditorRoot,
    GimpDriver,
    KritaDriver,
    find_root,
    fresh_driver,
    short_folder,
)
from tests.editors.gimp_plugin import client_environ
from tests.editors.test_gimp_dialog import activate, open_dialog
from tests.integration.daemon_process import DaemonProcess

_PROJECT = Path(__file__).parents[2]
_PAGODA = _PROJECT / "tests/data/china.jpg"
_DAHLIA = _PROJECT / "docs/example/dahlia.jpg"
_DAHLIA_MASK = _DAHLIA.with_name("dahlia-mask.png")
_SIZE = (1280, 920)
_JPEG_QUALITY = 88

_KRITA_WINDOW = f"""
window = app.activeWindow().qwindow()
window.setGeometry(0, 22, {_SIZE[0]}, {_SIZE[1] - 22})
pilot.docker.setFloating(False)
spin(0.5)
result = str(int(window.winId()))
"""

_KRITA = f"""
pilot.open({str(_PAGODA)!r})
layers = next(docker for docker in app.dockers() if docker.objectName() == "KisLayerBox")
for docker in app.dockers():
    docker.setVisible(docker in (layers, pilot.docker) or docker.objectName() == "ToolBox")
window.resizeDocks([layers, pilot.docker], [250, 580], QtCore.Qt.Orientation.Vertical)
pilot.settle()
app.action("zoom_to_fit").trigger()
pilot.wait_for_engines()
pilot.select_ellipse(184, 24, 42, 44, 4)
pilot.widget("variants").setValue(2)
pilot.press("edges")
pilot.press("remove")
assert pilot.wait_for_layer(1), pilot.texts()
"""

_GIMP_SESSION = f"""
(session-info "toplevel"
    (factory-entry "gimp-single-image-window")
    (position 0 0)
    (size {_SIZE[0]} {_SIZE[1] - 22})
    (open-on-exit)
    (aux-info (right-docks-width "320"))
    (gimp-dock (side right) (book (dockable "gimp-layer-list" (preview-size 48)))))
(hide-docks no)
(single-window-mode yes)
"""

_GIMP = f"""
image = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path({str(_DAHLIA)!r}))
display = Gimp.Display.new(image)
image.set_file(Gio.File.new_for_path("/tmp/dahlia.xcf"))  # for the window's title
drawn = Gimp.file_load(Gimp.RunMode.NONINTERACTIVE, Gio.File.new_for_path({str(_DAHLIA_MASK)!r}))
size = image.get_width(), image.get_height()
chosen = image.get_selection()
chosen.get_buffer().set(Gegl.Rectangle.new(0, 0, *size), "Y u8", pixels(drawn.get_layers()[0], form="Y' u8"))
chosen.update(0, 0, *size)
drawn.delete()
Gimp.displays_flush()
result = call("plug-in-overpaint-remove", image, variants=2)
"""


def main() -> None:
    """Write both pictures."""
    root = find_root("trixie")
    assert root is not None, "run tests/editors/roots.sh first"
    images = _PROJECT / "docs/images"
    with short_folder() as folder, DaemonProcess.start(folder, environ={"OVERPAINT_TEST_ENGINES": ""}):
        _take_krita(root, folder, images / "krita.jpg")
        _take_gimp(root, folder, images / "gimp.jpg")


def _take_krita(root: EditorRoot, folder: Path, target: Path) -> None:
    with fresh_driver(
        KritaDriver, root, binds=[_PROJECT, folder], environment=client_environ(folder / "state")
    ) as driver:
        krita_install.install_plug_in(driver)
        driver.start()
        window = driver.run(krita_install.PRELUDE + _KRITA_WINDOW)
        driver.xdotool("windowactivate", "--sync", window)  # Krita shows the layers of an active window
        driver.run(_KRITA)
        driver.run("spin(3.0)")  # until the layers are listed with their pictures
        _save(driver, target)


def _take_gimp(root: EditorRoot, folder: Path, target: Path) -> None:
    with fresh_driver(
        GimpDriver, root, binds=[_PROJECT, folder], environment=client_environ(folder / "state")
    ) as driver:
        gimp_plugin.install_plug_in(driver.gimp_config)
        (driver.gimp_config / "sessionrc").write_text(_GIMP_SESSION)
        gimprc = driver.gimp_config / "gimprc"
        gimprc.write_text(gimprc.read_text().replace("(restore-session no)", "(restore-session yes)"))
        driver.start()
        assert driver.run(gimp_plugin.PRELUDE + _GIMP) == ["success", ""]
        driver.press("shift+ctrl+j")  # the whole image in the window
        open_dialog(driver, "Generative Fill")
        driver.xdotool("windowmove", activate(driver, "^Generative Fill"), "890", "360")
        driver.xdotool("mousemove", "0", "0")  # or a tip comes up
        driver.run("spin(2.0)")
        _save(driver, target)


def _save(driver: EditorDriver, target: Path) -> None:
    """Save what is in the upper left of the screen."""
    shot = driver.folder / "screen.png"
    driver.screenshot(shot)
    with Image.open(shot) as picture:
        picture.convert("RGB").crop((0, 0, *_SIZE)).save(target, quality=_JPEG_QUALITY, optimize=True)


if __name__ == "__main__":
    main()
