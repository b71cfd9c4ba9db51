"""Write-behind over a Stream on real servers: the cache's side, the worker's, and the worker's second life."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.patterns.write_behind_stream import GROUP, STREAM, WORKER, WriteBehindStream


def end_of_stream(env: Any) -> None:
    """Add something that no worker can read, so that it stops there."""
    env.redis.xadd(STREAM, {"the": "end"})


def flush(env: Any, worker: WriteBehindStream) -> None:
    """Let the worker store everything that is in the stream now."""
    end_of_stream(env)
    with pytest.raises(KeyError):
        worker.work()


def pending(env: Any) -> int:
    return int(env.redis.xpending(STREAM, GROUP)["pending"])


def wait_until_it_waits(env: Any, worker: Future[Any]) -> None:
    """Returns when a blocking read has reached the cache."""
    while not any("b" in client["flags"] for client in env.redis.client_list()):
        assert not worker.done()


class Interrupted:
    """The connection of a cache, with something that happens after its first statement."""

    def __init__(self, db: Any, happens: Callable[[], None]) -> None:
        self.db, self.happens = db, [happens]

    def execute(self, *statement: Any) -> Any:
        rows = self.db.execute(*statement)
        if self.happens:
            self.happens.pop()()
        return rows

    def close(self) -> None:
        self.db.close()


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(WriteBehindStream).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(WriteBehindStream).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_write_touches_the_cache_alone(env: Any, opened: Any) -> None:
    """A write is acknowledged without the database, is visible at once, and is not stored yet."""
    cache = opened(WriteBehindStream)
    cache.db.close()
    cache.write("user:1", "v2")
    assert cache.read("user:1") == "v2"
    assert env.stored("user:1") == "v1"
    assert [change for _, change in env.redis.xrange(STREAM)] == [{"key": "user:1", "value": "v2"}]


def test_a_written_value_does_not_expire(env: Any, opened: Any) -> None:
    """A write takes away the ttl that an earlier fill had set."""
    cache = opened(WriteBehindStream)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert env.redis.ttl("user:1") == -1


def test_a_fill_never_overwrites_a_value_that_is_not_stored_yet(env: Any, opened: Any) -> None:
    """A reader that missed, loaded v1 and fills after a write of v2 leaves v2 in the cache."""
    reader, writer = opened(WriteBehindStream), opened(WriteBehindStream)
    reader.db = Interrupted(reader.db, lambda: writer.write("user:1", "v2"))
    assert reader.read("user:1") == "v1"
    assert (env.cached("user:1"), env.redis.ttl("user:1")) == ("v2", -1)


def test_the_worker_stores_changes_in_the_order_of_the_writes(env: Any, opened: Any) -> None:
    """After a flush every record has its last written value, and only the end is left pending."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)
    for value in ("v2", "v3", "v4"):
        cache.write("user:1", value)
        cache.write("user:2", value + " too")
    flush(env, worker)
    assert (env.stored("user:1"), env.stored("user:2")) == ("v4", "v4 too")
    assert pending(env) == 1


def test_the_worker_waits_for_work(env: Any, opened: Any) -> None:
    """A worker that finds nothing blocks, and stores a change that comes later."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(worker.work)
        wait_until_it_waits(env, ended)
        cache.write("user:1", "v2")
        end_of_stream(env)
        assert isinstance(ended.exception(timeout=30), KeyError)
    assert env.stored("user:1") == "v2"


def test_a_worker_waits_as_long_as_it_takes(opened: Any) -> None:
    """No time-out of the driver ends a blocking read."""
    pool = opened(WriteBehindStream).redis.connection_pool
    assert pool.connection_kwargs["socket_timeout"] is None


def test_a_change_is_acknowledged_only_after_it_is_stored(env: Any, opened: Any) -> None:
    """A worker that fails at the UPDATE leaves the change pending, and the database as it was."""
    cache, broken = opened(WriteBehindStream), opened(WriteBehindStream)
    cache.write("user:1", "v2")
    broken.db.close()
    with pytest.raises(psycopg.OperationalError):
        broken.work()
    assert (env.stored("user:1"), pending(env)) == ("v1", 1)


def test_a_restarted_worker_stores_what_its_earlier_life_left(env: Any, opened: Any) -> None:
    """Pending changes come first, then new ones, so the order of the writes survives a crash."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)
    stored: list[str] = []
    cache.write("user:1", "v2")
    cache.write("user:2", "v2")
    env.redis.xgroup_create(STREAM, GROUP, id="0")
    env.redis.xreadgroup(GROUP, WORKER, {STREAM: ">"})  # the earlier life, which then dies
    cache.write("user:1", "v3")
    worker.db.add_notice_handler(lambda notice: stored.append(notice.message_primary))
    env.db.execute(
        "create or replace function tell() returns trigger language plpgsql as "
        "$$ begin raise notice '% %', new.key, new.value; return new; end $$"
    )
    env.db.execute("create trigger tell before update on records for each row execute function tell()")
    flush(env, worker)
    assert stored == ["user:1 v2", "user:2 v2", "user:1 v3"]
    assert pending(env) == 1


def test_a_worker_survives_a_cache_that_restarts_empty(env: Any, opened: Any) -> None:
    """When stream and group have vanished it makes them anew, and stores what is written from then on."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)

    def restart_empty() -> None:
        env.redis.flushall()
        cache.write("user:1", "v3")
        end_of_stream(env)

    cache.write("user:1", "v2")
    worker.db = Interrupted(worker.db, restart_empty)
    with pytest.raises(KeyError):
        worker.work()
    assert env.stored("user:1") == "v3"


def test_an_error_that_is_not_about_the_group_reaches_the_caller(env: Any, opened: Any) -> None:
    """A stream's key that holds something else is not mistaken for a group that exists or is missing."""
    worker = opened(WriteBehindStream)
    env.redis.set(STREAM, "not a stream")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        worker.work()


def test_an_error_of_a_waiting_worker_reaches_the_caller(env: Any, opened: Any) -> None:
    """The same while it waits: only a missing group is mended."""
    worker = opened(WriteBehindStream)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(worker.work)
        wait_until_it_waits(env, ended)
        env.redis.set(STREAM, "not a stream")
        assert "WRONGTYPE" in str(ended.exception(timeout=30))


def test_a_waiting_worker_survives_a_cache_that_is_flushed(env: Any, opened: Any) -> None:
    """A blocked read ends when the stream vanishes; the worker makes the group anew and goes on."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(worker.work)
        wait_until_it_waits(env, ended)
        env.redis.flushall()
        cache.write("user:1", "v2")
        end_of_stream(env)
        assert isinstance(ended.exception(timeout=30), KeyError)
    assert env.stored("user:1") == "v2"
