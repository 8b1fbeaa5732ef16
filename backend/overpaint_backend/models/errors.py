"""What can go wrong with models. The messages are for artists, as everywhere."""

from __future__ import annotations

from overpaint_protocol.errors import OverpaintError, Retry

__all__ = ["DownloadFailed", "ModelDamaged", "ModelError", "ModelRefused", "UnknownModel"]


class ModelError(OverpaintError):
    """A model could not be installed, changed or removed; what was installed before is as it was."""

    code = "model.failed"
    default_retry = Retry.AFTER_ACTION


class ModelRefused(ModelError):
    """The file or folder is not a model that Overpaint can run, or not one that is safe to load."""

    code = "model.refused"
    default_retry = Retry.NEVER


class UnknownModel(ModelError):
    """No model of that id is installed or known."""

    code = "model.unknown"
    default_retry = Retry.NEVER


class ModelDamaged(ModelError):
    """The files are not what was installed."""

    code = "model.damaged"


class DownloadFailed(ModelError):
    """The hub did not deliver. What came is kept; the next attempt goes on from there."""

    code = "model.download_failed"
    default_retry = Retry.LATER
