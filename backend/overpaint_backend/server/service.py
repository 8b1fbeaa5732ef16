"""The daemon's middle: clients' messages and the workers' words in, both sides' orders out.

Knows sessions, and the jobs through ``queue`` and ``keeping``; knows no sockets of clients and no clock. Its outgoing messages
wait in the connections' outboxes until ``flush`` can hand them over.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Sequence

from overpaint_backend.config import DaemonSettings
from overpaint_backend.durability.keeper import Keeper
from overpaint_backend.durability.stories import What
from overpaint_backend.energy import EnergyMeter
from overpaint_backend.executors.base import (
    EnginesChanged,
    Executor,
    Ready,
    WorkerCondition,
    WorkerEvent,
    WorkerGone,
)
from overpaint_backend.jobs.model import Job, JobKey
from overpaint_backend.jobs.scheduler import Stopping, WorkerId, WorkerLost, WorkerReady, WorkerState
from overpaint_backend.recipes.offer import RecipeBook
from overpaint_backend.recipes.recipe import Recipe
from overpaint_protocol import framing
from overpaint_protocol.errors import (
    CapacityError,
    DaemonError,
    OverpaintError,
    TooLarge,
    UnknownType,
)
from overpaint_protocol.framing import Envelope
from overpaint_protocol.messages import (
    BrokenEngine,
    Capabilities,
    DaemonStopping,
    DeviceReport,
    EngineInfo,
    ErrorInfo,
    ErrorReply,
    JobAccepted,
    JobDone,
    JobFailed,
    JobPreview,
    JobState,
    JobVariant,
    SessionId,
    SubmitJob,
    Welcome,
    WorkerReport,
    type_name,
)
from overpaint_protocol.pixels import Bytes
from overpaint_protocol.version import FEATURES, PRODUCT_VERSION

from .admission import Admission
from .chronicle import Chronicle
from .handlers import OPERATIONS
from .keeping import Keeping, Replay
from .queue import JobQueue
from .router import Incoming, Sent
from .sessions import Connection, Session

__all__ = ["Send", "Service"]

Send = Callable[[bytes, Sequence[Bytes]], Sent]
"""Hands a message to a client's connection without blocking."""

_log = logging.getLogger(__name__)


