"""Which engine a job gets: the one it names, or the best for what it asks."""

from __future__ import annotations

from collections.abc import Sequence

from overpaint_backend.models.catalog import command_for
from overpaint_protocol.errors import RequestError, UnknownEngine, UnsupportedOperation
from overpaint_protocol.geometry import Rect
from overpaint_protocol.messages import (
    Edit,
    EngineInfo,
    Fill,
    GenerationSettings,
    LoraWeight,
    Remove,
    SubmitJob,
    operation_name,
)

__all__ = ["choose_engine", "lora_problem"]

_EDITS = "flux2-klein"
"""A model that edits, for those who have none: the smallest that anyone may use."""


def choose_engine(engines: Sequence[EngineInfo], request: SubmitJob) -> EngineInfo:
    """Choose among the installed engines, which come best first.

    An engine that cannot do the operation or lacks a LoRA is out of the question. Of the others the one goes first that
    does more of what was asked: keep some of what is there (strength below 1), follow the prompt, paint a canvas that
    may hold nothing. None of these is a reason to refuse; between equals the order decides.

    Raises:
        UnknownEngine: the one the job names is not installed.
        UnsupportedOperation: it, or any, cannot do the operation.
        RequestError: it, or any, lacks a LoRA.
    """
    operation = operation_name(request.operation)
    able = [engine for engine in engines if operation in engine.operations]
    settings = _settings(request)
    if request.engine is None:
        if not able:
            raise UnsupportedOperation(f"None of the installed engines can {operation}. {_remedy(request)}")
        problem = lora_problem(able, None, settings.loras)
        if problem:
            raise RequestError(problem)
        return max(
            (engine for engine in able if _has(engine, settings.loras)), key=lambda e: _suits(e, request)
        )
    chosen = next((engine for engine in engines if engine.id == request.engine), None)
    if chosen is None:
        known = ", ".join(engine.id for engine in engines)
        raise UnknownEngine(f"There is no engine called {request.engine!r}. Choose one of: {known}.")
    if chosen not in able:
        advice = (
            f"Choose one of: {', '.join(engine.name for engine in able)}."
            if able
            else f"No installed engine can. {_remedy(request)}"
        )
        raise UnsupportedOperation(f"{chosen.name} cannot {operation}. {advice}")
    problem = lora_problem(engines, chosen, settings.loras)
    if problem:
        raise RequestError(problem)
    return chosen


def lora_problem(
    engines: Sequence[EngineInfo], chosen: EngineInfo | None, loras: Sequence[LoraWeight]
) -> str:
    """Why ``chosen``, or without it any of ``engines``, cannot mix in ``loras``, in a sentence; empty if it can."""
    if not loras or any(_has(engine, loras) for engine in (engines if chosen is None else [chosen])):
        return ""
    for lora in loras:
        fitting = [engine.name for engine in engines if _has(engine, [lora])]
        if not fitting:
            return (
                f"No engine here has the LoRA “{lora.id}”. Get it with “{command_for(lora.id)}”; if it is installed, "
                "a model that it was made for is missing."
            )
        if chosen is not None and not _has(chosen, [lora]):
            return f"{chosen.name} cannot use the LoRA “{lora.id}”. It is made for: {', '.join(fitting)}."
    return f"No engine here can use these LoRAs together: {', '.join(lora.id for lora in loras)}. Leave some out."


def _settings(request: SubmitJob) -> GenerationSettings:
    return GenerationSettings() if isinstance(request.operation, Remove) else request.operation.settings


def _has(engine: EngineInfo, loras: Sequence[LoraWeight]) -> bool:
    return {lora.id for lora in loras} <= {lora.id for lora in engine.loras}


def _suits(engine: EngineInfo, request: SubmitJob) -> tuple[bool, ...]:
    """What of the wishes the engine can do, the weightiest first."""
    operation = request.operation
    strength = _settings(request).strength
    has_prompt = not isinstance(operation, Remove) and operation.prompt.strip() != ""
    # Pixels are not looked at here. Words for a Context that is the whole canvas may be for an empty one.
    may_be_empty = (
        isinstance(operation, Fill) and has_prompt and request.context == Rect.from_size(request.canvas)
    )
    return (
        strength is None or strength == 1 or engine.defaults.strength is not None,
        not has_prompt or engine.follows_prompt,
        not may_be_empty or not engine.needs_surroundings,
    )


def _remedy(request: SubmitJob) -> str:
    if isinstance(request.operation, Edit):
        return f"Get one that does with “{command_for(_EDITS)}”."
    return "Run “overpaint doctor” to see what is installed."
