"""Controller: from an artist's request to layers in the document.

Glues an EditorPort, a session and a link on the editor's own event loop. A job is read in bands, sent, followed, and
its layers are written in bands; the loop turns in between. Nothing here knows a toolkit.
"""

from __future__ import annotations

import logging
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from overpaint_protocol.errors import (
    AccessError,
    DaemonNotRunning,
    DaemonStopped,
    InvalidImage,
    LinkError,
    OverpaintError,
    UnknownJob,
)
from overpaint_protocol.geometry import Rect
from overpaint_protocol.messages import (
    EngineInfo,
    Hello,
    JobAccepted,
    JobAcked,
    JobCancelled,
    JobDone,
    JobFailed,
    JobId,
    JobPreview,
    JobProgress,
    JobState,
    JobVariant,
    RecipeInfo,
)
from overpaint_protocol.version import FEATURES, MINOR, PRODUCT_VERSION
from overpaint_protocol.zmtp import DEFAULT_MAX_MESSAGE_BYTES

from .capture import Payload, capture, content_of
from .context import ContextHints, Scope, plan_scope
from .editor import DocumentInfo, EditorPort
from .insertion import check_belongs, check_content, insert_results
from .jobs import EditRequest, Job, JobPhase, Preview
from .launcher import let_go, start_daemon
from .link import Link, LinkStatus
from .loop import Loop
from .session import Deliver, Offered, Opened, Session
from .settings import ClientSettings
from .store import PendingJob, SessionStore
from .turns import run_in_turns

__all__ = ["Controller"]

_log = logging.getLogger(__name__)

_BODY_BYTES = 2 * 1024 * 1024
"""Room in a message for what is not pixels: header and body at their limits."""

_RELAUNCH_AFTER_S = 20.0
_STILLBORN_AFTER_S = 5.0
"""A daemon that ended may have made way for one that is just starting; after this there is none."""
_WATCH_LINK_S = 0.5


@dataclass(slots=True)
class _Work:
    """What the controller keeps beside the public Job. partial: why there are fewer results than asked for."""

    results: dict[int, tuple[JobVariant, Payload]] = field(default_factory=dict)
    partial: OverpaintError | None = None
    stop: Callable[[], None] = lambda: None
    is_sent: bool = False
    is_recovered: bool = False
    sent_bytes: int = 0
    waits_since: float | None = None


