"""Cache-aside with versions on real servers: one operation at a time, and the schedules that it is made for."""

from typing import Any

import psycopg
import pytest
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.patterns.cache_aside_versioned import FILL, INVALIDATE, CacheAsideVersioned

STALE_SET = "A read, A ..; B write, B .."
"""A has loaded v1 and not yet filled; B has written v2 meanwhile."""


class Persistent(CacheAsideVersioned):
    """The same with a driver that sends a command once more when it has had no answer."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.redis.set_retry(Retry(ConstantBackoff(1), 3))


def filled(env: Any, version: int, value: str) -> int:
    return int(env.redis.eval(FILL, 1, "user:1", version, value, 300))


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key leaves value and version in the cache for `ttl` seconds; a hit asks the cache alone."""
    cache = opened(CacheAsideVersioned)
    assert cache.read("user:1") == "v1"
    assert env.redis.hgetall("user:1") == {"version": "0", "value": "v1"}
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Neither a read nor a write of a key without a row leaves anything behind."""
    cache = opened(CacheAsideVersioned)
    assert cache.read("nobody") is None
    cache.write("nobody", "v2")
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire_and_tombstones_do(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all, even over a tombstone, which has one."""
    cache = opened(CacheAsideVersioned, ttl=None)
    cache.write("user:1", "v2")
    assert 50 <= env.redis.ttl("user:1") <= 60
    cache.read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_leaves_a_tombstone(env: Any, opened: Any) -> None:
    """After a write the row has a new version, the entry only that version, and the next read is fresh."""
    cache = opened(CacheAsideVersioned)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert env.redis.hgetall("user:1") == {"version": "1"}
    assert (env.stored("user:1"), env.stored("user:2")) == ("v2", "v1")
    assert cache.read("user:1") == "v2"
    assert env.redis.hgetall("user:1") == {"version": "1", "value": "v2"}


def test_a_write_that_the_database_refuses_leaves_the_cache_alone(env: Any, opened: Any) -> None:
    """If the UPDATE fails, the error reaches the caller and the cache keeps its entry."""
    cache = opened(CacheAsideVersioned)
    cache.read("user:1")
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert env.redis.hget("user:1", "value") == "v1"


def test_only_what_is_not_older_is_taken(env: Any) -> None:
    """A fill has to have a newer version than the entry, or the version of a tombstone without a value."""
    offers = [(3, "v3"), (2, "v2"), (3, "again"), (4, "v4")]
    assert [filled(env, version, value) for version, value in offers] == [1, 0, 0, 1]
    assert env.redis.eval(INVALIDATE, 1, "user:1", 4, 60) == 0
    assert env.redis.hget("user:1", "value") == "v4"
    assert env.redis.eval(INVALIDATE, 1, "user:1", 6, 60) == 1
    assert [filled(env, 5, "v5"), filled(env, 6, "v6")] == [0, 1]


def test_versions_are_compared_as_numbers(env: Any) -> None:
    """10 is newer than 9."""
    assert [filled(env, 9, "v9"), filled(env, 10, "v10"), filled(env, 9, "v9")] == [1, 1, 0]


def test_a_server_that_forgets_its_scripts_is_not_noticed(env: Any, opened: Any) -> None:
    """SCRIPT FLUSH between any two operations changes nothing."""
    cache = opened(CacheAsideVersioned)
    for value in ("v2", "v3"):
        env.redis.script_flush()
        cache.write("user:1", value)
        env.redis.script_flush()
        assert cache.read("user:1") == value


def test_a_load_from_an_old_snapshot_is_refused(env: Any, opened: Any) -> None:
    """Anomaly 4: a reader in REPEATABLE READ misses after a write, loads what was before it, and cannot fill."""
    reader, writer = opened(CacheAsideVersioned), opened(CacheAsideVersioned)
    reader.db.execute("begin isolation level repeatable read")
    reader.db.execute("select 1 from records").fetchone()  # which takes the snapshot
    writer.write("user:1", "v2")
    assert reader.read("user:1") == "v1"
    assert (env.redis.hget("user:1", "value"), writer.read("user:1")) == (None, "v2")


def test_the_stale_set_is_refused(stage_for: Any) -> None:
    """Anomaly 1: the reader's fill comes after the tombstone, and the next read is fresh."""
    lines = stage_for(CacheAsideVersioned).lines(f"{STALE_SET}; A .; A read, A ...")
    assert lines[-7:] == [
        "A EVAL -> 0",
        "A ok v1",
        "A read",
        "A HGET -> nil",
        "A SELECT -> v2 1",
        "A EVAL -> 1",
        "A ok v2",
    ]


def test_a_zombie_fill_is_refused(stage_for: Any) -> None:
    """Anomaly 41: the reader has given up, a write comes and goes, and then the fill arrives."""
    run = stage_for(CacheAsideVersioned).play(
        "A read, A .., A delayed; B write, B ..; A arrive; B read, B ..."
    )
    assert run.history.operations[2].value == "v2"
    assert ReadAfterWrite().check(run.history).findings == ()


@pytest.mark.parametrize("loss", ["expire user:1", "evict user:1", "flush"])
def test_a_lost_tombstone_lets_the_stale_set_in(stage_for: Any, loss: str) -> None:
    """Anomaly 47, the residual weakness: whatever takes the tombstone away before a slow fill reopens the race."""
    run = stage_for(CacheAsideVersioned).play(f"{STALE_SET}; {loss}; A .")
    assert [found.kind for found in ReadAfterWrite().check(run.history).findings] == ["stale-read"]


def test_a_fill_that_is_sent_again_outlives_the_cache(stage_for: Any) -> None:
    """A cache that comes back empty is harmless, since the fill dies with its connection, unless it is retried."""
    crash = f"{STALE_SET}; kill, start"
    assert not ReadAfterWrite().check(stage_for(CacheAsideVersioned).play(crash).history).findings
    assert ReadAfterWrite().check(stage_for(Persistent).play(crash).history).findings
