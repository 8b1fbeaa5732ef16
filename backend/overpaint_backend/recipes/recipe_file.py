"""A recipe as a TOML file: reading it with a sentence for every mistake, and writing one to start from.

::

    format = 1
    name = "Ink drawing"                          # the only key that must be there, with format
    description = "Black ink on white paper."
    engine = "sdxl-inpaint"
    prompt = "ink drawing of {prompt}, fine lines"
    negative_prompt = "color, photo"
    steps = 30
    guidance = 6.5
    strength = 1.0

    [[loras]]
    id = "ink"
    weight = 0.8
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overpaint_protocol.errors import OverpaintError, RequestError
from overpaint_protocol.messages import MAX_PROMPT_CHARS, GenerationSettings, LoraWeight

from .recipe import PLACEHOLDER, Recipe

__all__ = ["MAX_FILE_BYTES", "RecipeError", "check_name", "compose", "parse", "read"]

MAX_FILE_BYTES = 64 * 1024
MAX_NAME_CHARS = 80
MAX_DESCRIPTION_CHARS = 300
_MAX_ID_CHARS = 64
_MAX_SHOWN_CHARS = 160
_FORMAT = 1
_NUMBERS = ("steps", "guidance", "strength", "detail")
_KEYS = ("format", "name", "description", "engine", "prompt", "negative_prompt", *_NUMBERS, "loras")
_LORA_KEYS = ("id", "weight")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}\.toml")
_LARGEST_NUMBER = 1e6
"""Beyond it a number is a slip of the hand in every key, and TOML's integers have no end."""


class RecipeError(OverpaintError):
    """A file is no recipe. mistakes: each a sentence with the file, the place and what to do."""

    code = "recipe.invalid"

    def __init__(self, *mistakes: str) -> None:
        super().__init__(" ".join(mistakes))
        self.mistakes = mistakes


def read(path: Path) -> Recipe:
    """The recipe in a file; its id is the file's name.

    Raises:
        RecipeError: the file cannot be read or has mistakes; all of them are named.
    """
    check_name(path.name)
    if not os.path.lexists(path):
        raise RecipeError(f"There is no file {path.name}. Check its name and its folder.")
    if not path.is_file():  # nor a pipe, which would be waited for
        raise RecipeError(f"{path.name} is no file that can be read. Remove it.")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path.name} cannot be read: {error.strerror}. Check the file.") from error
    if len(content) > MAX_FILE_BYTES:
        raise RecipeError(
            f"{path.name} has more than {MAX_FILE_BYTES // 1024} kB, too much for a recipe. Shorten it."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path.name} is not in UTF-8. Save it with that encoding.") from error
    return parse(text, path.stem)


def check_name(file_name: str) -> None:
    """Make sure that a recipe can be asked for by the name of its file, without ``.toml``.

    Raises:
        RecipeError: it cannot.
    """
    if not _FILE_NAME.fullmatch(file_name):
        raise RecipeError(
            f"“{file_name}” is no name for a recipe. Choose one like ink-drawing.toml: letters from a to z, digits, '-', "
            f"'_' and '.', {_MAX_ID_CHARS} at most."
        )


def parse(text: str, recipe_id: str) -> Recipe:
    """The recipe that ``text`` describes.

    Raises:
        RecipeError: it has mistakes; all of them are named.
    """
    file_name = f"{recipe_id}.toml"
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else _shortened(str(error))
        raise RecipeError(
            f"{file_name} is not in the TOML format: {reason}. Correct it there; texts stand in quotation marks."
        ) from error
    found = table.get("format")
    if found != _FORMAT or isinstance(found, bool):
        raise RecipeError(
            f"{file_name}: “format” is missing. Begin the file with the line: format = {_FORMAT}"
            if found is None
            else f"{file_name}: “format” is not {_FORMAT}, the one this version of Overpaint reads. Update Overpaint, or "
            f"write format = {_FORMAT}."
        )
    reader = _Reader(table, f"{file_name}: ")
    reader.refuse_others(_KEYS)
    recipe = Recipe(
        id=recipe_id,
        name=reader.text("name", MAX_NAME_CHARS, example="Ink drawing"),
        description=reader.text("description", MAX_DESCRIPTION_CHARS),
        engine=reader.text("engine", _MAX_ID_CHARS) or None,
        prompt=reader.template("prompt"),
        negative_prompt=reader.text("negative_prompt", MAX_PROMPT_CHARS),
        settings=reader.settings(),
    )
    if reader.mistakes:
        raise RecipeError(*reader.mistakes)
    return recipe


def compose(recipe: Recipe) -> str:
    """The text of a file that holds ``recipe``, with a comment for each key; what is not set is there, commented out."""
    settings = recipe.settings
    lines = [
        "# A recipe of Overpaint: settings under a name. The file's name is what to ask for it by.",
        "# A line that begins with # is not read; take the # away to use it.",
        "",
        f"format = {_FORMAT}",
        f"name = {_quoted(recipe.name)}",
        *_line(
            "description", recipe.description, "A sentence about it, for menus.", "Black ink on white paper."
        ),
        *_line(
            "engine",
            recipe.engine,
            "What it runs on, by the id that “overpaint status” shows; without it, whatever suits the job.",
            "sdxl-inpaint",
        ),
        *_line(
            "prompt",
            "" if recipe.prompt == PLACEHOLDER else recipe.prompt,
            f"Words around yours, which go where {PLACEHOLDER} stands.",
            f"ink drawing of {PLACEHOLDER}, fine lines",
        ),
        *_line("negative_prompt", recipe.negative_prompt, "What to avoid.", "color, photo"),
        *_line("steps", settings.steps, "How often the picture is refined; more takes longer.", 30),
        *_line("guidance", settings.guidance, "How closely the words are followed.", 6.5),
        *_line(
            "strength",
            settings.strength,
            "How far it may get from what is there: 0 keeps it, 1 paints anew.",
            1.0,
        ),
        *_line(
            "detail",
            settings.detail,
            "The scale it works at, as a multiple of the picture's own; more is finer and takes longer.",
            1.0,
        ),
        "",
        "# LoRAs, each with its id and its weight. These come last.",
    ]
    for lora in settings.loras:
        lines += ["[[loras]]", f"id = {_quoted(lora.id)}", f"weight = {lora.weight}"]
    if not settings.loras:
        lines += ["#[[loras]]", '#id = "ink"', "#weight = 0.8"]
    return "\n".join(lines) + "\n"


