"""Invalidation by outbox on real servers: writer, relay and consumer, one at a time and in the orders that hurt."""

from concurrent.futures import Future
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.patterns.invalidation_outbox import FLOOR_S, GROUP, STREAM, WORKER, OutboxInvalidation

PATIENCE_S = 10
"""How long a worker may take to stop; it takes milliseconds, and longer only when it is broken."""

RELAYED_AND_CONSUMED = "Q ........"
"""XGROUP, XREADGROUP of pending events, SELECT, XADD, DELETE, XREADGROUP, EVAL, XACK."""


@pytest.fixture
def env(env: Any) -> Any:
    """The world, without an outbox of an earlier test."""
    env.db.execute("drop table if exists outbox")
    return env


def outbox(env: Any) -> list[tuple[str, int]]:
    return list(env.db.execute("select key, version from outbox order by id").fetchall())


def flush(env: Any, ended: Future[Any]) -> None:
    """Returns when a worker has relayed and consumed everything, and has stopped at what it cannot read."""
    while outbox(env):
        assert not ended.done()
    env.redis.xadd(STREAM, {"the": "end"})
    assert isinstance(ended.exception(timeout=PATIENCE_S), KeyError)


def pending(env: Any) -> int:
    return int(env.redis.xpending(STREAM, GROUP)["pending"])


def entry(env: Any) -> dict[str, str]:
    found: dict[str, str] = env.redis.hgetall("user:1")
    return found


