"""Expiry of keys on real servers: what they do to clients and history.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.models.decision import (
    Deliver,
    Expire,
)
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]


def test_a_key_expires_by_decision(stage_for: StageFor) -> None:
    """The next read misses."""
    lines = stage_for(CacheAside).lines("A read, A ..., expire user:1, A read, A ...")
    assert lines == [*COLD_READ, "expire user:1", *COLD_READ]


def test_only_keys_with_a_ttl_can_expire(stage_for: StageFor, caches: ModuleType) -> None:
    """A key without one stays, as it would in reality."""
    with stage_for(CacheAside).open("A read, A ..") as execution:
        assert not execution.is_enabled(Expire("user:1"))
        execution.take(Deliver(0))
        assert execution.is_enabled(Expire("user:1"))
    with stage_for(caches.Queueing).open("A write, A .") as execution:
        assert not execution.is_enabled(Expire("queue:user:1"))


def test_subscribers_hear_of_an_expiry(stage_for: StageFor, caches: ModuleType) -> None:
    """`expired` is published by the decision and by the clock alike, and delivered with it."""
    stage = stage_for(caches.Listening)
    stage.world.reset(stage.schedule("").scenario)
    stage.world.cache_clock.admin.call("CONFIG", "SET", "notify-keyspace-events", "Ex")
    try:
        lines = stage.lines("Q ., A write, A ., expire user:1, Q ., A write, A ., advance 10, Q .", workers=1)
    finally:
        stage.world.cache_clock.admin.call("CONFIG", "SET", "notify-keyspace-events", "")
    assert lines[2:] == [
        "A write v2",
        "A SET -> OK",
        "A ok v2",
        "expire user:1",
        "Q RPUSH -> 1",
        "A write v3",
        "A SET -> OK",
        "A ok v3",
        "advance 10",
        "expire user:1",
        "Q RPUSH -> 2",
    ]
