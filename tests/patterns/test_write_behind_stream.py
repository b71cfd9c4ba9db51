"""Write-behind over a Stream on real servers: the cache's side, the worker's, and its second life."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.models.durability import Durability
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.patterns.write_behind_stream import GROUP, STREAM, WORKER, WriteBehindStream

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""


def end_of_stream(env: Any) -> None:
    """Add something that no worker can read, so that it stops there."""
    env.redis.xadd(STREAM, {"the": "end"})


def flush(env: Any, ended: Future[Any]) -> None:
    """Returns when a worker has stored everything that is queued now, and has stopped."""
    end_of_stream(env)
    assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)


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


def test_value_and_change_reach_the_cache_together(env: Any, opened: Any) -> None:
    """A write is one transaction: nobody sees the value without the change, nor the other way round."""
    cache = opened(WriteBehindStream)
    env.redis.config_resetstat()
    cache.write("user:1", "v2")
    assert env.redis.info("commandstats")["cmdstat_exec"]["calls"] == 1


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


def test_the_worker_stores_changes_in_the_order_of_the_writes(env: Any, opened: Any, at_work: Any) -> None:
    """After a flush every record has its last written value, and only the end is left pending."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)
    for value in ("v2", "v3", "v4"):
        cache.write("user:1", value)
        cache.write("user:2", value + " too")
    with at_work(worker) as ended:
        flush(env, ended)
    assert (env.stored("user:1"), env.stored("user:2")) == ("v4", "v4 too")
    assert pending(env) == 1


def test_the_worker_waits_for_work(env: Any, opened: Any, at_work: Any) -> None:
    """A worker that finds nothing blocks, and stores a change that comes later."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)
    with at_work(worker) as ended:
        wait_until_it_waits(env, ended)
        cache.write("user:1", "v2")
        flush(env, ended)
    assert env.stored("user:1") == "v2"


def test_a_worker_waits_as_long_as_it_takes(opened: Any) -> None:
    """No time-out of the driver ends a blocking read."""
    pool = opened(WriteBehindStream).redis.connection_pool
    assert pool.connection_kwargs["socket_timeout"] is None


def test_a_change_is_acknowledged_only_after_it_is_stored(env: Any, opened: Any, at_work: Any) -> None:
    """A worker that fails at the UPDATE leaves the change pending, and the database as it was."""
    cache, broken = opened(WriteBehindStream), opened(WriteBehindStream)
    cache.write("user:1", "v2")
    broken.db.close()
    with at_work(broken) as ended:
        assert isinstance(ended.exception(timeout=PATIENCE_S), psycopg.OperationalError)
    assert (env.stored("user:1"), pending(env)) == ("v1", 1)


def test_a_restarted_worker_stores_what_its_earlier_life_left(env: Any, opened: Any, at_work: Any) -> None:
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
    with at_work(worker) as ended:
        flush(env, ended)
    assert stored == ["user:1 v2", "user:2 v2", "user:1 v3"]
    assert pending(env) == 1


def test_a_worker_survives_a_cache_that_restarts_empty(env: Any, opened: Any, at_work: Any) -> None:
    """When stream and group have vanished it makes them anew, and stores what is written from then on."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)

    def restart_empty() -> None:
        env.redis.flushall()
        cache.write("user:1", "v3")
        end_of_stream(env)

    cache.write("user:1", "v2")
    worker.db = Interrupted(worker.db, restart_empty)
    with at_work(worker) as ended:
        assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)
    assert env.stored("user:1") == "v3"


@pytest.mark.parametrize("command", ["xgroup_create", "xreadgroup"])
def test_an_error_that_is_not_about_the_group_reaches_the_caller(
    opened: Any, at_work: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a group that exists already, or has vanished, is a case of its own."""
    worker = opened(WriteBehindStream)
    errors = [AssertionError("the worker went on"), redis.ResponseError("OOM command not allowed")]

    def fail(*_: Any, **__: Any) -> None:
        raise errors.pop()

    monkeypatch.setattr(worker.redis, command, fail)
    with at_work(worker) as ended:
        assert str(ended.exception(timeout=PATIENCE_S)).startswith("OOM")


def test_a_waiting_worker_survives_a_cache_that_is_flushed(env: Any, opened: Any, at_work: Any) -> None:
    """A blocked read ends when the stream vanishes; the worker makes the group anew and goes on."""
    cache, worker = opened(WriteBehindStream), opened(WriteBehindStream)
    with at_work(worker) as ended:
        wait_until_it_waits(env, ended)
        env.redis.flushall()
        cache.write("user:1", "v2")
        flush(env, ended)
    assert env.stored("user:1") == "v2"


def test_a_dirty_entry_that_is_evicted_hides_the_write(stage_for: Any) -> None:
    """The next read finds the old row, and keeps it (56): the write is in the stream alone."""
    run = stage_for(WriteBehindStream).play("A write, A .; evict user:1; B read, B ...", workers=1)
    assert [finding.kind for finding in ReadAfterWrite().check(run.history).findings][:1] == ["stale-read"]
    assert Durability().check(run.history).findings == ()


def test_a_stream_that_is_evicted_loses_the_write(stage_for: Any) -> None:
    """The cache serves a value that will never be stored (56)."""
    run = stage_for(WriteBehindStream).play("A write, A .; evict write-behind:changes", workers=1)
    assert [finding.kind for finding in Durability().check(run.history).findings] == ["lost-write"]


def test_a_late_update_of_a_worker_that_was_given_up_takes_a_newer_one_away(stage_for: Any) -> None:
    """The request of its first life is under way while the second one stores v3 (41, 58): v2 comes last."""
    run = stage_for(WriteBehindStream).play(
        "A write, A .; Q ..., Q delayed, Q crash, Q restart; A write, A .; Q ........; Q arrive", workers=1
    )
    values = [commit.value for commit in run.history.commits["user:1"]]
    assert (values[-1], [f.kind for f in Durability().check(run.history).findings]) == ("v2", ["lost-write"])
