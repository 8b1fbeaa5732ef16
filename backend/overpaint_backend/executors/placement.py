"""Which device each worker computes on, found without a library of machine learning: the daemon never loads one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

__all__ = ["Placement", "cuda_devices", "placements"]

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LOOK_S = 10.0
_UUID = re.compile(r"\(UUID: ((?:GPU|MIG)-[^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a worker computes. place: as in DeviceReport. environ: variables its process gets beside the daemon's."""

    place: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


def placements(workers: int | None, devices: Sequence[str]) -> list[Placement]:
    """Spread ``workers`` over the CUDA devices, one for each of these by default; 1 worker, placed nowhere, if there is none.

    devices: what ``cuda_devices`` gave. Where there is only one there is nothing to choose, and nobody is told.
    """
    count = workers or max(1, len(devices))
    if len(devices) < 2:
        return [Placement()] * count
    turns = [index % len(devices) for index in range(count)]
    return [Placement(f"cuda:{index}", {_VISIBLE: devices[index]}) for index in turns]


def cuda_devices(
    environ: Mapping[str, str] = os.environ, list_them: Callable[[], str] | None = None
) -> tuple[str, ...]:
    """The CUDA devices this process may use, each as ``CUDA_VISIBLE_DEVICES`` takes it.

    That variable decides if it is set, else ``nvidia-smi``; of a card that is cut into parts (MIG) each part counts, since a
    process can use one of them. Takes up to 10 s. list_them: gives what ``nvidia-smi -L`` prints.
    """
    visible = environ.get(_VISIBLE)
    if visible is not None:  # CUDA sees those before the first that is none
        names = (name.strip() for name in visible.split(","))
        return tuple(takewhile(lambda name: name not in ("", "-1"), names))
    found: list[str] = []
    for line in (list_them or _nvidia_smi)().splitlines():
        match = _UUID.search(line)
        if match is None:
            continue
        uuid = match[1]
        if uuid.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()  # the card it is a part of
        found.append(uuid)
    return tuple(found)


def _nvidia_smi() -> str:
    """What it prints; nothing where there is none, or no driver."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_LOOK_S,
            check=True,
            creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return listed.stdout.decode("utf-8", "replace")
