"""Event-driven invalidation that begins with pending events, on real servers."""

from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.patterns.invalidation_events_pending import GROUP, STREAM, WORKER, PendingFirst

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
    assert opened(PendingFirst).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_asks_the_database_nothing(opened: Any) -> None:
    """A read of a warm key needs no connection to the database."""
    cache = opened(PendingFirst)
    cache.read("user:1")
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(PendingFirst).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_write_is_stored_and_announced(env: Any, opened: Any) -> None:
    """It leaves the entry to the worker."""
    cache = opened(PendingFirst)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", "v1")
    assert [event for _, event in env.redis.xrange(STREAM)] == [{"key": "user:1"}]


def test_an_update_that_fails_is_not_announced(env: Any, opened: Any) -> None:
    """The error reaches the caller, and the stream stays empty."""
    cache = opened(PendingFirst)
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert env.redis.exists(STREAM) == 0


def test_the_worker_deletes_what_is_announced(env: Any, opened: Any, at_work: Any) -> None:
    """And acknowledges it; other keys stay cached."""
    cache, worker = opened(PendingFirst), opened(PendingFirst)
    for key in ("user:1", "user:2"):
        cache.read(key)
    cache.write("user:1", "v2")
    with at_work(worker) as ended:
        flush(env, ended)
    assert (env.cached("user:1"), env.cached("user:2"), pending(env)) == (None, "v1", 1)
    assert cache.read("user:1") == "v2"


def test_a_worker_waits_as_long_as_it_takes(opened: Any) -> None:
    """No time-out of the driver ends a blocking read."""
    assert opened(PendingFirst).redis.connection_pool.connection_kwargs["socket_timeout"] is None


def test_an_error_that_is_not_about_the_group_reaches_the_caller(
    opened: Any, at_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a group that exists already is a case of its own."""
    worker = opened(PendingFirst)

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ResponseError("OOM command not allowed")

    monkeypatch.setattr(worker.redis, "xgroup_create", fail)
    with at_work(worker) as ended:
        assert str(ended.exception(timeout=PATIENCE_S)).startswith("OOM")


def test_a_restarted_worker_begins_with_what_its_earlier_life_took_along(
    env: Any, opened: Any, at_work: Any
) -> None:
    """Pending events come first, then new ones; only the end is left pending."""
    cache, worker = opened(PendingFirst), opened(PendingFirst)
    cache.read("user:1")
    cache.write("user:1", "v2")
    taken_along(env)
    with at_work(worker) as ended:
        flush(env, ended)
    assert (env.cached("user:1"), pending(env)) == (None, 1)


# -- in other orders ---------------------------------------------------------------------------------------


def test_a_worker_that_dies_leaves_the_event_to_its_next_life(stage_for: Any) -> None:
    """Anomaly 61 is avoided: the event is handed out again after the restart."""
    script = "A read, A ..., B write, B .., Q ..., Q crash, Q restart"
    run = stage_for(PendingFirst).play(script, workers=1)
    assert run.history.operations[-1].value == "v2"


def test_a_writer_that_dies_before_its_event_leaves_the_cache_stale(stage_for: Any) -> None:
    """Residual weakness, anomaly 64: the UPDATE is committed, the XADD never comes."""
    run = stage_for(PendingFirst).play("A read, A ..., B write, B ., B crash", workers=1, probes_s=(60.001,))
    assert (run.history.operations[-1].value, run.history.commits["user:1"][-1].value) == ("v1", "v2")


def test_a_slow_reader_fills_after_the_invalidation(stage_for: Any) -> None:
    """Residual weakness, anomaly 1: an event without a version cannot keep an older value out."""
    script = "A read, A .., B write, B .., Q ....., A ."
    stage = stage_for(PendingFirst)
    run = stage.play(script, workers=1, probes_s=(60.001,))
    assert "Q DEL -> 0" in stage.dialogue(run.history)
    assert run.history.operations[-1].value == "v1"
