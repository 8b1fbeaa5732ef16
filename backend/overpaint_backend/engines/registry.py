"""Finding the installed engines.

An engine is announced by an entry point in the group ``overpaint.engines`` that names a class without arguments::

    [project.entry-points."overpaint.engines"]
    embedded = "overpaint_backend.engines.embedded:EmbeddedEngine"
    diffusion = "overpaint_backend.engines.diffusion.provider:DiffusionProvider"

The class is an Engine, whose id is the entry point's name, or an EngineProvider, whose engines have ids of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

from overpaint_protocol.errors import OverpaintError, UnknownEngine
from overpaint_protocol.messages import BrokenEngine

from .base import ChangingProvider, Engine, EngineInfo, EngineProvider

__all__ = ["ENTRY_POINT_GROUP", "TEST_ENGINES_VARIABLE", "EngineRegistry"]

ENTRY_POINT_GROUP = "overpaint.engines"
TEST_ENGINES_VARIABLE = "OVERPAINT_TEST_ENGINES"
"""Set to 1, the environment variable adds the engines of ``overpaint_backend.engines.testing``."""

_OWN_ENGINES = (
    EntryPoint("embedded", "overpaint_backend.engines.embedded:EmbeddedEngine", ENTRY_POINT_GROUP),
    EntryPoint(
        "diffusion", "overpaint_backend.engines.diffusion.provider:DiffusionProvider", ENTRY_POINT_GROUP
    ),
)
_TEST_ENGINES = (
    EntryPoint("test-invert", "overpaint_backend.engines.testing:InvertEngine", ENTRY_POINT_GROUP),
)


class EngineRegistry:
    """The engines by id. Each is imported and made on first use and kept.

    An engine that cannot be loaded is reported by ``broken`` and does no harm to the others.
    """

    def __init__(self, candidates: Iterable[EntryPoint]) -> None:
        """Take the engines named by ``candidates``; naming the same class twice under one id is fine.

        Of two different classes that claim one id the first gets it, and ``broken`` names the other.
        """
        self._candidates: dict[str, EntryPoint] = {}
        self._engines: dict[str, Engine] = {}
        self._broken: dict[str, str] = {}
        self._providers: dict[str, EngineProvider] = {}
        self._refused: list[BrokenEngine] = []
        self._provided: dict[str, tuple[str, ...]] = {}
        self._stamps: dict[str, object] = {}
        for candidate in candidates:
            known = self._candidates.setdefault(candidate.name, candidate)
            if known.value != candidate.value:
                reason = (
                    f"{known.value} has this name and is used; uninstall the package of {candidate.value}"
                )
                self._refused.append(BrokenEngine(id=candidate.name, reason=reason))

    @classmethod
    def installed(cls, environment: Mapping[str, str] = os.environ) -> EngineRegistry:
        """The product's own engine and every installed entry point.

        The product's own are named here as well, so that a source tree works without being installed, and come first,
        so that no package takes their names.
        """
        tests = _TEST_ENGINES if environment.get(TEST_ENGINES_VARIABLE) == "1" else ()
        return cls([*_OWN_ENGINES, *entry_points(group=ENTRY_POINT_GROUP), *tests])

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id somebody claims, working or not, in the order of registration. Imports the providers."""
        self._load_all()
        return tuple(
            engine_id for name in self._candidates for engine_id in self._provided.get(name, (name,))
        )

    def get(self, engine_id: str) -> Engine:
        """The engine of that id.

        Raises:
            UnknownEngine: no package claims the id, or its engine cannot be loaded.
        """
        if engine_id in self._candidates:
            self._load(self._candidates[engine_id])
        elif engine_id not in self._engines:
            self._load_all()
        if engine_id in self._engines:
            return self._engines[engine_id]
        if engine_id in self._broken:
            raise UnknownEngine(
                f"The engine {engine_id!r} is installed and cannot be loaded. Reinstall it or choose another.",
                detail=self._broken[engine_id],
            )
        raise UnknownEngine(f"There is no engine called {engine_id!r}. Choose one of: {', '.join(self.ids)}.")

    def infos(self) -> tuple[EngineInfo, ...]:
        """What every engine that loads can do. Imports all of them."""
        return tuple(self._engines[key].info() for key in self.ids if key in self._engines)

    def broken(self) -> tuple[BrokenEngine, ...]:
        """The engines that do not load, with the exception's text, and those without a name. Imports all of them."""
        self._load_all()
        return (
            *(BrokenEngine(id=key, reason=reason) for key, reason in self._broken.items()),
            *self._refused,
        )

    def refresh(self) -> frozenset[str] | None:
        """Ask the providers whose offer has changed again.

        Returns:
            Ids of engines that are gone or are not what they were: a session of theirs is of no use any more. None if no
            provider had news.
        """
        before = dict(self._engines)
        changed = [name for name in self._providers if self._has_news(name)]
        for name in changed:
            for engine_id in self._provided[name]:
                del self._engines[engine_id]
            self._broken.pop(name, None)
            self._ask(name)
        if not changed:
            return None
        return frozenset(key for key, engine in before.items() if self._engines.get(key) != engine)

    def _load_all(self) -> None:
        for candidate in self._candidates.values():
            self._load(candidate)

    def _load(self, candidate: EntryPoint) -> None:
        """Make what ``candidate`` names, once."""
        name = candidate.name
        if name in self._provided or name in self._engines or name in self._broken:
            return
        with self._reporting(name):
            made = candidate.load()()
            if isinstance(made, EngineProvider):
                self._providers[name] = made
                self._ask(name)
            elif made.info().id != name:
                self._broken[name] = f"the engine calls itself {made.info().id!r}"
            else:
                self._engines[name] = made

    def _has_news(self, name: str) -> bool:
        provider = self._providers[name]
        with self._reporting(name):
            return isinstance(provider, ChangingProvider) and provider.stamp() != self._stamps.get(name)
        return False

    def _ask(self, name: str) -> None:
        """Take what a provider offers now."""
        provider = self._providers[name]
        self._provided[name] = ()
        with self._reporting(name):
            if isinstance(provider, ChangingProvider):
                # Before the question: what changes meanwhile is seen the next time.
                self._stamps[name] = provider.stamp()
            offered = {engine.info().id: engine for engine in provider.engines()}
            taken = (self._candidates.keys() - {name}) | self._engines.keys()
            for engine_id in offered.keys() & taken:
                self._broken[name] = f"its engine {engine_id!r} has the name of another one"
            self._provided[name] = tuple(key for key in offered if key not in taken)
            self._engines |= {key: offered[key] for key in self._provided[name]}

    @contextmanager
    def _reporting(self, name: str) -> Iterator[None]:
        """Whatever is raised inside makes the engine a broken one."""
        try:
            yield
        except OverpaintError as error:
            self._broken[name] = error.message
        # The border to third-party code: anything may be raised, and none of it is our failure.
        except Exception as error:
            self._broken[name] = f"{type(error).__name__}: {error}"
