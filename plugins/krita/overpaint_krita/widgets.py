"""Parts of the docker: the prompt, margins of an expand, and one row for each job."""

from __future__ import annotations

from collections.abc import Callable

from overpaint_client.jobs import Job, JobPhase
from overpaint_protocol.geometry import Margins, Size

from .qt import (
    QComboBox,
    QEvent,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QImage,
    QKeyEvent,
    QLabel,
    QPixmap,
    QPlainTextEdit,
    QProgressBar,
    QSizePolicy,
    QSpinBox,
    Qt,
    QToolButton,
    QVBoxLayout,
    QWidget,
    pyqtSignal,
)

__all__ = ["JobRow", "MarginsBox", "PromptEdit", "margins_for_aspect", "sentence_label"]

_MAX_MARGIN_PX = 20_000
_THUMBNAIL_PX = 64
_ASPECTS = ((1, 1), (5, 4), (4, 3), (3, 2), (16, 9), (4, 5), (3, 4), (2, 3), (9, 16))


def margins_for_aspect(canvas: Size, across: int, down: int) -> Margins:
    """What to add, evenly on both sides, so that ``canvas`` (at least 1 × 1 px) gets the shape ``across:down``.

    Sides only grow; an odd pixel goes to the right or to the bottom.
    """
    width = max(canvas.width, -(-canvas.height * across // down))
    height = max(canvas.height, -(-canvas.width * down // across))
    extra_x, extra_y = width - canvas.width, height - canvas.height
    return Margins(extra_x // 2, extra_y // 2, extra_x - extra_x // 2, extra_y - extra_y // 2)


def sentence_label(name: str) -> QLabel:
    """An empty label for sentences: wraps in a narrow docker, and its text can be selected to be copied."""
    label = QLabel()
    label.setObjectName(name)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    # a long word must not set the least width of the docker
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


class MarginsBox(QWidget):
    """Four numbers for an expand, and shapes that fill them in.

    Args:
        canvas: gives the size of the active document's canvas, or None if none is open.
    """

    changed = pyqtSignal()

    def __init__(self, canvas: Callable[[], Size | None]) -> None:
        super().__init__()
        self.setObjectName("overpaint_margins")
        self._canvas = canvas
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        self._spins: dict[str, QSpinBox] = {}
        for place, side in enumerate(("left", "right", "top", "bottom")):
            label = QLabel(side.capitalize())
            spin = QSpinBox()
            spin.setObjectName(f"overpaint_margin_{side}")
            spin.setRange(0, _MAX_MARGIN_PX)
            spin.setSingleStep(64)
            spin.setSuffix(" px")
            spin.setToolTip(f"How far the canvas grows on its {side} side")
            spin.setMinimumWidth(60)
            spin.valueChanged.connect(self.changed)
            label.setBuddy(spin)
            row, column = divmod(place, 2)
            grid.addWidget(label, row, 2 * column)
            grid.addWidget(spin, row, 2 * column + 1)
            self._spins[side] = spin
        self._shape = QComboBox()
        self._shape.setObjectName("overpaint_shape")
        self._shape.setToolTip("Fill in what the open picture lacks to this shape, evenly on both sides")
        self._shape.addItem("Grow to a shape…")
        for across, down in _ASPECTS:
            self._shape.addItem(f"{across} : {down}", (across, down))
        self._shape.activated.connect(self._shape_chosen)
        grid.addWidget(self._shape, 2, 0, 1, 4)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)

    def margins(self) -> Margins:
        """What is set."""
        return Margins(**{side: spin.value() for side, spin in self._spins.items()})

    def set_margins(self, margins: Margins) -> None:
        """Show ``margins``."""
        for side, spin in self._spins.items():
            spin.setValue(getattr(margins, side))

    def _shape_chosen(self, index: int) -> None:
        shape, canvas = self._shape.itemData(index), self._canvas()
        if shape is None or canvas is None or canvas.area == 0:
            return
        self.set_margins(margins_for_aspect(canvas, *shape))


class PromptEdit(QPlainTextEdit):
    """A few lines of text; Ctrl+Enter in it is ``submitted``."""

    submitted = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.setTabChangesFocus(True)

    def event(self, e: QEvent | None) -> bool:
        """Claim Ctrl+Enter before Krita's shortcuts get it."""
        if e is not None and e.type() == QEvent.Type.ShortcutOverride and _is_ctrl_enter(e):
            e.accept()
            return True
        return super().event(e)

    def keyPressEvent(self, e: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """See ``submitted``."""
        if _is_ctrl_enter(e):
            self.submitted.emit()
        else:
            super().keyPressEvent(e)


def _is_ctrl_enter(event: QEvent | None) -> bool:
    return (
        isinstance(event, QKeyEvent)
        and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        and bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
    )


class JobRow(QFrame):
    """One job: thumbnail, sentence, progress, and what can be done about it."""

    cancelled = pyqtSignal(str)
    inserted = pyqtSignal(str)
    discarded = pyqtSignal(str)

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.setObjectName(f"overpaint_job_{job.job_id}")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self._preview = None
        job_id = str(job.job_id)

        self._thumbnail = QLabel()
        self._thumbnail.setObjectName("overpaint_preview")
        self._thumbnail.setToolTip("A glimpse of the result in the making")
        self._thumbnail.hide()
        self._sentence = sentence_label("overpaint_job_sentence")
        self._bar = QProgressBar()
        self._bar.setObjectName("overpaint_progress")
        self._bar.setRange(0, 0)
        self._bar.setTextVisible(False)
        self._bar.setMaximumHeight(10)
        self._cancel = _button("overpaint_cancel", "Cancel", "Stop this job")
        self._cancel.clicked.connect(lambda: self.cancelled.emit(job_id))
        self._insert = _button("overpaint_insert", "Insert", "Add the result to the picture that is open")
        self._insert.clicked.connect(lambda: self.inserted.emit(job_id))
        self._discard = _button("overpaint_discard", "Discard", "Throw the result away")
        self._discard.clicked.connect(lambda: self.discarded.emit(job_id))

        buttons = QHBoxLayout()
        buttons.addWidget(self._bar, 1)
        buttons.addStretch()
        for button in (self._cancel, self._insert, self._discard):
            buttons.addWidget(button)
        text = QVBoxLayout()
        text.addWidget(self._sentence)
        text.addLayout(buttons)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self._thumbnail)
        layout.addLayout(text, 1)
        self.show_job(job)

    def show_job(self, job: Job) -> None:
        """Show how ``job`` is now."""
        sentence = job.sentence
        if job.phase is JobPhase.OFFERED and job.error is not None:
            sentence = job.error.message
        self._sentence.setText(sentence)
        is_active, is_offered = job.phase.is_active, job.phase is JobPhase.OFFERED
        self._bar.setVisible(is_active)
        if job.fraction is None:
            self._bar.setRange(0, 0)
        else:
            self._bar.setRange(0, 1000)
            self._bar.setValue(round(job.fraction * 1000))
        self._cancel.setVisible(is_active)
        self._insert.setVisible(is_offered)
        self._discard.setVisible(is_offered or job.phase is JobPhase.FAILED)
        self._discard.setText("Discard" if is_offered else "Dismiss")
        if job.preview is not self._preview:
            self._preview = job.preview
            image = QImage() if job.preview is None else QImage.fromData(job.preview.data)
            self._thumbnail.setVisible(not image.isNull())
            if not image.isNull():
                self._thumbnail.setPixmap(_thumbnail(image))


def _thumbnail(image: QImage) -> QPixmap:
    return QPixmap.fromImage(
        image.scaled(
            _THUMBNAIL_PX,
            _THUMBNAIL_PX,
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
    )


def _button(name: str, text: str, tip: str) -> QToolButton:
    button = QToolButton()
    button.setObjectName(name)
    button.setText(text)
    button.setToolTip(tip)
    return button
