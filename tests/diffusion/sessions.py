"""Requests for the toys, and what is looked at inside of their sessions."""

from __future__ import annotations

import numpy as np
import torch

from overpaint_backend.engines.base import FillRequest, GenerationSettings, OperationName

HOLE = np.s_[16:48, 16:48]


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


class Starved:
    """Makes a component run out of memory as often as it is told."""

    def __init__(self, session, path, times):
        self.left = times
        self.hook = part_of(session, path).register_forward_pre_hook(self.fail)

    def fail(self, *arguments, **options):
        if self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. (not really)")
