"""Which files of a diffusers folder make up the model, on a disk or on the hub.

Only weights in safetensors and plain text are ever taken. A folder often has its weights several times (full, fp16,
pickled, for other programs): one set is chosen for each part, the smallest that is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .errors import ModelRefused

__all__ = ["PICKLES", "FolderFiles", "is_plain_text", "select_files", "select_part"]

PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth"})
"""Endings of formats that can run code when they are opened."""

_PLAIN = (".json", ".txt", ".jinja")
_WEIGHTS = re.compile(
    r"(?P<stem>model|diffusion_pytorch_model|pytorch_model)"
    r"(?:\.(?P<variant>fp16|bf16))?(?:-\d{5}-of-(?P<count>\d{5}))?(?:\.(?P<late_variant>fp16|bf16))?\.safetensors"
)
_NO_WEIGHTS = re.compile(r".*(scheduler|tokenizer(_\d)?|feature_extractor|processor)")


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files that make up a model. variant: what the names of the weights carry, "" for plain names."""

    paths: tuple[str, ...]
    variant: str


def is_plain_text(path: str) -> bool:
    """Whether a file of that name is configuration or vocabulary and may be taken."""
    return path.endswith(_PLAIN)


def select_files(sizes: Mapping[str, int], components: Iterable[str], name: str) -> FolderFiles:
    """Choose among the files of a folder.

    Args:
        sizes: bytes of every file in it, by path with slashes.
        components: the parts that ``model_index.json`` names.
        name: of the model, for the message alone.

    Raises:
        ModelRefused: a part has no safetensors, or not all of them.
    """
    chosen = ["model_index.json"]
    variant = ""
    for component in components:
        inside = [path for path in sizes if path.startswith(f"{component}/")]
        index_names = [path for path in inside if path.endswith(".index.json") or ".index." in path]
        chosen += [path for path in inside if is_plain_text(path) and path not in index_names]
        if _NO_WEIGHTS.fullmatch(component):
            continue
        weights, found = _whole_weights(inside, index_names, sizes)
        if not weights:
            raise ModelRefused(_refusal(component, inside, name))
        chosen += weights
        variant = variant or found
    return FolderFiles(tuple(sorted(set(chosen) & set(sizes))), variant)


def select_part(sizes: Mapping[str, int], name: str) -> FolderFiles:
    """Choose among the files of a folder that is one part of a model, with ``config.json`` beside its weights.

    Raises:
        ModelRefused: it has no safetensors, or not all of them.
    """
    inside = [path for path in sizes if "/" not in path]
    weights, variant = _whole_weights(inside, [path for path in inside if ".index." in path], sizes)
    if not weights:
        raise ModelRefused(_refusal("", inside, name))
    return FolderFiles(("config.json", *sorted(weights)), variant)


def _whole_weights(
    inside: Iterable[str], index_names: Iterable[str], sizes: Mapping[str, int]
) -> tuple[list[str], str]:
    """The weights among the files of a part and their variant; shards with their table, whose name varies likewise."""
    weights, variant = _weights(inside, sizes)
    if len(weights) > 1:
        weights += [
            path for path in index_names if _variant_of_index(path) == variant and ".safetensors." in path
        ]
    return weights, variant


def _weights(inside: Iterable[str], sizes: Mapping[str, int]) -> tuple[list[str], str]:
    sets: dict[tuple[str, str, int], list[str]] = {}
    for path in inside:
        folder, _, file = path.rpartition("/")
        match = _WEIGHTS.fullmatch(file)
        if match and "/" not in folder:
            variant = match["variant"] or match["late_variant"] or ""
            sets.setdefault((variant, match["stem"], int(match["count"] or 1)), []).append(path)
    whole = [
        (sum(sizes[path] for path in paths), key, paths)
        for key, paths in sets.items()
        if len(paths) == key[2]
    ]
    if not whole:
        return [], ""
    _, key, paths = min(whole)
    return paths, key[0]


def _variant_of_index(path: str) -> str:
    match = re.search(r"\.(fp16|bf16)\b", path)
    return match[1] if match else ""


def _refusal(component: str, inside: Iterable[str], name: str) -> str:
    endings = {"." + path.rpartition(".")[2] for path in inside}
    part = f"its part “{component}”" if component else "its weights"
    if endings & PICKLES and ".safetensors" not in endings:
        return (
            f"{name} has {part} only as a pickle (.bin, .ckpt or .pt): opening it could run any program that is hidden in "
            "it. Get the model as .safetensors."
        )
    missing = f"the weights of {part}" if component else part
    return f"{name} is not whole: {missing} are missing. Get it again."
