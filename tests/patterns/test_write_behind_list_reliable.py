"""Write-behind over a List with a reliable move: the cache's side, the worker's, and its second life."""

import json
from concurrent.futures import Future
from typing import Any

import psycopg

from cacheproof.models.durability import Durability
from cacheproof.patterns.write_behind_list_reliable import PROCESSING, QUEUE, WriteBehindListReliable

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""


def flush(env: Any, ended: Future[Any]) -> None:
    """Returns when a worker has stored everything that is queued now, and has stopped."""
    env.redis.lpush(QUEUE, "the end")
    assert isinstance(ended.exception(timeout=PATIENCE_S), json.JSONDecodeError)
    env.redis.delete(f"{PROCESSING}:A")


def test_a_miss_fills_with_a_ttl_and_a_write_takes_it_away(env: Any, opened: Any) -> None:
    """A loaded value lives `ttl` seconds; a written one does not expire, and is not stored yet."""
    cache = opened(WriteBehindListReliable)
    assert cache.read("user:1") == cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.write("user:1", "v2")
    assert (env.cached("user:1"), env.redis.ttl("user:1"), env.stored("user:1")) == ("v2", -1, "v1")
    assert cache.read("nobody") is None


def test_value_and_change_reach_the_cache_together(env: Any, opened: Any) -> None:
    """A write is one transaction: nobody sees the value without the change, nor the other way round."""
    cache = opened(WriteBehindListReliable)
    env.redis.config_resetstat()
    cache.write("user:1", "v2")
    assert env.redis.info("commandstats")["cmdstat_exec"]["calls"] == 1


def test_the_worker_stores_changes_in_the_order_of_the_writes(env: Any, opened: Any, at_work: Any) -> None:
    """After a flush every record has its last written value, and both lists are empty."""
    cache, worker = opened(WriteBehindListReliable), opened(WriteBehindListReliable)
    for value in ("v2", "v3", "v4"):
        cache.write("user:1", value)
        cache.write("user:2", value + " too")
    with at_work(worker) as ended:
        flush(env, ended)
    assert (env.stored("user:1"), env.stored("user:2")) == ("v4", "v4 too")
    assert env.redis.exists(QUEUE, f"{PROCESSING}:A") == 0


def test_a_worker_waits_as_long_as_it_takes(opened: Any) -> None:
    """No time-out of the driver ends a blocking move."""
    pool = opened(WriteBehindListReliable).redis.connection_pool
    assert pool.connection_kwargs["socket_timeout"] is None


def test_the_next_life_stores_what_the_last_one_was_at(env: Any, opened: Any, at_work: Any) -> None:
    """A worker that fails before its UPDATE leaves the change in its own list; nothing newer overtakes it."""
    cache, broken, next_life = (opened(WriteBehindListReliable) for _ in range(3))
    cache.write("user:1", "v2")
    broken.db.close()
    with at_work(broken) as ended:
        assert isinstance(ended.exception(timeout=PATIENCE_S), psycopg.OperationalError)
    assert env.redis.lrange(f"{PROCESSING}:A", 0, -1) == ['["user:1", "v2"]']
    cache.write("user:1", "v3")
    with at_work(next_life) as ended:
        flush(env, ended)
    assert env.stored("user:1") == "v3"


def test_a_crash_after_the_move_loses_nothing(stage_for: Any) -> None:
    """The worker dies with the change in its list, before its UPDATE (55): its next life stores it."""
    run = stage_for(WriteBehindListReliable).play("A write, A .; Q ..; Q crash", workers=1)
    assert [commit.value for commit in run.history.commits["user:1"]] == ["v2"]
    assert Durability().check(run.history).findings == ()


def test_a_crash_after_the_update_stores_the_change_twice(stage_for: Any) -> None:
    """Which is harmless: the same value, and nothing else in between."""
    run = stage_for(WriteBehindListReliable).play("A write, A .; A write, A .; Q ...; Q crash", workers=1)
    assert [commit.value for commit in run.history.commits["user:1"]] == ["v2", "v2", "v3"]
    assert Durability().check(run.history).findings == ()
