"""Small scopes are searched to the last schedule: none is left out, and none is run twice."""

from collections.abc import Callable, Iterator
from math import comb
from types import ModuleType
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.strategies.exhaustive import (
    SCOPES,
    Explorer,
    Program,
    SmallScope,
    scopes_for,
    steer,
)
from cacheproof.harness.world import World
from cacheproof.models.contract import Condition
from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Deliver,
    Fate,
    Heal,
    Manner,
    Partition,
    ServerName,
)
from cacheproof.models.schedule import Scenario
from cacheproof.patterns.cache_aside import CacheAside
from cacheproof.patterns.cache_aside_delete_first import DeleteFirst

READER_AND_WRITER = SmallScope("1 reader × 1 writer", SCOPES["1 reader × 1 writer"])
RunnerFor = Callable[[Any], Runner]


@pytest.fixture(scope="module")
def runner_for(chaos_servers: EmbeddedServers) -> Iterator[RunnerFor]:
    """One runner at a time, for the cache that was asked for last."""
    on: dict[Any, Runner] = {}

    def enter(cache: Any) -> Runner:
        if cache not in on:
            leave()
            on[cache] = Runner(World(cache, chaos_servers))
        return on[cache]

    def leave() -> None:
        while on:
            on.popitem()[1].world.close()

    yield enter
    leave()


def every_run(
    runner: Runner,
    scope: SmallScope,
    condition: Condition = Condition.CONCURRENT,
    limit: int = 1000,
    **scenario: Any,
) -> list[Run]:
    """The runs of the scope, all of them unless there are more than `limit`."""
    explorer = Explorer()
    runs = []
    while len(runs) < limit:
        runs.append(
            runner.drive(
                Scenario(scope.clients, **scenario),
                lambda execution: steer(execution, scope, condition, explorer),
            )
        )
        if not explorer.advance():
            break
    assert [run.problem for run in runs if run.problem] == []
    return runs


def ends_stale(run: Run) -> bool:
    """The last read of the epilogue returned something else than the newest committed version."""
    return run.history.operations[-1].value != run.history.commits["user:1"][-1].value


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("1 writer", 1),
        ("1 reader × 1 writer", comb(5, 2)),  # 3 exchanges and 2
        ("2 writers", comb(4, 2)),
        ("1 reader × 2 writers", 210),  # 7! / (3! 2! 2!)
    ],
)
def test_every_interleaving_is_run_exactly_once(runner_for: RunnerFor, name: str, count: int) -> None:
    """As many schedules as the exchanges can be ordered, all different."""
    runs = every_run(runner_for(CacheAside), SmallScope(name, SCOPES[name]))
    assert len(runs) == len({run.schedule for run in runs}) == count


def test_hits_leave_fewer_interleavings(runner_for: RunnerFor) -> None:
    """What the cache does decides how many there are: a reader who reads twice may hit the second time."""
    runs = every_run(runner_for(CacheAside), SmallScope("1 reader twice", (("read", "read"),)))
    assert [len(run.history.operations) for run in runs] == [3]


@pytest.mark.parametrize(("cache", "stale"), [(CacheAside, 1), (DeleteFirst, 6)])
def test_how_many_interleavings_end_stale(runner_for: RunnerFor, cache: Any, stale: int) -> None:
    """Of 10 on a cold key: 1 for UPDATE before DEL, 6 for DEL before UPDATE (anomalies 1 and 2)."""
    runs = every_run(runner_for(cache), READER_AND_WRITER)
    assert (len(runs), sum(map(ends_stale, runs))) == (10, stale)


def test_the_stale_set_is_the_read_around_a_whole_write(
    runner_for: RunnerFor, decisions: Callable[..., Any]
) -> None:
    """The one schedule of UPDATE before DEL that ends stale: SELECT, UPDATE, DEL, SET; wherever GET is."""
    (stale,) = filter(ends_stale, every_run(runner_for(CacheAside), READER_AND_WRITER))
    assert stale.schedule.decisions == decisions("A read, A .., B write, B .., A .")


def test_one_fault_is_tried_at_every_point(runner_for: RunnerFor) -> None:
    """One writer, one crash: before each exchange, and not at all."""
    scope = SmallScope("1 writer, one fault", SCOPES["1 writer"], faults=1)
    runs = every_run(runner_for(CacheAside), scope, Condition.APP_CRASH)
    delivered = [sum(isinstance(item, Deliver) for item in run.schedule.decisions) for run in runs]
    crashed = [any(isinstance(item, Crash) for item in run.schedule.decisions) for run in runs]
    assert sorted(zip(crashed, delivered, strict=True)) == [(False, 2), (True, 1)]


