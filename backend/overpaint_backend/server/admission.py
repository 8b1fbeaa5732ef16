"""How much clients may ask of the daemon at once. Beyond it the answer is ``capacity.busy``, with what to do.

Jobs and bytes are counted per session, per principal and in all, so that neither a plug-in with a defect nor another
machine keeps the others from being served. Messages are counted per principal; the daemon's own user, whose editors are all
one principal, has each connection counted by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from overpaint_backend.config import DaemonSettings
from overpaint_protocol.errors import CapacityError

from .sessions import LOCAL, Budget, Connection, Session

__all__ = ["Admission"]

_JOB_ENDS_S = 5.0
"""When it may be worth to ask again after too many jobs."""


class Admission:
    """Decides what is let in.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: DaemonSettings) -> None:
        self._settings = settings
        self._budgets: dict[object, Budget] = {}

    def check_message(self, connection: Connection, now: float) -> None:
        """Count a message.

        Raises:
            CapacityError: there were too many in too short a time.
        """
        who: object = connection.principal if connection.principal != LOCAL else connection.peer
        budget = self._budgets.get(who)
        if budget is None:
            settings = self._settings
            budget = self._budgets[who] = Budget(settings.max_messages_at_once, settings.max_messages_per_s)
        if not budget.take(now):
            raise CapacityError(
                "The plug-in sends more messages than the daemon can take. Restart the editor if this goes on.",
                retry_after_s=1.0,
            )

    def forget(self, connection: Connection) -> None:
        """The connection has ended. What another machine's principal has used up stays, or it could just connect again."""
        self._budgets.pop(connection.peer, None)

    def check_session(self, principal: str, sessions: Iterable[Session]) -> None:
        """Make sure that there is room for one more session of ``principal`` beside ``sessions``.

        Raises:
            CapacityError: too many are in use.
        """
        in_use = [session for session in sessions if session.is_in_use]
        own = sum(session.principal == principal for session in in_use)
        settings = self._settings
        if own >= settings.max_principal_sessions or len(in_use) >= settings.max_sessions:
            raise CapacityError("Too many editors use the daemon at once. Close one and try again.")

    def check_job(self, session: Session, sessions: Iterable[Session], byte_length: int) -> None:
        """Make sure that there is room for one more job of ``session``, whose pictures have ``byte_length``.

        Args:
            session: who asks.
            sessions: all there are.
            byte_length: of the pictures.

        Raises:
            CapacityError: there is none; the sentence says of what.
        """
        settings = self._settings
        everyone = list(sessions)
        own = [other for other in everyone if other.principal == session.principal]
        for group, most_jobs in (
            ([session], settings.max_jobs),
            (own, settings.max_principal_jobs),
            (everyone, settings.max_total_jobs),
        ):
            unfinished = sum(each.unfinished for each in group)
            if unfinished >= most_jobs:
                raise CapacityError(
                    f"{unfinished} jobs are waiting already, as many as allowed. "
                    "Wait until one is finished or cancel one.",
                    retry_after_s=_JOB_ENDS_S,
                )
        for group, most_bytes in (
            ([session], settings.max_kept_bytes),
            (own, settings.max_principal_bytes),
            (everyone, settings.max_total_bytes),
        ):
            if sum(each.kept_bytes for each in group) + byte_length > most_bytes:
                raise CapacityError(
                    "The daemon holds as many results as it has room for. Insert or discard the finished ones, then "
                    "ask again."
                )
        for group, most_bytes in (
            (own, settings.max_principal_held_bytes),
            (everyone, settings.max_held_bytes),
        ):
            if sum(each.held_bytes for each in group) + byte_length > most_bytes:
                raise CapacityError(
                    "The pictures of the jobs that wait fill the daemon's memory. Wait until some are done, then ask again.",
                    retry_after_s=_JOB_ENDS_S,
                )
