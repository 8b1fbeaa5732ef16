"""The families of models Overpaint can run, one record each; nothing else in the code knows an architecture.

Classes are named, not imported, so that reading this costs nothing. Sizes, classes and defaults are those of
diffusers 0.42 and of the model cards; counts of parameters are rounded and serve for telling what fits where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

__all__ = [
    "BYTES_PER_WEIGHT",
    "FAMILIES",
    "Family",
    "FewStep",
    "LatentLayout",
    "MaskConvention",
    "Pipelines",
    "family_of_index",
]

BYTES_PER_WEIGHT: Mapping[str, int] = MappingProxyType(
    {"float32": 4, "bfloat16": 2, "float16": 2, "float8": 1}
)


class MaskConvention(StrEnum):
    """How a family is told where to paint. To all of them 1 (white) means paint, 0 keep, and nothing lies between."""

    CHANNELS = "channels"
    """The network sees the mask and the picture without the hole: it was trained to fill."""
    LATENTS = "latents"
    """The network knows no mask; what is outside is put back after each step."""
    CONTROL = "control"
    """A ControlNet beside the network sees the mask and the picture without the hole."""


class LatentLayout(StrEnum):
    """The form in which a pipeline hands out the latents between its steps."""

    SPATIAL = "spatial"
    """(batch, channels, height, width)"""
    PACKED = "packed"
    """(batch, height/2 x width/2, channels x 4): each token holds 2 x 2 latents, channel first."""
    PATCHED = "patched"
    """(batch, height x width, channels): latents that the autoencoder's side has patched already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipelines:
    """Names of diffusers' classes by what they are for; empty where a family has none.

    paint: takes a picture and a mask; does fill, remove and expand. controlled: the same with a ControlNet for
    inpainting, used when the model's folder has one or one is installed. controlnet: the class of such a ControlNet.
    edit: follows an instruction. text: paints from a prompt alone.
    """

    paint: str
    controlled: str = ""
    controlnet: str = ""
    edit: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewStep:
    """A way to fewer steps: an adapter by name, the steps it was made for, and the guidance it wants."""

    name: str
    steps: int
    guidance: float
    scheduler: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What has to be known about an architecture to paint with it.

    id, title: stable name, and the one for people.
    pipelines: diffusers' classes.
    main: the component that does the steps, ``unet`` or ``transformer``.
    autoencoder: the component between pixels and latents.
    text_encoding: the method that turns a prompt into conditioning, as a dotted path from the pipeline. Its results
        are kept, so that a re-roll does not encode again.
    native_px: side of the square the family was trained on. multiple_px: what both sides must be divisible by.
    mask: how it is told where to paint. controlled_mask: the same when a ControlNet is at hand.
    trained_to_fill: false if it only has its latents masked, so that the hole wants something to start from.
    guidance_argument: which argument of the pipeline's call the guidance is; empty if there is none that does anything.
    guidance: its default. no_guidance: the value at and below which the negative prompt does nothing.
    follows_negative: whether a negative prompt changes something at the defaults.
    takes_negative: whether the pipeline's call has that argument at all.
    steps: the default. is_few_step: it was distilled to that count, so that a lower strength must not lower it.
    scheduler: diffusers' class the family is sampled with; the model's own is used where it brings one.
    strength: default of how far the hole is changed, 0 to 1; None if the pipeline has no such argument.
    remove_strength: the same for what starts from a hole that was filled without a model before.
    controlled_arguments: what a controlled pipeline calls the picture and the mask, where it is not image and
        mask_image.
    neutral_control: what a controlled pipeline calls a drawing to follow, for which an even grey stands.
    has_controlnets: whether ControlNets for structure exist for it.
    layout: of the latents between steps.
    lora_base: what its LoRAs are made for; families with the same one share them. Empty if it takes none.
    batched: whether its pipelines make several pictures, each of a seed of its own, in one call. controlled_batched: the
        same with a ControlNet.
    few_step: known ways to fewer steps.
    references: pictures it can be shown beside the one to change.
    has_alpha: whether it paints transparency.
    parameters: of all components together. largest: of the largest one, which must fit when others wait elsewhere.
    licence: name of the original weights' licence. commercial_use: whether it allows that; None if it depends.
    extra: further arguments of every call.
    main_config: what the pipelines read from the main component's config although its class does not write it.
    """

    id: str
    title: str
    pipelines: Pipelines
    main: str
    autoencoder: str = "vae"
    text_encoding: str = "encode_prompt"
    native_px: int
    multiple_px: int
    mask: MaskConvention
    controlled_mask: MaskConvention | None = None
    trained_to_fill: bool
    guidance_argument: str = "guidance_scale"
    guidance: float
    no_guidance: float = 1.0
    follows_negative: bool
    takes_negative: bool = True
    steps: int
    is_few_step: bool = False
    scheduler: str
    strength: float | None = 1.0
    remove_strength: float | None = 0.85
    controlled_arguments: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    neutral_control: str = ""
    has_controlnets: bool = False
    layout: LatentLayout = LatentLayout.SPATIAL
    lora_base: str = ""
    batched: bool = True
    controlled_batched: bool = True
    few_step: tuple[FewStep, ...] = ()
    references: int = 0
    has_alpha: bool = False
    parameters: float
    largest: float
    licence: str
    commercial_use: bool | None
    extra: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    main_config: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def cell_px(self) -> int:
        """Side of the square that can only be painted or kept as a whole."""
        return 8 if self.layout is LatentLayout.SPATIAL else 16

    def mask_convention(self, is_controlled: bool) -> MaskConvention:
        """How a model of the family is told where to paint, with or without a ControlNet."""
        return (self.controlled_mask if is_controlled else None) or self.mask

    def takes_strength(self, is_controlled: bool) -> bool:
        """Whether a model of the family can stay near what is there, with or without a ControlNet."""
        return self.strength is not None and self.mask_convention(is_controlled) is not MaskConvention.CONTROL

    def makes_batches(self, is_controlled: bool) -> bool:
        """Whether a model of the family can make several pictures in one call, with or without a ControlNet."""
        return self.controlled_batched if is_controlled else self.batched

    def memory_bytes(self, dtype: str) -> int:
        """Bytes of all weights in ``dtype``, a key of BYTES_PER_WEIGHT."""
        return round(self.parameters * BYTES_PER_WEIGHT[dtype])


_B = 1e9
_LCM = FewStep(name="LCM-LoRA", steps=6, guidance=1.5, scheduler="LCMScheduler")
_FLUX_TURBO = FewStep(name="FLUX.1 turbo LoRA", steps=8, guidance=3.5)
_QWEN_LIGHTNING = FewStep(name="Qwen-Image Lightning LoRA", steps=8, guidance=1.0)
_FLOW = "FlowMatchEulerDiscreteScheduler"

_ALL = (
    Family(
        id="sd15-inpaint",
        title="Stable Diffusion 1.5 inpainting",
        pipelines=Pipelines(paint="StableDiffusionInpaintPipeline"),
        main="unet",
        native_px=512,
        multiple_px=16,
        mask=MaskConvention.CHANNELS,
        has_controlnets=True,
        trained_to_fill=True,
        guidance=7.5,
        follows_negative=True,
        steps=25,
        scheduler="DPMSolverMultistepScheduler",
        lora_base="sd15",
        few_step=(_LCM,),
        parameters=1.07 * _B,
        largest=0.86 * _B,
        licence="CreativeML OpenRAIL-M",
        commercial_use=True,
    ),
    Family(
        id="sd15",
        title="Stable Diffusion 1.5",
        pipelines=Pipelines(
            paint="StableDiffusionInpaintPipeline",
            text="StableDiffusionPipeline",
        ),
        main="unet",
        native_px=512,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        has_controlnets=True,
        trained_to_fill=False,
        guidance=7.5,
        follows_negative=True,
        steps=25,
        scheduler="DPMSolverMultistepScheduler",
        strength=0.9,
        lora_base="sd15",
        few_step=(_LCM,),
        parameters=1.07 * _B,
        largest=0.86 * _B,
        licence="CreativeML OpenRAIL-M",
        commercial_use=True,
    ),
    Family(
        id="sdxl-inpaint",
        title="Stable Diffusion XL inpainting",
        pipelines=Pipelines(paint="StableDiffusionXLInpaintPipeline"),
        main="unet",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.CHANNELS,
        has_controlnets=True,
        trained_to_fill=True,
        guidance=7.5,
        follows_negative=True,
        steps=25,
        scheduler="EulerDiscreteScheduler",
        # At 1 the published weights leave artifacts; the pipeline's own default is just below.
        strength=0.9999,
        lora_base="sdxl",
        few_step=(_LCM,),
        parameters=3.47 * _B,
        largest=2.57 * _B,
        licence="CreativeML OpenRAIL++-M",
        commercial_use=True,
    ),
    Family(
        id="sdxl",
        title="Stable Diffusion XL",
        pipelines=Pipelines(
            paint="StableDiffusionXLInpaintPipeline",
            text="StableDiffusionXLPipeline",
        ),
        main="unet",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        has_controlnets=True,
        trained_to_fill=False,
        guidance=7.0,
        follows_negative=True,
        steps=25,
        scheduler="EulerDiscreteScheduler",
        strength=0.9,
        lora_base="sdxl",
        few_step=(
            _LCM,
            FewStep(name="SDXL-Lightning LoRA", steps=4, guidance=1.0, scheduler="EulerDiscreteScheduler"),
        ),
        parameters=3.47 * _B,
        largest=2.57 * _B,
        licence="CreativeML OpenRAIL++-M",
        commercial_use=True,
    ),
    Family(
        id="sd3",
        title="Stable Diffusion 3",
        pipelines=Pipelines(
            paint="StableDiffusion3InpaintPipeline",
            text="StableDiffusion3Pipeline",
        ),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        has_controlnets=True,
        trained_to_fill=False,
        guidance=7.0,
        follows_negative=True,
        steps=28,
        scheduler=_FLOW,
        strength=0.9,
        lora_base="sd3",
        parameters=7.7 * _B,
        largest=4.76 * _B,
        licence="Stability AI Community License",
        commercial_use=None,
    ),
    Family(
        id="flux1-fill",
        title="FLUX.1 Fill [dev]",
        pipelines=Pipelines(paint="FluxFillPipeline"),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.CHANNELS,
        trained_to_fill=True,
        guidance=30.0,
        follows_negative=False,
        takes_negative=False,
        steps=30,
        scheduler=_FLOW,
        layout=LatentLayout.PACKED,
        lora_base="flux1",
        few_step=(_FLUX_TURBO,),
        parameters=16.9 * _B,
        largest=11.9 * _B,
        licence="FLUX.1 [dev] Non-Commercial License",
        commercial_use=False,
    ),
    Family(
        id="flux1-dev",
        title="FLUX.1 [dev]",
        pipelines=Pipelines(paint="FluxInpaintPipeline", text="FluxPipeline"),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        has_controlnets=True,
        trained_to_fill=False,
        guidance=3.5,
        follows_negative=False,
        takes_negative=False,
        steps=28,
        scheduler=_FLOW,
        strength=0.9,
        layout=LatentLayout.PACKED,
        lora_base="flux1",
        few_step=(_FLUX_TURBO,),
        parameters=16.9 * _B,
        largest=11.9 * _B,
        licence="FLUX.1 [dev] Non-Commercial License",
        commercial_use=False,
    ),
    Family(
        id="flux1-schnell",
        title="FLUX.1 [schnell]",
        pipelines=Pipelines(paint="FluxInpaintPipeline", text="FluxPipeline"),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        trained_to_fill=False,
        guidance_argument="",
        guidance=1.0,
        follows_negative=False,
        takes_negative=False,
        steps=4,
        is_few_step=True,
        scheduler=_FLOW,
        strength=0.9,
        layout=LatentLayout.PACKED,
        lora_base="flux1",
        parameters=16.9 * _B,
        largest=11.9 * _B,
        licence="Apache-2.0",
        commercial_use=True,
    ),
    Family(
        id="flux2-klein",
        title="FLUX.2 [klein] 4B",
        pipelines=Pipelines(
            paint="Flux2KleinInpaintPipeline", edit="Flux2KleinPipeline", text="Flux2KleinPipeline"
        ),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        trained_to_fill=False,
        guidance_argument="",  # the distilled weights ignore it
        guidance=1.0,
        follows_negative=False,
        takes_negative=False,
        steps=4,
        is_few_step=True,
        scheduler=_FLOW,
        strength=0.9,
        layout=LatentLayout.PATCHED,
        lora_base="flux2-klein",
        references=4,
        parameters=8.0 * _B,
        largest=4.0 * _B,
        licence="Apache-2.0",
        commercial_use=True,
    ),
    Family(
        id="qwen-image",
        title="Qwen-Image",
        pipelines=Pipelines(
            paint="QwenImageInpaintPipeline",
            controlled="QwenImageControlNetInpaintPipeline",
            controlnet="QwenImageControlNetModel",
            text="QwenImagePipeline",
        ),
        main="transformer",
        native_px=1328,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        controlled_mask=MaskConvention.CONTROL,
        has_controlnets=True,
        trained_to_fill=False,
        guidance_argument="true_cfg_scale",
        guidance=4.0,
        follows_negative=True,
        steps=30,
        scheduler=_FLOW,
        strength=0.9,
        controlled_arguments=MappingProxyType({"image": "control_image", "mask_image": "control_mask"}),
        layout=LatentLayout.PACKED,
        lora_base="qwen-image",
        few_step=(_QWEN_LIGHTNING,),
        parameters=28.8 * _B,
        largest=20.4 * _B,
        licence="Apache-2.0",
        commercial_use=True,
    ),
    Family(
        id="qwen-image-edit",
        title="Qwen-Image-Edit",
        pipelines=Pipelines(paint="QwenImageEditInpaintPipeline", edit="QwenImageEditPlusPipeline"),
        main="transformer",
        native_px=1024,
        # The pipelines round the picture to change so; if the result were rounded otherwise, it would be shifted.
        multiple_px=32,
        mask=MaskConvention.LATENTS,
        trained_to_fill=False,
        guidance_argument="true_cfg_scale",
        guidance=4.0,
        follows_negative=True,
        steps=30,
        scheduler=_FLOW,
        strength=0.9,
        layout=LatentLayout.PACKED,
        lora_base="qwen-image",
        few_step=(_QWEN_LIGHTNING,),
        references=3,
        parameters=28.8 * _B,
        largest=20.4 * _B,
        licence="Apache-2.0",
        commercial_use=True,
    ),
    Family(
        id="z-image",
        title="Z-Image",
        pipelines=Pipelines(
            paint="ZImageInpaintPipeline",
            controlled="ZImageControlNetInpaintPipeline",
            controlnet="ZImageControlNetModel",
            text="ZImagePipeline",
        ),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        controlled_mask=MaskConvention.CONTROL,
        neutral_control="control_image",
        controlled_batched=False,
        has_controlnets=True,
        trained_to_fill=False,
        guidance=5.0,
        no_guidance=0.0,
        follows_negative=True,
        steps=40,
        scheduler=_FLOW,
        strength=0.9,
        lora_base="z-image",
        parameters=10.3 * _B,
        largest=6.15 * _B,
        licence="Apache-2.0",
        commercial_use=True,
    ),
    Family(
        id="z-image-turbo",
        title="Z-Image-Turbo",
        pipelines=Pipelines(
            paint="ZImageInpaintPipeline",
            controlled="ZImageControlNetInpaintPipeline",
            controlnet="ZImageControlNetModel",
            text="ZImagePipeline",
        ),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        controlled_mask=MaskConvention.CONTROL,
        neutral_control="control_image",
        controlled_batched=False,
        has_controlnets=True,
        trained_to_fill=False,
        guidance=0.0,
        no_guidance=0.0,
        follows_negative=False,
        steps=8,
        is_few_step=True,
        scheduler=_FLOW,
        strength=0.9,
        lora_base="z-image",
        parameters=10.3 * _B,
        largest=6.15 * _B,
        licence="Apache-2.0",
        commercial_use=True,
    ),
    Family(
        id="chroma",
        title="Chroma",
        pipelines=Pipelines(paint="ChromaInpaintPipeline", text="ChromaPipeline"),
        main="transformer",
        native_px=1024,
        multiple_px=16,
        mask=MaskConvention.LATENTS,
        trained_to_fill=False,
        guidance=5.0,
        follows_negative=True,
        steps=28,
        scheduler=_FLOW,
        strength=0.9,
        layout=LatentLayout.PACKED,
        lora_base="chroma",
        parameters=13.7 * _B,
        largest=8.9 * _B,
        licence="Apache-2.0",
        commercial_use=True,
        main_config=MappingProxyType({"guidance_embeds": False}),
    ),
    Family(
        id="kandinsky22",
        title="Kandinsky 2.2 inpainting",
        pipelines=Pipelines(paint="KandinskyV22InpaintCombinedPipeline"),
        main="unet",
        autoencoder="movq",
        text_encoding="prior_pipe._encode_prompt",
        native_px=512,
        multiple_px=64,
        mask=MaskConvention.CHANNELS,
        trained_to_fill=True,
        guidance=4.0,
        follows_negative=True,
        steps=50,
        scheduler="DDPMScheduler",
        strength=None,
        remove_strength=None,
        batched=False,
        parameters=4.9 * _B,
        largest=1.84 * _B,
        licence="Apache-2.0",
        commercial_use=True,
    ),
)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.id: family for family in _ALL})
"""Every family by its id."""

_PLAIN_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "StableDiffusion3": "sd3",
        "FluxFill": "flux1-fill",
        "Flux2Klein": "flux2-klein",
        "QwenImageEdit": "qwen-image-edit",
        "QwenImage": "qwen-image",
        "Chroma": "chroma",
        "KandinskyV22": "kandinsky22",
    }
)
"""Beginnings of pipeline class names that settle the family; longer ones come before those they start with."""

_FILL_CHANNELS = 384
"""Of FLUX.1 Fill's transformer: 64 of noise, 64 of the picture, 256 of the mask."""
_INPAINT_CHANNELS = 9
"""Of an inpainting UNet: 4 of noise, 4 of the picture, 1 of the mask."""
_TURBO_SHIFT = 3.0
"""Z-Image-Turbo's scheduler shifts by 3, Z-Image's by 6; the networks are the same."""


