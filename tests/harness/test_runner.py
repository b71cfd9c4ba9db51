"""Runs are repeatable: the same schedule gives the same history, byte for byte, wherever it is run."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cacheproof.harness.proof import difference
from cacheproof.models.decision import Deliver, Invoke
from cacheproof.patterns.cache_aside import CacheAside
from cacheproof.patterns.cache_aside_async import CacheAsideAsync

StageFor = Callable[[Any], Any]
STALE_SET = "A read, A .., B write, B .., A ."
FAULTS = (
    "A read, A .., B write, B reply-lost, B crash, B restart, kill, start, A read, A .., advance 7, A lost"
)
REPLAYED = """
import sys
from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.runner import Runner
from cacheproof.harness.world import World
from cacheproof.models.schedule import Schedule
from cacheproof.patterns.cache_aside import CacheAside

with EmbeddedServers() as servers, World(CacheAside, servers) as world:
    run = Runner(world).replay(Schedule.from_json(sys.argv[1]))
    assert run.problem is None, run.problem
    sys.stdout.write(run.history.to_jsonl())
"""


def expect_repeatable(stage: Any, script: str, *, times: int, **scenario: Any) -> None:
    """Every second run in new processes, the others in those of the run before."""
    schedule = stage.schedule(script, **scenario)
    runs = [stage.runner.replay(schedule, anew=bool(turn % 2)) for turn in range(times)]
    assert [run.problem for run in runs if run.problem] == []
    first = runs[0].history.to_jsonl()
    assert [difference([runs[0], run]) for run in runs if run.history.to_jsonl() != first] == []


@pytest.mark.parametrize(("script", "times"), [(STALE_SET, 50), (FAULTS, 20)])
def test_a_sync_cache_fifty_times(stage_for: StageFor, script: str, times: int) -> None:
    """With blocking drivers, with and without faults, in new processes and in used ones."""
    expect_repeatable(stage_for(CacheAside), script, times=times)


def test_an_asyncio_cache_fifty_times(stage_for: StageFor) -> None:
    """With non-blocking drivers on an event loop."""
    expect_repeatable(stage_for(CacheAsideAsync), STALE_SET, times=50)


def test_a_gather_fifty_times(stage_for: StageFor, caches: ModuleType) -> None:
    """With four connections in use at once."""
    expect_repeatable(stage_for(caches.Gathering), "A read, A .2, B write, B ., A .1, A ..", times=50)


def test_threads_fifty_times(stage_for: StageFor, caches: ModuleType) -> None:
    """With two threads in one operation, which come to their exchanges in any order."""
    expect_repeatable(stage_for(caches.Threaded), "A read, A .1, B write, B ., A .", times=50)


def test_a_connection_pool_twenty_times(stage_for: StageFor, caches: ModuleType) -> None:
    """With a pool that opens its connections in threads of its own."""
    expect_repeatable(stage_for(caches.Pooled), "A read, B write, A ., B ., A read, A .", times=20)


def test_a_worker_and_time_ten_times(stage_for: StageFor, caches: ModuleType) -> None:
    """With a blocking worker, locks that are waited for, and probes later on."""
    stage = stage_for(caches.Queueing)
    script = "Q ., A write, A ., B read, Q crash, advance 3, Q restart, B ."
    expect_repeatable(stage, script, times=10, workers=1, probes_s=(0.0, 60.0))


def test_another_interpreter_gives_the_same_bytes(stage_for: StageFor, tmp_path: Path) -> None:
    """Other servers, other ports, other process ids, another hash seed: the same history."""
    stage = stage_for(CacheAside)
    schedule = stage.schedule(FAULTS)
    here = stage.runner.replay(schedule).history.to_jsonl()
    for hash_seed in ("1", "4242"):
        there = subprocess.run(
            [sys.executable, "-c", REPLAYED, schedule.to_json()],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (there.returncode, there.stdout) == (0, here), there.stderr


def test_a_seed_is_part_of_the_scenario(stage_for: StageFor) -> None:
    """Chance inside clients comes from it: the same seed, the same draws; another seed, others."""

    class Drawing:
        def __init__(self, env: Any) -> None:
            self.name = env.client

        def read(self, key: str) -> str:
            import random
            import uuid

            return f"{self.name} {uuid.uuid4()} {random.random()} {os.urandom(4).hex()}"

        def write(self, key: str, value: str) -> None: ...

    stage = stage_for(Drawing)
    drawn = [
        tuple(
            operation.value
            for operation in stage.play("A read, A read, B read", seed=seed).history.operations
        )
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1]
    assert len({*drawn[0], *drawn[2]}) == 8  # no two of them alike, from client to client and seed to seed


def test_a_cache_that_remembers_is_unrepeatable(stage_for: StageFor, caches: ModuleType) -> None:
    """What a cache keeps outside its instance shows as soon as a process is used again, with the place."""
    stage = stage_for(caches.Counting)
    schedule = stage.schedule("A read, A .")
    runs = [stage.runner.replay(schedule, anew=anew) for anew in (True, True, False)]
    assert runs[0].history == runs[1].history != runs[2].history
    assert difference(runs).startswith("the first difference is in event 1: ")


# -- runs that go wrong ------------------------------------------------------------------------------------


def test_a_replay_that_cannot_be_is_a_problem(stage_for: StageFor) -> None:
    """Strictly: a decision that is not enabled ends the run, and says which one it was."""
    stage = stage_for(CacheAside)
    run = stage.runner.replay(stage.schedule("A read, A ...., B read"))
    assert run.problem is not None and run.problem.startswith("decision 5, Deliver(client=0")
    assert len(run.schedule.decisions) == 4


def test_an_attempt_leaves_out_what_cannot_be(stage_for: StageFor, decisions: Callable[..., Any]) -> None:
    """Leniently: the run's schedule is what was really done, and replays."""
    stage = stage_for(CacheAside)
    scenario = stage.schedule("").scenario
    run = stage.runner.attempt(scenario, decisions("B ., A read, A ...., A restart, B read"))
    assert run.problem is None
    assert run.schedule.decisions == decisions("A read, A ..., B read")
    assert stage.runner.replay(run.schedule).history == run.history


