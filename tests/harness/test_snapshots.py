"""Looking at the servers: everything is seen, in words, and nothing is changed by it."""

from collections.abc import Callable
from typing import Any

import pytest

from cacheproof.harness.snapshots import Observer, contents
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


def test_a_snapshot_follows_every_event_that_may_change_a_server(stage_for: StageFor) -> None:
    """What cache and database hold, with ttls in virtual seconds."""
    stage = stage_for(CacheAside)
    schedule = stage.schedule("A read, A ..., advance 100, B write, B ..", probes_s=())
    observer = Observer(stage.world, schedule.scenario.initial_values())
    run = stage.runner.replay(schedule, observer)
    seen = {
        type(run.history.events[item.index]).__name__ + str(item.index): (
            dict(item.cache),
            dict(item.database),
        )
        for item in observer.snapshots
    }
    assert list(seen.items()) == [
        ("Exchanged1", ({}, {"user:1": "v1"})),
        ("Exchanged2", ({}, {"user:1": "v1"})),
        ("Exchanged3", ({"user:1": ("v1", 300.0)}, {"user:1": "v1"})),
        ("Faulted5", ({"user:1": ("v1", 300.0)}, {"user:1": "v1"})),
        ("Exchanged7", ({"user:1": ("v1", 200.0)}, {"user:1": "v1"})),
        ("Committed8", ({"user:1": ("v1", 200.0)}, {"user:1": "v2"})),
        ("Exchanged9", ({}, {"user:1": "v2"})),
    ]


def test_looking_changes_nothing(stage_for: StageFor) -> None:
    """The history is the same with and without an observer."""
    stage = stage_for(CacheAside)
    schedule = stage.schedule("A read, A .., B write, B .., A ., expire user:1, kill, start, A read")
    observer = Observer(stage.world, schedule.scenario.initial_values())
    assert stage.runner.replay(schedule, observer).history == stage.runner.replay(schedule).history


@pytest.mark.parametrize("fault", ["kill", "expire user:1"])
def test_a_fault_is_seen_after_it_has_happened(stage_for: StageFor, fault: str) -> None:
    """A dead cache cannot be asked, and holds nothing; what has expired is not there."""
    stage = stage_for(CacheAside)
    schedule = stage.schedule(f"A read, A ..., {fault}", probes_s=())
    observer = Observer(stage.world, schedule.scenario.initial_values())
    run = stage.runner.replay(schedule, observer)
    (when,) = [event.index for event in run.history.faults if event.fault == fault.split()[0]]
    assert [dict(item.cache) for item in observer.snapshots if item.index == when] == [{}]


@pytest.mark.parametrize(
    ("commands", "told"),
    [
        ([("SET", "k", "v")], "v"),
        ([("RPUSH", "k", "a", "b")], "list [a, b]"),
        ([("SADD", "k", "a")], "set [a]"),
        ([("ZADD", "k", "1", "a", "2", "b")], "zset [a, b]"),
        ([("HSET", "k", "f", "1", "g", "2")], "hash {f=1, g=2}"),
        ([("XADD", "k", "1-1", "f", "1")], "stream [f=1]"),
        ([("PFADD", "k", "a")], None),  # a string to the server, whose bytes are nobody's business
    ],
)
def test_every_type_has_its_words(
    stage_for: StageFor, commands: list[tuple[str, ...]], told: str | None
) -> None:
    """Strings as they are, larger structures with their type and members, without a ttl."""
    with stage_for(CacheAside).open() as execution:
        execution.world.cache_clock.admin.call_many(commands)
        (name, (value, ttl_s)), *others = contents(execution.world.cache_clock).items()
    assert (name, ttl_s, others) == ("k", None, [])
    assert told is None or value == told
