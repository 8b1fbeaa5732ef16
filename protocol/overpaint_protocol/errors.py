"""Everything that can go wrong between an editor and the daemon, one class per code (spec §7).

::

    OverpaintError            code, message, detail, retry, action
    ├─ ProtocolError          protocol.malformed
    │  ├─ UnsupportedVersion  protocol.unsupported_version
    │  ├─ UnknownType         protocol.unknown_type
    │  ├─ HelloExpected       protocol.hello_expected
    │  └─ TooLarge            protocol.too_large
    ├─ AccessError            access.denied
    ├─ RequestError           request.invalid
    │  ├─ EmptySelection      request.empty_selection
    │  ├─ NoDocument          request.no_document
    │  ├─ UnsupportedFormat   request.unsupported_format
    │  ├─ UnknownEngine       request.unknown_engine
    │  ├─ UnknownRecipe       request.unknown_recipe
    │  ├─ UnsupportedOperation request.unsupported_operation
    │  ├─ UnknownJob          request.unknown_job
    │  └─ NothingToSample     request.nothing_to_sample
    ├─ ImageError             image.failed
    │  └─ InvalidImage        image.invalid
    ├─ CapacityError          capacity.busy
    │  └─ OutOfMemory         capacity.out_of_memory
    ├─ EngineError            engine.failed
    │  └─ EngineLost          engine.lost
    ├─ DaemonError            daemon.internal
    │  ├─ ShuttingDown        daemon.shutting_down
    │  └─ Unreachable         daemon.unreachable
    └─ LinkError              link.lost            (never on the wire)
       ├─ LinkRefused         link.refused
       ├─ LinkTimeout         link.timeout
       └─ DaemonNotRunning    link.not_running
          └─ DaemonStopped    link.stopped

``message`` is a sentence for the artist: what is wrong and what to do. ``detail`` is for the log. ``retry`` says
whether the same request may succeed later; ``action`` names a remedy a user interface can offer as a button.
Cancelling a job is not an error.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

__all__ = [
    "ERROR_TYPES",
    "AccessError",
    "CapacityError",
    "DaemonError",
    "DaemonNotRunning",
    "DaemonStopped",
    "EmptySelection",
    "EngineError",
    "EngineLost",
    "HelloExpected",
    "ImageError",
    "InvalidImage",
    "LinkError",
    "LinkRefused",
    "LinkTimeout",
    "NoDocument",
    "NothingToSample",
    "OutOfMemory",
    "OverpaintError",
    "ProtocolError",
    "RequestError",
    "Retry",
    "ShuttingDown",
    "TooLarge",
    "UnknownEngine",
    "UnknownJob",
    "UnknownRecipe",
    "UnknownType",
    "Unreachable",
    "UnsupportedFormat",
    "UnsupportedOperation",
    "UnsupportedVersion",
    "from_code",
]


class Retry(str, Enum):
    """Whether sending the same request again can help."""

    NEVER = "never"
    LATER = "later"
    AFTER_ACTION = "after_action"


class OverpaintError(Exception):
    """Base of all; also stands for a code this version does not know.

    message: a sentence for the artist, ending in a full stop.
    detail: technical facts for the log; may be empty; never pixels or prompts.
    retry_after_s: seconds after which the same request may succeed, None if that is not known.
    """

    code: str = "error"
    default_retry: ClassVar[Retry] = Retry.NEVER
    default_action: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        code: str | None = None,
        retry: Retry | None = None,
        action: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.code = code or type(self).code
        self.retry = retry or type(self).default_retry
        self.action = type(self).default_action if action is None else action
        self.retry_after_s = retry_after_s


class ProtocolError(OverpaintError):
    """The bytes received do not follow the protocol."""

    code = "protocol.malformed"


class UnsupportedVersion(ProtocolError):
    """The peers share no protocol version."""

    code = "protocol.unsupported_version"
    default_retry = Retry.AFTER_ACTION
    default_action = "update"


class UnknownType(ProtocolError):
    """The message has a type this peer does not know."""

    code = "protocol.unknown_type"


class HelloExpected(ProtocolError):
    """The connection has no session yet (or the daemon was restarted): say ``hello`` first."""

    code = "protocol.hello_expected"
    default_retry = Retry.LATER


class TooLarge(ProtocolError):
    """A message or a part of it exceeds a limit."""

    code = "protocol.too_large"


class AccessError(OverpaintError):
    """The token was not accepted, or the message is not for everybody who has one."""

    code = "access.denied"
    default_retry = Retry.AFTER_ACTION
    default_action = "restart_daemon"


class RequestError(OverpaintError):
    """The request is understood and cannot be done as it stands."""

    code = "request.invalid"


class EmptySelection(RequestError):
    """Nothing is selected inside the canvas."""

    code = "request.empty_selection"
    default_retry = Retry.AFTER_ACTION


class NoDocument(RequestError):
    """No image is open, or the one the request was about is closed."""

    code = "request.no_document"
    default_retry = Retry.AFTER_ACTION


class UnsupportedFormat(RequestError):
    """The document's color model or depth, or a file's format, cannot be used."""

    code = "request.unsupported_format"
    default_retry = Retry.AFTER_ACTION


class UnknownEngine(RequestError):
    """No engine of that name is installed."""

    code = "request.unknown_engine"


class UnknownRecipe(RequestError):
    """No recipe of that id, or one that cannot be used."""

    code = "request.unknown_recipe"


class UnsupportedOperation(RequestError):
    """The engine cannot do this operation."""

    code = "request.unsupported_operation"


class UnknownJob(RequestError):
    """The session has no such job. A job of another session answers the same."""

    code = "request.unknown_job"


class NothingToSample(RequestError):
    """The engine builds from surroundings and everything is selected."""

    code = "request.nothing_to_sample"
    default_retry = Retry.AFTER_ACTION


class ImageError(OverpaintError):
    """An image could not be read or written."""

    code = "image.failed"


class InvalidImage(ImageError):
    """An image's header and its bytes do not agree."""

    code = "image.invalid"