def test_a_miss_loads_the_record_and_its_version(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves value and version in the cache, for `ttl` seconds."""
    cache = opened(OutboxInvalidation)
    assert cache.read("user:1") == "v1"
    assert entry(env) == {"version": "0", "value": "v1"}
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_neither_cached_nor_announced(env: Any, opened: Any) -> None:
    """A read returns None, a write changes nothing."""
    cache = opened(OutboxInvalidation)
    cache.write("nobody", "v2")
    assert (cache.read("nobody"), env.redis.exists("nobody"), outbox(env)) == (None, 0, [])


def test_a_write_is_stored_with_its_event(env: Any, opened: Any) -> None:
    """Row and event hold the same version; the entry is left to the worker."""
    cache = opened(OutboxInvalidation)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), cache.read("user:1"), outbox(env)) == ("v2", "v1", [("user:1", 1)])


def test_record_and_event_are_committed_together_or_not_at_all(env: Any, opened: Any) -> None:
    """Without an outbox to write to, the record is not changed either."""
    cache = opened(OutboxInvalidation)
    env.db.execute("drop table outbox")
    with pytest.raises(psycopg.errors.UndefinedTable):
        cache.write("user:1", "v2")
    assert env.stored("user:1") == "v1"


def test_the_worker_invalidates_what_is_in_the_outbox(env: Any, opened: Any, at_work: Any) -> None:
    """It leaves the version as a floor for a while, an empty outbox, and nothing pending but the end."""
    cache, worker = opened(OutboxInvalidation), opened(OutboxInvalidation)
    cache.read("user:1")
    cache.write("user:1", "v2")
    cache.write("user:1", "v3")
    with at_work(worker) as ended:
        flush(env, ended)
    assert (entry(env), pending(env)) == ({"version": "2"}, 1)
    assert FLOOR_S - 10 <= env.redis.ttl("user:1") <= FLOOR_S
    assert cache.read("user:1") == "v3"


def test_an_event_that_comes_late_or_twice_does_no_harm(env: Any, opened: Any, at_work: Any) -> None:
    """The cache has heard of that version, or a newer one: the entry stays."""
    cache, worker = opened(OutboxInvalidation), opened(OutboxInvalidation)
    for value in ("v2", "v3"):
        cache.write("user:1", value)
    cache.read("user:1")
    for version in (1, 2, 1):
        env.redis.xadd(STREAM, {"key": "user:1", "version": version})
    with at_work(worker) as ended:
        flush(env, ended)
    assert entry(env) == {"version": "2", "value": "v3"}


def test_a_restarted_worker_begins_with_what_its_earlier_life_took_along(
    env: Any, opened: Any, at_work: Any
) -> None:
    """Pending events come first, then what is in the outbox."""
    cache, worker = opened(OutboxInvalidation), opened(OutboxInvalidation)
    cache.read("user:1")
    env.redis.xadd(STREAM, {"key": "user:1", "version": 1})
    env.redis.xgroup_create(STREAM, GROUP, id="0")
    env.redis.xreadgroup(GROUP, WORKER, {STREAM: ">"})
    with at_work(worker) as ended:
        flush(env, ended)
    assert (entry(env), pending(env)) == ({"version": "1"}, 1)


def test_without_a_ttl_an_entry_does_not_expire_with_its_floor(env: Any, opened: Any, at_work: Any) -> None:
    """A fill takes away the ttl that an invalidation has set."""
    cache, worker = opened(OutboxInvalidation, ttl=None), opened(OutboxInvalidation)
    cache.write("user:1", "v2")
    with at_work(worker) as ended:
        flush(env, ended)
    assert (cache.read("user:1"), env.redis.ttl("user:1")) == ("v2", -1)


def test_an_error_that_is_not_about_the_group_reaches_the_caller(
    opened: Any, at_work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a group that exists already is a case of its own."""
    worker = opened(OutboxInvalidation)

    def fail(*_: Any, **__: Any) -> None:
        raise redis.ResponseError("OOM command not allowed")

    monkeypatch.setattr(worker.redis, "xgroup_create", fail)
    with at_work(worker) as ended:
        assert str(ended.exception(timeout=PATIENCE_S)).startswith("OOM")


# -- in other orders ---------------------------------------------------------------------------------------


def final(stage_for: Any, script: str, **scenario: Any) -> tuple[Any, list[str]]:
    """What the final read returned after this script, and what had happened up to its end."""
    stage = stage_for(OutboxInvalidation)
    run = stage.play(script, workers=1, **scenario)
    return run.history.operations[-1].value, stage.dialogue(run.history)


def test_a_slow_fill_is_refused(stage_for: Any) -> None:
    """Anomaly 1 is avoided: the floor that the invalidation left keeps the older value out."""
    value, lines = final(stage_for, f"A read, A .., B write, B ..., {RELAYED_AND_CONSUMED}, A .")
    assert (value, lines[-2:]) == ("v2", ["A EVAL -> 0", "A ok v1"])


def test_a_writer_that_dies_leaves_both_or_neither(stage_for: Any) -> None:
    """Anomaly 64 is avoided: before the COMMIT nothing has happened, after it the event is there."""
    value, lines = final(stage_for, "A read, A ..., B write, B .., B crash")
    assert (value, lines[-1]) == ("v1", "B info v2 (the client crashed)")
    value, lines = final(stage_for, "A read, A ..., B write, B ..., B crash")
    assert value == "v2"


def test_a_worker_that_dies_does_it_again(stage_for: Any) -> None:
    """Between XADD and DELETE it leaves the row, and sends the event twice; nobody is harmed."""
    value, lines = final(stage_for, "A read, A ..., B write, B ..., Q ...., Q crash, Q restart, Q ....")
    assert [line.partition(" ->")[0] for line in lines].count("Q XADD") == 2
    assert value == "v2"


def test_a_floor_that_is_gone_keeps_nothing_out(stage_for: Any) -> None:
    """Residual weakness, anomaly 47: the floor expires while a reader still holds the older value."""
    script = f"A read, A .., B write, B ..., {RELAYED_AND_CONSUMED}, expire user:1, A ."
    value, lines = final(stage_for, script, probes_s=(60.001,))
    assert (value, lines[-2:]) == ("v1", ["A EVAL -> 1", "A ok v1"])


def test_a_read_may_come_before_the_worker(stage_for: Any) -> None:
    """Residual weakness, anomaly 9: the write is acknowledged, and the entry is still there."""
    value, lines = final(stage_for, "A read, A ..., B write, B ..., A read, A .")
    assert (value, lines[-1]) == ("v2", "A ok v1")
