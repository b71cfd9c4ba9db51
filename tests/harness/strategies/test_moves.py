"""Moves: what a strategy can do next, and which faults each condition allows."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.harness.strategies.moves import Move, begin, deliveries, faults, take
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
    ServerName,
    Start,
)
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
ALL_AT_ONCE = (Kill(ServerName.CACHE), Start(ServerName.CACHE))
LOST = [(Deliver(0, 0, Fate.REQUEST_LOST),), (Deliver(0, 0, Fate.REPLY_LOST),)]
PAUSES = [(Advance(100.0),)]


@pytest.mark.parametrize(
    ("condition", "script", "expected"),
    [
        (Condition.QUIET, "A read", []),
        (Condition.CONCURRENT, "A read, B write", []),
        (Condition.EXPIRY, "", []),
        (Condition.EXPIRY, "A read", PAUSES),
        (Condition.EXPIRY, "A read, A ...", [(Expire("user:1"),)]),
        (Condition.EXPIRY, "A read, A ..., A write", [(Expire("user:1"),), *PAUSES]),
        (Condition.APP_CRASH, "", []),
        (Condition.APP_CRASH, "A read, B write", [(Crash(0),), (Crash(1),)]),
        (Condition.APP_CRASH, "A read, A crash", []),
        (Condition.CACHE_CRASH, "", []),
        (Condition.CACHE_CRASH, "A read", [ALL_AT_ONCE]),
        (Condition.LOST_MESSAGES, "", []),
        (Condition.LOST_MESSAGES, "A read", LOST),
    ],
)
def test_the_faults_of_a_condition(
    stage_for: StageFor, condition: Condition, script: str, expected: list[Move]
) -> None:
    """Only its own, only what can happen now, in a fixed order."""
    with stage_for(CacheAside).open(script) as execution:
        assert faults(execution, condition) == expected


def test_every_condition_has_its_faults() -> None:
    """A condition that is added has to say what it allows."""
    from cacheproof.harness.strategies import moves

    assert set(moves._ALLOWED) == set(Condition)


def test_a_worker_can_crash_and_come_back(stage_for: StageFor, caches: ModuleType) -> None:
    """A worker is restarted by a move, a client is not: nobody waits for it."""
    stage = stage_for(caches.Queueing)
    with stage.open("A read, A crash", workers=1) as execution:
        assert faults(execution, Condition.APP_CRASH) == [(Crash(2),)]
        take(execution, (Crash(2),))
        assert faults(execution, Condition.APP_CRASH) == [(Restart(2),)]


def test_a_client_that_only_waits_is_not_crashed(stage_for: StageFor, caches: ModuleType) -> None:
    """A crash is a move where something is about to be sent; a worker that waits for work has nothing."""
    with stage_for(caches.Queueing).open("Q .", workers=1) as execution:
        assert faults(execution, Condition.APP_CRASH) == []


def test_deliveries_come_in_order_of_client_and_pick(stage_for: StageFor, caches: ModuleType) -> None:
    """One for each pending exchange."""
    with stage_for(caches.Threaded).open("B read, A write") as execution:
        assert deliveries(execution) == [(Deliver(0),), (Deliver(1, 0),), (Deliver(1, 1),)]


def test_an_operation_begins_with_its_first_exchange(stage_for: StageFor) -> None:
    """The latest possible invocation: nothing happens between it and the first delivery."""
    with stage_for(CacheAside).open() as execution:
        take(execution, begin(execution, 1, "read", "user:1"))
        assert execution.taken == [Invoke(1, "read", "user:1"), Deliver(1)]


def test_of_a_move_only_what_is_enabled_is_taken(stage_for: StageFor) -> None:
    """An operation that returns without asking anybody has nothing to deliver."""

    class Silent:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> None: ...

        def write(self, key: str, value: str) -> None: ...

    with stage_for(Silent).open() as execution:
        take(execution, begin(execution, 0, "read", "user:1"))
        assert execution.taken == [Invoke(0, "read", "user:1")]
