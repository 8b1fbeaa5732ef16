"""Use Krita and the Overpaint docker as an artist does; runs inside Krita, in the driver's plug-in.

What it finds is returned as plain values, and judged by the test outside.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from krita import Document, Krita, Node, Selection

from overpaint_krita.docker import DOCKER_ID, OverpaintDocker
from overpaint_krita.qt import QLabel, Qt, QTimer, QWidget

__all__ = ["Pilot", "StallMeter", "ellipse_mask"]


class Pilot:
    """One document and the docker.

    Args:
        spin: turns Krita's event loop for some seconds.
        wait_until: turns it until a condition holds; false if that took too long.
    """

    def __init__(self, spin: Callable[[float], None], wait_until: Callable[..., bool]) -> None:
        # Krita's own shows a modal dialog, which nobody would close here
        sys.excepthook = sys.__excepthook__
        self._app = Krita.instance()
        self.spin = spin
        self._wait_until = wait_until
        self.docker: OverpaintDocker = next(d for d in self._app.dockers() if d.objectName() == DOCKER_ID)
        self.docker.setFloating(True)
        self.docker.setVisible(True)
        self.docker.resize(280, 620)
        self.docker.raise_()
        self.document: Document | None = None

    def open(self, path: str) -> list[int]:
        """Open a picture in a view; returns width and height."""
        return self._show(self._app.openDocument(path))

    def create(
        self, width: int, height: int, model: str = "RGBA", depth: str = "U8", profile: str = ""
    ) -> list[int]:
        """Make a picture with something in it."""
        document = self._app.createDocument(width, height, "made", model, depth, profile, 100.0)
        result = self._show(document)
        node = document.topLevelNodes()[0]
        values = range(16, 240, 16)
        components = document.width() * (2 if model == "GRAYA" else 5 if model == "CMYKA" else 4)
        code, top = {"U8": ("B", 255), "U16": ("H", 65535), "F16": ("e", 1.0), "F32": ("f", 1.0)}[depth]
        shares = [values[i * i % len(values)] / 256 for i in range(components)]
        numbers = [share if code in "ef" else round(share * top) for share in shares]
        row = struct.pack(f"<{components}{code}", *numbers)
        step = max(1, 1024 * 1024 // len(row))
        for top in range(0, height, step):
            rows = min(step, height - top)
            node.setPixelData(row * rows, 0, top, width, rows)
        document.refreshProjection()
        document.waitForDone()
        return result

    def select_ellipse(self, x: int, y: int, width: int, height: int, soft_px: int) -> bytes:
        """Select an ellipse with a soft edge; returns the mask of the whole canvas."""
        mask = ellipse_mask(width, height, soft_px)
        selection = Selection()
        selection.setPixelData(mask, x, y, width, height)
        self.document.setSelection(selection)
        self.settle()
        selection = self.document.selection()
        return bytes(selection.pixelData(0, 0, self.document.width(), self.document.height()))

    def select(self, x: int, y: int, width: int, height: int) -> None:
        """Select a rectangle."""
        selection = Selection()
        selection.select(x, y, width, height, 255)
        self.document.setSelection(selection)
        self.settle()

    def select_mask(self, mask: bytes) -> None:
        """Select as ``mask`` says, one byte for each pixel of the canvas."""
        selection = Selection()
        selection.setPixelData(mask, 0, 0, self.document.width(), self.document.height())
        self.document.setSelection(selection)
        self.settle()

    def deselect(self) -> None:
        self.document.setSelection(None)
        self.settle()

    def widget(self, name: str) -> Any:
        """A widget by name; of several, as in the rows of jobs, a visible one."""
        found = self.docker.findChildren(QWidget, f"overpaint_{name}")
        return next((widget for widget in found if widget.isVisible()), found[0])

    def texts(self) -> dict[str, str]:
        """The docker's visible sentences by name."""
        labels = [label for label in self.docker.findChildren(QLabel) if label.isVisible()]
        return {
            label.objectName(): label.text()
            for label in labels
            if label.objectName().startswith("overpaint_")
        }

    def job_sentences(self) -> list[str]:
        """What the rows of the jobs say."""
        labels = self.docker.findChildren(QLabel, "overpaint_job_sentence")
        return [label.text() for label in labels if label.isVisible()]

    def wait_for_engines(self, seconds: float = 60.0) -> list[str]:
        """Wait until the engine picker is filled; returns what it offers."""
        box = self.widget("engine")
        self._wait_until(lambda: box.count() > 1, seconds)
        return [box.itemText(index) for index in range(box.count())]

    def choose_engine(self, engine_id: str) -> None:
        box = self.widget("engine")
        index = box.findData(engine_id)
        assert index > 0, f"the docker does not offer {engine_id}"
        box.setCurrentIndex(index)

    def press(self, button: str) -> None:
        """Click one of the docker's buttons, which must be enabled."""
        widget = self.widget(button)
        assert widget.isVisible(), f"{button} is not shown"
        assert widget.isEnabled(), widget.toolTip()
        widget.click()

    def wait_for_layer(self, known: int, seconds: float = 240.0) -> bool:
        """Wait until the document has more top-level layers than ``known`` and no job is at work."""
        if not self._wait_until(lambda: len(self.layers()) > known, seconds):
            return False
        return self._wait_until(lambda: self.texts().get("overpaint_status", "").endswith(": done."), 30.0)

    def wait_for_text(self, name: str, part: str, seconds: float = 30.0) -> bool:
        return self._wait_until(lambda: part in self.texts().get(f"overpaint_{name}", ""), seconds)

    def layers(self) -> list[Node]:
        """Top-level layers, top-most first."""
        nodes = [
            node for node in self.document.topLevelNodes() if node.type() in ("paintlayer", "grouplayer")
        ]
        return nodes[::-1]

    def picture(self) -> bytes:
        """The composite."""
        return bytes(self.document.pixelData(0, 0, self.document.width(), self.document.height()))

    def state(self) -> tuple[list[int], list[str], bytes]:
        """Everything an undo must restore: canvas size, names of the layers, composite."""
        size = [self.document.width(), self.document.height()]
        return size, [node.name() for node in self.layers()], self.picture()

    def undo(self) -> None:
        self._app.action("edit_undo").trigger()
        self.settle()

    def settle(self) -> None:
        self.spin(0.3)
        self.document.waitForDone()
        self.spin(0.1)

    def _show(self, document: Document) -> list[int]:
        self._app.activeWindow().addView(document)
        self.document = document
        self.settle()
        return [document.width(), document.height()]


