"""The daemon's middle: clients' messages and the worker's words in, both sides' orders out.

Knows sessions, jobs, the scheduler and an executor; knows no sockets of clients and no clock. Its outgoing messages
wait in the connections' outboxes until ``flush`` can hand them over.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
from collections.abc import Callable, Sequence

from overpaint_backend.config import DaemonSettings
from overpaint_backend.executors.base import (
    EnginesChanged,
    Executor,
    Ready,
    RunJob,
    RunOver,
    RunPreview,
    RunProgress,
    RunVariant,
    WorkerEvent,
    WorkerGone,
)
from overpaint_backend.jobs.model import Job, JobKey, Result
from overpaint_backend.jobs.scheduler import (
    CancelRun,
    EndJob,
    Event,
    Instruction,
    JobCancelRequested,
    JobSubmitted,
    KillWorker,
    MoveJob,
    RunEnded,
    RunId,
    Scheduler,
    StartRun,
    Stopping,
    Tick,
    WorkerLost,
    WorkerReady,
    WorkerState,
)
from overpaint_backend.recipes.offer import RecipeBook
from overpaint_backend.recipes.recipe import Recipe
from overpaint_protocol import framing
from overpaint_protocol.errors import (
    CapacityError,
    DaemonError,
    HelloExpected,
    OverpaintError,
    TooLarge,
    UnknownType,
)
from overpaint_protocol.framing import Envelope
from overpaint_protocol.messages import (
    BrokenEngine,
    Capabilities,
    DaemonStopping,
    EngineInfo,
    ErrorInfo,
    ErrorReply,
    Hello,
    JobPreview,
    JobState,
    JobVariant,
    SessionId,
    SubmitJob,
    Welcome,
    type_name,
)
from overpaint_protocol.pixels import Bytes
from overpaint_protocol.version import FEATURES, PRODUCT_VERSION

from .handlers import HANDLERS
from .router import Sent
from .sessions import Connection, Session

__all__ = ["Send", "Service"]

Send = Callable[[bytes, Sequence[Bytes]], Sent]
"""Hands a message to a client's connection without blocking."""

_log = logging.getLogger(__name__)