class Service:
    """One daemon's state.

    Args:
        settings: limits and waiting times.
        executors: where jobs run, one for each worker.
        send: where messages to clients go.
        recipes: the user's recipes.
        keeper: what outlives this daemon, and what earlier ones left.
        now: the time of all calls is in seconds of the same monotonic clock.
        chronicle: writes the stories of jobs; by default nobody does.
        energy: what energy is read from; by default nothing.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        executors: Sequence[Executor],
        send: Send,
        recipes: RecipeBook,
        keeper: Keeper,
        now: float,
        chronicle: Chronicle | None = None,
        energy: EnergyMeter | None = None,
    ) -> None:
        self.settings = settings
        self.daemon_id = secrets.token_hex(8)
        self.pid = os.getpid()
        self.started_at = now
        self.engines: tuple[EngineInfo, ...] | None = None
        self.broken_engines: tuple[BrokenEngine, ...] = ()
        self.sessions: dict[tuple[str, SessionId], Session] = {}
        """By principal and id."""
        self.is_stopping = False
        self.is_draining = False
        """Takes no new jobs, and ends after the unfinished ones."""
        self._is_ending = False
        self.is_told_to_end = False
        """Its user wants no daemon, rather than this one to end."""
        self.keeping = Keeping(keeper, settings, now)
        self._ready: dict[WorkerId, Ready | EnginesChanged] = {}
        """What each worker that is ready can run."""
        self._devices: dict[WorkerId, DeviceReport] = {}
        self.energy = energy or EnergyMeter([], now)
        self.chronicle = chronicle or Chronicle(None, None)
        self.admission = Admission(settings)
        self._queue = JobQueue(settings.cancel_grace_s, executors, self.keeping, self._tell, self.chronicle)
        self._send = send
        self._recipes = recipes
        self._recipes_seen_at = now
        self._recipes.look()
        self._announced = self._capabilities
        self._early_previews: dict[JobKey, tuple[JobPreview, tuple[Bytes, ...]]] = {}
        """The newest of each job that is not yet on the disk."""
        self._connections: dict[bytes, Connection] = {}
        self._unsent: dict[Connection, None] = {}
        self._next_id = framing.message_ids()
        self._greeted: dict[Connection, tuple[str, int, float]] = {}
        self._busy_at = now
        self._restore(now)

    # ------------------------------------------------------------ from the loop

    def on_message(self, incoming: Incoming, now: float) -> None:
        """A client sent something."""
        peer, principal, frames = incoming.peer, incoming.principal, incoming.frames
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = Connection(peer, principal)
        envelope: Envelope | None = None
        try:
            length = sum(len(frame) for frame in frames)
            if length > self.settings.max_message_bytes:
                raise TooLarge(
                    f"The message has {length} bytes; the limit is {self.settings.max_message_bytes}. "
                    "Select a smaller area."
                )
            self.admission.check_message(connection, now)
            envelope = framing.decode(frames)
            operation = OPERATIONS.get(type(envelope.message))
            if operation is None:
                raise UnknownType(f"{type_name(envelope.message)!r} is for the daemon to send.")
            operation.permission.check(connection)
            operation.handle(self, connection, envelope, now)
        except OverpaintError as error:
            self._refuse(connection, frames, envelope, error, now)
        except Exception:  # the border of the daemon: a defect in one answer must not end the others' work
            error_id = secrets.token_hex(4)
            _log.exception("error %s while handling a message", error_id)
            error = DaemonError(
                f"Something went wrong inside the daemon (error {error_id}). Its log has more.",
                detail=error_id,
            )
            self._refuse(connection, frames, envelope, error, now)

    def on_gone(self, peer: bytes, now: float) -> None:
        """A connection ended. Its session's jobs and results stay."""
        connection = self._connections.pop(peer, None)
        if connection is not None:
            self.admission.forget(connection)
            self._cut(connection, now)

    def on_worker(self, worker: WorkerId, event: WorkerEvent, payload: tuple[Bytes, ...], now: float) -> None:
        """An executor has news; workers have the numbers of their executors."""
        match event:
            case Ready():
                self._take_engines(worker, event)
                self._queue.handle(WorkerReady(worker), now)
                self._welcome_waiting()
            case EnginesChanged():
                self._take_engines(worker, event)
            case WorkerCondition():
                self._devices[worker] = event.device
            case WorkerGone():
                self._devices.pop(worker, None)
                self._ready.pop(worker, None)
                self._queue.handle(WorkerLost(worker), now)
                if self._queue.worker_state is WorkerState.DOWN:
                    self._welcome_waiting()  # nothing better will come soon
            case _:
                self._queue.on_run(event, payload, now)

    def tick(self, now: float) -> None:
        """Time has passed; call at least every 100 ms."""
        self._queue.tick(now)
        self.keeping.tick(now)
        if now - self._recipes_seen_at >= self.settings.recipes_look_s:
            self._recipes_seen_at = now
            self._look_for_recipes()
        if any(deadline <= now for _, _, deadline in self._greeted.values()):
            self._welcome_waiting(now)
        for job in self.keeping.expired(self.sessions.values(), now):
            _log.warning("job %d was kept for long enough and is forgotten", job.key)
            self.chronicle.note(job, What.EXPIRED)
            self.keeping.drop(job)
            self.forget_job(job)
        for session in [s for s in self.sessions.values() if s.lost_at is not None and not s.jobs]:
            del self.sessions[session.principal, session.session_id]
        if self._is_busy:
            self._busy_at = now
        if self.is_draining and not self._is_ending and self._has_drained:
            self._is_ending = True
            self.keeping.sync(lambda: self.stop(now))  # and how the last one ended is told before

    def flush(self, now: float) -> bool:
        """Hand over what clients have room for. Returns whether something is left."""
        is_left = False
        for connection in list(self._unsent):
            while (frames := connection.outbox.first()) is not None:
                sent = self._send(connection.peer, frames)
                if sent is Sent.GONE:
                    self.on_gone(connection.peer, now)
                    connection.outbox.clear()
                    break
                if sent is Sent.BLOCKED:
                    is_left = True
                    if self._is_too_much(connection, now):
                        _log.warning("a client does not read its messages and has to say hello again")
                        self._cut(connection, now)
                    break
                connection.blocked_since = None
                connection.outbox.drop_first()
            if connection.outbox.first() is None:
                self._unsent.pop(connection, None)
        return is_left

    def _is_too_much(self, connection: Connection, now: float) -> bool:
        """Whether too much waits for a client that does not read. Whoever reads slowly may be owed a lot: results are large."""
        if connection.blocked_since is None:
            connection.blocked_since = now
        is_stalled = now - connection.blocked_since >= self.settings.stalled_s
        outbox, settings = connection.outbox, self.settings
        return len(outbox) > settings.max_outbox or (
            is_stalled and outbox.byte_length > settings.max_outbox_bytes
        )

    def stop(self, now: float, told: Connection | None = None) -> None:
        """Leave what is unfinished to the next daemon, say goodbye to every client but ``told``; ``flush`` sends it."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self._queue.handle(Stopping(), now)
        self.keeping.note_time(now)
        for session in self.sessions.values():
            if session.connection is not None and session.connection is not told:
                self._push(session.connection, DaemonStopping())

    def drain(self) -> None:
        """Finish what runs and waits and have clients read it, then end; ``tick`` does."""
        _log.info("finishes its jobs, then ends")
        self.is_draining = True

    def _restore(self, now: float) -> None:
        """Take over what earlier daemons left. Its clients are away until they say hello."""
        for job, kept in self.keeping.restore(now):
            session = self.sessions.setdefault(
                (job.principal, job.session_id), Session(job.principal, job.session_id, lost_at=now)
            )
            session.editor = kept.order.editor
            session.jobs[job.request.job_id] = job
            self.chronicle.note(job, What.RESUMED, attempts=kept.attempts, state=job.state)
            self._queue.restore(job, kept.attempts, now)
        for session in self.sessions.values():
            for job in list(session.jobs.values()):
                self._replace_older(session, job, now)

    def is_idle(self, now: float) -> bool:
        """Whether nobody has needed the daemon for ``idle_exit_s``."""
        idle_exit_s = self.settings.idle_exit_s
        return idle_exit_s is not None and now - self._busy_at >= idle_exit_s

    # ------------------------------------------------------------ for the handlers

    @property
    def worker_state(self) -> str:
        """``starting``, ``idle``, ``busy`` or ``down``."""
        return self._queue.worker_state.value

    @property
    def workers(self) -> tuple[WorkerReport, ...]:
        """How each worker is."""
        told = zip(self._queue.worker_states, self._queue.worker_restarts, strict=True)
        return tuple(
            WorkerReport(state=state.value, restarts=restarts, device=self._devices.get(worker))
            for worker, (state, restarts) in enumerate(told)
        )

    def open_session(self, principal: str, session_id: SessionId) -> Session:
        """The principal's session of that id, made if there is none.

        Raises:
            CapacityError: there are too many.
        """
        session = self.sessions.get((principal, session_id))
        if session is None:
            self.admission.check_session(principal, self.sessions.values())
            session = self.sessions[principal, session_id] = Session(principal, session_id)
        return session

    def welcome(self, connection: Connection, re: str, minor: int, now: float) -> None:
        """Answer ``hello``, as soon as the engines are known or the wait is over."""
        self._greeted[connection] = (re, minor, now + self.settings.engines_wait_s)
        if self.engines is not None:
            self._welcome_waiting()

    def recipe(self, recipe_id: str) -> Recipe:
        """The recipe of that id, as its file is now.

        Raises:
            UnknownRecipe: there is none, or it cannot be used.
        """
        self._look_for_recipes()
        return self._recipes.get(recipe_id, self.engines)

    def reply(
        self, connection: Connection, message: object, envelope: Envelope, payload: tuple[Bytes, ...] = ()
    ) -> None:
        """Answer a message."""
        self._push(connection, message, payload, re=envelope.header.id)

    def replay(self, job: Job, connection: Connection, envelope: Envelope, now: float) -> None:
        """Answer with all that is known of a job."""

        def told(replay: Replay) -> None:
            if not job.is_accepted:
                self.refuse(
                    connection, envelope, CapacityError("The job could not be kept. Ask for it again.")
                )
                return
            for message, payload in replay:
                self.reply(connection, message, envelope, payload)
                if isinstance(message, JobVariant) and not job.state.is_final:
                    connection.variants_told.add((job.key, message.variant))
                if isinstance(message, JobVariant):
                    self.chronicle.note(job, What.SENT, variant=message.variant + 1)

        self.keeping.replay(job, now, told)

    def add_job(
        self, session: Session, request: SubmitJob, payload: tuple[Bytes, ...], engine: str, seed: int
    ) -> Job:
        """Take note of a job; ``submit`` does the rest."""
        job = Job(
            key=self._queue.next_key(),
            principal=session.principal,
            session_id=session.session_id,
            request=request,
            payload=payload,
            engine=engine,
            seed=seed,
            preview_bytes=session.preview_bytes,
        )
        session.jobs[request.job_id] = job
        self._queue.add(job)
        return job

    def submit(self, job: Job, connection: Connection, envelope: Envelope, now: float) -> None:
        """Queue a new job. It may run while it is being written down; its client hears of it when it is."""
        position = self._queue.position(job)
        session = self.sessions[job.principal, job.session_id]
        self.chronicle.submitted(job, session.editor)

        def kept(refusal: OverpaintError | None) -> None:
            if refusal is not None:
                self.chronicle.note(job, What.REFUSED, code=refusal.code)
                self._queue.cancel(job, now)
                self.keeping.drop(job)
                self.forget_job(job)
                self.refuse(connection, envelope, refusal)
                return
            job.is_accepted = True
            self.chronicle.note(job, What.ACCEPTED)
            self._replace_older(session, job, now)
            self.reply(connection, JobAccepted(job_id=job.request.job_id, position=position), envelope)
            early_preview = self._early_previews.pop(job.key, None)
            if not job.state.is_final:  # how it ended is told when that is on the disk, too
                self._tell(job, job.progress, ())
                if early_preview is not None and early_preview[0].variant >= len(job.results):
                    self._tell(job, *early_preview)
                self._tell_missed(job)

        self.keeping.accept(job, session.editor, kept)
        if job.request.job_id in session.jobs:
            self._queue.schedule(job, now)

    def _replace_older(self, session: Session, newer: Job, now: float) -> None:
        """Of the jobs for one slot of a document the newest is wanted."""
        wanted = newer.request
        if wanted.slot is None or newer.state is JobState.CANCELLED:
            return
        for older in list(session.jobs.values()):
            place = older.request.document_id, older.request.slot
            is_same = place == (wanted.document_id, wanted.slot) and older.key < newer.key
            if is_same and older.state is JobState.QUEUED:
                self._queue.replace(older, newer, now)

    def cancel(self, job: Job, now: float) -> None:
        """End the job unless it has ended."""
        self._queue.cancel(job, now)

    def forget_job(self, job: Job) -> None:
        """Drop an ended job and its results, if that has not been done."""
        self._queue.forget(job)
        self.keeping.forgotten(job)
        self._early_previews.pop(job.key, None)
        session = self.sessions.get((job.principal, job.session_id))
        if session is not None:
            session.jobs.pop(job.request.job_id, None)
            if session.connection is not None:
                session.connection.forget_told(job)

    # ------------------------------------------------------------ what can be asked for

    @property
    def _capabilities(self) -> Capabilities:
        return Capabilities(
            engines=self.engines or (),
            broken_engines=self.broken_engines,
            recipes=self._recipes.infos(self.engines),
        )

    def _take_engines(self, worker: WorkerId, event: Ready | EnginesChanged) -> None:
        """What can be asked for is what each worker can run, since a job may go to any; all of them know the same models."""
        self._ready[worker] = event
        first, *others = self._ready.values()
        self.engines = tuple(
            engine for engine in first.engines if all(engine in other.engines for other in others)
        )
        self.broken_engines = first.broken_engines
        self._announce()

    def _look_for_recipes(self) -> None:
        if self._recipes.look():
            self._announce()

    def _announce(self) -> None:
        """Tell every open session what can be asked for, if that has changed."""
        capabilities = self._capabilities
        if capabilities == self._announced:
            return
        self._announced = capabilities
        for session in self.sessions.values():
            # Who still waits for the welcome is told all of it there.
            if session.connection is not None and session.connection not in self._greeted:
                self._push(session.connection, capabilities)

    # ------------------------------------------------------------ to the clients

    def _tell(self, job: Job, message: object, payload: tuple[Bytes, ...]) -> None:
        """Send to the job's client if it is there; if not, it fetches what it missed.

        A client that has just come back may have missed variants and not have fetched them yet: the end of a job never comes
        before all of them.
        """
        session = self.sessions.get((job.principal, job.session_id))
        connection = None if session is None else session.connection
        if connection is None:
            return
        if not job.is_accepted and not isinstance(message, JobVariant):
            if isinstance(message, JobPreview):
                self._early_previews[job.key] = message, payload
            return  # told with or after the acceptance; pixels alone do not wait for the disk
        if isinstance(message, (JobDone, JobFailed)):
            self._tell_missed(job)
        self._push(connection, message, payload)
        if isinstance(message, JobVariant):
            self.chronicle.note(job, What.SENT, variant=message.variant + 1)
            connection.variants_told.add((job.key, message.variant))
        elif isinstance(message, (JobDone, JobFailed)):
            connection.forget_told(job)

    def _tell_missed(self, job: Job) -> None:
        """Send the variants that the session's present connection has not had."""
        session = self.sessions[job.principal, job.session_id]
        for result in job.results:
            is_told = session.connection is not None and session.connection.has_been_told(job, result)
            if result.payload is not None and not is_told:
                self._tell(job, result.message, result.payload)

    def _push(
        self, connection: Connection, message: object, payload: tuple[Bytes, ...] = (), re: str | None = None
    ) -> None:
        frames = framing.encode(message, id=self._next_id(), re=re, payload=payload)
        name = type_name(message)
        is_replaceable = re is None and name in ("job.progress", "job.preview")
        connection.outbox.push(frames, (name, getattr(message, "job_id", "")) if is_replaceable else None)
        self._unsent[connection] = None

    def _cut(self, connection: Connection, now: float) -> None:
        connection.outbox.clear()
        self._greeted.pop(connection, None)
        if connection.session is not None:
            connection.session.detach(now)

    def _refuse(
        self,
        connection: Connection,
        frames: Sequence[memoryview],
        envelope: Envelope | None,
        error: OverpaintError,
        now: float,
    ) -> None:
        if not connection.errors.take(now):
            return
        if envelope is not None:
            self.refuse(connection, envelope, error)
        else:
            self._push(connection, ErrorReply(error=ErrorInfo.of(error)), re=_readable_id(frames))

    def refuse(self, connection: Connection, envelope: Envelope, error: OverpaintError) -> None:
        """Answer a message with why it cannot be done."""
        job_id = getattr(envelope.message, "job_id", None)
        self.reply(connection, ErrorReply(error=ErrorInfo.of(error), job_id=job_id), envelope)

    def _welcome_waiting(self, now: float | None = None) -> None:
        """Answer those who said hello; with ``now`` only those whose wait is over."""
        for connection, (re, minor, deadline) in list(self._greeted.items()):
            if now is not None and deadline > now:
                continue
            del self._greeted[connection]
            if connection.session is None:
                continue
            welcome = Welcome(
                daemon_id=self.daemon_id,
                product_version=PRODUCT_VERSION,
                minor=minor,
                features=FEATURES,
                limits=self.settings.limits,
                engines=self._announced.engines,
                broken_engines=self._announced.broken_engines,
                recipes=self._announced.recipes,
                jobs=tuple(job.summary for job in connection.session.jobs.values() if job.is_accepted),
            )
            self._push(connection, welcome, re=re)

    @property
    def _has_drained(self) -> bool:
        return not (
            any(session.unfinished for session in self.sessions.values())
            or any(len(connection.outbox) for connection in self._connections.values())
        )

    @property
    def _is_busy(self) -> bool:
        return any(
            session.connection is not None or session.unfinished or session.needs_memory
            for session in self.sessions.values()
        )


def _readable_id(frames: Sequence[memoryview]) -> str | None:
    """The id of a message whose body cannot be read, if its header can."""
    try:
        return framing.read_header(frames).id
    except OverpaintError:
        return None
