"""One call of a procedure, with or without a dialog, up to its end."""

from __future__ import annotations

from dataclasses import replace

from gi.repository import Gimp

from overpaint_client.controller import Controller
from overpaint_client.jobs import EditRequest, Job, JobPhase
from overpaint_client.settings import ClientSettings
from overpaint_protocol.errors import LinkError, OverpaintError, RequestError

from .editor import GimpEditor
from .net import GLibLoop
from .outcome import tell_outcome
from .procedures import Command, choice_from, request_from

__all__ = ["run_command", "run_recover"]

_FAREWELL_S = 2.0
"""How long the end waits for the daemon to hear that the results are safe; without that it keeps them for nothing."""
_LINK_PATIENCE_S = 20.0
_MOST_SESSIONS = 32


def run_command(
    procedure: Gimp.Procedure, run_mode: Gimp.RunMode, image: Gimp.Image, config: object, command: Command
) -> bool:
    """Do ``command`` on ``image``; returns False if the artist canceled.

    Raises:
        OverpaintError: it could not be done; its sentence is for the artist.
    """
    editor = GimpEditor(image)
    editor.active_document()
    if image.get_floating_sel() is not None:
        raise RequestError(
            "The image has a floating layer. Anchor it (Layer > Anchor Floating Layer or Mask) or choose "
            "Layer > To New Layer, then try again."
        )
    with _Client(editor) as client:
        if run_mode == Gimp.RunMode.INTERACTIVE:
            # GTK needs a display, which gimp-console does not have
            from .dialog import CommandDialog

            with CommandDialog(command, procedure, config, client.controller, client.loop) as dialog:
                return dialog.run()
        request = request_from(command, config, choice_from(config))
        is_script = run_mode == Gimp.RunMode.NONINTERACTIVE
        return _run_directly(client, replace(request, is_batch=is_script))


def run_recover(image: Gimp.Image) -> int:
    """Put every waiting result that was made for ``image`` into it; returns how many.

    Raises:
        OverpaintError: the daemon cannot be reached, or a result belongs to another image; the sentence says which.
    """
    editor = GimpEditor(image)
    editor.active_document()
    Gimp.progress_init("Looking for waiting results")
    inserted = 0
    left: list[Job] = []
    # each ended plug-in left a session of its own, and a client takes over one; all stay open until the last is found,
    # or the first would be found again and again
    clients: list[_Client] = []
    try:
        while len(clients) < _MOST_SESSIONS:
            client = _Client(editor)
            clients.append(client)
            if not client.controller.jobs:
                break
            client.start()
            done, waiting = _insert_waiting(client)
            inserted += done
            left += waiting
    finally:
        for client in clients:
            client.close()
    Gimp.progress_end()
    if left:
        error = left[0].error or RequestError(left[0].sentence)
        if not inserted:
            raise error
        Gimp.message(error.message)
    return inserted


class _Client:
    """A controller and its loop for one call."""

    def __init__(self, editor: GimpEditor) -> None:
        self.loop = GLibLoop()
        self.controller = Controller(editor, self.loop, ClientSettings.for_editor(editor.name))

    def __enter__(self) -> _Client:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        self.controller.start()

    def close(self) -> None:
        if self.controller.link.is_open:
            self.loop.run_until(lambda: self.controller.is_settled, _FAREWELL_S)
        self.controller.close()


def _run_directly(client: _Client, request: EditRequest) -> bool:
    job = client.controller.submit(request)
    _show_progress(client, job)
    client.loop.run_until(lambda: not job.phase.is_active)
    Gimp.progress_end()
    if job.phase is JobPhase.CANCELLED:
        return False
    if job.phase is not JobPhase.DONE:
        raise job.error or OverpaintError(job.sentence)
    tell_outcome(job)
    return True


def _show_progress(client: _Client, job: Job) -> None:
    """Follow ``job`` in GIMP's own progress bar. Its Cancel button ends this process; the daemon keeps the result."""
    Gimp.progress_init(job.sentence)

    def show() -> None:
        Gimp.progress_set_text(job.sentence)
        if job.fraction is None:
            Gimp.progress_pulse()
        else:
            Gimp.progress_update(job.fraction)

    client.controller.subscribe(show)


def _insert_waiting(client: _Client) -> tuple[int, list[Job]]:
    controller, loop = client.controller, client.loop
    jobs = controller.jobs
    _show_progress(client, jobs[0])
    if not loop.run_until(lambda: controller.link.is_open, _LINK_PATIENCE_S):
        raise LinkError(controller.link.sentence)
    loop.run_until(lambda: not any(job.phase.is_active for job in jobs))
    for job in jobs:
        controller.insert(job.job_id)
        loop.run_until(lambda job=job: not job.phase.is_active)
        if job.phase is JobPhase.DONE:
            tell_outcome(job)
    done = sum(job.phase is JobPhase.DONE for job in jobs)
    return done, [job for job in jobs if job.phase in (JobPhase.OFFERED, JobPhase.FAILED)]
