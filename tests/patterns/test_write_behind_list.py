"""Write-behind over a List on real servers: the cache's side, and the worker's."""

import json
from concurrent.futures import Future
from typing import Any

import psycopg

from cacheproof.patterns.write_behind_list import QUEUE, WriteBehindList

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""


def end_of_queue(env: Any) -> None:
    """Queue something that no worker can read, so that it stops there."""
    env.redis.lpush(QUEUE, "the end")


def flush(env: Any, ended: Future[Any]) -> None:
    """Returns when a worker has stored everything that is queued now, and has stopped."""
    end_of_queue(env)
    assert isinstance(ended.exception(timeout=PATIENCE_S), json.JSONDecodeError)


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(WriteBehindList).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(WriteBehindList).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_write_touches_the_cache_alone(env: Any, opened: Any) -> None:
    """A write is acknowledged without the database, is visible at once, and is not stored yet."""
    cache = opened(WriteBehindList)
    cache.db.close()
    cache.write("user:1", "v2")
    assert cache.read("user:1") == "v2"
    assert env.stored("user:1") == "v1"
    assert env.redis.lrange(QUEUE, 0, -1) == ['["user:1", "v2"]']


def test_value_and_change_reach_the_cache_together(env: Any, opened: Any) -> None:
    """A write is one transaction: nobody sees the value without the change, nor the other way round."""
    cache = opened(WriteBehindList)
    env.redis.config_resetstat()
    cache.write("user:1", "v2")
    assert env.redis.info("commandstats")["cmdstat_exec"]["calls"] == 1


def test_a_written_value_does_not_expire(env: Any, opened: Any) -> None:
    """A write takes away the ttl that an earlier fill had set."""
    cache = opened(WriteBehindList)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert env.redis.ttl("user:1") == -1


def test_a_fill_never_overwrites_a_value_that_is_not_stored_yet(env: Any, opened: Any) -> None:
    """A reader that missed, loaded v1 and fills after a write of v2 leaves v2 in the cache."""
    reader, writer = opened(WriteBehindList), opened(WriteBehindList)

    class WriteBeforeTheRow:
        """The reader's connection, with a write between its SELECT and what the reader does next."""

        def execute(self, *statement: Any) -> Any:
            rows = env.db.execute(*statement)
            writer.write("user:1", "v2")
            return rows

        def close(self) -> None:
            """There is nothing to close: `env` owns the connection."""

    reader.db.close()
    reader.db = WriteBeforeTheRow()
    assert reader.read("user:1") == "v1"
    assert (env.cached("user:1"), env.redis.ttl("user:1")) == ("v2", -1)


def test_the_worker_stores_changes_in_the_order_of_the_writes(env: Any, opened: Any, at_work: Any) -> None:
    """After a flush every record has its last written value, and the queue is empty."""
    cache, worker = opened(WriteBehindList), opened(WriteBehindList)
    for value in ("v2", "v3", "v4"):
        cache.write("user:1", value)
        cache.write("user:2", value + " too")
    with at_work(worker) as ended:
        flush(env, ended)
    assert (env.stored("user:1"), env.stored("user:2")) == ("v4", "v4 too")
    assert env.redis.llen(QUEUE) == 0


def test_the_worker_waits_for_work(env: Any, opened: Any, at_work: Any) -> None:
    """A worker that finds nothing blocks, and stores a change that comes later."""
    cache, worker = opened(WriteBehindList), opened(WriteBehindList)
    with at_work(worker) as ended:
        while not any("b" in client["flags"] for client in env.redis.client_list()):
            assert not ended.done()
        cache.write("user:1", "v2")
        flush(env, ended)
    assert env.stored("user:1") == "v2"


def test_a_worker_waits_as_long_as_it_takes(opened: Any) -> None:
    """No time-out of the driver ends a blocking read."""
    pool = opened(WriteBehindList).redis.connection_pool
    assert pool.connection_kwargs["socket_timeout"] is None


def test_a_worker_that_fails_between_pop_and_update_loses_the_change(
    env: Any, opened: Any, at_work: Any
) -> None:
    """The change is in nobody's hands afterwards: not stored, not queued, and the next worker has nothing."""
    cache, broken, next_worker = (opened(WriteBehindList) for _ in range(3))
    cache.write("user:1", "v2")
    broken.db.close()
    with at_work(broken) as ended:
        assert isinstance(ended.exception(timeout=PATIENCE_S), psycopg.OperationalError)
    with at_work(next_worker) as ended:
        flush(env, ended)
    assert (env.stored("user:1"), env.cached("user:1")) == ("v1", "v2")
