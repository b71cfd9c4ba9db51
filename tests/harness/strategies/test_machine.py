"""Hypothesis as a source of schedules: repeatable, within the condition, and not ended by what it finds."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.harness.evidence import fault_happened
from cacheproof.harness.runner import Run
from cacheproof.harness.strategies.machine import MOST_MOVES, possible_moves, search
from cacheproof.harness.strategies.moves import KEEPS
from cacheproof.models.contract import Condition
from cacheproof.models.decision import (
    Advance,
    Crash,
    Deliver,
    Expire,
    Fate,
    Invoke,
    Kill,
    Restart,
    Start,
)
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.schedule import Keeps, Scenario
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
FAULTS = (Crash, Kill, Expire, Advance)


def found(stage: Any, condition: Condition, *, examples: int, number: int = 1, **scenario: Any) -> list[Run]:
    """The runs of one search."""
    runs: list[Run] = []
    search(stage.runner, condition, [Scenario(**scenario)], runs.append, examples=examples, number=number)
    return runs


def test_a_seed_fixes_the_search(stage_for: StageFor) -> None:
    """The same number, the same schedules in the same order; another number, others."""
    stage = stage_for(CacheAside)
    first, again, other = (
        [run.schedule for run in found(stage, Condition.CONCURRENT, examples=8, number=number)]
        for number in (7, 7, 8)
    )
    assert first == again != other


def test_a_finding_does_not_end_the_search(stage_for: StageFor) -> None:
    """Broken promises are seen, and as many runs are made as were asked for."""
    runs = found(stage_for(CacheAside), Condition.CONCURRENT, examples=40)
    broken = [bool(ReadAfterWrite().check(run.history).findings) for run in runs]
    assert len(runs) >= 40 and True in broken[:-1]


def test_runs_replay(stage_for: StageFor) -> None:
    """What Hypothesis chose is a schedule like any other."""
    stage = stage_for(CacheAside)
    for run in found(stage, Condition.APP_CRASH, examples=4):
        assert stage.runner.replay(run.schedule).history == run.history


def test_quiet_never_interleaves(stage_for: StageFor) -> None:
    """An operation has returned before the next one begins."""
    for run in found(stage_for(CacheAside), Condition.QUIET, examples=10, clients=3):
        ends = [operation.returned for operation in run.history.operations]
        starts = [operation.invoked for operation in run.history.operations]
        assert all(end is not None and end < start for end, start in zip(ends, starts[1:], strict=False))


@pytest.mark.parametrize(
    ("condition", "kinds"),
    [
        (Condition.CONCURRENT, set()),
        (Condition.EXPIRY, {Expire, Advance}),
        (Condition.APP_CRASH, {Crash}),
        (Condition.CACHE_CRASH, {Kill}),
    ],
)
def test_faults_are_those_of_the_condition(
    stage_for: StageFor, condition: Condition, kinds: set[type]
) -> None:
    """All of them occur, at most three in a run, and no others."""
    runs = found(stage_for(CacheAside), condition, examples=25)
    faults = [[type(item) for item in run.schedule.decisions if isinstance(item, FAULTS)] for run in runs]
    assert {kind for kinds_of_run in faults for kind in kinds_of_run} == kinds
    assert max(map(len, faults)) <= 3
    assert all(
        item.fate is Fate.DELIVERED
        for run in runs
        for item in run.schedule.decisions
        if isinstance(item, Deliver)
    )


def test_messages_are_lost_both_ways(stage_for: StageFor) -> None:
    """Requests and replies."""
    runs = found(stage_for(CacheAside), Condition.LOST_MESSAGES, examples=25)
    fates = {item.fate for run in runs for item in run.schedule.decisions if isinstance(item, Deliver)}
    assert fates == {Fate.DELIVERED, Fate.REQUEST_LOST, Fate.REPLY_LOST}


@pytest.mark.parametrize("condition", [item for item in Condition if item.faults])
def test_every_condition_strikes(stage_for: StageFor, condition: Condition) -> None:
    """Within a few examples a fault of the condition meets somebody, and every run comes to its end."""
    keeps = KEEPS.get(condition, Keeps.NOTHING)
    runs = found(stage_for(CacheAside), condition, examples=12, keeps=keeps)
    assert [run.problem for run in runs if run.problem] == []
    if condition is not Condition.REPLICA_LAG:  # this cache asks no replica
        assert any(fault_happened(run.history, condition) for run in runs)


def test_a_run_has_an_end(stage_for: StageFor) -> None:
    """So many moves, each of at most two decisions."""
    runs = found(stage_for(CacheAside), Condition.CONCURRENT, examples=10)
    assert max(len(run.schedule.decisions) for run in runs) <= 2 * MOST_MOVES


def test_what_the_cache_does_wrong_is_a_problem_of_the_run(stage_for: StageFor, caches: ModuleType) -> None:
    """The search goes on, and every run says what was wrong with it."""

    class Listing(caches.Plain):  # type: ignore[misc, name-defined]
        def read(self, key: str) -> Any:
            return [key]

    runs = found(stage_for(Listing), Condition.CONCURRENT, examples=6)
    assert len(runs) >= 6
    assert any("read returned ['user:1'] of type list" in str(run.problem) for run in runs)


def test_what_begins_comes_in_a_fixed_order(stage_for: StageFor) -> None:
    """By client, then by key, reads before writes: a seed gives the same schedules for ever."""
    with stage_for(CacheAside).open("B read", keys=("user:1", "user:2"), clients=3) as execution:
        steps, _ = possible_moves(execution, Condition.CONCURRENT)
    calls = [
        Invoke(client, f, key) for client in (0, 2) for key in ("user:1", "user:2") for f in ("read", "write")
    ]
    assert steps == [(Deliver(1),), *((call, Deliver(call.client)) for call in calls)]


def test_other_operations_begin_where_the_scenario_has_them(stage_for: StageFor) -> None:
    """Those of a lock, and on losing messages the ways in which they may begin badly."""
    with stage_for(CacheAside).open(operations=("acquire", "release"), clients=2) as execution:
        steps, broken = possible_moves(execution, Condition.LOST_MESSAGES)
    assert [move[0] for move in steps] == [Invoke(client, "acquire", "user:1") for client in (0, 1)]
    assert len(broken) == 4 and all(isinstance(move[0], Invoke) for move in broken)


@pytest.mark.parametrize(
    ("condition", "script", "steps", "faults"),
    [
        (Condition.CONCURRENT, "", 4, 0),  # read or write, by A or B
        (Condition.CONCURRENT, "A read", 3, 0),
        (Condition.CONCURRENT, "A read, B write", 2, 0),
        (Condition.QUIET, "A read", 1, 0),
        (Condition.APP_CRASH, "A read, B write", 2, 2),
        (Condition.APP_CRASH, "A read, A crash", 2, 0),  # A is down and no worker: nobody restarts it
    ],
)
def test_what_is_possible(
    stage_for: StageFor, condition: Condition, script: str, steps: int, faults: int
) -> None:
    """Idle clients begin, pending exchanges are delivered; under `quiet` one thing at a time."""
    with stage_for(CacheAside).open(script) as execution:
        possible = possible_moves(execution, condition)
    assert tuple(map(len, possible)) == (steps, faults)
    assert not any(isinstance(item, Restart | Start) for moves in possible for move in moves for item in move)
