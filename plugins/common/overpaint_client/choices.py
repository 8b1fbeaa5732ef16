"""What an artist's choice of recipe and engine means for everything else that can be set.

Editors grey what would change nothing and say why. The rules and the sentences are here, so that a docker, a dialog and
whatever comes next agree; nothing here knows a toolkit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from overpaint_protocol.messages import Edges, EngineInfo, GenerationSettings, RecipeInfo

__all__ = ["PROTECTED_REASON", "SETTINGS", "Choice", "protect_original"]

SETTINGS = ("strength", "steps", "guidance")
"""Names of the numbers in GenerationSettings that an artist may set, the one used most first."""

PROTECTED_REASON = "The original is protected: the result ends where the selection does."
"""Why grow and blend cannot be set while the original is protected."""

_WITHOUT = {
    "strength": "{} always paints anew.",
    "steps": "{} has no steps.",
    "guidance": "{} has no guidance to set.",
}
_VERBS = {"edit": "follow instructions"}


def protect_original(edges: Edges) -> Edges:
    """``edges`` that reach nowhere: no pixel changes beyond what is selected, or in an Expand of what was there."""
    return replace(edges, grow_px=0, blend_px=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A recipe and an engine, chosen among what the daemon offers.

    engines, recipes: what there is, from the controller. engine, recipe: ids of what is chosen; None leaves the engine
    to the recipe or the daemon, and means no recipe. Reasons are sentences, and empty where there is nothing to say or
    nothing is known yet.
    """

    engines: tuple[EngineInfo, ...] = ()
    recipes: tuple[RecipeInfo, ...] = ()
    engine: str | None = None
    recipe: str | None = None

    # ------------------------------------------------------------ recipe and engine

    @property
    def chosen_recipe(self) -> RecipeInfo | None:
        """The recipe, if there is one of that id."""
        return next((recipe for recipe in self.recipes if recipe.id == self.recipe), None)

    @property
    def fixed_engine(self) -> str | None:
        """Id of the engine the recipe runs on, which leaves none to choose; None if it leaves the choice open."""
        return None if self.chosen_recipe is None else self.chosen_recipe.engine

    @property
    def requested_engine(self) -> str | None:
        """The engine a job names: none where the recipe decides."""
        return None if self.fixed_engine is not None else self.engine

    @property
    def engine_reason(self) -> str:
        """Why no engine can be chosen."""
        recipe = self.chosen_recipe
        return (
            "" if recipe is None or recipe.engine is None else f"The recipe “{recipe.name}” runs on this one."
        )

    def engine_for(self, operation: str) -> EngineInfo | None:
        """The engine that a job with a prompt goes to: the first that follows prompts, or else the first.

        None if no engine that may be used can do the operation.
        """
        able = [engine for engine in self._candidates() if operation in engine.operations]
        return next((engine for engine in able if engine.follows_prompt), able[0] if able else None)

    # ------------------------------------------------------------ what would change nothing, and why

    def operation_reason(self, operation: str) -> str:
        """Why an operation cannot be asked for."""
        recipe = self.chosen_recipe
        if recipe is not None and recipe.problem:
            return recipe.problem
        if not self.engines or self.engine_for(operation) is not None:
            return ""
        if not any(operation in engine.operations for engine in self.engines):
            return _nobody_can(operation)
        owner, other = (
            ("The chosen engine", "engine")
            if self.fixed_engine is None
            else ("The recipe's engine", "recipe")
        )
        return f"{owner} cannot {_VERBS.get(operation, operation)}. Choose another {other}."

    def prompt_reason(self, operation: str) -> str:
        """Why a prompt would change nothing."""
        engine = self._judged(operation)
        if engine is None or engine.follows_prompt:
            return ""
        return f"{engine.name} does not follow prompts: it continues the surroundings."

    def avoid_reason(self, operation: str) -> str:
        """Why what to avoid would change nothing."""
        engine = self._judged(operation)
        if engine is None or engine.follows_negative_prompt:
            return ""
        return f"{engine.name} knows nothing to avoid. Say what you want in the prompt instead."

    def setting_reason(self, operation: str, name: str) -> str:
        """Why a setting, one of SETTINGS, would change nothing."""
        engine = self._judged(operation)
        if engine is None or getattr(engine.defaults, name) is not None:
            return ""
        return _WITHOUT[name].format(engine.name)

    # ------------------------------------------------------------ settings

    def default(self, operation: str, name: str) -> float | None:
        """What the engine takes for a setting that nobody sets; None if it has none, or is not known."""
        engine = self._judged(operation)
        return None if engine is None else getattr(engine.defaults, name)

    def default_text(self, operation: str, name: str) -> str:
        """What a field shows while its setting is left alone."""
        if self.setting_reason(operation, name):
            return "–"
        if self.chosen_recipe is not None:
            return "by recipe"
        value = self.default(operation, name)
        if value is None:
            return "default"
        return f"{value * 100:.0f} % (default)" if name == "strength" else f"{value:g} (default)"

    def usable(self, operation: str, settings: GenerationSettings) -> GenerationSettings:
        """``settings`` without those that would change nothing."""
        return replace(settings, **{name: None for name in SETTINGS if self.setting_reason(operation, name)})

    def _candidates(self) -> tuple[EngineInfo, ...]:
        wanted = self.fixed_engine or self.engine
        named = tuple(engine for engine in self.engines if engine.id == wanted)
        return named or self.engines

    def _judged(self, operation: str) -> EngineInfo | None:
        """Whom the fields are about, also while the operation itself cannot be asked for."""
        return self.engine_for(operation) or next(iter(self._candidates()), None)


def _nobody_can(operation: str) -> str:
    if operation == "edit":
        return (
            "No installed engine follows instructions. Install a model that does, such as Qwen-Image-Edit: “overpaint "
            "models list --known” shows what there is."
        )
    return f"No installed engine can {operation}. Run “overpaint doctor” to see what is installed."
