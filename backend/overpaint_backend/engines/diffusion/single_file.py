"""A pipeline from a single-file checkpoint, offline."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from overpaint_backend.models.manifest import InstalledModel
from overpaint_backend.models.safetensors_header import read_header
from overpaint_backend.models.single_file import write_configs

__all__ = ["load_single_file"]


def load_single_file(
    model: InstalledModel, pipeline_class: Any, dtype: torch.dtype, options: dict[str, Any]
) -> Any:
    """Load a model of kind "single-file" into main memory.

    Args:
        model: of a family in ``models.single_file.RUNNABLE_FAMILIES``.
        pipeline_class: diffusers' class to make.
        dtype: of the weights.
        options: further arguments of the class, such as ``safety_checker``.

    Raises:
        ModelRefused: the checkpoint is not built as those of its kind are.
        OSError, ValueError, KeyError: what diffusers raises for files that do not fit.
    """
    with tempfile.TemporaryDirectory(prefix="overpaint-") as folder:
        write_configs(read_header(model.path).tensors, model.family, Path(folder))
        return pipeline_class.from_single_file(
            str(model.path), config=folder, local_files_only=True, torch_dtype=dtype, **options
        )
