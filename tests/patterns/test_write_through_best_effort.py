"""Best-effort write-through on real servers: with the cache and without it, one operation at a time."""

from typing import Any

import pytest

from cacheproof.patterns.write_through_best_effort import BestEffort


@pytest.fixture
def alone(opened: Any, tmp_path: Any) -> Any:
    """A cache whose Redis is not there."""
    cache = opened(BestEffort)
    cache.redis.close()
    cache.redis = type(cache.redis).from_url(f"unix://{tmp_path}/nobody.sock")
    return cache


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves it in the cache for `ttl` seconds."""
    assert opened(BestEffort).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(BestEffort).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_a_write_is_stored_and_cached_with_a_ttl(env: Any, opened: Any) -> None:
    """After a write both hold the new value, and the next read is a hit."""
    cache = opened(BestEffort)
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", "v2")
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v2"


def test_without_the_cache_reads_go_to_the_database(alone: Any) -> None:
    """Both looks into the cache fail, and nobody hears of it."""
    assert alone.read("user:1") == "v1"


def test_a_write_is_acknowledged_that_the_cache_has_never_heard_of(env: Any, opened: Any, alone: Any) -> None:
    """Anomalies 40 and 49: a writer cannot reach the cache, a reader can, and is served the old value."""
    reader = opened(BestEffort)
    assert reader.read("user:1") == "v1"
    alone.write("user:1", "v2")
    assert (env.stored("user:1"), reader.read("user:1")) == ("v2", "v1")


def test_a_lost_set_is_swallowed(stage_for: Any) -> None:
    """Anomaly 40: the write returns ok although its SET was lost, and is not seen before the ttl."""
    stage = stage_for(BestEffort)
    run = stage.play("A read, A ..., B write, B ., B lost", probes_s=(0.0, 300.001))
    assert stage.dialogue(run.history)[-2:] == ["B SET lost", "B ok v2"]
    assert [read.value for read in run.history.operations if read.final] == ["v1", "v2"]
