"""The commands of ``overpaint recipes`` and their options; the work is done in ``recipes``, which is imported only then."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Json, NegativePrompt, SettingOptions, spread
from .outcome import end_with

__all__ = ["recipes_app"]

recipes_app = typer.Typer(help="Keep settings under a name: engine, LoRAs, words.", no_args_is_help=True)

_Recipe = Annotated[
    str, typer.Argument(help="The recipe's id: the name of its file without .toml.", metavar="ID")
]


@recipes_app.command("list")
def recipes_list(as_json: Json = False) -> None:
    """Say which recipes there are, and what keeps one from being used."""

    def run() -> int:
        from .recipes import run_list

        return run_list(as_json=as_json)

    end_with(run, as_json=as_json)


@recipes_app.command("show")
def recipes_show(recipe: _Recipe, as_json: Json = False) -> None:
    """Print a recipe."""

    def run() -> int:
        from .recipes import run_show

        return run_show(recipe, as_json=as_json)

    end_with(run, as_json=as_json)


@recipes_app.command("new")
@spread
def recipes_new(
    *,
    recipe: _Recipe,
    name: Annotated[
        str | None, typer.Option(help="What menus call it; otherwise something like its id.")
    ] = None,
    description: Annotated[str, typer.Option(help="A sentence about it.")] = "",
    engine: Annotated[
        str | None, typer.Option(help="What it runs on; “overpaint status” lists the engines.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Words around yours, which go where {prompt} stands.")] = "",
    negative_prompt: NegativePrompt = "",
    settings: SettingOptions,
    as_json: Json = False,
) -> None:
    """Write a recipe, with a comment for everything that can be set. One that is there is never replaced."""

    def run() -> int:
        from overpaint_backend.recipes.recipe import PLACEHOLDER, Recipe

        from .recipes import run_new

        return run_new(
            Recipe(
                id=recipe,
                name=recipe.replace("-", " ").replace("_", " ").capitalize() if name is None else name,
                description=description,
                engine=engine,
                prompt=prompt or PLACEHOLDER,
                negative_prompt=negative_prompt,
                settings=settings.chosen,
            ),
            as_json=as_json,
        )

    end_with(run, as_json=as_json)


@recipes_app.command("check")
def recipes_check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Which files; all recipes otherwise.", metavar="[FILE]...")
    ] = None,
    as_json: Json = False,
) -> None:
    """Read recipes and say what is wrong with them, line by line."""

    def run() -> int:
        from .recipes import run_check

        return run_check(files or (), as_json=as_json)

    end_with(run, as_json=as_json)


@recipes_app.command("path")
def recipes_path(as_json: Json = False) -> None:
    """Say in which folder recipes are looked for."""

    def run() -> int:
        from .recipes import run_path

        return run_path(as_json=as_json)

    end_with(run, as_json=as_json)
