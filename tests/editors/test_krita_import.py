"""What importing the Krita plug-in does where it should do nothing, or refuse with a sentence."""

from __future__ import annotations

import importlib
import sys

import pytest


def test_importing_it_outside_krita_does_nothing() -> None:
    before = set(sys.modules)
    package = importlib.import_module("overpaint_krita")
    assert "overpaint_krita.extension" not in set(sys.modules) - before
    assert package.__doc__


@pytest.mark.parametrize("version", ["5.1.5", "4.4.8 (git abc)", "5.1.0-beta1"])
def test_an_old_krita_is_refused_with_advice(version: str) -> None:
    package = importlib.import_module("overpaint_krita")
    with pytest.raises(RuntimeError, match=r"needs Krita 5\.2 or newer.*Update Krita"):
        package._check_versions(version)


@pytest.mark.parametrize("version", ["5.2.0", "5.2.9", "5.3.4.1", "6.0.4-rc1", "6.0.4.1 (git 1234567)"])
def test_a_new_enough_krita_is_accepted(version: str) -> None:
    importlib.import_module("overpaint_krita")._check_versions(version)


def test_an_old_python_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.import_module("overpaint_krita")
    monkeypatch.setattr(package, "_OLDEST_PYTHON", (9, 1))
    with pytest.raises(RuntimeError, match=r"Python 9\.1 or newer.*krita\.org"):
        package._check_versions("5.2.0")
