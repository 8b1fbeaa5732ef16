"""The dialog of a command: GIMP's own procedure dialog, which stays open while the job runs and shows how it goes."""

from __future__ import annotations

from types import TracebackType

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("GimpUi", "3.0")
from gi.repository import GdkPixbuf, Gimp, GimpUi, GLib, Gtk  # noqa: E402 - the versions are chosen above

from overpaint_client.controller import Controller  # noqa: E402
from overpaint_client.jobs import Job, JobPhase, Preview  # noqa: E402
from overpaint_protocol.errors import OverpaintError  # noqa: E402
from overpaint_protocol.messages import JobId  # noqa: E402

from .fields import SPACING_PX, grey  # noqa: E402
from .net import GLibLoop  # noqa: E402
from .options import Options  # noqa: E402
from .outcome import tell_outcome  # noqa: E402
from .procedures import Command, request_from  # noqa: E402

__all__ = ["CommandDialog"]

_PREVIEW_SIDE_PX = 256
_PROMPT_HEIGHT_PX = 72


class CommandDialog:
    """Asks, starts the job, shows it, and closes when its layers are in.

    The job belongs to the dialog only by being shown: if this process ends, the daemon keeps the result, and the next
    dialog offers it.
    """

    def __init__(
        self,
        command: Command,
        procedure: Gimp.Procedure,
        config: Gimp.ProcedureConfig,
        controller: Controller,
        loop: GLibLoop,
    ) -> None:
        GimpUi.init(command.name)
        self._command = command
        self._config = config
        self._controller = controller
        self._loop = loop
        self._job: Job | None = None
        self._sentence = ""
        self._has_asked_for_daemon = False
        self._shown_preview: Preview | None = None
        self._dialog = GimpUi.ProcedureDialog.new(procedure, config, command.title)
        self._dialog.set_ok_label("_Generate")
        self._prompt: Gtk.TextView | None = None
        self._asked = self._build_prompt() if command.takes_prompt else []
        self._options = Options(command, self._dialog, config, self._show)
        self._status = _Status()
        self._offers = _Offers(controller)
        for part in (self._offers.box, self._status.box):
            self._dialog.get_content_area().pack_start(part, False, False, 0)
        self._dialog.connect("response", self._on_response)
        self._dialog.connect("delete-event", self._on_delete)
        controller.subscribe(self._show)
        self._show()

    def __enter__(self) -> CommandDialog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dialog.destroy()

    def run(self) -> bool:
        """Returns True when a job's layers are in the image, False if the artist closed the dialog."""
        while self._dialog.run():
            try:
                request = request_from(self._command, self._config, self._options.choice)
            except OverpaintError as error:
                self._say(error.message)
                continue
            job = self._controller.submit(request)
            self._follow(job)
            if job.phase is JobPhase.DONE:
                tell_outcome(job)
                return True
            self._say(job.error.message if job.error is not None else job.sentence)
        # a waiting result may be on its way into the image
        self._loop.run_until(
            lambda: all(job.phase is not JobPhase.INSERTING for job in self._controller.jobs)
        )
        return False

    # ------------------------------------------------------------ building

    def _build_prompt(self) -> list[Gtk.Widget]:
        # made before fill(), or GIMP would make a one-line entry of it
        self._prompt = prompt = self._dialog.get_widget("prompt", Gtk.TextView.__gtype__)
        prompt.set_accepts_tab(False)
        prompt.set_wrap_mode(Gtk.WrapMode.WORD_CHAR)
        self._dialog.get_label("prompt-title", "_Prompt", False, True).set_mnemonic_widget(prompt)
        window = self._dialog.fill_scrolled_window("prompt-window", "prompt")
        window.set_min_content_height(_PROMPT_HEIGHT_PX)
        window.set_shadow_type(Gtk.ShadowType.IN)
        frame = self._dialog.fill_frame("prompt-frame", "prompt-title", False, "prompt-window")
        self._dialog.fill(["prompt-frame"])
        prompt.grab_focus()
        return [frame]

    # ------------------------------------------------------------ a job

    def _follow(self, job: Job) -> None:
        self._job = job
        self._set_busy(True)
        Gimp.progress_init(job.sentence)
        try:
            self._show()
            self._loop.run_until(lambda: not job.phase.is_active)
        finally:
            self._job = None
            Gimp.progress_end()
            self._set_busy(False)

    def _set_busy(self, is_busy: bool) -> None:
        for widget in (*self._asked, self._options.box, self._offers.box):
            widget.set_sensitive(not is_busy)
        self._status.set_busy(is_busy)

    def _say(self, sentence: str) -> None:
        self._sentence = sentence
        self._show()

    def _show(self) -> None:
        self._options.offer(self._controller.engines, self._controller.recipes)
        self._offers.show(self._controller.jobs)
        hint = self._judge()
        job = self._job
        if job is not None:
            self._status.say(job.sentence)
            self._status.show_fraction(job.fraction)
            self._status.show_preview(job.preview)
            Gimp.progress_set_text(job.sentence)
            if job.fraction is None:
                Gimp.progress_pulse()
            else:
                Gimp.progress_update(job.fraction)
            return
        link = self._controller.link
        if link.action == "start_daemon" and not self._has_asked_for_daemon:
            # it takes seconds to come up: meanwhile the artist writes the prompt
            self._has_asked_for_daemon = True
            self._controller.start_daemon()
        self._status.say(self._sentence or ("" if link.is_open else link.sentence) or hint)

    def _judge(self) -> str:
        """Grey what cannot be used; returns what to know of the engine that would be used, or nothing."""
        choice, operation = self._options.choice, self._command.operation
        problem = choice.operation_reason(operation)
        self._dialog.set_response_sensitive(Gtk.ResponseType.OK, self._job is None and not problem)
        if self._prompt is None:
            return problem
        reason = choice.prompt_reason(operation)
        grey(self._prompt, reason, self._command.prompt_help)
        return problem or reason or choice.avoid_reason(operation)

    def _on_response(self, _dialog: Gtk.Dialog, response: int) -> None:
        job = self._job
        if job is not None and response != Gtk.ResponseType.OK:
            self._controller.cancel(job.job_id)

    def _on_delete(self, *_: object) -> bool:
        # Escape and the window's cross are a response; the dialog goes only with its owner
        return True


