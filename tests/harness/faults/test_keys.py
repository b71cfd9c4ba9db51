"""Faults of what the cache holds, on real servers: expiry, eviction, flushes.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.models.decision import Deliver, Evict, Expire, Flush, Flushed
from cacheproof.models.schedule import Keeps
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


# ── eviction ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("policy", "with_ttl", "without"),
    [
        ("allkeys-lru", True, True),
        ("allkeys-random", True, True),
        ("volatile-lru", True, False),
        ("volatile-ttl", True, False),
        ("noeviction", False, False),
    ],
)
def test_the_policy_says_what_may_be_evicted(
    stage_for: StageFor, policy: str, with_ttl: bool, without: bool
) -> None:
    """Any key, those with a time to live, or none; never one that is not there."""
    with stage_for(CacheAside).open("A read, A ...", policy=policy) as execution:
        execution.world.cache_clock.admin.call("SET", "lasting", "1")
        assert execution.is_enabled(Evict("user:1")) is with_ttl
        assert execution.is_enabled(Evict("lasting")) is without
        assert not execution.is_enabled(Evict("user:2"))


def test_an_evicted_key_is_gone(stage_for: StageFor) -> None:
    """The next read misses, and the key can expire no more."""
    lines = stage_for(CacheAside).lines("A read, A ..., evict user:1, A read, A ...")
    assert lines == [*COLD_READ, "evict user:1", *COLD_READ]
    with stage_for(CacheAside).open("A read, A ..., evict user:1") as execution:
        assert not execution.is_enabled(Expire("user:1"))


def test_subscribers_hear_of_an_eviction(stage_for: StageFor, caches: ModuleType) -> None:
    """As an eviction: not as an expiry, and not as a deletion; also who is busy with another message."""

    class Watching(caches.Listening):  # type: ignore[misc, name-defined]
        def work(self) -> None:
            with self.redis.pubsub() as heard:
                heard.psubscribe("__keyevent@0__:*")
                for message in heard.listen():
                    if message["type"] == "pmessage" and message["data"] == "user:1":
                        self.redis.rpush("heard", message["channel"].rpartition(":")[2])

    stage = stage_for(Watching)
    stage.world.reset(stage.schedule("").scenario)
    stage.world.cache_clock.admin.call("CONFIG", "SET", "notify-keyspace-events", "Exeg")
    try:
        with stage.open("Q ., A write, A ., evict user:1, Q ..", workers=1) as execution:
            heard = execution.world.cache_clock.admin.call("LRANGE", "heard", 0, -1).value
    finally:
        stage.world.cache_clock.admin.call("CONFIG", "SET", "notify-keyspace-events", "")
    assert heard == (b"expire", b"evicted")  # it was given a time to live, and lost it all


# ── flushes ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_flush_takes_every_key(stage_for: StageFor) -> None:
    """With its deadline: what is written anew does not expire with the old one."""
    lines = stage_for(CacheAside).lines("A read, A ..., advance 100, flush, A read, A ..., advance 250")
    assert lines == [*COLD_READ, "advance 100", "flush cache keys", *COLD_READ, "advance 250"]


def test_a_flush_of_scripts_takes_no_key(stage_for: StageFor) -> None:
    """And no function; who calls a script by its digest is told that there is none."""
    with stage_for(CacheAside).open("A read, A ...") as execution:
        admin = execution.world.cache_clock.admin
        sha = bytes(admin.call("SCRIPT", "LOAD", "return 1").value)
        admin.call("FUNCTION", "LOAD", "#!lua name=f\nserver.register_function('f', function() return 1 end)")
        execution.take(Flush(Flushed.SCRIPTS))
        assert admin.call("EVALSHA", sha, 0).raw.startswith(b"-NOSCRIPT")
        assert admin.call("FCALL", "f", 0).value == 1
        assert admin.call("GET", "user:1").value == b"v1"
        assert execution.recorder.history().faults[-1].detail == "scripts"


def test_nothing_happens_to_keys_of_a_cache_that_is_down(stage_for: StageFor) -> None:
    """It has none."""
    with stage_for(CacheAside).open("A read, A ..., kill") as execution:
        for decision in (Expire("user:1"), Evict("user:1"), Flush(), Flush(Flushed.SCRIPTS)):
            assert not execution.is_enabled(decision)


@pytest.mark.parametrize("harm", ["expire user:1", "evict user:1", "flush"])
def test_what_is_gone_is_gone_from_the_file_as_well(stage_for: StageFor, harm: str) -> None:
    """A server writes down what it removes: a restart does not bring it back, power loss may."""
    stage, script = stage_for(CacheAside), f"A read, A ..., {harm}, kill, start cache synced"
    assert stage.lines(f"{script}, A read, A .", keeps=Keeps.EVERYSEC)[-1] == "A GET -> nil"
    assert stage.lines(f"{script} 1, A read, A .", keeps=Keeps.EVERYSEC)[-1] == "A ok v1"
