"""What holds for all tests.

Those that need CUDA run wherever it is, and are counted aloud where it is not; so are those that fill a graphics card while other
tests run beside them. Generated examples may take as long as a busy machine needs.
"""

from __future__ import annotations

import gc
import importlib.util
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

_NOT_RUN = pytest.StashKey[dict[str, int]]()
"""How many tests are left out, by the reason."""


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.hookimpl(trylast=True)  # after other markers were chosen by
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing:
        return
    reason = "no CUDA here"
    if _has_cuda():
        reason = "they fill the card, so run them by themselves: pytest tests/gpu -m alone"
        has_others_beside_it = hasattr(config, "workerinput")
        needing = [item for item in needing if has_others_beside_it and item.get_closest_marker("alone")]
    config.stash[_NOT_RUN] = {reason: len(needing)}
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


def pytest_collection_finish(session: pytest.Session) -> None:
    # Modules and thousands of collected tests live to the end. Engines collect garbage whenever they close, which would go
    # through all of them each time: a quarter of the time of their tests.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)  # with xdist it is the workers that collect
    if output is not None:
        output["gpu_not_run"] = session.config.stash.get(_NOT_RUN, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    # Each worker collects all tests.
    node.config.stash[_NOT_RUN] = getattr(node, "workeroutput", {}).get("gpu_not_run", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason, count in config.stash.get(_NOT_RUN, {}).items():
        if count:
            terminalreporter.write_line(f"{count} gpu tests not run: {reason}", yellow=True)
