"""Models known to work, by a short name, so that nobody has to know the hub.

``revision`` is a commit where one was pinned and "main" where none was: whatever the branch holds on the day of the
download is then resolved to its commit, shown, and kept in the manifest. The commits are those that the hub's own pages
and several public projects name for the repository; none of them was downloaded from here. Sizes come from the hub
before a download.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .licences import Licence, licence_for

__all__ = ["CATALOG", "KnownModel", "command_for", "title_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model on the hub, or a ControlNet for the models of a family.

    kind: as in the store, of what the download becomes. file: the one file of the repository that it is; empty if it is
    a folder. bytes: of that file, None if nobody said it. is_gated: the hub wants an account and one's consent.
    """

    id: str
    title: str
    repo: str
    family: str
    licence_id: str
    kind: str = "diffusers"
    file: str = ""
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
        revision="8a4288a76071f7280aedbdb3253bdb9e9d5d84bb",
    ),
    KnownModel(
        id="sd15",
        title="Stable Diffusion 1.5",
        repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
        family="sd15",
        licence_id="creativeml-openrail-m",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    ),
    KnownModel(
        id="sdxl-inpaint",
        title="Stable Diffusion XL inpainting 0.1",
        repo="diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        family="sdxl-inpaint",
        licence_id="openrail++",
        revision="115134f363124c53c7d878647567d04daf26e41e",
    ),
    KnownModel(
        id="sdxl",
        title="Stable Diffusion XL 1.0",
        repo="stabilityai/stable-diffusion-xl-base-1.0",
        family="sdxl",
        licence_id="openrail++",
        revision="462165984030d82259a11f4367a4eed129e94a7b",
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
        revision="3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
        is_gated=True,
    ),
    KnownModel(
        id="flux1-schnell",
        title="FLUX.1 [schnell]",
        repo="black-forest-labs/FLUX.1-schnell",
        family="flux1-schnell",
        licence_id="apache-2.0",
        revision="741f7c3ce8b383c54771c7003378a50191e9efe9",
        is_gated=True,
    ),
    KnownModel(
        id="flux2-klein",
        title="FLUX.2 [klein] 4B",
        repo="black-forest-labs/FLUX.2-klein-4B",
        family="flux2-klein",
        licence_id="apache-2.0",
        revision="e7b7dc27f91deacad38e78976d1f2b499d76a294",
    ),
    KnownModel(
        id="qwen-image",
        title="Qwen-Image",
        repo="Qwen/Qwen-Image",
        family="qwen-image",
        licence_id="apache-2.0",
        revision="75e0b4be04f60ec59a75f475837eced720f823b6",
    ),
    KnownModel(
        id="qwen-image-edit",
        title="Qwen-Image-Edit",
        repo="Qwen/Qwen-Image-Edit",
        family="qwen-image-edit",
        licence_id="apache-2.0",
        revision="ac7f9318f633fc4b5778c59367c8128225f1e3de",
    ),
    KnownModel(
        id="qwen-image-edit-2511",
        title="Qwen-Image-Edit 2511",
        repo="Qwen/Qwen-Image-Edit-2511",
        family="qwen-image-edit",
        licence_id="apache-2.0",
        revision="6f3ccc0b56e431dc6a0c2b2039706d7d26f22cb9",
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
        revision="f332072aa78be7aecdf3ee76d5c247082da564a6",
    ),
    KnownModel(
        id="chroma1-hd",
        title="Chroma1-HD",
        repo="lodestones/Chroma1-HD",
        family="chroma",
        licence_id="apache-2.0",
    ),
    KnownModel(
        id="qwen-image-controlnet",
        title="ControlNet for inpainting with Qwen-Image",
        repo="InstantX/Qwen-Image-ControlNet-Inpainting",
        family="qwen-image",
        licence_id="apache-2.0",
        kind="controlnet",
        bytes=4_230_000_000,
    ),
    KnownModel(
        id="z-image-controlnet",
        title="ControlNet for inpainting with Z-Image",
        repo="alibaba-pai/Z-Image-Fun-Controlnet-Union-2.1",
        family="z-image",
        licence_id="apache-2.0",
        kind="controlnet",
        file="Z-Image-Fun-Controlnet-Union-2.1.safetensors",
        bytes=6_710_000_000,
    ),
    KnownModel(
        id="z-image-turbo-controlnet",
        title="ControlNet for inpainting with Z-Image-Turbo",
        repo="alibaba-pai/Z-Image-Turbo-Fun-Controlnet-Union-2.1",
        family="z-image-turbo",
        licence_id="apache-2.0",
        kind="controlnet",
        file="Z-Image-Turbo-Fun-Controlnet-Union-2.1-2602-8steps.safetensors",
        revision="5155fc56d17821007d6f62ac192c09e0f0e72016",
        bytes=6_710_000_000,
    ),
    KnownModel(
        id="z-image-turbo-controlnet-lite",
        title="Light ControlNet for inpainting with Z-Image-Turbo",
        repo="alibaba-pai/Z-Image-Turbo-Fun-Controlnet-Union-2.1",
        family="z-image-turbo",
        licence_id="apache-2.0",
        kind="controlnet",
        file="Z-Image-Turbo-Fun-Controlnet-Union-2.1-lite-2602-8steps.safetensors",
        revision="5155fc56d17821007d6f62ac192c09e0f0e72016",
        bytes=2_020_000_000,
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
