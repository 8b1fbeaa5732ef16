"""Options that several commands share: each group is a dataclass, which a command takes as one parameter.

``spread`` shows typer the fields in its place::

    @app.command()
    @spread
    def remove(*, mask: Annotated[Path, typer.Option()], task: TaskOptions) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from overpaint_protocol.errors import RequestError
from overpaint_protocol.messages import (
    MAX_DETAIL,
    MAX_EDGE_PX,
    MAX_GUIDANCE,
    MAX_SEED,
    MAX_STEPS,
    MAX_VARIANTS,
    MIN_DETAIL,
    Edges,
    GenerationSettings,
    LoraWeight,
)

__all__ = ["EdgeOptions", "Json", "NegativePrompt", "Prompt", "SettingOptions", "TaskOptions", "spread"]

Prompt = Annotated[str, typer.Option(help="What to paint. Empty continues the surroundings.")]
NegativePrompt = Annotated[str, typer.Option(help="What to avoid.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _lora(text: str) -> LoraWeight:
    """``ink`` or ``ink:0.8``."""
    lora_id, _, weight = text.partition(":")
    try:
        return LoraWeight(id=lora_id, weight=float(weight) if weight else 1.0)
    except ValueError:
        raise typer.BadParameter(f"“{weight}” is no weight. Write it as {lora_id}:0.8.") from None
    except RequestError as error:
        raise typer.BadParameter(error.message) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Which picture, where the result goes, and who makes it; what every command that paints takes."""

    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG, WebP or TIFF.", metavar="IMAGE")]
    out: Annotated[Path, typer.Option(help="Where the result goes. Several variants get -1, -2 and so on.")]
    layer: Annotated[Path | None, typer.Option(help="Also write the new layer alone, with transparency.")] = (
        None
    )
    variants: Annotated[int, typer.Option(min=1, max=MAX_VARIANTS, help="How many results to make.")] = 1
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same result.")
    ] = None
    engine: Annotated[
        str | None, typer.Option(help="Which engine paints; “overpaint status” lists them.")
    ] = None
    recipe: Annotated[
        str | None, typer.Option(help="Settings under a name; “overpaint recipes list” lists them.")
    ] = None
    batch: Annotated[
        bool,
        typer.Option("--batch", help="Let jobs go first that somebody sits and waits for, as in editors."),
    ] = False
    force: Annotated[bool, typer.Option("--force", help="Allow replacing the picture or the mask.")] = False
    as_json: Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingOptions:
    """How a model goes about it."""

    steps: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_STEPS, help="How often a model refines the picture; more takes longer."),
    ] = None
    guidance: Annotated[
        float | None, typer.Option(min=0, max=MAX_GUIDANCE, help="How closely a model follows the prompt.")
    ] = None
    strength: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="How far a model may get from what is there: 0 keeps it, 1 paints anew."
        ),
    ] = None
    detail: Annotated[
        float | None,
        typer.Option(
            min=MIN_DETAIL,
            max=MAX_DETAIL,
            help="The scale a model works at, as a multiple of the picture's own; more is finer and takes longer.",
        ),
    ] = None
    lora: Annotated[
        list[LoraWeight] | None,
        typer.Option(
            parser=_lora, metavar="ID[:WEIGHT]", help="A LoRA to mix in; may be given several times."
        ),
    ] = None

    @property
    def chosen(self) -> GenerationSettings:
        """The settings of a job.

        Raises:
            RequestError: there are too many LoRAs, or one is named twice.
        """
        return GenerationSettings(
            steps=self.steps,
            guidance=self.guidance,
            strength=self.strength,
            detail=self.detail,
            loras=tuple(self.lora or ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """How a result ends."""

    grow: Annotated[
        int | None,
        typer.Option(
            min=0, max=MAX_EDGE_PX, help="How many px beyond what is selected are replaced in full."
        ),
    ] = None
    blend: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_EDGE_PX, help="Over how many px around that the result fades out."),
    ] = None
    feather: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_EDGE_PX, help="Over how many px what is selected fades inwards."),
    ] = None
    fill_holes: Annotated[bool, typer.Option("--fill-holes", help="Also change what the mask encloses.")] = (
        False
    )
    protect_original: Annotated[
        bool,
        typer.Option(
            "--protect-original",
            help="Change nothing outside the mask, nor of the original when the canvas grows: --grow 0 --blend 0.",
        ),
    ] = False

    @property
    def chosen(self) -> Edges:
        """The edges of a job.

        Raises:
            RequestError: the original is to be protected and reached into.
        """
        if self.protect_original and (self.grow or self.blend):
            raise RequestError(
                "A protected original cannot be reached into. Leave out --grow and --blend, or --protect-original."
            )
        protected = 0 if self.protect_original else None
        return Edges(
            grow_px=protected if self.grow is None else self.grow,
            blend_px=protected if self.blend is None else self.blend,
            feather_px=self.feather,
            fill_holes=self.fill_holes,
        )


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer: among its parameters, which are all given by name, each dataclass gives way to its fields."""
    groups: dict[str, type[Any]] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(group := parameter.annotation) and isinstance(group, type):
            groups[parameter.name] = group
            parameters += _parameters_of(group)
        else:
            parameters.append(parameter)

    @functools.wraps(command)
    def gathered(**values: Any) -> None:
        made = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**made, **values)

    gathered.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue] - read by inspect
    return gathered


def _parameters_of(group: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
