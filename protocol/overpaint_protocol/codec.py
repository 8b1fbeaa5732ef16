"""Dataclasses to msgpack bytes and back (spec §3).

Types are checked exactly: a ``bool`` is no ``int``, an unknown enum value is refused, unknown keys are ignored so
that a newer peer may add fields. A union of dataclasses is told apart by the key ``type``.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from enum import Enum
from typing import Any, TypeVar

from ._msgpack import msgpack
from .errors import OverpaintError, ProtocolError, TooLarge

__all__ = ["MAX_DOCUMENT_BYTES", "from_plain", "pack", "to_plain", "unpack"]

MAX_DOCUMENT_BYTES = 1024 * 1024
"""Largest header or body. A body describes pixels and never holds them; the largest honest one is below 50 kB."""

_MAX_ITEMS = 16 * 1024
_MAX_DEPTH = 16

_SCALARS = frozenset((str, int, float, bool))

_T = TypeVar("_T")


def to_plain(value: object) -> Any:
    """Turn a dataclass (or a part of one) into what msgpack and JSON can hold."""
    if type(value) in _SCALARS:
        return value
    layout = _layout(type(value))
    if layout is not None:
        tag, names = layout
        plain = {name: to_plain(item) for name in names if (item := getattr(value, name)) is not None}
        return plain if tag is None else {"type": tag, **plain}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


@functools.cache
def _layout(cls: type) -> tuple[str | None, tuple[str, ...]] | None:
    """The word that tells a dataclass from others of a union, if it has one, and its fields; None for other types."""
    if not dataclasses.is_dataclass(cls):
        return None
    tag = getattr(cls, "type", None)
    return tag if isinstance(tag, str) else None, tuple(f.name for f in dataclasses.fields(cls))


def pack(value: object) -> bytes:
    """Encode a dataclass or plain value as msgpack."""
    return typing.cast("bytes", msgpack.packb(to_plain(value), use_bin_type=True))


def unpack(data: bytes | bytearray | memoryview, cls: type[_T]) -> _T:
    """Decode msgpack into ``cls``, a dataclass.

    Raises:
        TooLarge: more than MAX_DOCUMENT_BYTES, or too many or too deeply nested items.
        ProtocolError: not msgpack, or not the shape of ``cls``.
        RequestError: the shape is right and a value is outside its range.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise TooLarge(f"A message body has {len(data)} bytes; the limit is {MAX_DOCUMENT_BYTES}.")
    try:
        plain = msgpack.unpackb(
            bytes(data),
            raw=False,
            strict_map_key=True,
            use_list=True,
            max_str_len=MAX_DOCUMENT_BYTES,
            max_bin_len=0,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=0,
        )
    except RecursionError as error:
        raise TooLarge("A message is nested too deeply.") from error
    except (
        Exception
    ) as error:  # msgpack documents no closed set: format, stack, value, unicode and key errors
        raise ProtocolError("A message is not valid msgpack.", detail=type(error).__name__) from error
    return from_plain(plain, cls)


def from_plain(plain: object, cls: type[_T]) -> _T:
    """Build ``cls``, a dataclass, from maps, lists and scalars as ``to_plain`` makes them.

    Raises:
        TooLarge: too deeply nested.
        ProtocolError: not the shape of ``cls``.
        RequestError: the shape is right and a value is outside its range.
    """
    try:
        return _build(plain, cls, cls.__name__, 0)
    except OverpaintError:
        raise
    except (ValueError, OverflowError) as error:
        raise ProtocolError("A message holds a value outside its range.", detail=str(error)) from error


@functools.cache
def _hints(cls: type) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = typing.get_type_hints(cls)
    return tuple((f, _without_name(hints[f.name])) for f in dataclasses.fields(cls))


def _without_name(hint: Any) -> Any:
    """The type that a NewType stands for."""
    return hint.__supertype__ if isinstance(hint, typing.NewType) else hint


def _wrong(path: str, wanted: str, value: object) -> ProtocolError:
    return ProtocolError(
        "A message does not have the expected shape.", detail=f"{path}: {wanted}, not {type(value).__name__}"
    )


def _build(value: Any, hint: Any, path: str, depth: int) -> Any:  # one branch per kind of type
    if depth > _MAX_DEPTH:
        raise TooLarge("A message is nested too deeply.")
    hint = _without_name(hint)
    if type(value) is hint and hint in _SCALARS:
        return value
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _build_union(value, typing.get_args(hint), path, depth)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(path, "array", value)
        item_hint = typing.get_args(hint)[0]
        return tuple(_build(item, item_hint, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(path, "map", value)
        item_hint = typing.get_args(hint)[1]
        return {
            key: _build(item, item_hint, f"{path}.{key}", depth + 1)
            for key, item in _string_items(value, path)
        }
    if dataclasses.is_dataclass(hint):
        return _build_dataclass(value, typing.cast("type", hint), path, depth)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError as error:
            raise ProtocolError(
                "A message holds an unknown word.", detail=f"{path}: {str(value)[:40]!r}"
            ) from error
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _wrong(path, getattr(hint, "__name__", str(hint)), value)
    return value


def _string_items(value: dict[Any, Any], path: str) -> typing.Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if not isinstance(key, str):
            raise _wrong(path, "text as key", key)
        yield key, item


def _build_union(value: Any, members: tuple[Any, ...], path: str, depth: int) -> Any:
    if value is None and type(None) in members:
        return None
    choices = [member for member in members if member is not type(None)]
    if len(choices) == 1:
        return _build(value, choices[0], path, depth)
    if not isinstance(value, dict):
        raise _wrong(path, "map with a type", value)
    for choice in choices:
        if value.get("type") == choice.type:
            return _build(value, choice, path, depth)
    raise ProtocolError(
        "A message holds an unknown word.", detail=f"{path}: type {str(value.get('type'))[:40]!r}"
    )


def _build_dataclass(value: Any, cls: type, path: str, depth: int) -> Any:
    if not isinstance(value, dict):
        raise _wrong(path, "map", value)
    arguments: dict[str, Any] = {}
    for f, hint in _hints(cls):
        if f.name in value:
            item = value[f.name]
            # Most fields are scalars of their own type: neither a call nor a path for an error that does not come.
            is_plain = type(item) is hint and hint in _SCALARS
            arguments[f.name] = item if is_plain else _build(item, hint, f"{path}.{f.name}", depth + 1)
        elif type(None) in typing.get_args(hint):
            arguments[f.name] = None
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ProtocolError("A message lacks a field.", detail=f"{path}.{f.name}")
    return cls(**arguments)
