"""What each message of a client does and who may send it: one function and one permission for each class of messages.

A handler either answers through the service or raises an OverpaintError, which becomes the answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from overpaint_backend.durability.stories import What
from overpaint_backend.jobs.choice import choose_engine
from overpaint_backend.jobs.model import Job
from overpaint_backend.recipes.recipe import apply
from overpaint_protocol.errors import (
    AccessError,
    HelloExpected,
    InvalidImage,
    OverpaintError,
    ShuttingDown,
    TooLarge,
    UnknownJob,
)
from overpaint_protocol.framing import Envelope
from overpaint_protocol.messages import (
    MAX_SEED,
    AckJob,
    CancelJob,
    DaemonStopping,
    FetchJob,
    Hello,
    InspectDaemon,
    JobAccepted,
    JobAcked,
    JobCancelled,
    JobId,
    Ping,
    Pong,
    ShutDown,
    SubmitJob,
)
from overpaint_protocol.version import negotiate

from .report import make_report
from .sessions import LOCAL, Connection, Session

if TYPE_CHECKING:
    from .service import Service

__all__ = ["OPERATIONS", "Handler", "Operation", "Permission"]

Handler = Callable[["Service", Connection, Envelope, float], None]


class Permission(Enum):
    """What a message asks of the connection it comes on.

    anyone: nothing more than that it was let in. session: a session; nothing beyond that and its principal's other sessions is
    read or changed. admin: a session of the daemon's own user.
    """

    ANYONE = "anyone"
    SESSION = "session"
    ADMIN = "admin"

    def check(self, connection: Connection) -> None:
        """Refuse what the connection may not do.

        Raises:
            HelloExpected: it has no session.
            AccessError: it is not of the daemon's own user.
        """
        if self is Permission.ANYONE:
            return
        _session(connection)
        if self is Permission.ADMIN and connection.principal != LOCAL:
            raise AccessError("Only the user the daemon runs for may do this, on its own machine.", action="")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a message needs and does."""

    permission: Permission
    handle: Handler


def _hello(service: Service, connection: Connection, envelope: Envelope, now: float) -> None:
    hello = _message(envelope, Hello)
    minor = negotiate(hello.oldest_minor, hello.newest_minor)
    if service.is_stopping:
        raise ShuttingDown("The daemon is stopping. Start it again with “overpaint serve”.")
    session = service.open_session(connection.principal, hello.session_id)
    session.editor = hello.editor
    session.preview_bytes = hello.preview_bytes
    session.attach(connection, now)
    service.welcome(connection, envelope.header.id, minor, now)


def _submit(service: Service, connection: Connection, envelope: Envelope, now: float) -> None:
    request = _message(envelope, SubmitJob)
    session = _session(connection)
    job = session.jobs.get(request.job_id)
    if job is not None:
        _submit_again(service, connection, envelope, job, now)
        return
    if service.keeping.was_taken(session, request.job_id):
        raise UnknownJob("This job is over, and its results were taken or refused. Ask for it as a new one.")
    _check_images(service, request, envelope)
    _check_room(service, session, envelope)
    if request.recipe is not None:
        request = apply(service.recipe(request.recipe), request)
    engine = _choose_engine(service, request)
    job = service.add_job(session, request, envelope.payload, engine, _seed(request))
    service.submit(job, connection, envelope, now)


def _submit_again(service: Service, connection: Connection, envelope: Envelope, job: Job, now: float) -> None:
    accepted = JobAccepted(job_id=job.request.job_id, position=job.position)
    if job.is_accepted:
        service.reply(connection, accepted, envelope)
        return

    def kept() -> None:
        if job.is_accepted:
            service.reply(connection, accepted, envelope)
        service.replay(job, connection, envelope, now)

    # The connection it first came on may be gone, with all that is said there.
    service.keeping.sync_job(job, kept)


def _cancel(service: Service, connection: Connection, envelope: Envelope, now: float) -> None:
    job = _job(_session(connection), _message(envelope, CancelJob).job_id)
    service.cancel(job, now)
    cancelled = JobCancelled(job_id=job.request.job_id, state=job.state, replaced_by=job.replaced_by)
    service.keeping.sync_job(job, lambda: service.reply(connection, cancelled, envelope))


def _fetch(service: Service, connection: Connection, envelope: Envelope, now: float) -> None:
    job = _job(_session(connection), _message(envelope, FetchJob).job_id)
    service.replay(job, connection, envelope, now)


