"""The two editors as drivers, and how tests get one."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from .driver import EditorDied, EditorDriver
from .root import EditorRoot, new_home, short_folder

__all__ = ["GimpDriver", "KritaDriver", "fresh_driver"]

_INSIDE = Path(__file__).parent / "inside"

_Driver = TypeVar("_Driver", bound=EditorDriver)


@contextmanager
def fresh_driver(
    kind: type[_Driver],
    root: EditorRoot,
    *,
    binds: Iterable[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[_Driver]:
    """Give a driver that is not started yet, with a fresh profile; everything is ended and removed afterwards."""
    with short_folder() as folder:
        driver = kind(root, folder, new_home(root, folder / "home"), binds, environment)
        try:
            yield driver
        finally:
            driver.close()


class KritaDriver(EditorDriver):
    """Krita with its main window."""

    _COMMAND = ("krita", "--nosplash")
    _PROCESS_NAME = re.compile(r"krita")

    @property
    def krita_resources(self) -> Path:
        """The profile's resource folder; plug-ins go to ``pykrita`` in it (see also ``enable_plug_in``)."""
        return self.home / ".local/share/krita"

    def enable_plug_in(self, name: str) -> None:
        """Mark the Python plug-in ``name`` as enabled in kritarc."""
        # appended: KConfig merges groups of one name
        with (self.home / ".config/kritarc").open("a", encoding="utf-8") as config:
            config.write(f"\n[python]\nenable_{name}=true\n")

    def undo(self) -> None:
        """Undo one step of the active document, as Ctrl+Z does, and wait until that is done."""
        self._trigger("edit_undo")

    def redo(self) -> None:
        """Redo one step of the active document, and wait until that is done."""
        self._trigger("edit_redo")

    def _trigger(self, action: str) -> None:
        # the step is run by Krita's own queue a few turns of the event loop later
        self.run(
            f"app.action({action!r}).trigger()\n"
            "spin(0.3); app.activeDocument().waitForDone(); spin(0.1); app.activeDocument().waitForDone()"
        )

    def _install_plug_in(self) -> None:
        name = "overpaint_test_driver"
        package = self.krita_resources / "pykrita" / name
        package.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_INSIDE / "krita_driver.py", package / "__init__.py")
        shutil.copyfile(_INSIDE / "driver_client.py", package / "driver_client.py")
        package.with_suffix(".desktop").write_text(
            "[Desktop Entry]\nType=Service\nServiceTypes=Krita/PythonPlugin\n"
            f"X-KDE-Library={name}\nX-Python-2-Compatible=false\nName={name}\n"
        )
        self.enable_plug_in(name)

    def _wait_for_window(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        # createActions comes before the window is shown
        self.run(f"wait_until(lambda: app.activeWindow() is not None, {left})", timeout=left + 5)

    def _ask_to_quit(self) -> None:
        self.run(
            "for document in app.documents():\n"
            "    document.waitForDone(); document.setModified(False)\n"
            "QtCore.QTimer.singleShot(0, app.activeWindow().qwindow().close)"
        )


class GimpDriver(EditorDriver):
    """GIMP with its main window."""

    _COMMAND = ("gimp", "--no-splash", "--no-data", "--no-fonts")
    _PROCESS_NAME = re.compile(r"gimp-3\.\d+")

    @property
    def gimp_config(self) -> Path:
        """The profile's GIMP folder; plug-ins go to ``plug-ins/NAME/NAME.py`` in it."""
        return self.home / ".config/GIMP" / self.root.gimp_config_name

    def press(self, keys: str) -> None:
        """Type ``keys`` (xdotool's names, e.g. ``ctrl+z``) in GIMP's main window.

        GIMP handles them some time later: wait for the effect (``wait_until`` inside ``run``). There is no other
        way to undo from a test: the API has no call for it.
        """
        window = self.find_windows("--class", "gimp")[0]
        self.xdotool("windowactivate", "--sync", window)
        self.xdotool("key", keys)

    def _install_plug_in(self) -> None:
        folder = self.gimp_config / "plug-ins/overpaint-test-driver"
        folder.mkdir(parents=True, exist_ok=True)
        plug_in = folder / "overpaint-test-driver.py"
        shutil.copyfile(_INSIDE / "gimp_driver.py", plug_in)
        plug_in.chmod(0o755)
        shutil.copyfile(_INSIDE / "driver_client.py", folder / "driver_client.py")

    def _wait_for_window(self, deadline: float) -> None:
        # persistent plug-ins start before the main window exists, and Gimp.Display.new() needs it
        while time.monotonic() < deadline:
            if self.find_windows("--name", "GNU Image Manipulation Program"):
                return
            time.sleep(0.1)
        self.close()
        raise EditorDied(f"GIMP did not show its window:\n{self._log_tail()}")

    def _ask_to_quit(self) -> None:
        # from an idle callback: GIMP ends this very plug-in before the call returns
        self.run(
            "def leave():\n"
            "    procedure = Gimp.get_pdb().lookup_procedure('gimp-quit')\n"
            "    config = procedure.create_config(); config.set_property('force', True)\n"
            "    procedure.run(config)\n"
            "GLib.idle_add(leave)"
        )
