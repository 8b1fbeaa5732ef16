"""The docker's group “Edges”: how far results reach beyond the selection, how softly they end, how finely they are made."""

from __future__ import annotations

from contextlib import suppress

from overpaint_client.choices import PROTECTED_REASON, protect_original
from overpaint_protocol.messages import MAX_DETAIL, MAX_EDGE_PX, MIN_DETAIL, Edges

from .fields import Foldable, OptionalNumber, settings_form
from .memory import keep, recall
from .qt import QCheckBox, QWidget

__all__ = ["EdgesBox"]

_LEFT_ALONE = "automatic"


class EdgesBox(Foldable):
    """What is set here is remembered; a number that is left alone is derived from the selection's size."""

    def __init__(self) -> None:
        self._protect = _check_box(
            "protect_original",
            "Protect original",
            "Change nothing beyond the selection, and when expanding nothing of the picture: no pixel of reach",
        )
        self._fill_holes = _check_box(
            "fill_holes", "Fill holes", "Paint also what the selection encloses without selecting it"
        )
        self._grow = _number("grow", 0, MAX_EDGE_PX, " px", "How far the selection is widened")
        self._blend = _number(
            "blend", 0, MAX_EDGE_PX, " px", "Over how many pixels the result fades out around that"
        )
        self._feather = _number(
            "feather", 0, MAX_EDGE_PX, " px", "Over how many pixels the result fades in inside the selection"
        )
        self._detail = _number(
            "detail",
            100 * MIN_DETAIL,
            100 * MAX_DETAIL,
            " %",
            "The scale to work at: 100 % is that of the picture, more is finer and takes longer",
        )
        content = QWidget()
        form = settings_form(content)
        for label, field in (
            ("", self._protect),
            ("Grow", self._grow),
            ("Blend", self._blend),
            ("Feather", self._feather),
            ("", self._fill_holes),
            ("Detail", self._detail),
        ):
            form.addRow(label, field)
        super().__init__(
            "Edges",
            content,
            recall("edges") == "open",
            lambda is_open: keep("edges", "open" if is_open else ""),
        )
        self.line.setObjectName("overpaint_edges")
        self._protect.toggled.connect(self._judge)
        self._judge()

    def edges(self) -> Edges:
        """What is set."""
        edges = Edges(
            grow_px=_whole(self._grow.number()),
            blend_px=_whole(self._blend.number()),
            feather_px=_whole(self._feather.number()),
            fill_holes=self._fill_holes.isChecked(),
        )
        return protect_original(edges) if self._protect.isChecked() else edges

    def detail(self) -> float | None:
        """The scale to work at, or None if it is left alone."""
        percent = self._detail.number()
        return None if percent is None else percent / 100

    def _judge(self, *_: object) -> None:
        reason = PROTECTED_REASON if self._protect.isChecked() else ""
        for field in (self._grow, self._blend):
            field.show_default("0 px" if reason else _LEFT_ALONE, None, reason)
        self._feather.show_default(_LEFT_ALONE, None, "")
        self._detail.show_default(_LEFT_ALONE, 100, "")


def _check_box(name: str, text: str, tip: str) -> QCheckBox:
    box = QCheckBox(text)
    box.setObjectName(f"overpaint_{name}")
    box.setToolTip(tip)
    box.setChecked(bool(recall(name)))
    box.toggled.connect(lambda is_on: keep(name, "on" if is_on else ""))
    return box


def _number(name: str, lowest: float, highest: float, suffix: str, tip: str) -> OptionalNumber:
    field = OptionalNumber(lowest, highest, 5 if suffix == " %" else 1, tip, suffix=suffix)
    field.setObjectName(f"overpaint_{name}")
    with suppress(ValueError):  # nothing was kept, or somebody wrote something else into kritarc
        field.setValue(float(recall(name)))
    field.valueChanged.connect(lambda _: keep(name, _text(field.number())))
    return field


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:g}"


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)