def _ack(service: Service, connection: Connection, envelope: Envelope, now: float) -> None:
    session, job_id = _session(connection), _message(envelope, AckJob).job_id
    acked = JobAcked(job_id=job_id)
    job = session.jobs.get(job_id)
    if job is None:
        service.keeping.acknowledge_unknown(session, job_id)
        service.keeping.sync(lambda: service.reply(connection, acked, envelope))
        return

    def forgotten(refusal: OverpaintError | None) -> None:
        if refusal is None:
            service.chronicle.note(job, What.ACKNOWLEDGED)
            service.forget_job(job)
            service.reply(connection, acked, envelope)
        else:
            service.refuse(connection, envelope, refusal)

    service.cancel(job, now)
    service.keeping.acknowledge(job, now, forgotten)


def _ping(service: Service, connection: Connection, envelope: Envelope, _now: float) -> None:
    service.reply(connection, Pong(nonce=_message(envelope, Ping).nonce), envelope)


def _inspect(service: Service, connection: Connection, envelope: Envelope, now: float) -> None:
    service.reply(connection, make_report(service, connection.principal, now), envelope)


def _shut_down(service: Service, connection: Connection, envelope: Envelope, now: float) -> None:
    service.is_told_to_end = True
    if _message(envelope, ShutDown).drain and not service.is_draining:
        service.drain()
        service.reply(connection, make_report(service, connection.principal, now), envelope)
        return
    service.stop(now, told=connection)
    service.reply(connection, DaemonStopping(), envelope)


OPERATIONS: dict[type, Operation] = {
    Hello: Operation(Permission.ANYONE, _hello),
    SubmitJob: Operation(Permission.SESSION, _submit),
    CancelJob: Operation(Permission.SESSION, _cancel),
    FetchJob: Operation(Permission.SESSION, _fetch),
    AckJob: Operation(Permission.SESSION, _ack),
    Ping: Operation(Permission.SESSION, _ping),
    InspectDaemon: Operation(Permission.SESSION, _inspect),
    ShutDown: Operation(Permission.ADMIN, _shut_down),
}
"""Every message a client may send. Other known types are the daemon's to send."""


# ---------------------------------------------------------------- checks


def _message(envelope: Envelope, cls: type[Any]) -> Any:
    assert isinstance(envelope.message, cls)  # noqa: S101 - the table above chose the handler by this class
    return envelope.message


def _session(connection: Connection) -> Session:
    if connection.session is None:
        raise HelloExpected("This connection has no session yet. The plug-in has to say hello first.")
    return connection.session


def _job(session: Session, job_id: JobId) -> Job:
    job = session.jobs.get(job_id)
    if job is None:
        raise UnknownJob("The daemon does not know this job any more. Ask for it again.")
    return job


def _check_room(service: Service, session: Session, envelope: Envelope) -> None:
    if service.is_stopping:
        raise ShuttingDown("The daemon is stopping and takes no new jobs. Start it again, then ask again.")
    if service.is_draining:
        raise ShuttingDown(
            "The daemon finishes its jobs and then ends, so it takes no new ones. Start it again after that, then ask "
            "again."
        )
    byte_length = sum(len(frame) for frame in envelope.payload)
    service.admission.check_job(session, service.sessions.values(), byte_length)


def _check_images(service: Service, request: SubmitJob, envelope: Envelope) -> None:
    limit = service.settings.max_image_pixels
    if request.context.size.area > limit:
        raise TooLarge(
            f"The area to work on has {request.context.size} px; the daemon takes {limit / 1e6:.0f} million pixels "
            "at a time. Select a smaller area."
        )
    images = [request.image] if request.mask is None else [request.image, request.mask]
    for image in images:
        image.take(envelope.payload)
        image.take_profile(envelope.payload)
    named = [index for image in images for index in image.frames]
    named += [image.profile for image in images if image.profile is not None]
    if sorted(named) != list(range(len(envelope.payload))):
        raise InvalidImage(
            f"The images name frames {named}, the message has {len(envelope.payload)}. Update the plug-in."
        )


def _choose_engine(service: Service, request: SubmitJob) -> str:
    if service.engines is None:
        # Not loaded yet: the worker, which has them, will refuse what it does not know.
        return request.engine or ""
    return choose_engine(service.engines, request).id


def _seed(request: SubmitJob) -> int:
    return secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed
