"""Remembering what was encoded, so that painting again with the same prompt and context only samples."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from PIL import Image

__all__ = ["Memo", "memoize"]


class _Unkeyable(Exception):
    pass


class Memo:
    """Calls ``function`` once for equal arguments and gives the same result again.

    Pictures and tensors count as equal by content. Arguments of other kinds, such as a random generator, make a call
    that is not remembered.

    Args:
        function: what to call; its result must not be written to.
        max_kept: how many results are kept; the least recently used goes first.

    Attributes:
        scope: what the function depends on beside its arguments; results of another scope are kept apart.
    """

    def __init__(self, function: Callable[..., Any], max_kept: int) -> None:
        self._function = function
        self._max_kept = max_kept
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self.scope: Hashable = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result."""
        try:
            key = (self.scope, _key(args), _key(kwargs))
        except _Unkeyable:
            return self._function(*args, **kwargs)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        result = self._kept[key] = self._function(*args, **kwargs)
        if len(self._kept) > self._max_kept:
            self._kept.popitem(last=False)
        return result

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()


def memoize(owner: Any, path: str, max_kept: int) -> Memo:
    """Put a Memo in place of a method of one object; ``path`` leads there from ``owner``, with dots."""
    *steps, name = path.split(".")
    for step in steps:
        owner = getattr(owner, step)
    memo = Memo(getattr(owner, name), max_kept)
    setattr(owner, name, memo)
    return memo


def _key(value: Any) -> Hashable:
    if isinstance(value, torch.Tensor):
        plain = value.detach().to("cpu")
        data = plain.contiguous().view(torch.uint8) if plain.dim() else plain.reshape(1).view(torch.uint8)
        return ("tensor", str(value.dtype), str(value.device), tuple(value.shape), _digest(data.numpy()))
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, _digest(value))
    if isinstance(value, Image.Image):
        return ("image", value.mode, value.size, _digest(np.asarray(value)))
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(_key(item) for item in value))
    if isinstance(value, dict):
        return ("dict", tuple((name, _key(item)) for name, item in sorted(value.items())))
    if value is None or isinstance(value, (bool, int, float, str, torch.device, torch.dtype)):
        return (type(value).__name__, value)
    raise _Unkeyable


def _digest(array: np.ndarray[Any, Any]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()
