"""Read-through on real servers, one operation at a time."""

from typing import Any

from cacheproof.patterns.read_through import LoadingCache, ReadThrough


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(ReadThrough).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_asks_the_database_nothing(env: Any, opened: Any) -> None:
    """A read of a warm key needs no connection to the database, and so returns what is cached."""
    cache = opened(ReadThrough)
    cache.read("user:1")
    cache.db.close()
    env.store("user:1", "changed behind the cache")
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(ReadThrough).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(ReadThrough, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_is_stored_and_invalidates_one_key(env: Any, opened: Any) -> None:
    """After a write the row is new, the key is gone, other keys are untouched, and the next read is fresh."""
    cache = opened(ReadThrough)
    cache.read("user:1")
    cache.read("user:2")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", None)
    assert (env.stored("user:2"), env.cached("user:2")) == ("v1", "v1")
    assert cache.read("user:1") == "v2"


def test_the_layer_knows_nothing_of_the_database(env: Any) -> None:
    """A LoadingCache works over any loader, and calls it once for a key that it then holds."""
    asked = []

    def load(key: str) -> str:
        asked.append(key)
        return f"loaded {key}"

    layer = LoadingCache(env.redis_url, load, ttl=300)
    assert [layer.get("a"), layer.get("a"), layer.get("b")] == ["loaded a", "loaded a", "loaded b"]
    assert asked == ["a", "b"]
    layer.invalidate("a")
    layer.get("a")
    assert asked == ["a", "b", "a"]
    layer.redis.close()
