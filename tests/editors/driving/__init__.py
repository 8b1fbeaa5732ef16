"""Drive the real Krita and GIMP from tests: roots, batch runs and long-lived GUI drivers.

An editor runs in a *root* (a Debian tree made by ``tests/editors/install.sh``) through ``run-in.sh``, which gives
each run its own namespaces and X display; when that process ends, everything it started ends too.

In short, for a test file that shares one Krita::

    @pytest.fixture(scope="module")
    def krita(editor_root):
        with fresh_driver(KritaDriver, editor_root) as driver:
            ...  # put plug-ins into driver.krita_resources / "pykrita", driver.enable_plug_in("name")
            driver.start()
            yield driver


    def test_something(krita):
        assert krita.run("result = len(app.documents())") == 0
"""

from __future__ import annotations

from .batch import BatchResult, run_gimp_console
from .driver import EditorDied, EditorDriver, EditorError
from .editors import GimpDriver, KritaDriver, fresh_driver
from .root import ANSWER_S, EditorRoot, find_root, new_home, roots_folder, short_folder

__all__ = [
    "ANSWER_S",
    "BatchResult",
    "EditorDied",
    "EditorDriver",
    "EditorError",
    "EditorRoot",
    "GimpDriver",
    "KritaDriver",
    "find_root",
    "fresh_driver",
    "new_home",
    "roots_folder",
    "run_gimp_console",
    "short_folder",
]
