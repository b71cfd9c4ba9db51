"""Cache-aside without invalidation on real servers, one operation at a time."""

from typing import Any

from cacheproof.patterns.cache_aside_ttl_only import NoInvalidation


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(NoInvalidation).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_asks_the_database_nothing(env: Any, opened: Any) -> None:
    """A read of a warm key needs no connection to the database, and so returns what is cached."""
    cache = opened(NoInvalidation)
    cache.read("user:1")
    cache.db.close()
    env.store("user:1", "changed behind the cache")
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(NoInvalidation).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(NoInvalidation, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_leaves_the_cache_alone(env: Any, opened: Any) -> None:
    """After a write the row is new and a warm key still serves the old value: no race is needed."""
    cache = opened(NoInvalidation)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert env.stored("user:1") == "v2"
    assert cache.read("user:1") == "v1"


def test_an_entry_that_has_gone_is_loaded_anew(env: Any, opened: Any) -> None:
    """Once its entry is gone, a key serves the current value."""
    cache = opened(NoInvalidation)
    cache.read("user:1")
    cache.write("user:1", "v2")
    env.redis.delete("user:1")
    assert cache.read("user:1") == "v2"
