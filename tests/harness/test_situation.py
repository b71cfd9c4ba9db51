"""The situation of a run: how clients end, and what is recorded of it.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.models.decision import Advance, Manner, Partition, ServerName
from cacheproof.models.errors import CacheError
from cacheproof.models.event import Faulted
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
HOLDER_THEN_WAITER = "A read, A ., B write, B ., B crash{how}, A ."
UNTIL_THE_CRASH = [
    "A read",
    "A SELECT -> v1",
    "B write v2",
    "B UPDATE waits",
    "B crash",
    "B info v2 (the client crashed)",
    "A COMMIT -> COMMIT",
]


def test_a_waiting_statement_is_cancelled_with_its_client(stage_for: StageFor, caches: ModuleType) -> None:
    """in_flight=cancelled: the row keeps its value when the lock is freed."""
    lines = stage_for(caches.Delegating).lines(HOLDER_THEN_WAITER.format(how=""))
    assert lines == [*UNTIL_THE_CRASH, "A ok"]


def test_a_waiting_statement_outlives_its_client(stage_for: StageFor, caches: ModuleType) -> None:
    """in_flight=runs: the UPDATE of the dead client commits once the holder has committed."""
    lines = stage_for(caches.Delegating).lines(HOLDER_THEN_WAITER.format(how=" runs"))
    until = [line.replace("B crash", "B crash runs") for line in UNTIL_THE_CRASH]
    assert lines == [*until, "somebody commits v2", "A ok"]


def test_a_crashed_client_takes_nothing_from_a_queue(stage_for: StageFor, caches: ModuleType) -> None:
    """Its BRPOP dies with it: the element is there for the next one."""
    lines = stage_for(caches.Queueing).lines("A read, A ., A crash, B write, B ., B read, B .")
    assert lines[-2:] == ["B BRPOP -> [queue:user:1 v2]", "B ok v2"]


def test_a_cache_that_cannot_be_constructed_is_the_users(stage_for: StageFor) -> None:
    """It raises at once, with the error of the constructor."""

    class Broken:
        def __init__(self, env: Any) -> None:
            raise ValueError("no such setting")

    expected = pytest.raises(CacheError, match="cannot be constructed: ValueError: no such setting, on A")
    with expected, stage_for(Broken).open("A read"):
        pass


def test_a_fault_names_the_operations_that_it_met(stage_for: StageFor) -> None:
    """`overlapped` are the clients with an open operation at that moment."""
    run = stage_for(CacheAside).play("A read, B write, kill, start")  # A fails, B waits for the database
    overlapped = {event.fault: event.overlapped for event in run.history.events if isinstance(event, Faulted)}
    assert overlapped == {"kill": (0, 1), "start": (1,)}


def test_who_is_held_back(stage_for: StageFor, caches: ModuleType) -> None:
    """A client in the middle of an operation, from which a fault keeps something back, and nobody else."""
    with stage_for(caches.Impatient).open("A write, A ., B write, B ., A write, B write") as execution:
        assert [execution.is_held_back(client) for client in (0, 1)] == [False, False]
        execution.take(Partition(ServerName.CACHE, 0, Manner.SILENT))
        assert [execution.is_held_back(client) for client in (0, 1)] == [True, False]
        execution.take(Advance(1.0))
        assert [execution.is_held_back(client) for client in (0, 1)] == [False, False]
        assert execution.wounded == {0}
