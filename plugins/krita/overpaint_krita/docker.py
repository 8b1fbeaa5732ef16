"""The docker “Overpaint”: a view on the controller's engines, link and jobs, and the buttons that give it work."""

from __future__ import annotations

from collections.abc import Callable

from krita import Canvas, DockWidget, Krita

from overpaint_client.controller import Controller
from overpaint_client.jobs import EditRequest, Job, JobPhase
from overpaint_client.loop import Loop
from overpaint_protocol.errors import OverpaintError
from overpaint_protocol.geometry import Size
from overpaint_protocol.messages import (
    Edit,
    Expand,
    Fill,
    JobId,
    Operation,
    Remove,
)

from .options import OptionsBox
from .qt import (
    QFrame,
    QHBoxLayout,
    QObject,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    Qt,
    QVBoxLayout,
    QWidget,
    pyqtSignal,
)
from .tips import plain_tip
from .widgets import JobRow, MarginsBox, PromptEdit, sentence_label

__all__ = ["DOCKER_ID", "Announcer", "ComplaintDocker", "OverpaintDocker"]

DOCKER_ID = "overpaint_docker"

_PLACEHOLDER = "What should appear, or change? Empty continues the surroundings. Ctrl+Enter fills."


class Announcer(QObject):
    """Tells every docker that something changed; Qt drops the connection when a docker's window is closed."""

    changed = pyqtSignal()


class ComplaintDocker(DockWidget):
    """In the docker's place where the plug-in cannot work: a sentence that says why."""

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.setWindowTitle("Overpaint")
        label = sentence_label("overpaint_status")
        label.setText(f"{sentence} Then restart Krita.")
        label.setMargin(6)
        label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.setWidget(label)

    def canvasChanged(self, canvas: Canvas | None) -> None:  # noqa: N802 - Krita's name
        """Called by Krita; no canvas changes what is wrong."""