def test_every_exchange_is_lost_both_ways(runner_for: RunnerFor) -> None:
    """One writer, one lost message: each of its two exchanges, on the way there and on the way back."""
    scope = SmallScope("1 writer, one fault", SCOPES["1 writer"], faults=1)
    runs = every_run(runner_for(CacheAside), scope, Condition.LOST_MESSAGES)
    fates = [tuple(item.fate for item in run.schedule.decisions if isinstance(item, Deliver)) for run in runs]
    fine, there, back = Fate.DELIVERED, Fate.REQUEST_LOST, Fate.REPLY_LOST
    assert set(fates) >= {(fine, fine), (fine, there), (fine, back)}
    assert len(fates) == len(set(fates))


def test_a_fault_that_goes_on_is_ended_at_every_point(runner_for: RunnerFor) -> None:
    """One reader, one partition: it is mended before each of its exchanges, or never before the end."""
    scope = SmallScope("1 reader, one fault", (("read",),), faults=1)
    runs = every_run(runner_for(CacheAside), scope, Condition.PARTITION)
    words = [" ".join(type(item).__name__ for item in run.schedule.decisions) for run in runs]
    assert any("Partition Heal" in item for item in words) and any("Heal" not in item for item in words)
    assert all(item.count("Partition") <= 1 for item in words)
    assert len(runs) == len({run.schedule for run in runs})


def test_a_request_that_is_late_arrives_at_every_point(runner_for: RunnerFor) -> None:
    """One reader and one writer, one delayed message: some schedules end stale only because of it."""
    scope = SmallScope("1 reader × 1 writer, one fault", SCOPES["1 reader × 1 writer"], faults=1)
    runs = every_run(runner_for(CacheAside), scope, Condition.DELAYED_MESSAGES)
    late = [run for run in runs if any(isinstance(item, Arrive) for item in run.schedule.decisions)]
    assert late and len(runs) == len({run.schedule for run in runs})
    assert sum(map(ends_stale, runs)) > 1


def test_who_can_do_nothing_but_wait_gives_up_or_sees_the_end_of_it(runner_for: RunnerFor) -> None:
    """One writer, and the cache is gone: schedules go on until its operation has ended, one way or the other."""
    scope = SmallScope("1 writer, one fault", SCOPES["1 writer"], faults=1)
    runs = every_run(runner_for(CacheAside), scope, Condition.CACHE_DOWN)
    silent = Partition(ServerName.CACHE, None, Manner.SILENT)
    cut_off = [run for run in runs if silent in run.schedule.decisions]
    gave_up = [run for run in cut_off if Advance(5.0) in run.schedule.decisions]
    assert {run.history.operations[0].outcome.value for run in gave_up} == {"info"}
    healed = [run for run in cut_off if Heal(ServerName.CACHE) in run.schedule.decisions]
    assert {run.history.operations[0].outcome.value for run in healed} == {"ok"}
    assert len(cut_off) == len(gave_up) + len(healed)
    assert len(runs) == len({run.schedule for run in runs})


def test_sequences_never_interleave(runner_for: RunnerFor) -> None:
    """Every sequence of two operations by two clients, 16 of them, one operation at a time."""
    scope = SmallScope("every sequence", sequences=2)
    runs = every_run(runner_for(CacheAside), scope, Condition.QUIET)
    assert len(runs) == len({run.schedule for run in runs}) == 16
    for run in runs:
        ends = [operation.returned for operation in run.history.operations]
        starts = [operation.invoked for operation in run.history.operations]
        assert all(end is not None and end < start for end, start in zip(ends, starts[1:], strict=False))


def test_the_explorer_walks_every_path_of_a_tree() -> None:
    """Depth first, each leaf once, for a tree whose width depends on the path."""
    explorer, leaves = Explorer(), []
    going_on = True
    while going_on:
        explorer.restart()
        first: Any = explorer.choose([(0,), (1,), (2,)])  # type: ignore[list-item]  # any value will do
        path = (first[0], *(explorer.choose([(n,) for n in range(first[0])])[0] for _ in range(first[0])))  # type: ignore[misc]
        leaves.append(path)
        going_on = explorer.advance()
    assert leaves == [(0,), (1, 0), (2, 0, 0), (2, 0, 1), (2, 1, 0), (2, 1, 1)]


SHAPES = tuple(SCOPES)


