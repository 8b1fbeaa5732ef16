"""The folder of recipes: ``$OVERPAINT_RECIPES_DIR``, else ``recipes`` in the user's configuration."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from overpaint_backend.stamps import Stamp, stamp_of

from .recipe import Recipe
from .recipe_file import RecipeError, check_name, compose, parse, read

__all__ = ["MAX_RECIPES", "RECIPES_DIR_VARIABLE", "RecipeEntry", "RecipeStore", "read_entry"]

RECIPES_DIR_VARIABLE = "OVERPAINT_RECIPES_DIR"
"""Environment variable with the folder of the recipes, instead of the platform's."""

MAX_RECIPES = 256
"""Files that are looked at, by name: as many as fit into one message to the editors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeEntry:
    """A file of the folder.

    id: what to ask for it by; of a file whose name cannot be asked for, a name made up for it.
    recipe: what it holds, or None if there are ``mistakes``, a sentence each.
    """

    id: str
    path: Path
    recipe: Recipe | None
    mistakes: tuple[str, ...] = ()


class RecipeStore:
    """The recipes below ``root``, which need not be there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> RecipeStore:
        """The recipes of this user."""
        chosen = environ.get(RECIPES_DIR_VARIABLE)
        if chosen:
            return cls(Path(chosen).expanduser().absolute())
        return cls(Path(platformdirs.user_config_dir("overpaint", appauthor=False)) / "recipes")

    def stamps(self) -> dict[Path, Stamp | None]:
        """The files that count as recipes, by name, with their stamps. Reads none of them."""
        try:
            with os.scandir(self.root) as files:
                names = sorted(
                    file.name
                    for file in files
                    if file.name.endswith(".toml") and not file.name.startswith(".")
                )
        except OSError:
            return {}
        return {self.root / name: stamp_of(self.root / name) for name in names[:MAX_RECIPES]}

    def entries(self) -> tuple[RecipeEntry, ...]:
        """Every recipe, by name of its file."""
        return tuple(read_entry(path) for path in self.stamps())

    def path_of(self, recipe_id: str) -> Path:
        """Where the recipe of that id is, or would be."""
        return self.root / f"{recipe_id}.toml"

    def create(self, recipe: Recipe) -> Path:
        """Write a new recipe to its file and return that.

        Raises:
            RecipeError: it would not be read again, or its file is there already or cannot be written.
        """
        path = self.path_of(recipe.id)
        check_name(f"{recipe.id}.toml")
        text = compose(recipe)
        parse(text, recipe.id)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except FileExistsError as error:
            raise RecipeError(f"{path} is there already. Edit it, or choose another name.") from error
        except OSError as error:
            raise RecipeError(
                f"{path} cannot be written: {error.strerror}. Choose another folder with {RECIPES_DIR_VARIABLE}."
            ) from error
        return path


def read_entry(path: Path) -> RecipeEntry:
    """What a file holds, mistakes included."""
    try:
        recipe = read(path)
    except RecipeError as error:
        return RecipeEntry(id=_sendable_id(path), path=path, recipe=None, mistakes=error.mistakes)
    return RecipeEntry(id=recipe.id, path=path, recipe=recipe)


def _sendable_id(path: Path) -> str:
    """The file's name, or something like it that no other file has and that the protocol allows."""
    try:
        check_name(path.name)
    except RecipeError:
        checksum = zlib.crc32(os.fsencode(path.name))
        return f"{re.sub('[^A-Za-z0-9._-]', '-', path.stem)[:48]}-{checksum:08x}"
    return path.stem
