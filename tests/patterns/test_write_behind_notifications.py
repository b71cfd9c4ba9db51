"""Write-behind on keyspace notifications: what a worker hears, and what it never hears of."""

from typing import Any

import psycopg

from cacheproof.models.durability import Durability
from cacheproof.patterns.write_behind_notifications import CHANNEL, WriteBehindNotifications

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""


def wait_until_it_listens(env: Any, worker: Any) -> None:
    while env.redis.pubsub_numsub(CHANNEL)[0][1] == 0:
        assert not worker.done()


def test_a_miss_fills_with_a_ttl_and_a_write_takes_it_away(env: Any, opened: Any) -> None:
    """A loaded value lives `ttl` seconds; a written one does not expire, and is not stored yet."""
    cache = opened(WriteBehindNotifications)
    assert cache.read("user:1") == cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.write("user:1", "v2")
    assert (env.cached("user:1"), env.redis.ttl("user:1"), env.stored("user:1")) == ("v2", -1, "v1")
    assert cache.read("nobody") is None


def test_a_worker_that_listens_stores_what_is_written(env: Any, opened: Any, at_work: Any) -> None:
    """It hears of each SET, and stores the value that is there by then."""
    cache, worker = opened(WriteBehindNotifications), opened(WriteBehindNotifications)
    with at_work(worker) as ended:
        wait_until_it_listens(env, ended)
        cache.write("user:1", "v2")
        while env.stored("user:1") != "v2":
            assert not ended.done()
        worker.db.close()
        cache.write("user:1", "v3")  # which it cannot store, so that it stops
        assert isinstance(ended.exception(timeout=PATIENCE_S), psycopg.OperationalError)


def test_what_was_loaded_is_not_stored_back(env: Any, opened: Any) -> None:
    """A value with a ttl came from the database; one that is gone cannot be stored."""
    cache = opened(WriteBehindNotifications)
    cache.read("user:1")
    env.store("user:1", "v9")
    cache._store("user:1")
    cache._store("nobody")
    assert env.stored("user:1") == "v9"


def test_a_worker_ends_when_the_database_is_gone(env: Any, opened: Any, at_work: Any) -> None:
    """And with it what it had heard of: the next worker is told nothing."""
    cache, worker = opened(WriteBehindNotifications), opened(WriteBehindNotifications)
    worker.db.close()
    with at_work(worker) as ended:
        wait_until_it_listens(env, ended)
        cache.write("user:1", "v2")
        assert isinstance(ended.exception(timeout=PATIENCE_S), psycopg.OperationalError)
    assert env.stored("user:1") == "v1"


def test_a_write_is_heard_of_by_who_listens(stage_for: Any) -> None:
    """SUBSCRIBE, then the write: GET and UPDATE follow."""
    run = stage_for(WriteBehindNotifications).play("Q .; A write, A .; Q ..", workers=1)
    assert [commit.value for commit in run.history.commits["user:1"]] == ["v2"]
    assert Durability().check(run.history).findings == ()


def test_a_write_before_the_worker_listens_is_never_stored(stage_for: Any) -> None:
    """The write, then SUBSCRIBE (60): nobody tells the worker of it, now or later."""
    run = stage_for(WriteBehindNotifications).play("A write, A .; Q .", workers=1)
    assert run.history.commits.get("user:1", ()) == ()
    assert [finding.kind for finding in Durability().check(run.history).findings] == ["lost-write"]


def test_a_write_while_the_worker_is_down_is_never_stored(stage_for: Any) -> None:
    """The next life of the worker listens from its own beginning on (60)."""
    run = stage_for(WriteBehindNotifications).play("Q ., Q crash; A write, A .; Q restart, Q .", workers=1)
    assert [finding.kind for finding in Durability().check(run.history).findings] == ["lost-write"]
