"""What plain cache-aside costs, on real servers: counted one operation at a time, and with three readers at once."""

from typing import Any

import pytest
import redis

from cacheproof.models.availability import Availability
from cacheproof.models.round_trips import RoundTrips
from cacheproof.models.single_flight import SingleFlight
from cacheproof.patterns.cache_aside_costs import CacheAsideAtCost


def test_it_is_cache_aside(env: Any, opened: Any) -> None:
    """A miss fills with a ttl, a hit asks the database nothing, a write invalidates."""
    cache = opened(CacheAsideAtCost)
    assert cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", None)
    assert cache.read("user:1") == "v2"
    cache.db.close()
    assert cache.read("user:1") == "v2"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(CacheAsideAtCost).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(CacheAsideAtCost, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_an_error_of_the_cache_is_an_error_of_the_application(env: Any, opened: Any) -> None:
    """Anomaly 50: nothing is caught, neither in a read nor in a write, which has changed the row by then."""
    cache = opened(CacheAsideAtCost)
    cache.redis.connection_pool.connection_kwargs["path"] = "/nowhere"
    with pytest.raises(redis.ConnectionError):
        cache.read("user:1")
    with pytest.raises(redis.ConnectionError):
        cache.write("user:1", "v2")
    assert env.stored("user:1") == "v2"


def test_a_write_is_two_round_trips(stage_for: Any) -> None:
    """CA7: one more than the UPDATE costs."""
    history = stage_for(CacheAsideAtCost).play("A write, A ..").history
    assert [found.found for found in RoundTrips(1, "write").check(history).findings] == [2]
    assert not RoundTrips(2, "write").check(history).findings


def test_a_miss_of_three_is_three_loads(stage_for: Any) -> None:
    """CA8, anomaly 24: whoever misses before the first fill asks the database."""
    script = "A read, A .; B read, B .; C read, C .; A ..; B ..; C .."
    history = stage_for(CacheAsideAtCost).play(script, clients=3).history
    assert [(found.kind, found.found) for found in SingleFlight().check(history).findings] == [
        ("stampede", 3)
    ]


def test_while_the_cache_is_down_nothing_works(stage_for: Any) -> None:
    """CA6: a read fails, although the database has the answer."""
    history = stage_for(CacheAsideAtCost).play("A read, A ...; partition cache; A read").history
    assert [found.kind for found in Availability(within_s=1.0).check(history).findings] == ["unavailable"]
