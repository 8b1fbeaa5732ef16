"""Fields of the docker that Qt does not have: a choice whose entries come and go, and a number that may be left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .qt import (
    QAbstractSpinBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QKeyEvent,
    QStandardItemModel,
    Qt,
    QToolButton,
    QVBoxLayout,
    QWidget,
    pyqtSignal,
)
from .tips import plain_tip

__all__ = ["Entry", "Foldable", "OfferBox", "OptionalNumber", "settings_form"]


def settings_form(parent: QWidget) -> QFormLayout:
    """An empty form without a border, whose fields take all the width there is."""
    form = QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form


@dataclass(frozen=True, slots=True)
class Entry:
    """What can be chosen. id: of it; name: what is shown; tip: about it; problem: why it cannot be chosen, or empty."""

    id: str
    name: str
    tip: str = ""
    problem: str = ""


class OfferBox(QComboBox):
    """A choice among what the daemon offers, or none of it.

    What was chosen stays chosen while it is away, and shows again when it is back.

    Args:
        none: what the entry is called that chooses nothing.
        tip: what the choice is about.
        wanted: id of what to choose as soon as it is offered, or empty.
    """

    chosen = pyqtSignal(str)
    """Somebody chose: the id, or empty."""

    def __init__(self, none: str, tip: str, wanted: str) -> None:
        super().__init__()
        self._none = none
        self._tip = tip
        self._wanted = wanted
        self._entries: tuple[Entry, ...] = ()
        self._model = QStandardItemModel(self)
        self.setModel(self._model)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.addItem(none, None)
        self.setToolTip(tip)
        self.currentIndexChanged.connect(self._on_index)

    @property
    def choice(self) -> str | None:
        """Id of what is wanted and offered, or None."""
        return self._wanted if any(entry.id == self._wanted for entry in self._entries) else None

    def offer(self, entries: Sequence[Entry], fixed: str | None = None, reason: str = "") -> None:
        """Show ``entries``; with a ``reason`` not to choose, grey the field and show the one whose id is ``fixed``."""
        self.blockSignals(True)
        if tuple(entries) != self._entries:
            self._entries = tuple(entries)
            self._fill()
        self.setCurrentIndex(max(0, self.findData(fixed if reason else self._wanted)))
        self.blockSignals(False)
        self.setEnabled(not reason)
        shown = next((entry for entry in self._entries if entry.id == self.currentData()), None)
        self.setToolTip(plain_tip(reason or (shown and (shown.problem or shown.tip)) or self._tip))

    def _fill(self) -> None:
        self.clear()
        self.addItem(self._none, None)
        for index, entry in enumerate(self._entries, 1):
            self.addItem(entry.name, entry.id)
            tip = plain_tip(entry.problem or entry.tip) or None
            self.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
            item = self._model.item(index)
            if item is not None:
                item.setEnabled(not entry.problem)

    def _on_index(self, _index: int) -> None:
        self._wanted = self.currentData() or ""
        self.chosen.emit(self._wanted)


class OptionalNumber(QDoubleSpinBox):
    """A number that is somebody else's choice until it is set here.

    The value below ``lowest`` stands for that choice, in words. Stepping from there starts at what would be chosen.

    Args:
        lowest, highest: the range. step: of the arrows. decimals: shown behind the point.
        suffix: shown behind the number.
        tip: what it is about.
    """

    def __init__(
        self, lowest: float, highest: float, step: float, tip: str, *, decimals: int = 0, suffix: str = ""
    ) -> None:
        super().__init__()
        self._tip = tip
        self._default = lowest
        self._lowest = lowest
        self.setDecimals(decimals)
        self.setRange(lowest - 10**-decimals, highest)
        self.setSingleStep(step)
        self.setSuffix(suffix)
        self.reset()

    def number(self) -> float | None:
        """What is set, or None."""
        return None if self.value() < self._lowest else self.value()

    def reset(self) -> None:
        """Leave it to who chooses otherwise."""
        self.setValue(self.minimum())

    def show_default(self, text: str, default: float | None, reason: str) -> None:
        """Say what happens if it is left alone.

        Args:
            text: shown then.
            default: where stepping starts, or None if that is not known.
            reason: why setting it would change nothing; then it is greyed.
        """
        self._default = self._lowest if default is None else default
        if text != self.specialValueText():  # setting it would disturb who is typing
            self.setSpecialValueText(text)
        self.setEnabled(not reason)
        self.setToolTip(plain_tip(reason or self._tip))

    def stepBy(self, steps: int) -> None:  # noqa: N802 - Qt's name
        """See the class."""
        if self.number() is None:
            self.setValue(max(self._lowest, self._default + steps * self.singleStep()))
        else:
            super().stepBy(steps)

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:  # noqa: N802 - Qt's name
        """Both ways while it is left alone: the number shown then is not the least there is."""
        if self.number() is None:
            flag = QAbstractSpinBox.StepEnabledFlag
            return flag.StepUpEnabled | flag.StepDownEnabled
        return super().stepEnabled()

    def keyPressEvent(self, e: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Write over the words instead of into them."""
        if e is not None and e.text().isprintable() and self.text() == self.specialValueText():
            self.selectAll()
        super().keyPressEvent(e)


class Foldable(QWidget):
    """Things seldom needed, behind a line to click on.

    Args:
        title: of the line. content: what it opens. is_open: whether it starts open.
        remember: called with whether it is open, each time that changes.
    """

    def __init__(self, title: str, content: QWidget, is_open: bool, remember: Callable[[bool], None]) -> None:
        super().__init__()
        self._content = content
        self._remember = remember
        self.line = QToolButton()
        self.line.setText(title)
        self.line.setCheckable(True)
        self.line.setAutoRaise(True)
        self.line.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line)
        layout.addWidget(content)
        self.line.setChecked(is_open)
        self._show(is_open)
        self.line.toggled.connect(self._on_toggled)

    def _on_toggled(self, is_open: bool) -> None:
        self._show(is_open)
        self._remember(is_open)

    def _show(self, is_open: bool) -> None:
        self.line.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)
        self._content.setVisible(is_open)
