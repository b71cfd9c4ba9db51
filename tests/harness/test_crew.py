"""The clients of one run: started when needed, settled when nothing more can come of them."""

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


def test_clients_are_started_when_they_are_first_needed(stage_for: StageFor) -> None:
    """A client that does nothing costs nothing; a worker is there from the start."""
    with stage_for(CacheAside).open("B read", clients=3) as execution:
        assert [process.number for process in execution.crew.alive()] == [1]


def test_clients_have_their_names(stage_for: StageFor, caches: ModuleType) -> None:
    """Letters for clients, numbers for workers."""
    with stage_for(caches.Queueing).open(workers=1) as execution:
        assert [execution.crew.name(number) for number in range(3)] == ["A", "B", "worker 1"]
        assert [process.number for process in execution.crew.alive()] == [2]


def test_who_was_buried_is_down_and_gone(stage_for: StageFor) -> None:
    """No process is left, and its name is among those that are down."""
    with stage_for(CacheAside).open("A read") as execution:
        process = execution.crew.get(0)
        pid = process.pid
        execution.crew.bury(process)
        assert execution.crew.down == {0} and execution.crew.get(0) is None
        assert not os.path.exists(f"/proc/{pid}")


def test_a_settled_client_has_asked_for_everything(stage_for: StageFor, caches: ModuleType) -> None:
    """Ten times out of ten all four requests of a gather are there, and both of two threads."""
    for cache, count in ((caches.Gathering, 4), (caches.Threaded, 2)):
        stage = stage_for(cache)
        for _ in range(10):
            with stage.open("A read") as execution:
                assert len(execution.pending(0)) == count


def test_the_stacks_of_a_client_show_where_it_is(stage_for: StageFor, caches: ModuleType) -> None:
    """All its threads, as faulthandler writes them."""
    with stage_for(caches.Threaded).open("A read") as execution:
        told = execution.crew.stacks(execution.crew.get(0))
    assert told.count("most recent call first") >= 3
    assert "caches.py" in told and "in read" in told


def test_a_restarted_client_draws_other_numbers(stage_for: StageFor) -> None:
    """The seed of chance depends on how often a client was started: a new process is not its predecessor."""

    class Drawing:
        def __init__(self, env: Any) -> None:
            self.drawn = os.urandom(8).hex()

        def read(self, key: str) -> str:
            return self.drawn

        def write(self, key: str, value: str) -> None: ...

    stage = stage_for(Drawing)
    values = [item.value for item in stage.play("A read, A crash, A restart, A read").history.operations]
    assert len(set(values[:2])) == 2
