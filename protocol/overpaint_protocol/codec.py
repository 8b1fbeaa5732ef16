"""Dataclasses to msgpack bytes and back (spec §3).

Types are checked exactly: a ``bool`` is no ``int``, an unknown enum value is refused, unknown keys are ignored so
that a newer peer may add fields. A union of dataclasses is told apart by the key ``type``.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeVar

from ._msgpack import msgpack
from .errors import OverpaintError, ProtocolError, TooLarge

__all__ = ["MAX_DOCUMENT_BYTES", "from_plain", "pack", "to_plain", "unpack"]

MAX_DOCUMENT_BYTES = 1024 * 1024
"""Largest header or body. A body describes pixels and never holds them; the largest honest one is below 50 kB."""

_MAX_ITEMS = 16 * 1024

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
    return typing.cast("bytes", msgpack.packb(value, default=_plain_fields, use_bin_type=True))


def _plain_fields(value: object) -> Any:
    """As ``to_plain``, but not of what is inside: msgpack asks for that itself, and knows scalars, arrays and maps."""
    layout = _layout(type(value))
    if layout is None:
        return to_plain(value)
    tag, names = layout
    plain = {name: item for name in names if (item := getattr(value, name)) is not None}
    return plain if tag is None else {"type": tag, **plain}


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
        ProtocolError: not the shape of ``cls``.
        RequestError: the shape is right and a value is outside its range.
    """
    try:
        return _builder(cls)(plain)
    except _Misfit as misfit:
        place = cls.__name__ + "".join(reversed(misfit.steps))
        raise ProtocolError(misfit.sentence, detail=f"{place}: {misfit.detail}") from None
    except OverpaintError:
        raise
    except (ValueError, OverflowError) as error:
        raise ProtocolError("A message holds a value outside its range.", detail=str(error)) from error


class _Misfit(Exception):
    """Something is not of the type it has to be. steps: the way to it, the innermost first."""

    def __init__(self, sentence: str, detail: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.detail = detail
        self.steps: list[str] = []


def _wrong(wanted: str, value: object) -> _Misfit:
    return _Misfit("A message does not have the expected shape.", f"{wanted}, not {type(value).__name__}")


def _unknown(word: str) -> _Misfit:
    return _Misfit("A message holds an unknown word.", word)


_Build = Callable[[Any], Any]
"""Makes a value of a type out of a plain one, or raises _Misfit."""


@functools.cache
def _builder(hint: Any) -> _Build:
    """What makes values of a type. Made once, since asking a type what it is takes longer than making a value.

    No type here holds itself, so values are nested as deeply as types are.
    """
    hint = _without_name(hint)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _union_builder(typing.get_args(hint))
    if origin is tuple:
        return _tuple_builder(typing.get_args(hint)[0])
    if origin is dict:
        return _dict_builder(typing.get_args(hint)[1])
    if dataclasses.is_dataclass(hint):
        return _dataclass_builder(typing.cast("type", hint))
    if issubclass(hint, Enum):
        return _enum_builder(hint)
    return _scalar_builder(hint)


def _without_name(hint: Any) -> Any:
    """The type that a NewType stands for."""
    return hint.__supertype__ if isinstance(hint, typing.NewType) else hint


def _scalar_builder(cls: type) -> _Build:
    def build(value: Any) -> Any:
        if type(value) is cls:
            return value
        if cls is float and type(value) is int:
            return float(value)
        raise _wrong(cls.__name__, value)

    return build


def _enum_builder(cls: type[Enum]) -> _Build:
    words = {word.value: word for word in cls}

    def build(value: Any) -> Any:
        word = words.get(value) if isinstance(value, str) else None
        if word is None:
            raise _unknown(repr(str(value)[:40]))
        return word

    return build


def _tuple_builder(item_hint: Any) -> _Build:
    build_item = _builder(item_hint)

    def build(value: Any) -> Any:
        if not isinstance(value, list):
            raise _wrong("array", value)
        items: list[Any] = []
        try:
            items.extend(map(build_item, value))
        except _Misfit as misfit:
            misfit.steps.append(f"[{len(items)}]")
            raise
        return tuple(items)

    return build


def _dict_builder(item_hint: Any) -> _Build:
    build_item = _builder(item_hint)

    def build(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong("map", value)
        items: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise _wrong("text as key", key)
            try:
                items[key] = build_item(item)
            except _Misfit as misfit:
                misfit.steps.append(f".{key}")
                raise
        return items

    return build


def _union_builder(members: tuple[Any, ...]) -> _Build:
    choices = [member for member in members if member is not type(None)]
    build = _builder(choices[0]) if len(choices) == 1 else _choice_builder(choices)
    if len(choices) == len(members):
        return build
    return lambda value: None if value is None else build(value)


def _choice_builder(choices: Sequence[Any]) -> _Build:
    builders = {choice.type: _builder(choice) for choice in choices}

    def build(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong("map with a type", value)
        tag = value.get("type")
        build_choice = builders.get(tag) if isinstance(tag, str) else None
        if build_choice is None:
            raise _unknown(f"type {str(tag)[:40]!r}")
        return build_choice(value)

    return build


class _IfAbsent(Enum):
    """What becomes of a field that a message lacks."""

    FAIL = enum.auto()
    DEFAULT = enum.auto()


def _dataclass_builder(cls: type) -> _Build:
    hints = typing.get_type_hints(cls)
    fields = [_field_builder(field, hints[field.name]) for field in dataclasses.fields(cls)]

    def build(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong("map", value)
        arguments: dict[str, Any] = {}
        for name, scalar, if_absent, build_field in fields:
            item = value.get(name, if_absent)
            if type(item) is scalar:  # most fields are: not even a call
                arguments[name] = item
            elif item is _IfAbsent.FAIL:
                raise _Misfit("A message lacks a field.", name)
            elif item is not _IfAbsent.DEFAULT:
                try:
                    arguments[name] = build_field(item)
                except _Misfit as misfit:
                    misfit.steps.append(f".{name}")
                    raise
        return cls(**arguments)

    return build


def _field_builder(field: dataclasses.Field[Any], hint: Any) -> tuple[str, object, object, _Build]:
    """A field's name, its type if that is a scalar, what stands for it where a message lacks it, and its builder."""
    scalar = _without_name(hint)
    if type(None) in typing.get_args(hint):
        if_absent = None
    elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        if_absent = _IfAbsent.FAIL
    else:
        if_absent = _IfAbsent.DEFAULT
    return field.name, scalar if scalar in _SCALARS else None, if_absent, _builder(hint)