def family_of_index(
    index: Mapping[str, Any], read_config: Callable[[str], Mapping[str, Any]]
) -> Family | None:
    """The family of a diffusers folder.

    Args:
        index: what its ``model_index.json`` says.
        read_config: gives the config of a component, by the component's name in ``index``.

    Returns:
        The family, or None if it is none of them.

    Raises:
        OSError, ValueError: what ``read_config`` raises for a component without a readable config.
    """
    name = str(index.get("_class_name", ""))
    if "Layered" in name or "Kontext" in name or "Img2Vid" in name:
        return None
    for start, family_id in _PLAIN_CLASSES.items():
        if name.startswith(start):
            return FAMILIES[family_id]
    if name.startswith("ZImage"):
        shift = read_config("scheduler").get("shift")
        return FAMILIES["z-image-turbo" if shift == _TURBO_SHIFT else "z-image"]
    if name.startswith("Flux") and not name.startswith(("Flux2", "Flux3")):
        config = read_config("transformer")
        if config.get("in_channels") == _FILL_CHANNELS:
            return FAMILIES["flux1-fill"]
        return FAMILIES["flux1-dev" if config.get("guidance_embeds") else "flux1-schnell"]
    if name.startswith(("StableDiffusionXL", "StableDiffusion")):
        base = "sdxl" if name.startswith("StableDiffusionXL") else "sd15"
        can_fill = read_config("unet").get("in_channels") == _INPAINT_CHANNELS
        return FAMILIES[f"{base}-inpaint" if can_fill else base]
    return None
