"""Write-through on real servers, one operation at a time."""

from typing import Any

import psycopg
import pytest

from cacheproof.patterns.write_through import WriteThrough


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(WriteThrough).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_asks_the_database_nothing(env: Any, opened: Any) -> None:
    """A read of a warm key needs no connection to the database, and so returns what is cached."""
    cache = opened(WriteThrough)
    cache.read("user:1")
    cache.db.close()
    env.store("user:1", "changed behind the cache")
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(WriteThrough).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(WriteThrough, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_is_stored_and_cached_with_a_ttl(env: Any, opened: Any) -> None:
    """After a write both hold the new value, the cache for `ttl` seconds, and other keys are untouched."""
    cache = opened(WriteThrough)
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", "v2")
    assert (env.stored("user:2"), env.cached("user:2")) == ("v1", None)
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_read_after_a_write_is_a_hit(env: Any, opened: Any) -> None:
    """The value that was written is served without asking the database."""
    cache = opened(WriteThrough)
    cache.write("user:1", "v2")
    cache.db.close()
    assert cache.read("user:1") == "v2"


def test_the_update_comes_before_the_set(env: Any, opened: Any) -> None:
    """If the database refuses the UPDATE, the error reaches the caller and the cache is not touched."""
    cache = opened(WriteThrough)
    cache.read("user:1")
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert env.cached("user:1") == "v1"
