"""What of the recipes can be asked for: which there are, and what keeps one from being used."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from overpaint_backend.jobs.choice import lora_problem
from overpaint_backend.models.catalog import command_for
from overpaint_backend.stamps import Stamp
from overpaint_protocol.errors import UnknownRecipe
from overpaint_protocol.messages import EngineInfo, RecipeInfo

from .recipe import Recipe
from .store import MAX_RECIPES, RecipeEntry, RecipeStore, read_entry

__all__ = ["RecipeBook", "entry_problem", "find", "infos", "problem_of"]

_log = logging.getLogger(__name__)


class RecipeBook:
    """The recipes of a folder, each read again when its file has changed.

    Args:
        store: the folder.
    """

    def __init__(self, store: RecipeStore) -> None:
        self._store = store
        self._stamps: dict[Path, Stamp | None] = {}
        self._entries: dict[Path, RecipeEntry] = {}

    def look(self) -> bool:
        """Look for files that came, changed or went; returns whether any did. Costs a ``stat`` for each."""
        stamps = self._store.stamps()
        if stamps == self._stamps:
            return False
        if len(stamps) == MAX_RECIPES:
            _log.warning("only the first %d recipes in %s are offered", MAX_RECIPES, self._store.root)
        kept = {
            path for path, stamp in stamps.items() if path in self._stamps and self._stamps[path] == stamp
        }
        self._entries = {path: self._entries[path] if path in kept else read_entry(path) for path in stamps}
        self._stamps = stamps
        return True

    def infos(self, engines: Sequence[EngineInfo] | None) -> tuple[RecipeInfo, ...]:
        """What the editors are told, by name. engines: what there is to run them on; None if that is not known yet."""
        return infos(self._entries.values(), engines)

    def get(self, recipe_id: str, engines: Sequence[EngineInfo] | None) -> Recipe:
        """The recipe of that id.

        Raises:
            UnknownRecipe: there is none, or it cannot be used.
        """
        entry = find(self._entries.values(), recipe_id)
        problem = entry_problem(entry, engines)
        if entry.recipe is None or problem:
            raise UnknownRecipe(f"The recipe “{recipe_id}” cannot be used. {problem}")
        return entry.recipe


def find(entries: Iterable[RecipeEntry], recipe_id: str) -> RecipeEntry:
    """The recipe of that id, with or without mistakes.

    Raises:
        UnknownRecipe: there is none.
    """
    by_id = {entry.id: entry for entry in entries}
    if recipe_id not in by_id:
        known = ", ".join(entry.id for entry in by_id.values() if entry.recipe is not None)
        advice = f"Choose one of: {known}." if known else "“overpaint recipes new” makes one."
        raise UnknownRecipe(f"There is no recipe called “{recipe_id}”. {advice}")
    return by_id[recipe_id]


def infos(entries: Iterable[RecipeEntry], engines: Sequence[EngineInfo] | None) -> tuple[RecipeInfo, ...]:
    """The recipes as they are announced, by name, those that cannot be used included."""
    made = [
        RecipeInfo(
            id=entry.id,
            name=entry.path.stem if entry.recipe is None else entry.recipe.name,
            description="" if entry.recipe is None else entry.recipe.description,
            engine=None if entry.recipe is None else entry.recipe.engine,
            problem=entry_problem(entry, engines),
        )
        for entry in entries
    ]
    return tuple(sorted(made, key=lambda info: (info.name.casefold(), info.id)))


def problem_of(recipe: Recipe, engines: Sequence[EngineInfo]) -> str:
    """Why ``recipe`` cannot be used with these engines, and what to do, in a sentence or two; empty if it can."""
    engine = None
    if recipe.engine is not None:
        engine = next((engine for engine in engines if engine.id == recipe.engine), None)
        if engine is None:
            return (
                f"Its engine “{recipe.engine}” is not offered here. Get it with “{command_for(recipe.engine)}”; if it is "
                "installed, “overpaint models list” says why it is not offered."
            )
    return lora_problem(engines, engine, recipe.settings.loras)


def entry_problem(entry: RecipeEntry, engines: Sequence[EngineInfo] | None) -> str:
    """The same for what a file holds; of several mistakes the first. With None for the engines only those count."""
    if entry.recipe is None:
        more = len(entry.mistakes) - 1
        rest = f" “overpaint recipes check” names {more} more." if more else ""
        return f"{entry.mistakes[0]}{rest}"
    return "" if engines is None else problem_of(entry.recipe, engines)