class OverpaintDocker(DockWidget):
    """One per window; all share one controller.

    Args:
        controller: does the work.
        loop: where presses of buttons are handed to the controller, so that none gets in the middle of its work while
            Krita turns its event loop inside a call.
        announcer: emits ``changed`` after the controller announced a change.
    """

    def __init__(self, controller: Controller, loop: Loop, announcer: Announcer) -> None:
        super().__init__()
        self.setWindowTitle("Overpaint")
        self._controller = controller
        self._loop = loop
        self._has_canvas = False
        self._rows: dict[JobId, JobRow] = {}
        self._seen_failures: set[JobId] = set()
        self._complaint = ""
        self._build()
        announcer.changed.connect(self.refresh)
        self.refresh()

    # ------------------------------------------------------------ Krita's side

    def canvasChanged(self, canvas: Canvas | None) -> None:  # noqa: N802 - Krita's name
        """Called by Krita when another document, or none, becomes active in the window."""
        self._has_canvas = canvas is not None and canvas.view() is not None
        self.refresh()

    # ------------------------------------------------------------ commands

    def fill(self) -> None:
        """Ask for what the docker is set to, as the Fill button does."""
        self._submit(
            lambda: Fill(
                prompt=self._prompt(),
                negative_prompt=self._options.avoid,
                settings=self._options.settings("fill"),
            )
        )

    def remove(self) -> None:
        """As the Remove button does."""
        self._submit(Remove)

    def edit(self) -> None:
        """As the Edit button does."""
        self._submit(
            lambda: Edit(
                prompt=self._prompt(),
                negative_prompt=self._options.avoid,
                settings=self._options.settings("edit"),
            )
        )

    def expand(self) -> None:
        """As the Expand button does."""
        self._submit(
            lambda: Expand(
                margins=self._margins.margins(),
                prompt=self._prompt(),
                negative_prompt=self._options.avoid,
                settings=self._options.settings("expand"),
            )
        )

    def _submit(self, make_operation: Callable[[], Operation]) -> None:
        self._complaint = ""
        try:
            request = EditRequest(
                operation=make_operation(),
                engine=self._options.choice.requested_engine,
                recipe=self._options.choice.recipe,
                variants=self._options.variants,
                seed=self._options.seed(),
                edges=self._options.edges.edges(),
            )
        except OverpaintError as error:
            self._complaint = error.message
            self.refresh()
            return

        def submit() -> None:
            self._controller.submit(request)

        self._loop.call_later(0, submit)

    def _prompt(self) -> str:
        return self._prompt_edit.toPlainText().strip() if self._prompt_edit.isEnabled() else ""

    def _insert(self, job_id: str) -> None:
        self._loop.call_later(0, lambda: self._controller.insert(JobId(job_id)))

    def _cancel(self, job_id: str) -> None:
        self._loop.call_later(0, lambda: self._controller.cancel(JobId(job_id)))

    def _discard(self, job_id: str) -> None:
        if self._controller.job(JobId(job_id)).phase is JobPhase.FAILED:
            self._seen_failures.add(JobId(job_id))
            self.refresh()
        else:
            self._loop.call_later(0, lambda: self._controller.discard(JobId(job_id)))

    # ------------------------------------------------------------ what is shown

    def refresh(self) -> None:
        """Show how everything is now."""
        self._options.offer(self._controller.engines, self._controller.recipes)
        self._show_choice()
        self._show_link()
        self._show_jobs()

    def _show_choice(self) -> None:
        reason = self._options.choice.prompt_reason("fill")
        self._prompt_edit.setEnabled(not reason)
        self._prompt_edit.setPlaceholderText(reason or _PLACEHOLDER)
        self._prompt_edit.setToolTip(plain_tip(reason or _PLACEHOLDER))
        self._show_buttons()

    def _show_buttons(self) -> None:
        choice = self._options.choice
        for button, name, tip in self._operation_buttons:
            reason = choice.operation_reason(name)
            if not self._has_canvas:
                reason = "Open or create a picture first."
            elif not reason and name == "expand" and self._margins.margins().is_empty:
                reason = "Set below how far the canvas should grow."
            button.setEnabled(not reason)
            button.setToolTip(plain_tip(reason or tip))

    def _show_link(self) -> None:
        link = self._controller.link
        self._link_label.setText(link.sentence)
        self._link_label.setVisible(not link.is_open)
        self._start_button.setVisible(link.action == "start_daemon")

    def _show_jobs(self) -> None:
        jobs = self._controller.jobs
        newest = jobs[-1] if jobs else None
        # a job with a row of its own says there how it is
        news = _status(newest) if newest is not None and newest.phase.is_final else ""
        self._status_label.setText(self._complaint or news)
        self._status_label.setVisible(bool(self._status_label.text()))
        if newest is not None and newest.phase is JobPhase.FAILED:
            self._seen_failures.add(newest.job_id)  # the status line says it
        shown = {job.job_id: job for job in jobs if self._has_row(job)}
        for job_id in [job_id for job_id in self._rows if job_id not in shown]:
            row = self._rows.pop(job_id)
            self._jobs_box.removeWidget(row)
            row.hide()
            row.deleteLater()
        for job_id, job in shown.items():
            if job_id in self._rows:
                self._rows[job_id].show_job(job)
            else:
                self._rows[job_id] = self._add_row(job)

    def _has_row(self, job: Job) -> bool:
        if job.phase is JobPhase.FAILED:
            return job.job_id not in self._seen_failures
        return not job.phase.is_final

    def _add_row(self, job: Job) -> JobRow:
        row = JobRow(job)
        row.cancelled.connect(self._cancel)
        row.inserted.connect(self._insert)
        row.discarded.connect(self._discard)
        self._jobs_box.insertWidget(0, row)
        return row

    # ------------------------------------------------------------ building

    def _build(self) -> None:
        content = QWidget()
        content.setObjectName("overpaint_content")
        layout = QVBoxLayout(content)
        layout.setContentsMargins(6, 6, 6, 6)
        self._build_prompt(layout)
        self._build_operations(layout)
        self._build_status(layout)
        self._build_options(layout)
        layout.addStretch()

        scroll = QScrollArea()
        scroll.setObjectName("overpaint_scroll")
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        bar = scroll.verticalScrollBar()
        # without a bar below, the docker must be as wide as its contents need
        scroll.setMinimumWidth(
            content.minimumSizeHint().width() + (0 if bar is None else bar.sizeHint().width())
        )
        self.setWidget(scroll)

    def _build_prompt(self, layout: QVBoxLayout) -> None:
        self._prompt_edit = PromptEdit()
        self._prompt_edit.setObjectName("overpaint_prompt")
        self._prompt_edit.submitted.connect(self.fill)
        lines = self._prompt_edit.fontMetrics().lineSpacing() * 3
        self._prompt_edit.setFixedHeight(lines + 16)
        self._prompt_edit.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        layout.addWidget(self._prompt_edit)

    def _build_operations(self, layout: QVBoxLayout) -> None:
        row = QHBoxLayout()
        row.setSpacing(4)
        self._operation_buttons: list[tuple[QPushButton, str, str]] = []
        for name, tip, command in (
            (
                "fill",
                "Paint the selected area anew, in a new layer; with nothing selected, a prompt paints the whole picture",
                self.fill,
            ),
            ("remove", "Make what is selected disappear into its surroundings, in a new layer", self.remove),
            ("edit", "Change what is selected as the prompt says, in a new layer", self.edit),
            (
                "expand",
                "Grow the canvas by the margins set below and continue the picture, in a new layer",
                self.expand,
            ),
        ):
            button = QPushButton(name.capitalize())
            button.setObjectName(f"overpaint_{name}")
            button.setMinimumWidth(40)
            button.clicked.connect(lambda *_, command=command: command())
            row.addWidget(button, 1)
            self._operation_buttons.append((button, name, tip))
        layout.addLayout(row)

    def _build_options(self, layout: QVBoxLayout) -> None:
        self._options = OptionsBox()
        self._options.chosen.connect(self._show_choice)
        layout.addWidget(self._options)
        self._margins = MarginsBox(_active_canvas)
        self._margins.changed.connect(self._show_buttons)
        layout.addWidget(self._margins)
        layout.addWidget(self._options.edges)
        layout.addWidget(self._options.more)

    def _build_status(self, layout: QVBoxLayout) -> None:
        self._link_label = sentence_label("overpaint_link")
        layout.addWidget(self._link_label)
        self._start_button = QPushButton("Start daemon")
        self._start_button.setObjectName("overpaint_start_daemon")
        self._start_button.setToolTip(
            "Start Overpaint's program that computes the results, in the background"
        )
        self._start_button.clicked.connect(lambda *_: self._loop.call_later(0, self._controller.start_daemon))
        layout.addWidget(self._start_button)
        self._status_label = sentence_label("overpaint_status")
        layout.addWidget(self._status_label)
        self._jobs_box = QVBoxLayout()
        layout.addLayout(self._jobs_box)


def _active_canvas() -> Size | None:
    # asked for when it is needed: canvasChanged is not called when the canvas grows or is cropped
    document = Krita.instance().activeDocument()
    return None if document is None else Size(document.width(), document.height())


def _status(job: Job) -> str:
    if job.phase is JobPhase.DONE and job.error is not None:
        return f"{job.sentence} {job.error.message}"
    return job.sentence
