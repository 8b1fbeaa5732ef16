"""What a recipe is, and what it makes of a job."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from overpaint_protocol.errors import RequestError
from overpaint_protocol.messages import MAX_PROMPT_CHARS, GenerationSettings, LoraWeight, Remove, SubmitJob

__all__ = ["PLACEHOLDER", "Recipe", "apply"]

PLACEHOLDER = "{prompt}"
"""Where the artist's words go in a recipe's prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings under a name.

    id: name of its file, without ``.toml``. name, description: what a menu shows; the description may be empty.
    engine: id of the engine it runs on, or None to leave the choice open.
    prompt: words around the artist's, which go to each PLACEHOLDER, or in front if there is none.
    negative_prompt, settings: as in a job.
    """

    id: str
    name: str
    description: str = ""
    engine: str | None = None
    prompt: str = PLACEHOLDER
    negative_prompt: str = ""
    settings: GenerationSettings = field(default_factory=GenerationSettings)


def apply(recipe: Recipe, request: SubmitJob) -> SubmitJob:
    """Fill in what ``request`` leaves open: what it says itself wins.

    LoRAs are merged by id, and the words of both prompts are used. A Remove, which has neither words nor settings, gets
    the engine alone.

    Returns:
        The whole job. It names no recipe: there is nothing left to fill in.

    Raises:
        RequestError: the words or the LoRAs of both together are too many.
    """
    operation = request.operation
    if not isinstance(operation, Remove):
        operation = replace(
            operation,
            prompt=_short_enough(recipe, "prompt", _words(recipe.prompt, operation.prompt)),
            negative_prompt=_short_enough(
                recipe, "negative prompt", _joined(operation.negative_prompt, recipe.negative_prompt)
            ),
            settings=_merged(operation.settings, recipe.settings),
        )
    return replace(request, operation=operation, engine=request.engine or recipe.engine, recipe=None)


def _words(template: str, prompt: str) -> str:
    if PLACEHOLDER not in template:
        return _joined(prompt, template)
    if prompt.strip():
        return template.replace(PLACEHOLDER, prompt.strip())
    return _closed(template.replace(PLACEHOLDER, ""))


def _closed(text: str) -> str:
    """``text`` without the spaces and commas that a word leaves behind where it is missing."""
    text = " ".join(text.split())
    text = re.sub(r" (?=[,;:.!?])", "", text)
    text = re.sub(r"[,;:]+(?=[,;:.!?])", "", text)
    return text.lstrip(" ,;:.!?").rstrip(" ,;:")


def _joined(*texts: str) -> str:
    return ", ".join(text.strip() for text in texts if text.strip())


def _merged(mine: GenerationSettings, recipes: GenerationSettings) -> GenerationSettings:
    weights = {lora.id: lora.weight for lora in (*recipes.loras, *mine.loras)}
    return GenerationSettings(
        steps=recipes.steps if mine.steps is None else mine.steps,
        guidance=recipes.guidance if mine.guidance is None else mine.guidance,
        strength=recipes.strength if mine.strength is None else mine.strength,
        detail=recipes.detail if mine.detail is None else mine.detail,
        loras=tuple(LoraWeight(id=lora_id, weight=weight) for lora_id, weight in weights.items()),
    )


def _short_enough(recipe: Recipe, what: str, text: str) -> str:
    if len(text) > MAX_PROMPT_CHARS:
        raise RequestError(
            f"With the words of the recipe “{recipe.name}” the {what} has {len(text)} characters; "
            f"shorten it by {len(text) - MAX_PROMPT_CHARS}."
        )
    return text
