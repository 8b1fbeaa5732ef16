"""Composition root of the Krita plug-in: one controller for the application, one docker and four actions a window."""

from __future__ import annotations

from collections.abc import Callable

from krita import DockWidget, DockWidgetFactory, DockWidgetFactoryBase, Extension, Krita, Window

from overpaint_client.controller import Controller
from overpaint_client.settings import ClientSettings
from overpaint_protocol.errors import OverpaintError

from .docker import DOCKER_ID, Announcer, ComplaintDocker, OverpaintDocker
from .editor import KritaEditor
from .net import QtLoop
from .qt import QApplication

__all__ = ["OverpaintExtension", "register"]

_ACTIONS = (
    ("overpaint_fill", "Generative Fill", OverpaintDocker.fill),
    ("overpaint_remove", "Generative Remove", OverpaintDocker.remove),
    ("overpaint_edit", "Generative Edit", OverpaintDocker.edit),
    ("overpaint_expand", "Generative Expand", OverpaintDocker.expand),
)


def register(app: Krita) -> None:
    """Add the extension and the docker to Krita; called once, while Krita loads its plug-ins."""
    extension = OverpaintExtension(app)
    app.addExtension(extension)
    app.addDockWidgetFactory(
        DockWidgetFactory(DOCKER_ID, DockWidgetFactoryBase.DockPosition.DockRight, extension.make_docker)
    )


class OverpaintExtension(Extension):
    """Owns the controller from the first window to the end of Krita."""

    def __init__(self, app: Krita) -> None:
        super().__init__(app)
        self._app = app
        self._loop = QtLoop(self)
        self._announcer = Announcer(self)
        self._controller: Controller | None = None

    def setup(self) -> None:
        """Called by Krita before its first window."""

    def createActions(self, window: Window) -> None:  # noqa: N802 - Krita's name
        """Called by Krita for each new window."""
        for name, text, command in _ACTIONS:
            action = window.createAction(name, text, "tools/scripts")
            action.triggered.connect(lambda *_, command=command: self._run_in_docker(command))

    def make_docker(self) -> DockWidget:
        """A docker for a new window."""
        try:
            controller = self._running_controller()
        except OverpaintError as error:  # raised further, it would be a modal dialog that stops Krita's start
            return ComplaintDocker(error.message)
        return OverpaintDocker(controller, self._loop, self._announcer)

    def _running_controller(self) -> Controller:
        if self._controller is None:
            settings = ClientSettings.for_editor(KritaEditor.name)
            self._controller = Controller(KritaEditor(self._app), self._loop, settings)
            self._controller.subscribe(self._announcer.changed.emit)
            self._controller.start()
            application = QApplication.instance()
            if application is not None:
                application.aboutToQuit.connect(self._controller.close)
        return self._controller

    def _run_in_docker(self, command: Callable[[OverpaintDocker], None]) -> None:
        # asked for now: Krita deletes the Window that createActions was given
        for docker in self._app.activeWindow().dockers():
            if isinstance(docker, OverpaintDocker):
                command(docker)
