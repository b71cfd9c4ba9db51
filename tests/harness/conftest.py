"""What the tests of the harness share: a stage on which a cache plays a script on real servers."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.chaos.servers.engine import Engine, connect_engine
from cacheproof.harness.execution import Execution
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.world import World
from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.history import History
from cacheproof.models.schedule import Scenario, Schedule


def _neighbour(name: str) -> ModuleType:
    """A module of this folder.  Test folders are no packages, so it is loaded from its path."""
    full_name = f"cacheproof_tests_harness_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[full_name] = module
        spec.loader.exec_module(module)
    return sys.modules[full_name]


_script = _neighbour("script")


class Stage:
    """One cache in one world.  Scripts and dialogues are those of script.py."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.runner = Runner(world)

    def schedule(self, script: str, **scenario: Any) -> Schedule:
        fixed = Scenario(**scenario)
        return Schedule(fixed, _script.decisions(script, fixed.clients))

    def play(self, script: str, **scenario: Any) -> Run:
        """Play the whole script and the epilogue; nothing may go wrong."""
        run = self.runner.replay(self.schedule(script, **scenario), anew=False)
        assert run.problem is None, run.problem
        return run

    @contextmanager
    def open(self, script: str = "", **scenario: Any) -> Iterator[Execution]:
        """A run that has come to the end of the script, without the epilogue."""
        schedule = self.schedule(script, **scenario)
        execution = Execution(self.world, schedule.scenario)
        try:
            for decision in schedule.decisions:
                execution.take(decision)
            yield execution
        finally:
            execution.end()
            self.world.wire.end()

    def lines(self, script: str, *, epilogue: bool = False, **scenario: Any) -> list[str]:
        """The dialogue that a script leads to."""
        return self.dialogue(self.play(script, **scenario).history, epilogue=epilogue)

    @staticmethod
    def dialogue(history: History, *, epilogue: bool = False) -> list[str]:
        lines: list[str] = _script.dialogue(history, epilogue=epilogue)
        return lines


@pytest.fixture(scope="module")
def stage_for(chaos_servers: EmbeddedServers) -> Iterator[Callable[[Any], Stage]]:
    """`stage_for(Cache)`: the stage of that cache.  One cache is on at a time; the last one stays on."""
    on: dict[Any, Stage] = {}

    def enter(cache: Any) -> Stage:
        if cache not in on:
            leave()
            on[cache] = Stage(World(cache, chaos_servers))
        return on[cache]

    def leave() -> None:
        while on:
            on.popitem()[1].world.close()

    yield enter
    leave()


@pytest.fixture(scope="session")
def caches() -> ModuleType:
    """The caches of caches.py."""
    return _neighbour("caches")


@pytest.fixture(scope="session")
def decisions() -> Callable[..., Any]:
    """Reads decisions from a script."""
    reader: Callable[..., Any] = _script.decisions
    return reader


@pytest.fixture(scope="session")
def dialogue() -> Callable[..., list[str]]:
    """Writes a history down as a dialogue."""
    writer: Callable[..., list[str]] = _script.dialogue
    return writer


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A real Docker engine; without one, whoever needs it is skipped, with the reason."""
    try:
        found = connect_engine()
    except EnvironmentFault as fault:
        pytest.skip(str(fault))
    yield found
    found.close()
