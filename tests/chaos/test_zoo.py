"""The bug zoo: every bug is caught in its schedule, and the pattern that it was made of passes the same one.

So each row of benchmarks/zoo.py is what it says: a small change to a sound page, that breaks a guarantee which the page
keeps, and nothing else does.  How soon the search comes to such a schedule by itself, measures
benchmarks/detection.py.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.proof import shows
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.strategies.moves import KEEPS
from cacheproof.harness.world import World
from cacheproof.models.anomalies import anomaly
from cacheproof.models.decision import Decision
from cacheproof.models.schedule import Keeps, Scenario

ROOT = Path(__file__).parents[2]
ON_STAGE = "CACHEPROOF_ZOO_ON_STAGE"


def _module(path: Path) -> ModuleType:
    """A module that belongs to no package, under the name by which its neighbours import it."""
    if path.stem not in sys.modules:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    return sys.modules[path.stem]


planting = _module(ROOT / "benchmarks" / "planting.py")
ZOO: tuple[Any, ...] = _module(ROOT / "benchmarks" / "zoo.py").ZOO
read_script: Callable[[str, int], tuple[Decision, ...]] = _module(ROOT / "tests/harness/script.py").decisions


@pytest.fixture(params=ZOO, ids=[bug.name for bug in ZOO])
def bug(request: pytest.FixtureRequest) -> Any:
    return request.param


class OnStage:
    """Whichever class is on: made in a client, it is an instance of that.

    So all bugs, and all pages, are played in one world.  What is on, a file says: the path of a source, and a name.
    """

    def __new__(cls, env: Any) -> Any:
        source, name = Path(os.environ[ON_STAGE]).read_text().split("\n")
        found: type[Any] = getattr(_module(Path(source)), name)
        return found(env)


class Stage:
    """Plays the schedule of a bug on the class that a file of Python holds."""

    def __init__(self, runner: Runner, on: Path) -> None:
        self.runner = runner
        self.on = on

    def play(self, bug: Any, source: Path) -> Run:
        """Those decisions of the schedule that are possible when their turn comes, and the epilogue."""
        self.on.write_text(f"{source}\n{bug.class_name}")
        self.runner.world.end_idle()
        run = self.runner.attempt(_scenario(bug), read_script(bug.script, bug.clients))
        assert run.problem is None, run.problem
        return run


def _scenario(bug: Any) -> Scenario:
    contract = planting.contract_of(bug)
    return Scenario(
        clients=bug.clients,
        workers=contract.workers,
        keys=tuple(f"user:{number + 1}" for number in range(max(bug.keys, contract.keys))),
        probes_s=planting.guarantee_of(bug).property.probes_s,
        keeps=KEEPS.get(bug.condition, Keeps.NOTHING),
        operations=contract.operations,
        numbers=contract.numbers,
    )


@pytest.fixture(scope="module")
def stage(chaos_servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    on = tmp_path_factory.mktemp("zoo") / "on stage"
    for bug in ZOO:
        planting.contract_of(bug)  # clients are forked from here: what pages import is imported once
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ON_STAGE, str(on))
        with World(OnStage, chaos_servers) as world:
            yield Stage(Runner(world), on)


def test_there_are_enough() -> None:
    """At least forty bugs, no two of one name, most of them on pages that were designed to keep their word."""
    assert len(ZOO) >= 40
    assert len({bug.name for bug in ZOO}) == len(ZOO)
    plain = {"cache_aside", "cache_aside_tolerant", "cache_aside_ttl_only", "read_through", "write_through"}
    assert sum(bug.module not in plain for bug in ZOO) > len(ZOO) / 2


def test_each_is_a_small_change_to_a_page(bug: Any) -> None:
    """It applies exactly once to the source of today, changes a few lines, and what comes of it is Python."""
    compile(planting.changed_source(bug), bug.name, "exec")
    assert bug.old != bug.new
    assert max(len(bug.old.splitlines()), len(bug.new.splitlines())) <= 10


def test_each_is_named_by_the_encyclopaedia(bug: Any) -> None:
    """What it produces has an entry, and what it breaks is kept by the page under its condition."""
    assert anomaly(bug.anomaly).slug == bug.anomaly
    assert bug.condition in planting.guarantee_of(bug).kept


def test_a_change_that_does_not_apply_once_is_an_error() -> None:
    """A page that has changed takes its bugs with it, and says so."""
    stale = planting.Bug(
        **{name: getattr(ZOO[0], name) for name in ZOO[0].__slots__} | {"old": "no such text"}
    )
    with pytest.raises(ValueError, match="applies 0 times"):
        planting.changed_source(stale)


def test_each_is_caught_and_the_page_is_not(bug: Any, stage: Stage, tmp_path: Path) -> None:
    """In the schedule of the bug, the guarantee is broken by the anomaly that it names; the page keeps it."""
    guarantee = planting.guarantee_of(bug)
    caught = stage.play(bug, planting.write_changed(bug, tmp_path))
    assert shows(guarantee, caught.history, bug.anomaly) is not None
    passed = guarantee.property.check(stage.play(bug, planting.source_of(bug)).history)
    assert passed.findings == () and passed.unknown is None
