"""Fixtures for tests in the real editors; what they use is in ``driving``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.editors.driving import ANSWER_S, EditorRoot, find_root, roots_folder, short_folder
from tests.editors.models import daemon_with_models
from tests.integration.daemon_process import DaemonProcess

_HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE) and "editor_root" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.editor)
            item.add_marker(pytest.mark.timeout(2 * ANSWER_S))


_OWN_EDITORS = {"test_driving", "test_gimp_fills", "test_gimp_plugin", "test_shared_daemon"}
"""Files whose tests start an editor each."""

_WITH_MODELS = {"test_gimp_prompts", "test_krita_prompts"}
"""Files whose tests share a daemon with models, whatever the root."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadscope``, tests that share an editor go to one worker of pytest, the largest groups first.

    ``--dist loadgroup`` would do the same by a marker, but writes it into the ids of tests, and since pytest 9.2 nobody reads
    what it writes.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByEditor(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByEditor(config, log)


def _group(nodeid: str) -> str:
    """What tests share: the editor of a file in one root, a daemon with models, or nothing."""
    file = Path(nodeid.split("::", 1)[0]).stem
    if file in _WITH_MODELS:
        return file
    root = re.search(r"\[(\w+)", nodeid)
    return nodeid if file in _OWN_EDITORS or root is None else f"{file}-{root[1]}"


@pytest.fixture(scope="session", params=["trixie", "sid"])
def editor_root(request: pytest.FixtureRequest) -> EditorRoot:
    """Each of the two roots: GIMP 3.0 with Krita 5.2, and GIMP 3.2 with Krita 6."""
    root = find_root(request.param)
    if root is not None:
        return root
    marker = roots_folder() / f"{request.param}.unavailable"
    if request.param != "trixie" and marker.is_file():
        pytest.skip(f"NOT TESTED: the root {request.param} could not be built: {marker.read_text().strip()}")
    pytest.fail(
        f"The editors' root {request.param} is missing in {roots_folder()}: run tests/editors/roots.sh "
        "as root (two to five minutes), or leave these tests out with -m 'not editor'.",
        pytrace=False,
    )


@pytest.fixture(scope="session")
def model_daemon() -> Iterator[DaemonProcess]:
    """A daemon with models and recipes, for all editors of the session."""
    with short_folder() as folder, daemon_with_models(folder) as daemon:
        yield daemon
