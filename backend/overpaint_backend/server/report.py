"""``daemon.report``: what ``overpaint status`` shows.

The daemon's own user sees all clients, others their own. There is never an id or a prompt in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overpaint_backend.jobs.model import Job
from overpaint_protocol.messages import DaemonReport, JobReport, JobState
from overpaint_protocol.version import PRODUCT_VERSION

from .sessions import LOCAL

if TYPE_CHECKING:
    from .service import Service

__all__ = ["make_report"]


def make_report(service: Service, principal: str, now: float) -> DaemonReport:
    """How the daemon is at ``now``, as ``principal`` may see it."""
    is_owner = principal == LOCAL
    sessions = [
        session for session in service.sessions.values() if is_owner or session.principal == principal
    ]
    unfinished = [
        (session.editor, job)
        for session in sessions
        for job in session.jobs.values()
        if not job.state.is_final
    ]
    unfinished.sort(key=lambda one: (one[1].state is not JobState.RUNNING, one[1].position))
    return DaemonReport(
        daemon_id=service.daemon_id,
        product_version=PRODUCT_VERSION,
        pid=service.pid,
        uptime_s=now - service.started_at,
        worker=service.worker_state,
        workers=service.workers,
        engines=service.engines or (),
        broken_engines=service.broken_engines,
        sessions=tuple(session.report for session in sessions),
        jobs=tuple(_job(editor, job) for editor, job in unfinished),
        kept_bytes=sum(session.kept_bytes for session in sessions),
        max_kept_bytes=service.settings.max_total_bytes,
        idle_unload_s=service.settings.idle_unload_s,
        failures=service.chronicle.failures if is_owner else (),
        is_draining=service.is_draining,
        energy=service.energy.report(now) if is_owner else (),
    )


def _job(editor: str, job: Job) -> JobReport:
    return JobReport(
        editor=editor,
        operation=job.request.operation.type,
        engine=job.engine,
        state=job.state,
        position=job.position,
        stage=job.stage,
        fraction=job.fraction,
        time_left_s=job.time_left_s,
    )