def test_runs_are_counted_and_outputs_kept(stage_for: StageFor) -> None:
    """What a cache prints belongs to the run in which it printed."""

    class Talking:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> None:
            print("hello")

        def write(self, key: str, value: str) -> None: ...

    stage = stage_for(Talking)
    before = stage.runner.runs
    quiet, loud = (
        stage.runner.replay(stage.schedule("A write", probes_s=())),
        stage.play("A read", probes_s=()),
    )
    assert stage.runner.runs == before + 2
    assert (quiet.output, loud.output) == ("", "hello\n")


def test_a_run_is_driven_by_anything(stage_for: StageFor) -> None:
    """A strategy takes decisions as it likes; the run's schedule is a record of them, without the epilogue."""

    def drive(execution: Any) -> None:
        execution.take(Invoke(1, "read", "user:1"))
        while execution.pending(1):
            execution.take(Deliver(1))

    stage = stage_for(CacheAside)
    run = stage.runner.drive(stage.schedule("").scenario, drive)
    assert run.schedule.decisions == (Invoke(1, "read", "user:1"), Deliver(1), Deliver(1), Deliver(1))


def test_a_bug_of_a_strategy_is_not_swallowed(stage_for: StageFor) -> None:
    """Only what the cache does wrong becomes a problem of the run; after anything else the world goes on."""
    stage = stage_for(CacheAside)
    with pytest.raises(ZeroDivisionError):
        stage.runner.drive(stage.schedule("").scenario, lambda execution: 1 // 0)
    assert stage.lines("A read, A ...")[-1] == "A ok v1"