class Service:
    """One daemon's state.

    Args:
        settings: limits and waiting times.
        executor: where jobs run.
        send: where messages to clients go.
        recipes: the user's recipes.
        now: the time of all calls is in seconds of the same monotonic clock.
    """

    def __init__(
        self, settings: DaemonSettings, executor: Executor, send: Send, recipes: RecipeBook, now: float
    ) -> None:
        self.settings = settings
        self.daemon_id = secrets.token_hex(8)
        self.pid = os.getpid()
        self.started_at = now
        self.engines: tuple[EngineInfo, ...] | None = None
        self.broken_engines: tuple[BrokenEngine, ...] = ()
        self.sessions: dict[SessionId, Session] = {}
        self.is_stopping = False
        self._executor = executor
        self._send = send
        self._recipes = recipes
        self._recipes_seen_at = now
        self._recipes.look()
        self._announced = self._capabilities
        self._scheduler = Scheduler(settings.cancel_grace_s)
        self._connections: dict[bytes, Connection] = {}
        self._jobs: dict[JobKey, Job] = {}
        self._keys = itertools.count(1)
        self._next_id = framing.message_ids()
        self._greeted: dict[Connection, tuple[str, int, float]] = {}
        self._busy_at = now

    # ------------------------------------------------------------ from the loop

    def on_message(self, peer: bytes, frames: Sequence[memoryview], now: float) -> None:
        """A client sent something."""
        connection = self._connections.setdefault(peer, Connection(peer))
        envelope: Envelope | None = None
        try:
            length = sum(len(frame) for frame in frames)
            if length > self.settings.max_message_bytes:
                raise TooLarge(
                    f"The message has {length} bytes; the limit is {self.settings.max_message_bytes}. "
                    "Select a smaller area."
                )
            envelope = framing.decode(frames)
            handler = HANDLERS.get(type(envelope.message))
            if handler is None:
                raise UnknownType(f"{type_name(envelope.message)!r} is for the daemon to send.")
            if connection.session is None and not isinstance(envelope.message, Hello):
                raise HelloExpected("This connection has no session yet. The plug-in has to say hello first.")
            handler(self, connection, envelope, now)
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
            self._cut(connection, now)

    def on_worker(self, event: WorkerEvent, payload: tuple[Bytes, ...], now: float) -> None:
        """The executor has news."""
        match event:
            case Ready():
                self._take_engines(event)
                self._handle(WorkerReady(), now)
                self._welcome_waiting()
            case EnginesChanged():
                self._take_engines(event)
            case WorkerGone():
                self._handle(WorkerLost(), now)
                if self._scheduler.worker_state is WorkerState.DOWN:
                    self._welcome_waiting()  # nothing better will come soon
            case RunProgress():
                self._progressed(event)
            case RunPreview():
                self._glimpsed(event, payload)
            case RunVariant():
                self._made(event, payload)
            case RunOver():
                self._run_over(event, now)

    def tick(self, now: float) -> None:
        """Time has passed; call at least every 100 ms."""
        self._handle(Tick(), now)
        if now - self._recipes_seen_at >= self.settings.recipes_look_s:
            self._recipes_seen_at = now
            self._look_for_recipes()
        if any(deadline <= now for _, _, deadline in self._greeted.values()):
            self._welcome_waiting(now)
        for session in [s for s in self.sessions.values() if self._can_forget(s, now)]:
            for job in list(session.jobs.values()):
                self.forget_job(job)
            del self.sessions[session.session_id]
        if self._is_busy:
            self._busy_at = now

    def flush(self, now: float) -> bool:
        """Hand over what clients have room for. Returns whether something is left."""
        is_left = False
        for connection in list(self._connections.values()):
            while (frames := connection.outbox.first()) is not None:
                sent = self._send(connection.peer, frames)
                if sent is Sent.GONE:
                    self.on_gone(connection.peer, now)
                    break
                if sent is Sent.BLOCKED:
                    is_left = True
                    if len(connection.outbox) > self.settings.max_outbox:
                        _log.warning("a client does not read its messages and has to say hello again")
                        self._cut(connection, now)
                    break
                connection.outbox.drop_first()
        return is_left

    def stop(self, now: float, told: Connection | None = None) -> None:
        """Fail what is unfinished and say goodbye to every client but ``told``; ``flush`` sends it."""
        if self.is_stopping:
            return
        self.is_stopping = True
        self._handle(Stopping(), now)
        for session in self.sessions.values():
            if session.connection is not None and session.connection is not told:
                self._push(session.connection, DaemonStopping())

    def is_idle(self, now: float) -> bool:
        """Whether nobody has needed the daemon for ``idle_exit_s``."""
        idle_exit_s = self.settings.idle_exit_s
        return idle_exit_s is not None and now - self._busy_at >= idle_exit_s

    # ------------------------------------------------------------ for the handlers

    @property
    def worker_state(self) -> str:
        """``starting``, ``idle``, ``busy`` or ``down``."""
        return self._scheduler.worker_state.value

    @property
    def worker_restarts(self) -> int:
        """How often the worker had to be replaced."""
        return self._executor.restarts

    @property
    def total_bytes(self) -> int:
        """Bytes of pictures and results held for all sessions."""
        return sum(session.kept_bytes for session in self.sessions.values())

    def open_session(self, session_id: SessionId) -> Session:
        """The session of that id, made if there is none.

        Raises:
            CapacityError: there are too many.
        """
        session = self.sessions.get(session_id)
        if session is None:
            if len(self.sessions) >= self.settings.max_sessions:
                raise CapacityError("Too many editors use the daemon at once. Close one and try again.")
            session = self.sessions[session_id] = Session(session_id)
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

    def add_job(
        self, session: Session, request: SubmitJob, payload: tuple[Bytes, ...], engine: str, seed: int
    ) -> Job:
        """Take note of a job; ``schedule`` queues it."""
        job = Job(
            key=next(self._keys),
            session_id=session.session_id,
            request=request,
            payload=payload,
            engine=engine,
            seed=seed,
            preview_bytes=session.preview_bytes,
        )
        self._jobs[job.key] = session.jobs[request.job_id] = job
        _log.info("job %d queued: %s by %s", job.key, job.summary.operation, engine or "any engine")
        return job

    def schedule(self, job: Job, now: float) -> None:
        """Queue a new job."""
        self._handle(JobSubmitted(job.key, job.session_id), now)

    def position(self, job: Job) -> int:
        """Jobs ahead of ``job``, which is not queued yet."""
        return self._scheduler.position_for(job.session_id)

    def cancel(self, job: Job, now: float) -> None:
        """End the job unless it has ended."""
        self._handle(JobCancelRequested(job.key), now)

    def forget_job(self, job: Job) -> None:
        """Drop an ended job and its results."""
        del self._jobs[job.key]
        session = self.sessions[job.session_id]
        del session.jobs[job.request.job_id]

    # ------------------------------------------------------------ what the scheduler decides

    def _handle(self, event: Event, now: float) -> None:
        for instruction in self._scheduler.handle(event, now):
            self._perform(instruction)

    def _perform(self, instruction: Instruction) -> None:
        match instruction:
            case StartRun():
                self._start(instruction)
            case CancelRun():
                self._executor.cancel(instruction.run)
            case KillWorker():
                _log.warning("the worker does not stop a cancelled job and gets replaced")
                self._executor.kill()
            case MoveJob():
                job = self._jobs[instruction.key]
                job.state, job.position, job.stage = JobState.QUEUED, instruction.position, "waiting"
                job.fraction = job.time_left_s = None
                self._tell(job, job.progress)
            case EndJob():
                self._end(instruction)

    def _start(self, start: StartRun) -> None:
        job = self._jobs[start.key]
        job.state, job.position, job.stage = JobState.RUNNING, 0, "starting"
        _log.info("job %d starts, attempt %d", job.key, start.attempt)
        run = RunJob(
            run=start.run,
            engine=job.engine,
            seed=job.seed,
            first_variant=len(job.results),
            preview_bytes=job.preview_bytes,
            request=job.request,
        )
        self._executor.run(run, job.payload)
        self._tell(job, job.progress)

    def _end(self, end: EndJob) -> None:
        job = self._jobs[end.key]
        job.end(end.state, end.error)
        _log.info("job %d %s%s", job.key, end.state.value, f" ({end.error.code})" if end.error else "")
        # A cancel is answered by its handler, to the message that asked for it.
        if end.state is not JobState.CANCELLED:
            self._tell(job, job.end_message())

    # ------------------------------------------------------------ what the worker says

    def _job_of(self, run: RunId) -> Job | None:
        key = self._scheduler.current(run)
        return None if key is None else self._jobs[key]

    def _progressed(self, event: RunProgress) -> None:
        job = self._job_of(event.run)
        if job is not None:
            job.stage, job.fraction, job.time_left_s = event.stage, event.fraction, event.time_left_s
            self._tell(job, job.progress)

    def _glimpsed(self, event: RunPreview, payload: tuple[Bytes, ...]) -> None:
        job = self._job_of(event.run)
        if job is not None:
            preview = JobPreview(job_id=job.request.job_id, variant=event.variant, image=event.image)
            self._tell(job, preview, payload)

    def _made(self, event: RunVariant, payload: tuple[Bytes, ...]) -> None:
        job = self._job_of(event.run)
        if job is None:
            return
        variant = JobVariant(
            job_id=job.request.job_id,
            variant=event.variant,
            seed=event.seed,
            engine=event.engine,
            target=event.target,
            image=event.image,
        )
        job.engine = event.engine
        job.results.append(Result(variant, payload))
        self._tell(job, variant, payload)

    def _run_over(self, event: RunOver, now: float) -> None:
        job = self._job_of(event.run)
        if job is not None:
            job.timings_ms, job.notes = event.timings_ms, event.notes
        error = None if event.error is None else event.error.to_exception()
        if error is not None and error.detail:
            _log.warning("run %d: %s %s", event.run, error.code, error.detail)
        self._handle(RunEnded(event.run, error), now)

    # ------------------------------------------------------------ what can be asked for

    @property
    def _capabilities(self) -> Capabilities:
        return Capabilities(
            engines=self.engines or (),
            broken_engines=self.broken_engines,
            recipes=self._recipes.infos(self.engines),
        )

    def _take_engines(self, event: Ready | EnginesChanged) -> None:
        self.engines, self.broken_engines = event.engines, event.broken_engines
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

    def _tell(self, job: Job, message: object, payload: tuple[Bytes, ...] = ()) -> None:
        """Send to the job's client if it is there; if not, it fetches what it missed."""
        connection = self.sessions[job.session_id].connection
        if connection is not None:
            self._push(connection, message, payload)

    def _push(
        self, connection: Connection, message: object, payload: tuple[Bytes, ...] = (), re: str | None = None
    ) -> None:
        frames = framing.encode(message, id=self._next_id(), re=re, payload=payload)
        name = type_name(message)
        is_replaceable = re is None and name in ("job.progress", "job.preview")
        connection.outbox.push(frames, (name, getattr(message, "job_id", "")) if is_replaceable else None)

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
        job_id = None if envelope is None else getattr(envelope.message, "job_id", None)
        re = envelope.header.id if envelope is not None else _readable_id(frames)
        self._push(connection, ErrorReply(error=ErrorInfo.of(error), job_id=job_id), re=re)

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
                jobs=tuple(job.summary for job in connection.session.jobs.values()),
            )
            self._push(connection, welcome, re=re)

    def _can_forget(self, session: Session, now: float) -> bool:
        """Whether the client is gone and nothing of it is worth keeping any more."""
        if session.lost_at is None or session.unfinished or session.has_results:
            return False
        return not session.jobs or now - session.lost_at >= self.settings.forget_after_s

    @property
    def _is_busy(self) -> bool:
        return any(
            session.connection is not None or session.unfinished or session.has_results
            for session in self.sessions.values()
        )


def _readable_id(frames: Sequence[memoryview]) -> str | None:
    """The id of a message whose body cannot be read, if its header can."""
    try:
        return framing.read_header(frames).id
    except OverpaintError:
        return None
