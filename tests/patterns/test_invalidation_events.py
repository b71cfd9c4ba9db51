"""Event-driven invalidation on real servers, and the two gaps of the recipe."""

from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.patterns.invalidation_events import GROUP, STREAM, WORKER, EventInvalidation

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""


def flush(env: Any, ended: Future[Any]) -> None:
    """Returns when a worker has read everything that is there now, and has stopped at what it cannot read."""
    env.redis.xadd(STREAM, {"the": "end"})
    assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)


def pending(env: Any) -> int:
    return int(env.redis.xpending(STREAM, GROUP)["pending"])


def taken_along(env: Any) -> None:
    """An earlier life of the worker was given what is there, and died."""
    env.redis.xgroup_create(STREAM, GROUP, id="0")
    env.redis.xreadgroup(GROUP, WORKER, {STREAM: ">"})


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(EventInvalidation).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_asks_the_database_nothing(opened: Any) -> None:
    """A read of a warm key needs no connection to the database."""
    cache = opened(EventInvalidation)
    cache.read("user:1")
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(EventInvalidation).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_write_is_stored_and_announced(env: Any, opened: Any) -> None:
    """It leaves the entry to the worker."""
    cache = opened(EventInvalidation)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", "v1")
    assert [event for _, event in env.redis.xrange(STREAM)] == [{"key": "user:1"}]


def test_an_update_that_fails_is_not_announced(env: Any, opened: Any) -> None:
    """The error reaches the caller, and the stream stays empty."""
    cache = opened(EventInvalidation)
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert env.redis.exists(STREAM) == 0


def test_the_worker_deletes_what_is_announced(env: Any, opened: Any, at_work: Any) -> None:
    """And acknowledges it; other keys stay cached."""
    cache, worker = opened(EventInvalidation), opened(EventInvalidation)
    for key in ("user:1", "user:2"):
        cache.read(key)
    cache.write("user:1", "v2")
    with at_work(worker) as ended:
        flush(env, ended)
    assert (env.cached("user:1"), env.cached("user:2"), pending(env)) == (None, "v1", 1)
    assert cache.read("user:1") == "v2"


def test_a_worker_waits_as_long_as_it_takes(opened: Any) -> None:
    """No time-out of the driver ends a blocking read."""
    assert opened(EventInvalidation).redis.connection_pool.connection_kwargs["socket_timeout"] is None


def test_an_error_that_is_not_about_the_group_reaches_the_caller(
    opened: Any, at_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a group that exists already is a case of its own."""
    worker = opened(EventInvalidation)

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ResponseError("OOM command not allowed")

    monkeypatch.setattr(worker.redis, "xgroup_create", fail)
    with at_work(worker) as ended:
        assert str(ended.exception(timeout=PATIENCE_S)).startswith("OOM")


def test_a_restarted_worker_never_sees_what_its_earlier_life_took_along(
    env: Any, opened: Any, at_work: Any
) -> None:
    """Anomaly 61: the event stays pending, and the entry stays cached."""
    cache, worker = opened(EventInvalidation), opened(EventInvalidation)
    cache.read("user:1")
    cache.write("user:1", "v2")
    taken_along(env)
    with at_work(worker) as ended:
        flush(env, ended)
    assert (env.cached("user:1"), pending(env)) == ("v1", 2)


# -- in other orders ---------------------------------------------------------------------------------------


def test_a_writer_that_dies_before_its_event_leaves_the_cache_stale(stage_for: Any) -> None:
    """Anomaly 64: the UPDATE is committed, the XADD never comes."""
    run = stage_for(EventInvalidation).play(
        "A read, A ..., B write, B ., B crash", workers=1, probes_s=(60.001,)
    )
    assert (run.history.operations[-1].value, run.history.commits["user:1"][-1].value) == ("v1", "v2")


def test_a_worker_that_dies_takes_the_event_along(stage_for: Any) -> None:
    """Anomaly 61, step by step: XREADGROUP hands the event out, and after the restart > does not."""
    script = "A read, A ..., B write, B .., Q .., Q crash, Q restart"
    run = stage_for(EventInvalidation).play(script, workers=1, probes_s=(60.001,))
    assert run.history.operations[-1].value == "v1"
