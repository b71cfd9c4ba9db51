"""All conditions at once: random schedules of everything that is possible, on three caches.

Whatever is done to them, and in whatever order: a run ends, with its epilogue; nothing of the harness breaks;
and the same decisions give the same history, byte for byte, in new processes.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from cacheproof.harness.execution import Execution
from cacheproof.harness.strategies.moves import Move, begin, deliveries, faults, is_free, mending, take
from cacheproof.models.event import Phase
from cacheproof.models.fault import FAULTS, Condition
from cacheproof.models.history import History
from cacheproof.models.schedule import Keeps, Scenario
from cacheproof.patterns.cache_aside import CacheAside
from cacheproof.patterns.cache_aside_async import CacheAsideAsync
from cacheproof.patterns.write_behind_stream import WriteBehindStream

StageFor = Callable[[Any], Any]
MOVES = 30
MOST_FAULTS = 6
RUNS = 14
"""A cache; three caches make 42 schedules.  1,500 of them were run for trial, on a machine with twice its load."""


def scenario(chance: Random, workers: int) -> Scenario:
    return Scenario(
        clients=chance.choice((2, 2, 3)),
        workers=workers,
        keys=("user:1", "user:2")[: chance.choice((1, 1, 2))],
        probes_s=chance.choice(((0.0,), (0.0, 301.0))),
        seed=chance.randrange(9),
        keeps=chance.choice(list(Keeps)),
        policy=chance.choice(("allkeys-lru", "noeviction", "volatile-ttl")),
    )


def all_steps(execution: Execution) -> list[Move]:
    """Every delivery, and every operation that could begin."""
    free = [client for client in range(execution.scenario.clients) if is_free(execution, client)]
    keys = execution.scenario.keys
    begins = [begin(execution, client, f, key) for client in free for key in keys for f in ("read", "write")]
    return deliveries(execution) + begins


def walk(execution: Execution, chance: Random) -> None:
    """Take random moves: steps, faults of any condition, and what ends them."""
    spent = 0
    for _ in range(MOVES):
        steps = all_steps(execution)
        ends = [move for condition in Condition for move in mending(execution, condition)]
        harm = [moves for condition in Condition if (moves := faults(execution, condition))]
        if harm and (not (steps or ends) or (spent < MOST_FAULTS and chance.random() < 0.3)):
            spent += 1
            take(execution, chance.choice(chance.choice(harm)))
        elif ends and (not steps or chance.random() < 0.3):
            take(execution, chance.choice(ends))
        elif steps:
            take(execution, chance.choice(steps))


def has_ended(history: History) -> bool:
    """The epilogue has gone through all its phases, and every operation of a client has returned."""
    last = {operation.process: operation for operation in history.operations}
    open_now = [item for item in last.values() if item.returned is None and item.outcome.value != "info"]
    return history.phase_start(Phase.READ) is not None and not open_now


@pytest.mark.parametrize(
    ("cache", "workers"), [(CacheAside, 0), (CacheAsideAsync, 0), (WriteBehindStream, 1)]
)
def test_anything_may_happen_in_any_order(stage_for: StageFor, cache: Any, workers: int) -> None:
    """A run ends, without a problem, and replays exactly; and nearly everything did happen."""
    stage, happened = stage_for(cache), set()
    for number in range(RUNS):
        chance = Random(number)
        run = stage.runner.drive(
            scenario(chance, workers), lambda execution, chance=chance: walk(execution, chance)
        )
        assert run.problem is None, f"seed {number}: {run.problem}"
        assert has_ended(run.history), f"seed {number}"
        again = stage.runner.replay(run.schedule)
        assert again.history.to_jsonl() == run.history.to_jsonl(), f"seed {number}"
        happened |= {event.fault for event in run.history.faults}
        happened |= {event.fate.value for event in run.history.exchanges}
    assert len(set(FAULTS) & happened) > len(FAULTS) * 0.8, sorted(set(FAULTS) - happened)
