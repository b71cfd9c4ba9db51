"""Write-through inside a transaction on real servers: one operation at a time, and the SET that came too early."""

from typing import Any

import psycopg
import pytest

from cacheproof.patterns.write_through_in_transaction import InTransaction


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(InTransaction).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(InTransaction).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_write_is_stored_and_cached_with_a_ttl(env: Any, opened: Any) -> None:
    """After a write both hold the new value, and the next read is a hit."""
    cache = opened(InTransaction)
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", "v2")
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v2"


def test_what_is_rolled_back_stays_in_the_cache(env: Any, opened: Any) -> None:
    """Anomaly 8: the cache takes no part in the transaction of whoever called the write."""
    cache = opened(InTransaction)
    with cache.db.transaction(force_rollback=True):
        cache.write("user:1", "v2")
    assert (env.stored("user:1"), cache.read("user:1")) == ("v1", "v2")


def test_an_error_of_the_cache_rolls_back(env: Any, opened: Any) -> None:
    """It reaches the caller, and the record is as it was."""
    cache = opened(InTransaction)
    env.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(Exception, match="OOM|maxmemory"):
            cache.write("user:1", "v2")
    finally:
        env.redis.config_set("maxmemory", "0")
    assert env.stored("user:1") == "v1"
    assert cache.db.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def test_readers_see_it_before_the_commit_and_after_a_crash(stage_for: Any) -> None:
    """Anomaly 8: the writer dies before its COMMIT; its value is served until the ttl."""
    run = stage_for(InTransaction).play("A write, A .., B read, B ., A crash", probes_s=(0.0, 300.001))
    assert [read.value for read in run.history.operations if read.f == "read"] == ["v2", "v2", "v1"]
    assert run.history.commits["user:1"] == ()


def test_the_row_lock_keeps_writers_in_order(stage_for: Any) -> None:
    """Anomaly 6 is avoided: the second UPDATE waits for the first COMMIT, and with it the second SET."""
    stage = stage_for(InTransaction)
    run = stage.play("A write, A ., B write, B ., A .., B ..")
    lines = stage.dialogue(run.history)
    assert lines.index("B UPDATE waits") < lines.index("A COMMIT -> COMMIT")
    assert (
        lines.index("A COMMIT -> COMMIT")
        < lines.index("B UPDATE -> UPDATE 1 at last")
        < lines.index("B SET -> OK")
    )
    assert run.history.operations[-1].value == "v3"
