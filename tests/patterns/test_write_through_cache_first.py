"""Write-through, cache first, on real servers: one operation at a time, and what readers see too early."""

from typing import Any

import psycopg
import pytest

from cacheproof.patterns.write_through_cache_first import CacheFirst


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(CacheFirst).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(CacheFirst).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_write_is_cached_with_a_ttl_and_stored(env: Any, opened: Any) -> None:
    """After a write both hold the new value, and the next read is a hit."""
    cache = opened(CacheFirst)
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", "v2")
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v2"


def test_a_write_that_the_database_refuses_stays_in_the_cache(env: Any, opened: Any) -> None:
    """The error reaches the caller, and everybody else is served a value that was never stored."""
    cache = opened(CacheFirst)
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert (env.stored("user:1"), cache.read("user:1")) == ("v1", "v2")


def test_what_was_read_is_taken_back(stage_for: Any) -> None:
    """Anomaly 8: the writer dies before its UPDATE; readers see its value, and the old one after the ttl."""
    run = stage_for(CacheFirst).play("A write, A ., A crash, B read, B .", probes_s=(0.0, 300.001))
    assert [read.value for read in run.history.operations if read.f == "read"] == ["v2", "v2", "v1"]
    assert run.history.commits["user:1"] == ()