class CapacityError(OverpaintError):
    """The daemon has no room for the request now."""

    code = "capacity.busy"
    default_retry = Retry.LATER


class OutOfMemory(CapacityError):
    """The engine ran out of memory."""

    code = "capacity.out_of_memory"
    default_retry = Retry.AFTER_ACTION
    default_action = "reduce_size"


class EngineError(OverpaintError):
    """The engine failed."""

    code = "engine.failed"


class EngineLost(EngineError):
    """The process that ran the engine ended."""

    code = "engine.lost"
    default_retry = Retry.LATER


class DaemonError(OverpaintError):
    """A defect of the daemon; its log has more."""

    code = "daemon.internal"


class ShuttingDown(DaemonError):
    """The daemon is ending and takes no new jobs."""

    code = "daemon.shutting_down"
    default_retry = Retry.LATER


class Unreachable(DaemonError):
    """The daemon is on another machine, and the link there is down. Said by the relay on this one."""

    code = "daemon.unreachable"
    default_retry = Retry.LATER


class LinkError(OverpaintError):
    """The connection to the daemon broke (client side only)."""

    code = "link.lost"
    default_retry = Retry.LATER


class LinkRefused(LinkError):
    """Nothing listens at the daemon's address."""

    code = "link.refused"
    default_action = "start_daemon"


class LinkTimeout(LinkError):
    """The daemon did not answer in time."""

    code = "link.timeout"


class DaemonNotRunning(LinkError):
    """There is no connection file: no daemon runs for this user."""

    code = "link.not_running"
    default_retry = Retry.AFTER_ACTION
    default_action = "start_daemon"


class DaemonStopped(DaemonNotRunning):
    """No daemon runs, because the user stopped it: it is not to be started before the user asks for something."""

    code = "link.stopped"


def _tree(root: type[OverpaintError]) -> list[type[OverpaintError]]:
    return [root, *(cls for child in root.__subclasses__() for cls in _tree(child))]


ERROR_TYPES: dict[str, type[OverpaintError]] = {cls.code: cls for cls in _tree(OverpaintError)}
"""Every code and its class."""


def from_code(code: str) -> type[OverpaintError]:
    """The class of ``code``; for an unknown code that of its family (``engine.x``), else the base class."""
    if code in ERROR_TYPES:
        return ERROR_TYPES[code]
    family = code.split(".", 1)[0]
    for cls in OverpaintError.__subclasses__():
        if cls.code.split(".", 1)[0] == family:
            return cls
    return OverpaintError
