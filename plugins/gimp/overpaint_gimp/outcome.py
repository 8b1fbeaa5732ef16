"""What GIMP tells the artist about results that are in the image."""

from __future__ import annotations

from gi.repository import Gimp

from overpaint_client.jobs import Job

__all__ = ["tell_outcome"]


def tell_outcome(job: Job) -> None:
    """Show why some of the variants did not come and what the daemon notes about those that did; nothing otherwise."""
    missing = () if job.error is None else (job.error.message,)
    if missing or job.notes:
        Gimp.message("\n".join((*missing, *job.notes)))
