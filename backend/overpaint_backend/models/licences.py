"""The licences models come under, and whether what they make may be sold.

This is a reading aid, not legal advice; the text at ``url`` is what counts. Where a licence leaves it to who uses the
model (a limit on revenue, an agreement to be signed), ``commercial_use`` is None: the artist has to look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["LICENCES", "Licence", "describe_commercial_use", "licence_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """A licence.

    id: as model pages on the hub call it, in lower case. commercial_use: True, False, or None for "it depends" and
    "unknown". note: what limits it, a sentence or empty.
    """

    id: str
    title: str
    commercial_use: bool | None
    note: str = ""
    url: str = ""


_USES = "Some uses are forbidden, such as harming or deceiving people; the list is part of the licence."
_TABLE = (
    Licence(id="apache-2.0", title="Apache 2.0", commercial_use=True),
    Licence(id="mit", title="MIT", commercial_use=True),
    Licence(id="bsd-3-clause", title="BSD 3-Clause", commercial_use=True),
    Licence(id="cc0-1.0", title="CC0 1.0", commercial_use=True),
    Licence(
        id="cc-by-4.0", title="CC BY 4.0", commercial_use=True, note="The authors of the model must be named."
    ),
    Licence(id="cc-by-nc-4.0", title="CC BY-NC 4.0", commercial_use=False),
    Licence(
        id="creativeml-openrail-m",
        title="CreativeML OpenRAIL-M",
        commercial_use=True,
        note=_USES,
        url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    ),
    Licence(id="openrail++", title="CreativeML OpenRAIL++-M", commercial_use=True, note=_USES),
    Licence(
        id="stabilityai-ai-community",
        title="Stability AI Community Licence",
        commercial_use=None,
        note="Free up to a yearly revenue that the licence names; above it Stability AI sells one.",
        url="https://stability.ai/license",
    ),
    Licence(
        id="flux-1-dev-non-commercial-license",
        title="FLUX.1 [dev] Non-Commercial Licence",
        commercial_use=False,
        note="Black Forest Labs sells a licence for commercial use.",
        url="https://huggingface.co/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
    ),
    Licence(
        id="flux-non-commercial-license",
        title="FLUX Non-Commercial Licence",
        commercial_use=False,
        note="Black Forest Labs sells a licence for commercial use.",
    ),
    Licence(
        id="qwen-research",
        title="Qwen Research Licence",
        commercial_use=False,
        note="Commercial use needs an agreement with its makers.",
    ),
)
LICENCES: Mapping[str, Licence] = {licence.id: licence for licence in _TABLE}
"""Every licence known here, by id."""

_ALIASES = {
    "flux-1-dev-non-commercial": "flux-1-dev-non-commercial-license",
    "flux-dev-non-commercial-license": "flux-non-commercial-license",
    "stabilityai-nc-research-community": "stabilityai-ai-community",
    "stable-diffusion-community": "stabilityai-ai-community",
    "openrail": "creativeml-openrail-m",
}


def licence_for(name: str) -> Licence:
    """The licence called ``name``, in any case; one of unknown commercial use if nobody here knows it."""
    key = name.strip().lower()
    key = _ALIASES.get(key, key)
    if key in LICENCES:
        return LICENCES[key]
    if key in ("", "other", "unknown"):
        return Licence(
            id="unknown",
            title="not stated",
            commercial_use=None,
            note="Look where the model comes from before you sell what it made.",
        )
    return Licence(
        id=key,
        title=name.strip(),
        commercial_use=None,
        note="Overpaint does not know this licence; read it before you sell what the model made.",
    )


def describe_commercial_use(commercial_use: bool | None) -> str:
    """Yes, no or ask, for a table."""
    return {True: "yes", False: "no", None: "read the licence"}[commercial_use]
