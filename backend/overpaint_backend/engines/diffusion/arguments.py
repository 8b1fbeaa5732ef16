"""What a pipeline of diffusers is called with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from overpaint_backend.engines.base import FillRequest
from overpaint_backend.models.families import Family

from .start import Start, Task

__all__ = ["call_arguments"]

_NEUTRAL_GREY = 128


def call_arguments(
    request: FillRequest,
    seeds: Sequence[int],
    start: Start,
    family: Family,
    accepted: Collection[str],
    *,
    is_controlled: bool,
) -> dict[str, Any]:
    """The arguments of a call, apart from its listeners.

    Args:
        request: what to paint.
        seeds: one for each picture to make of it.
        start: what to begin with.
        family: of the model.
        accepted: names of the arguments the pipeline for ``start.task`` has.
        is_controlled: whether that pipeline has a ControlNet.
    """
    frame = start.frame
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    arguments: dict[str, Any] = {
        **family.extra,
        **_pictures(start, family, is_controlled=is_controlled),
        "prompt": request.prompt,
        "height": frame.work.height,
        "width": frame.work.width,
        "num_inference_steps": start.steps,
        "generator": generators if len(seeds) > 1 else generators[0],
        "num_images_per_prompt": len(seeds),
        "output_type": "np",
    }
    if start.strength is not None and "strength" in accepted:
        arguments["strength"] = start.strength
    if family.guidance_argument:
        guidance = request.settings.guidance
        arguments[family.guidance_argument] = family.guidance if guidance is None else guidance
    if family.takes_negative:
        # Some pipelines guide only if they are given a negative prompt, be it as good as empty.
        arguments["negative_prompt"] = request.negative_prompt or " "
    return arguments


def _pictures(start: Start, family: Family, *, is_controlled: bool) -> dict[str, Image.Image]:
    if start.task is Task.TEXT:
        return {}
    picture = Image.fromarray(np.rint(start.picture * 255).astype(np.uint8))
    if start.task is Task.EDIT:
        return {"image": picture}
    names = family.controlled_arguments if is_controlled else {}
    pictures = {
        names.get("image", "image"): picture,
        names.get("mask_image", "mask_image"): Image.fromarray(start.mask.astype(np.uint8) * 255),
    }
    if is_controlled and family.neutral_control:
        pictures[family.neutral_control] = Image.new("RGB", picture.size, (_NEUTRAL_GREY,) * 3)
    return pictures
