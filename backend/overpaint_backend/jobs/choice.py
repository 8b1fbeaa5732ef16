"""Which engine a job gets: the one it names, or the best for what it asks."""

from __future__ import annotations

from collections.abc import Sequence

from overpaint_protocol.errors import UnknownEngine, UnsupportedOperation
from overpaint_protocol.messages import EngineInfo, Remove, SubmitJob, operation_name

__all__ = ["choose_engine"]


def choose_engine(engines: Sequence[EngineInfo], request: SubmitJob) -> EngineInfo:
    """Choose among the installed engines, which come best first.

    Who writes a prompt wants it followed, so an engine that does goes before one that does not; without a prompt the
    order decides.

    Raises:
        UnknownEngine: the one the job names is not installed.
        UnsupportedOperation: it, or any, cannot do the operation.
    """
    operation = operation_name(request.operation)
    able = [engine for engine in engines if operation in engine.operations]
    if request.engine is None:
        if not able:
            raise UnsupportedOperation(
                f"None of the installed engines offers {operation!r}. Run “overpaint doctor” to see what is installed."
            )
        has_prompt = not isinstance(request.operation, Remove) and request.operation.prompt.strip() != ""
        return next((engine for engine in able if engine.follows_prompt and has_prompt), able[0])
    chosen = next((engine for engine in engines if engine.id == request.engine), None)
    if chosen is None:
        known = ", ".join(engine.id for engine in engines)
        raise UnknownEngine(f"There is no engine called {request.engine!r}. Choose one of: {known}.")
    if chosen not in able:
        advice = (
            f"Choose one of: {', '.join(engine.name for engine in able)}."
            if able
            else "No installed engine can."
        )
        raise UnsupportedOperation(f"{chosen.name} cannot do {operation!r}. {advice}")
    return chosen