class StallMeter:
    """How long Krita's event loop did not come round: a timer every 5 ms, and by how much it is late."""

    def __init__(self) -> None:
        self._gaps_ms: list[float] = []
        self._last = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(lambda: self._tick())

    def start(self) -> None:
        self._gaps_ms.clear()
        self._last = time.perf_counter()
        self._timer.start(5)

    def stop(self) -> dict[str, Any]:
        """Count, median, 95th percentile and worst of the times between two ticks, in ms."""
        self._timer.stop()
        gaps = sorted(self._gaps_ms)
        return {
            "ticks": len(gaps),
            "median_ms": round(gaps[len(gaps) // 2], 1),
            "p95_ms": round(gaps[len(gaps) * 95 // 100], 1),
            "worst_ms": [round(gap) for gap in gaps[-5:]],
        }

    def _tick(self) -> None:
        now = time.perf_counter()
        self._gaps_ms.append((now - self._last) * 1000)
        self._last = now


def ellipse_mask(width: int, height: int, soft_px: int) -> bytes:
    """An ellipse that touches the edges of its rectangle; its outermost ``soft_px`` fade linearly to 0."""
    out = bytearray(width * height)
    radius = min(width, height) / 2
    for y in range(height):
        v = (2 * y + 1 - height) / height
        for x in range(width):
            u = (2 * x + 1 - width) / width
            inside_px = (1 - (u * u + v * v) ** 0.5) * radius
            if inside_px > 0:
                out[y * width + x] = min(255, round(255 * inside_px / max(1, soft_px)))
    return bytes(out)
