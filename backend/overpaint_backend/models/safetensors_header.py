"""Reading what a safetensors file holds without reading the tensors.

The format: 8 bytes little-endian length, so many bytes of JSON, then the data. Own code, because the daemon and the command
line look at files from anywhere and must do so without torch: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ModelRefused

__all__ = ["LENGTH_BYTES", "Header", "Tensor", "parse_header", "parse_length", "read_header"]

LENGTH_BYTES = 8
_MAX_HEADER_BYTES = 100_000_000
"""The reference implementation's limit."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's type, as the format names it ("F16"), and shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file announces. file_bytes: how long it is then. metadata: free text of whoever wrote it; never relied on."""

    tensors: Mapping[str, Tensor]
    file_bytes: int
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        ModelRefused: it is not a whole safetensors file, whatever its name.
    """
    try:
        with path.open("rb") as file:
            start = file.read(LENGTH_BYTES)
            _refuse_other_formats(start, path.name)
            header = parse_header(file.read(parse_length(start, path.name)), path.name)
        size = path.stat().st_size
    except OSError as error:
        raise ModelRefused(f"{path.name} cannot be read.", detail=str(error)) from error
    if size != header.file_bytes:
        raise ModelRefused(
            f"{path.name} is not whole: it has {size} bytes instead of {header.file_bytes}. Get it again."
        )
    return header


def parse_length(start: bytes, name: str) -> int:
    """The length of the JSON from the first eight bytes.

    Raises:
        ModelRefused: they are not a header's.
    """
    _refuse_other_formats(start, name)
    length = int.from_bytes(start, "little")
    if len(start) != LENGTH_BYTES or not 2 <= length <= _MAX_HEADER_BYTES:
        raise ModelRefused(f"{name} is not a safetensors file. Get the model in that format.")
    return length


def parse_header(raw: bytes, name: str) -> Header:
    """The header from its JSON.

    Raises:
        ModelRefused: it is not one.
    """
    try:
        plain: dict[str, Any] = json.loads(raw)
        metadata = plain.pop("__metadata__", {})
        tensors: dict[str, Tensor] = {}
        end = 0
        for key, entry in plain.items():
            shape = tuple(int(side) for side in entry["shape"])
            first, last = (int(offset) for offset in entry["data_offsets"])
            if min(shape, default=0) < 0 or not 0 <= first <= last:
                raise ValueError(key)
            tensors[key] = Tensor(str(entry["dtype"]), shape)
            end = max(end, last)
        texts = {str(key): str(value) for key, value in metadata.items()}
    # A deeply nested header raises RecursionError; every other wrong shape of it one of the others.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelRefused(
            f"{name} is not a safetensors file, or a damaged one. Get the model again.", detail=repr(error)
        ) from error
    return Header(tensors, LENGTH_BYTES + len(raw) + end, texts)


def _refuse_other_formats(start: bytes, name: str) -> None:
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise ModelRefused(
            f"{name} is a pickle, as .ckpt, .pt and .bin files are: opening it could run any program that is hidden in it. "
            "Get the model as .safetensors."
        )
    if start.startswith(b"GGUF"):
        raise ModelRefused(
            f"{name} is a GGUF file, which Overpaint cannot run. Get the model as .safetensors."
        )
