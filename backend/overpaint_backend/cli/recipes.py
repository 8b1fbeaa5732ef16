"""``overpaint recipes``: settings under a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from overpaint_backend.engines.registry import EngineRegistry
from overpaint_backend.recipes.offer import entry_problem, find, infos
from overpaint_backend.recipes.recipe import Recipe
from overpaint_backend.recipes.store import RecipeEntry, RecipeStore, read_entry
from overpaint_protocol.messages import EngineInfo, RecipeInfo

from .outcome import FAILED, OK, complain, print_json, say

__all__ = ["describe_recipes", "run_check", "run_list", "run_new", "run_path", "run_show"]


def run_list(*, as_json: bool) -> int:
    """Print what recipes there are; 0 also if one of them cannot be used."""
    store = RecipeStore.from_environment()
    recipes = infos(store.entries(), _engines())
    if as_json:
        print_json({"ok": True, "folder": str(store.root), "recipes": [asdict(recipe) for recipe in recipes]})
        return OK
    if not recipes:
        say(f"There is no recipe in {store.root}. “overpaint recipes new” writes one.")
    describe_recipes(recipes)
    return OK


def run_show(recipe_id: str, *, as_json: bool) -> int:
    """Print one recipe as its file has it; 1 if it cannot be used.

    Raises:
        UnknownRecipe: there is none.
    """
    entry = find(RecipeStore.from_environment().entries(), recipe_id)
    problem = entry_problem(entry, _engines())
    if as_json:
        recipe = None if entry.recipe is None else asdict(entry.recipe)
        print_json({"ok": not problem, "path": str(entry.path), "problem": problem, "recipe": recipe})
    else:
        if entry.path.is_file():
            say(f"# {entry.path}\n{entry.path.read_text(encoding='utf-8', errors='replace')}".rstrip())
        if problem:
            complain(problem)
    return FAILED if problem else OK


def run_new(recipe: Recipe, *, as_json: bool) -> int:
    """Write a recipe.

    Raises:
        RecipeError: it is not one, it is there already, or it cannot be written.
    """
    path = RecipeStore.from_environment().create(recipe)
    if as_json:
        print_json({"ok": True, "id": recipe.id, "path": str(path)})
    else:
        say(f"Wrote {path}. Edit it as you like, then use it with “--recipe {recipe.id}” or in an editor.")
    return OK


def run_check(files: Sequence[Path], *, as_json: bool) -> int:
    """Print everything that is wrong with some files, or with all recipes; 0 if nothing is."""
    store = RecipeStore.from_environment()
    entries = [read_entry(path) for path in files] if files else store.entries()
    engines = _engines()
    problems = {str(entry.path): _problems(entry, engines) for entry in entries}
    is_ok = not any(problems.values())
    if as_json:
        print_json({"ok": is_ok, "checked": problems})
        return OK if is_ok else FAILED
    if not problems:
        say(f"There is no recipe in {store.root}.")
    for path, found in problems.items():
        if not found:
            say(f"{path} can be used.")
        for problem in found:
            complain(problem)
    return OK if is_ok else FAILED


def run_path(*, as_json: bool) -> int:
    """Print the folder, whether it is there or not."""
    folder = RecipeStore.from_environment().root
    if as_json:
        print_json({"ok": True, "folder": str(folder)})
    else:
        say(str(folder))
    return OK


def describe_recipes(recipes: Sequence[RecipeInfo]) -> None:
    """Print a line for each."""
    for recipe in recipes:
        if recipe.problem:
            complain(f"Recipe {recipe.id} cannot be used: {recipe.problem}")
            continue
        engine = "" if recipe.engine is None else f" ({recipe.engine})"
        description = f". {recipe.description}" if recipe.description else ""
        say(f"Recipe {recipe.id}: {recipe.name}{engine}{description}")


def _problems(entry: RecipeEntry, engines: Sequence[EngineInfo] | None) -> list[str]:
    """Everything that is wrong with a file, or what it needs and is not there; a sentence each, with the file's name."""
    problem = entry_problem(entry, engines)
    return list(entry.mistakes) or ([f"{entry.path.name}: {problem}"] if problem else [])


def _engines() -> tuple[EngineInfo, ...] | None:
    """The installed engines, as a worker would find them; None if it would not start, which the doctor explains."""
    try:
        return EngineRegistry.installed().infos()
    except ValueError:
        return None
