"""Requests for the toys, and what is looked at inside of their sessions."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import torch

from overpaint_backend.engines.base import FillRequest, GenerationSettings, OperationName

HOLE = np.s_[16:48, 16:48]
STAGES = {"text": "text_encoder", "encode": "vae.encoder", "sample": "unet", "decode": "vae.decoder"}
"""What can run out of memory in a Stable Diffusion, by the name of the component that then does."""
SMALL_EDITS = {
    "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_inpaint": (64, 64, None),
    "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus": (64, 64),
}
"""What ``calculate_dimensions`` of Qwen's pipelines that edit has to say for them to work at the toys' size; they do at a
megapixel whatever they are asked for."""


def request(**changes):
    """A request to fill HOLE in 64 x 64 pixels; fields by keyword."""
    mask = np.zeros((64, 64), np.float32)
    mask[HOLE] = 1
    fields = {
        "image": np.random.default_rng(1).random((64, 64, 3), np.float32) * 0.5 + 0.25,
        "mask": mask,
        "known": np.ones((64, 64), np.bool_),
        "operation": OperationName.FILL,
        "prompt": "a red door",
        "settings": GenerationSettings(steps=4),
        "seed": 5,
        **changes,
    }
    return FillRequest(**fields)


def fill(session, **changes):
    """The picture that ``request(**changes)`` gives."""
    return session.fill(request(**changes), lambda step: None).image


def part_of(session, path):
    """A component of the session's pipeline, or a part of one."""
    part = session._model._pipeline
    for name in path.split("."):
        part = getattr(part, name)
    return part


def count_encodings(session):
    """Counts what the text encoders and the encoder of the autoencoder do from now on, by component."""
    calls = {}
    for name, part in session._model._pipeline.components.items():
        if "text_encoder" in name:
            watched = part
        elif name in ("vae", "movq"):
            watched = part.encoder
        else:
            continue
        calls[name] = 0

        def note(module, arguments, name=name):
            calls[name] += 1

        watched.register_forward_pre_hook(note)
    return calls


class Starved:
    """Makes a component run out of memory as often as it is told."""

    def __init__(self, session, path, times):
        self.left = times
        self.hook = part_of(session, path).register_forward_pre_hook(self.fail)

    def fail(self, *arguments, **options):
        if self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. (not really)")


def live_bytes():
    """Bytes of all tensors that something still refers to."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some objects warn about being looked at
        tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