class _Reader:
    """Takes values out of a table and collects what is wrong with them.

    table: of TOML. place: where it is, as the beginning of a sentence.
    """

    def __init__(self, table: Mapping[str, Any], place: str) -> None:
        self._table = table
        self._place = place
        self.mistakes: list[str] = []

    def refuse_others(self, keys: tuple[str, ...]) -> None:
        """Every key that is not one of ``keys`` is a mistake."""
        for key in self._table:
            if key in keys:
                continue
            near = difflib.get_close_matches(key, keys, n=1)
            if near:
                advice = f"Did you mean “{near[0]}”?"
            elif key in _KEYS:
                advice = "Write it above the first [[loras]]."
            else:
                advice = f"There are: {', '.join(keys)}."
            self._wrong(key, f"is no key here. {advice}")

    def text(self, key: str, most: int, *, example: str = "") -> str:
        """A text of up to ``most`` characters; empty if it is not there, which is a mistake if there is an example."""
        value = self._table.get(key, "")
        if example and key not in self._table:
            self._wrong(key, f"is missing. Add a line such as: {key} = {_quoted(example)}")
        if not isinstance(value, str):
            self._wrong(key, f'is a text in quotation marks, such as {key} = "…".')
            return ""
        if len(value) > most:
            self._wrong(key, f"has {len(value)} characters; shorten it to {most}.")
        elif key in self._table and not value.strip():
            self._wrong(key, "is empty. Write something, or delete the line.")
        return value

    def template(self, key: str) -> str:
        """A prompt with places for words; PLACEHOLDER alone if it is not there."""
        text = self.text(key, MAX_PROMPT_CHARS)
        for place in sorted(set(re.findall(r"\{\w*\}", text)) - {PLACEHOLDER}):
            self._wrong(
                key, f"holds {place}, which stands for nothing. Your words go where {PLACEHOLDER} is."
            )
        return text or PLACEHOLDER

    def number(self, key: str) -> float | None:
        """A number, whole if it was written so; None if it is not there."""
        value = self._table.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._wrong(key, f"is a number without quotation marks, such as {key} = 1.")
        elif not abs(value) <= _LARGEST_NUMBER:  # also if it is no number, as TOML's nan
            self._wrong(key, "is too large. Write a smaller number.")
        else:
            return value
        return None

    def settings(self) -> GenerationSettings:
        """Steps, guidance, strength, detail and LoRAs."""
        values: dict[str, Any] = {}
        for key in _NUMBERS:
            alone: dict[str, Any] = {key: self.number(key)}
            if key == "steps" and isinstance(alone[key], float):
                self._wrong(key, "is a whole number, such as steps = 30.")
                continue
            try:
                GenerationSettings(**alone)
            except RequestError as error:
                self._wrong(key, f"is out of its range. {error.message}")
            else:
                values |= alone
        try:
            return GenerationSettings(**values, loras=self._loras())
        except RequestError as error:
            self._wrong("loras", f"cannot be mixed like this. {error.message}")
            return GenerationSettings()

    def _loras(self) -> tuple[LoraWeight, ...]:
        tables = self._table.get("loras", [])
        if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
            self._wrong("loras", "is written as [[loras]] on a line of its own, with id and weight below.")
            return ()
        loras: list[LoraWeight] = []
        for number, table in enumerate(tables, 1):
            reader = _Reader(table, f"{self._place}[[loras]] number {number}: ")
            reader.refuse_others(_LORA_KEYS)
            lora_id, weight = reader.text("id", _MAX_ID_CHARS, example="ink"), reader.number("weight")
            try:
                # Of a name that is missing was told already; the weight is looked at all the same.
                loras.append(LoraWeight(id=lora_id or "any", weight=1.0 if weight is None else float(weight)))
            except RequestError as error:
                reader.mistakes.append(f"{reader._place}{error.message}")
            self.mistakes += reader.mistakes
        return tuple(loras)

    def _wrong(self, key: str, sentence: str) -> None:
        self.mistakes.append(f"{self._place}“{_shortened(key)}” {sentence}")


def _shortened(text: str) -> str:
    """As much of a file's own words as a sentence has room for: the middle goes, since a reason ends with its line."""
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[:80]}…{text[-40:]}"


def _line(key: str, value: str | float | None, comment: str, example: str | float) -> list[str]:
    """A key with its comment; commented out with an example if it has no value."""
    is_set = value is not None and value != ""
    written = _written(value if is_set and value is not None else example)
    return ["", f"# {comment}", f"{key} = {written}" if is_set else f"#{key} = {written}"]


def _written(value: str | float) -> str:
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for one letter."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
