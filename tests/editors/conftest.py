"""Fixtures for tests in the real editors; what they use is in ``driving``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
            item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """Tests that share an editor, and so one worker of pytest: those of a file in one root, or those with models."""
    if "model_daemon" in getattr(item, "fixturenames", ()):
        return item.path.stem
    return f"{item.path.stem}-{item.callspec.params['editor_root']}"


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