class Controller:
    """All jobs of one editor.

    Every method is called on the thread that runs ``loop``.

    Args:
        port: the editor.
        loop: its event loop.
        settings: where files lie, how the daemon is found.

    Raises:
        OverpaintError: the folder for session files cannot be used.
    """

    def __init__(self, port: EditorPort, loop: Loop, settings: ClientSettings) -> None:
        self._port = port
        self._loop = loop
        self._settings = settings
        self._store = SessionStore(settings.clients_dir)
        self._session = Session(
            Hello(
                session_id=self._store.session_id,
                client_version=PRODUCT_VERSION,
                editor=port.name,
                editor_version=port.version,
                oldest_minor=0,
                newest_minor=MINOR,
                features=FEATURES,
                preview_bytes=settings.preview_bytes,
            )
        )
        self._link = Link(loop, self._session, settings.find_daemon, self._delivered, self._link_changed)
        self._jobs: dict[JobId, Job] = {}
        self._work: dict[JobId, _Work] = {}
        self._subscribers: list[Callable[[], None]] = []
        self._is_announcing = False
        self._launched_at: float | None = None
        self._has_woken_daemon = False
        self._has_asked_anew = False
        self._daemon: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        for pending in self._store.jobs:
            self._recover(pending)
        for job_id in self._store.acks:
            self._session.ack(job_id)

    # ------------------------------------------------------------ what a user interface sees

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """What the daemon can run, best first; empty until it has answered."""
        return () if self._session.welcome is None else self._session.welcome.engines

    @property
    def recipes(self) -> tuple[RecipeInfo, ...]:
        """The user's recipes by name, also those that cannot be used now; empty until the daemon has answered."""
        return () if self._session.welcome is None else self._session.welcome.recipes

    @property
    def link(self) -> LinkStatus:
        """How the connection is."""
        return self._link.status

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs of this run, oldest first, and results left from an earlier one."""
        return tuple(self._jobs.values())

    def job(self, job_id: JobId) -> Job:
        """One job.

        Raises:
            KeyError: there is none of that id.
        """
        return self._jobs[job_id]

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call back, on the loop, after anything changed; several changes may share one call."""
        self._subscribers.append(callback)

    @property
    def is_settled(self) -> bool:
        """True if the daemon has confirmed every end of a job: closing now leaves nothing behind there."""
        return not self._session.has_unsent_acks

    # ------------------------------------------------------------ commands

    def start(self) -> None:
        """Begin to look for the daemon, and keep at it."""
        self._link.start()
        self._loop.call_later(_WATCH_LINK_S, self._watch_link)

    def close(self) -> None:
        """Let go of everything. Jobs under way go on in the daemon; the next run is offered their results."""
        if self._is_closed:
            return
        self._is_closed = True
        for work in self._work.values():
            work.stop()
        self._link.close()
        self._store.close()
        if self._daemon is not None:
            let_go(self._daemon)

    def submit(self, request: EditRequest) -> Job:
        """Start a job on the active document. What is wrong with it shows in the job: FAILED, with its error."""
        self._wants_daemon()
        job_id = JobId(uuid.uuid4().hex)
        try:
            info = self._port.active_document()
        except OverpaintError as error:
            job = Job(
                job_id=job_id,
                document_id="",
                title="",
                operation=request.operation,
                canvas=Rect(0, 0, 0, 0).size,
                variants=request.variants,
            )
            self._jobs[job_id], self._work[job_id] = job, _Work()
            self._fail(job, error)
            return job
        job = Job(
            job_id=job_id,
            document_id=info.document_id,
            title=info.title,
            path=info.path,
            operation=request.operation,
            canvas=info.canvas,
            variants=request.variants,
            profile_digest=info.profile_digest,
            phase=JobPhase.READING,
        )
        self._jobs[job_id], self._work[job_id] = job, _Work()
        try:
            scope = self._plan(info, request)
        except OverpaintError as error:
            self._fail(job, error)
            return job
        # Beginning at once: what is selected now counts, and the editor's loop may be busy for a while.
        self._in_turns(job, self._read_and_send(job, info, scope, request), first_at_once=True)
        self._changed()
        return job

    def cancel(self, job_id: JobId) -> None:
        """Stop a job, wherever it is. Does nothing to one that is over."""
        job = self._jobs[job_id]
        if job.phase.is_active:
            self._end(job, JobPhase.CANCELLED)
            self._link.perform(self._session.cancel(job_id))

    def insert(self, job_id: JobId) -> None:
        """Put an OFFERED job's layers into the active document.

        If it is not the document the job was made for, the job keeps waiting and its ``error`` says so: it is known by its
        id if it has been open ever since, by its file, or else by the pixels that the job read.
        """
        job = self._jobs[job_id]
        if job.phase is not JobPhase.OFFERED:
            return
        try:
            info = self._port.active_document()
            check_belongs(job, info)
        except OverpaintError as error:
            job.error = error
            self._changed()
            return
        job.error = self._work[job_id].partial  # not that of an earlier try with another document
        self._start_inserting(job, info.document_id)

    def discard(self, job_id: JobId) -> None:
        """Throw an OFFERED job's results away."""
        job = self._jobs[job_id]
        if job.phase is JobPhase.OFFERED:
            self._end(job, JobPhase.CANCELLED)
            self._link.perform(self._session.ack(job_id))

    def start_daemon(self) -> None:
        """Start the daemon if this installation knows how; else ``link`` goes on saying what to do."""
        self._wants_daemon()
        try:
            self._launch()
        except DaemonNotRunning as error:
            _log.warning("the daemon was not started: %s", error.detail or error.message)

    # ------------------------------------------------------------ reading and sending

    def _plan(self, info: DocumentInfo, request: EditRequest) -> Scope:
        selection = self._port.selection_bounds(info.document_id)
        hints = self._hints(info)
        reach_px = (request.edges.grow_px or 0) + (request.edges.blend_px or 0)
        return plan_scope(request.operation, selection, info.canvas, hints, reach_px)

    def _hints(self, info: DocumentInfo) -> ContextHints:
        hints = self._settings.hints
        limit, message_bytes = hints.max_pixels, DEFAULT_MAX_MESSAGE_BYTES
        if self._session.welcome is not None:
            limits = self._session.welcome.limits
            limit = min(limit, limits.max_image_pixels)
            message_bytes = min(message_bytes, limits.max_message_bytes)
        # each pixel goes once in the image and once in the mask
        room = message_bytes - _BODY_BYTES - len(info.profile or b"")
        limit = min(limit, room // (info.format.bytes_per_pixel + 1))
        return ContextHints(
            padding_frac=hints.padding_frac,
            min_padding_px=hints.min_padding_px,
            min_side_px=hints.min_side_px,
            max_pixels=limit,
        )

    def _read_and_send(
        self, job: Job, info: DocumentInfo, scope: Scope, request: EditRequest
    ) -> Iterator[None]:
        message, payload = yield from capture(self._port, info, scope, request, job.job_id)
        job.content = yield from content_of(message, payload)
        self._store.add(
            PendingJob(
                job_id=job.job_id,
                title=job.title,
                path=job.path,
                canvas=job.canvas,
                operation=job.operation,
                variants=job.variants,
                document_id=job.document_id,
                profile_digest=job.profile_digest,
                content=job.content,
            )
        )
        work = self._work[job.job_id]
        work.is_sent = True
        work.sent_bytes = sum(len(frame) for frame in payload)
        job.phase = JobPhase.SENDING if self.link.is_open else JobPhase.WAITING
        self._link.perform(self._session.submit(message, payload))
        self._changed()

    # ------------------------------------------------------------ what the daemon says

    def _delivered(self, effect: Opened | Offered | Deliver) -> None:
        if isinstance(effect, Offered):
            self._changed()
            return
        if isinstance(effect, Opened):
            for job in self._jobs.values():
                if job.phase is JobPhase.WAITING and self._work[job.job_id].is_sent:
                    job.phase = JobPhase.SENDING
            self._changed()
            return
        message = effect.message
        if isinstance(message, JobAcked):
            self._store.confirm(message.job_id)
            return
        job = self._jobs.get(getattr(message, "job_id", JobId("")))
        if job is None or job.phase.is_final:
            return
        if isinstance(message, JobAccepted):
            job.phase, job.position = JobPhase.QUEUED, message.position
            job.fraction = job.time_left_s = None
        elif isinstance(message, JobProgress):
            job.phase = JobPhase.RUNNING if message.state is JobState.RUNNING else JobPhase.QUEUED
            job.stage, job.fraction, job.position = message.stage, message.fraction, message.position
            job.time_left_s = message.time_left_s
        elif isinstance(message, JobPreview):
            if 0 <= message.image.frame < len(effect.payload):
                picture = bytes(effect.payload[message.image.frame])
                job.preview = Preview(message.variant, message.image.media_type, message.image.size, picture)
        elif isinstance(message, JobVariant):
            self._take_variant(job, message, effect.payload)
        elif isinstance(message, JobDone):
            job.timings_ms, job.notes = dict(message.timings_ms), message.notes
            self._finished(job)
        elif isinstance(message, JobCancelled):
            job.is_replaced = message.replaced_by is not None
            self._end(job, JobPhase.CANCELLED)
            self._link.perform(self._session.ack(job.job_id))
        elif isinstance(message, JobFailed):
            self._job_failed(job, message.error.to_exception())
        self._changed()

    def _take_variant(self, job: Job, message: JobVariant, payload: Payload) -> None:
        try:
            frames = message.image.take(payload)
        except InvalidImage as error:
            self._fail(job, error)
            self._link.perform(self._session.cancel(job.job_id))
            return
        results = self._work[job.job_id].results
        results[message.variant] = (message, frames)
        job.variants_ready, job.engine = len(results), message.engine

    def _job_failed(self, job: Job, error: OverpaintError) -> None:
        work = self._work[job.job_id]
        if isinstance(error, UnknownJob) and work.is_recovered:
            error = UnknownJob(
                f"The result for “{job.title}” is gone: the job failed or the daemon ended while the editor was "
                "closed. Ask for it again."
            )
        if work.results:
            job.error = work.partial = error  # what is ready is still the artist's
            self._finished(job)
            return
        self._fail(job, error)
        self._link.perform(self._session.ack(job.job_id))

    def _finished(self, job: Job) -> None:
        results = self._work[job.job_id].results
        job.seeds = tuple(results[variant][0].seed for variant in sorted(results))
        if self._work[job.job_id].is_recovered:
            job.phase = JobPhase.OFFERED
        else:
            self._start_inserting(job, job.document_id)

    # ------------------------------------------------------------ inserting

    def _start_inserting(self, job: Job, document_id: str) -> None:
        job.phase = JobPhase.INSERTING
        self._in_turns(job, self._insert(job, document_id))
        self._changed()

    def _insert(self, job: Job, document_id: str) -> Iterator[None]:
        if document_id != job.document_id:
            yield from check_content(self._port, job, document_id)
            job.document_id = document_id
        yield from insert_results(self._port, job, self._work[job.job_id].results)
        note = self._port.document(job.document_id).note
        job.notes = (*job.notes, note) if note else job.notes
        self._end(job, JobPhase.DONE)
        job.error = self._work[job.job_id].partial
        self._link.perform(self._session.ack(job.job_id))

    # ------------------------------------------------------------ ends

    def _in_turns(self, job: Job, work: Iterator[None], *, first_at_once: bool = False) -> None:
        def on_error(error: Exception) -> None:
            if not isinstance(error, OverpaintError):
                _log.exception("job %s: %s failed in the editor", job.job_id, job.phase.value, exc_info=error)
                error = OverpaintError(
                    "The editor refused the picture or the layer. Try again; if that fails too, restart the editor. "
                    "Its log says more.",
                    detail=repr(error),
                )
            if job.phase is JobPhase.INSERTING:
                # The result exists and must not be lost: it waits for its document.
                job.phase, job.error = JobPhase.OFFERED, error
                self._changed()
            else:
                self._fail(job, error)

        self._work[job.job_id].stop = run_in_turns(self._loop, work, on_error, first_at_once=first_at_once)

    def _fail(self, job: Job, error: OverpaintError) -> None:
        self._end(job, JobPhase.FAILED)
        job.error = error

    def _end(self, job: Job, phase: JobPhase) -> None:
        work = self._work[job.job_id]
        job.phase, job.preview = phase, None
        work.results.clear()
        if phase is not JobPhase.DONE:  # a job that is done ends from inside its own work
            work.stop()
        self._store.remove(job.job_id)
        self._changed()

    def _recover(self, pending: PendingJob) -> None:
        self._jobs[pending.job_id] = Job(
            job_id=pending.job_id,
            document_id=pending.document_id,
            title=pending.title,
            path=pending.path,
            operation=pending.operation,
            canvas=pending.canvas,
            variants=pending.variants,
            profile_digest=pending.profile_digest,
            content=pending.content,
        )
        self._work[pending.job_id] = _Work(is_sent=True, is_recovered=True)
        self._session.follow(pending.job_id)

    # ------------------------------------------------------------ the link

    def _link_changed(self) -> None:
        if self.link.is_open:
            self._has_asked_anew = False
        else:
            for job in self._jobs.values():
                if job.phase in (JobPhase.SENDING, JobPhase.QUEUED, JobPhase.RUNNING):
                    job.phase, job.fraction = JobPhase.WAITING, None
        for job in self._jobs.values():
            total = self._work[job.job_id].sent_bytes
            if job.phase is JobPhase.SENDING and total:
                job.fraction = max(0.0, min(1.0, 1 - self._link.unsent_bytes / total))
        self._changed()

    def _watch_link(self) -> None:
        """Start the daemon for jobs that wait for one, and do not let them wait for ever."""
        if self._is_closed:
            return
        now = self._loop.now()
        for job in list(self._jobs.values()):
            work = self._work[job.job_id]
            if job.phase is not JobPhase.WAITING:
                work.waits_since = None
            elif self.link.is_stopped and not self._has_asked_anew:
                self._wait_while_stopped(job, work)
            elif work.is_recovered:
                self._wake_daemon()
            elif work.waits_since is None:
                work.waits_since = now
            else:
                self._wait_for_link(job, now - work.waits_since)
        self._loop.call_later(_WATCH_LINK_S, self._watch_link)

    def _wants_daemon(self) -> None:
        """The user has asked for something that needs a daemon: one that was stopped may be started again."""
        self._has_asked_anew = self._has_asked_anew or not self.link.is_open

    def _wait_while_stopped(self, job: Job, work: _Work) -> None:
        """The user has stopped the daemon after asking for this job: nobody starts it for that, or loses patience."""
        work.waits_since = None
        if not self._settings.outwaits_stop:
            self._fail(job, DaemonStopped(self.link.sentence))
            self._link.perform(self._session.cancel(job.job_id))

    def _wake_daemon(self) -> None:
        """Have the daemon that keeps the results of an earlier run started, once; they wait for as long as it takes."""
        if self.link.action == "start_daemon" and not self._has_woken_daemon:
            self._has_woken_daemon = True
            self.start_daemon()

    def _wait_for_link(self, job: Job, waited_s: float) -> None:
        error: OverpaintError | None = None
        if self.link.action == "start_daemon":
            try:
                self._launch()
            except DaemonNotRunning as cannot:
                if self._session.welcome is None:
                    error = cannot
                # else it ran a moment ago: whoever started it may start it again, and the job goes on
        if waited_s > _STILLBORN_AFTER_S and self._daemon is not None and self._daemon.poll():
            error = DaemonNotRunning(
                "The daemon was started and ended at once. Run “overpaint serve” in a terminal to see why.",
                detail=f"exit status {self._daemon.returncode}",
            )
        if self.link.action == "restart_daemon" and waited_s > 2 * _WATCH_LINK_S:
            error = AccessError(self.link.sentence)
        if waited_s > self._settings.link_patience_s:
            error = LinkError(self.link.sentence, action=self.link.action)
        if error is not None:
            self._fail(job, error)
            self._link.perform(self._session.cancel(job.job_id))

    def _launch(self) -> None:
        now = self._loop.now()
        if self._launched_at is not None and now - self._launched_at < _RELAUNCH_AFTER_S:
            return
        if self._daemon is not None:
            let_go(self._daemon)
        self._daemon = start_daemon(self._settings.daemon_command)
        self._launched_at = now
        self._link.retry_soon()

    # ------------------------------------------------------------ observers

    def _changed(self) -> None:
        if not self._is_announcing and not self._is_closed:
            self._is_announcing = True
            self._loop.call_later(0, self._announce)

    def _announce(self) -> None:
        self._is_announcing = False
        if not self._is_closed:
            for callback in self._subscribers:
                callback()
