"""Krita extension that lets a test run code in Krita (PyQt5 and PyQt6).

Names given to the code: ``app``, ``krita``, ``QtCore``, ``QtGui``, ``QtWidgets``, ``spin(seconds)`` and
``wait_until(condition, seconds)``, which turn Krita's event loop.
"""

from __future__ import annotations

import importlib
import time

import krita

from .driver_client import DriverClient

try:
    _QT = "PyQt6"
    QtCore = importlib.import_module("PyQt6.QtCore")
except ImportError:
    _QT = "PyQt5"
    QtCore = importlib.import_module("PyQt5.QtCore")
QtGui = importlib.import_module(f"{_QT}.QtGui")
QtWidgets = importlib.import_module(f"{_QT}.QtWidgets")


def spin(seconds: float = 0.05) -> None:
    """Turn Krita's event loop for ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        QtWidgets.QApplication.processEvents()
        if time.monotonic() >= end:
            return
        time.sleep(0.001)


def wait_until(condition, seconds: float = 10.0) -> bool:
    """Turn the event loop until ``condition()`` holds; False when ``seconds`` have passed first."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= end:
            return False
        spin(0.005)
    return True


class DriverExtension(krita.Extension):
    def setup(self) -> None:
        pass

    def createActions(self, window) -> None:
        if getattr(self, "_client", None) is not None:
            return  # a second window: one connection is enough
        self._client = DriverClient(
            {
                "app": krita.Krita.instance(),
                "krita": krita,
                "QtCore": QtCore,
                "QtGui": QtGui,
                "QtWidgets": QtWidgets,
                "spin": spin,
                "wait_until": wait_until,
            }
        )
        self._watch = QtCore.QSocketNotifier(self._client.fileno(), QtCore.QSocketNotifier.Type.Read, self)
        self._watch.activated.connect(self._on_readable)

    def _on_readable(self, *_: object) -> None:
        if not self._client.serve_one():
            self._watch.setEnabled(False)


krita.Krita.instance().addExtension(DriverExtension(krita.Krita.instance()))