@pytest.mark.parametrize(
    ("operations", "programs"),
    [
        (("read", "write"), SCOPES),
        (("write", "read"), SCOPES),
        (
            ("read", "increment"),
            {
                "1 reader × 1 incrementer": (("read",), ("increment",)),
                "2 incrementers": (("increment",), ("increment",)),
                "1 incrementer": (("increment",),),
                "1 reader × 2 incrementers": (("read",), ("increment",), ("increment",)),
            },
        ),
        (
            ("acquire", "release"),
            {
                "2 holders": (("acquire", "release"),) * 2,
                "1 holder": (("acquire", "release"),),
                "3 holders": (("acquire", "release"),) * 3,
            },
        ),
        (
            ("read", "write", "warm_up"),
            SCOPES
            | {
                "1 warm-up × 1 writer": (("warm_up",), ("write",)),
                "1 reader × 1 warm-up × 1 writer": (("read",), ("warm_up",), ("write",)),
            },
        ),
        (("acquire",), {f"{n} holder{'s' * (n > 1)}": (("acquire",),) * n for n in (2, 1, 3)}),
    ],
)
def test_the_operations_take_the_parts(operations: tuple[str, ...], programs: dict[str, Program]) -> None:
    """Who looks is a reader, who changes something a writer, and a lock is released again."""
    found = {scope.name: scope.program for scope in scopes_for(Condition.CONCURRENT, SHAPES, operations)}
    assert found == programs


@pytest.mark.parametrize(
    ("operations", "names"),
    [
        (("read", "write", "delete"), ["1 reader × 1 writer", "1 reader × 1 deleter", "2 writers"]),
        (("read", "warm_up"), ["2 readers", "1 reader × 1 warm-up", "2 warm-ups"]),
        (("read_many", "write_many"), ["1 reader of all keys × 1 writer of all keys"]),
    ],
)
def test_who_meets_whom(operations: tuple[str, ...], names: list[str]) -> None:
    """One of each kind, first with its opposite; where nobody changes anything, with its own."""
    found = [scope.name for scope in scopes_for(Condition.CONCURRENT, SHAPES, operations)]
    assert found[: len(names)] == names and len(set(found)) == len(found)


def test_programs_of_other_operations_are_run(runner_for: RunnerFor, caches: ModuleType) -> None:
    """Two holders of a lock: one after the other, or one is refused and has nothing to release."""
    (scope,) = scopes_for(Condition.CONCURRENT, ("2 writers",), ("acquire", "release"))
    runs = every_run(runner_for(caches.Locked), scope, operations=("acquire", "release"))
    assert len(runs) == len({run.schedule for run in runs})
    calls = [[op.f for op in run.history.operations] for run in runs]
    assert sorted(calls) == sorted([["acquire", "release"] * 2] * 2 + [["acquire", "acquire", "release"]] * 2)


def test_every_sequence_of_other_operations(runner_for: RunnerFor, caches: ModuleType) -> None:
    """Of two operations by two clients: who has acquired the lock can only release it, the other be refused."""
    runs = every_run(
        runner_for(caches.Locked),
        SmallScope("every sequence", sequences=2),
        Condition.QUIET,
        operations=("acquire", "release"),
    )
    calls = {tuple((op.process, op.f) for op in run.history.operations[:2]) for run in runs}
    assert calls == {
        ((one, "acquire"), then) for one in (0, 1) for then in ((one, "release"), (1 - one, "acquire"))
    }


def test_a_first_exchange_is_lost_as_well(runner_for: RunnerFor, caches: ModuleType) -> None:
    """One incrementer, one lost message: its only exchange, on the way there and on the way back."""
    (scope,) = scopes_for(Condition.LOST_MESSAGES, ("1 writer",), ("read", "increment"))
    counting = {"operations": ("read", "increment"), "numbers": True}
    runs = every_run(runner_for(caches.Tally), scope, Condition.LOST_MESSAGES, **counting)
    fates = [item.fate for run in runs for item in run.schedule.decisions if isinstance(item, Deliver)]
    assert sorted(fates) == sorted([Fate.DELIVERED, Fate.REQUEST_LOST, Fate.REPLY_LOST])


def test_the_scopes_of_a_condition() -> None:
    """Quiet has sequences, concurrent no faults, every other condition one fault."""
    names = ("1 reader × 1 writer", "2 writers")
    assert [scope.sequences for scope in scopes_for(Condition.QUIET, names)] == [3]
    assert [(scope.name, scope.faults) for scope in scopes_for(Condition.CONCURRENT, names)] == [
        ("1 reader × 1 writer", 0),
        ("2 writers", 0),
    ]
    (scope,) = scopes_for(Condition.APP_CRASH, ("2 writers",))
    assert (scope.name, scope.faults, scope.clients) == ("2 writers, one fault (app crash)", 1, 2)
