"""Models known to work, by a short name, so that nobody has to know the hub.

``revision`` is a commit where one was pinned and "main" where none was: whatever the branch holds on the day of the
download is then resolved to its commit, shown, and kept in the manifest. Sizes come from the hub before a download.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .licences import Licence, licence_for

__all__ = ["CATALOG", "KnownModel", "command_for", "title_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model on the hub.

    bytes: of what would be downloaded, None if nobody measured it. is_gated: the hub wants an account and one's consent.
    """

    id: str
    title: str
    repo: str
    family: str
    licence_id: str
    revision: str = "main"
    bytes: int | None = None
    is_gated: bool = False

    @property
    def licence(self) -> Licence:
        """Its licence."""
        return licence_for(self.licence_id)


_TABLE = (
    KnownModel(
        id="sd15-inpaint",
        title="Stable Diffusion 1.5 inpainting",
        repo="stable-diffusion-v1-5/stable-diffusion-inpainting",
        family="sd15-inpaint",
        licence_id="creativeml-openrail-m",
    ),
    KnownModel(
        id="sd15",
        title="Stable Diffusion 1.5",
        repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
        family="sd15",
        licence_id="creativeml-openrail-m",
    ),
    KnownModel(
        id="sdxl-inpaint",
        title="Stable Diffusion XL inpainting 0.1",
        repo="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        family="sdxl-inpaint",
        licence_id="openrail++",
    ),
    KnownModel(
        id="sdxl",
        title="Stable Diffusion XL 1.0",
        repo="stabilityai/stable-diffusion-xl-base-1.0",
        family="sdxl",
        licence_id="openrail++",
    ),
    KnownModel(
        id="sd3-medium",
        title="Stable Diffusion 3 medium",
        repo="stabilityai/stable-diffusion-3-medium-diffusers",
        family="sd3",
        licence_id="stabilityai-ai-community",
        is_gated=True,
    ),
    KnownModel(
        id="flux1-fill",
        title="FLUX.1 Fill [dev]",
        repo="black-forest-labs/FLUX.1-Fill-dev",
        family="flux1-fill",
        licence_id="flux-1-dev-non-commercial-license",
        is_gated=True,
    ),
    KnownModel(
        id="flux1-dev",
        title="FLUX.1 [dev]",
        repo="black-forest-labs/FLUX.1-dev",
        family="flux1-dev",
        licence_id="flux-1-dev-non-commercial-license",
        is_gated=True,
    ),
    KnownModel(
        id="flux1-schnell",
        title="FLUX.1 [schnell]",
        repo="black-forest-labs/FLUX.1-schnell",
        family="flux1-schnell",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="flux2-klein",
        title="FLUX.2 [klein] 4B",
        repo="black-forest-labs/FLUX.2-klein-4B",
        family="flux2-klein",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="qwen-image",
        title="Qwen-Image",
        repo="Qwen/Qwen-Image",
        family="qwen-image",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="qwen-image-edit",
        title="Qwen-Image-Edit",
        repo="Qwen/Qwen-Image-Edit",
        family="qwen-image-edit",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="qwen-image-edit-2511",
        title="Qwen-Image-Edit 2511",
        repo="Qwen/Qwen-Image-Edit-2511",
        family="qwen-image-edit",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="z-image",
        title="Z-Image",
        repo="Tongyi-MAI/Z-Image",
        family="z-image",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="z-image-turbo",
        title="Z-Image-Turbo",
        repo="Tongyi-MAI/Z-Image-Turbo",
        family="z-image-turbo",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="chroma1-hd",
        title="Chroma1-HD",
        repo="lodestones/Chroma1-HD",
        family="chroma",
        licence_id="apache-2.0",
    ),
)
CATALOG: Mapping[str, KnownModel] = {model.id: model for model in _TABLE}
"""Every known model, by id."""


def title_for(name: str) -> str:
    """A title for people from a file's or repository's name."""
    return " ".join(name.replace("_", " ").split()) or name


def command_for(model_id: str) -> str:
    """What to type to get a model of that id."""
    if model_id in CATALOG:
        return f"overpaint models add {model_id}"
    return f"overpaint models import FILE --id {model_id}"