class _Status:
    """What goes on: a sentence, a bar and a glimpse of the result."""

    def __init__(self) -> None:
        self.box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=SPACING_PX)
        self._preview = Gtk.Image()
        self._bar = Gtk.ProgressBar()
        self._label = Gtk.Label(xalign=0.0)
        self._label.set_line_wrap(True)
        self._label.set_max_width_chars(50)
        self._label.set_selectable(True)
        self._label.set_can_focus(False)
        self._shown: Preview | None = None
        for part in (self._preview, self._bar, self._label):
            self.box.pack_start(part, False, False, 0)
        self._label.show()
        self.box.show()

    def say(self, sentence: str) -> None:
        if sentence != self._label.get_text():
            self._label.set_text(sentence)

    def set_busy(self, is_busy: bool) -> None:
        self._bar.set_visible(is_busy)
        if not is_busy:
            self.show_preview(None)

    def show_fraction(self, fraction: float | None) -> None:
        if fraction is None:
            self._bar.pulse()
        else:
            self._bar.set_fraction(fraction)

    def show_preview(self, preview: Preview | None) -> None:
        if preview is self._shown:
            return
        self._shown = preview
        picture = None if preview is None else _decode(preview)
        self._preview.set_visible(picture is not None)
        if picture is not None:
            self._preview.set_from_pixbuf(picture)


class _Offers:
    """A line for every finished result that waits for its image."""

    def __init__(self, controller: Controller) -> None:
        self.box = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=SPACING_PX)
        self.box.show()
        self._controller = controller
        self._shown: tuple[tuple[str, str], ...] = ()
        self._offered: set[JobId] = set()

    def show(self, jobs: tuple[Job, ...]) -> None:
        offered = [job for job in jobs if job.phase is JobPhase.OFFERED]
        self._offered.update(job.job_id for job in offered)
        for job in jobs:
            if job.phase is JobPhase.DONE and job.job_id in self._offered:
                self._offered.remove(job.job_id)
                tell_outcome(job)
        state = tuple((job.job_id, _offer_sentence(job)) for job in offered)
        if state == self._shown:
            return
        self._shown = state
        for child in self.box.get_children():
            child.destroy()
        for job in offered:
            self.box.pack_start(self._row(job), False, False, 0)

    def _row(self, job: Job) -> Gtk.Widget:
        row = Gtk.Box(orientation=Gtk.Orientation.HORIZONTAL, spacing=SPACING_PX)
        label = Gtk.Label(label=_offer_sentence(job), xalign=0.0)
        label.set_line_wrap(True)
        label.set_max_width_chars(40)
        row.pack_start(label, True, True, 0)
        for text, act in (("I_nsert", self._controller.insert), ("Discard", self._controller.discard)):
            button = Gtk.Button(label=text, use_underline=True, valign=Gtk.Align.CENTER)
            button.connect("clicked", lambda _, act=act: act(job.job_id))
            row.pack_start(button, False, False, 0)
        row.show_all()
        return row


def _offer_sentence(job: Job) -> str:
    return job.sentence if job.error is None else job.error.message


def _decode(preview: Preview) -> GdkPixbuf.Pixbuf | None:
    loader = GdkPixbuf.PixbufLoader()
    try:
        loader.write(preview.data)
        loader.close()
    except GLib.Error:
        # a preview is a courtesy: without a decoder for it the job goes on
        return None
    picture = loader.get_pixbuf()
    side = max(picture.get_width(), picture.get_height())
    if side <= _PREVIEW_SIDE_PX:
        return picture
    scale = _PREVIEW_SIDE_PX / side
    width, height = max(1, round(picture.get_width() * scale)), max(1, round(picture.get_height() * scale))
    return picture.scale_simple(width, height, GdkPixbuf.InterpType.BILINEAR)
