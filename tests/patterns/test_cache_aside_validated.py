"""Cache-aside with validated reads on real servers: one operation at a time, and what cannot harm it."""

import json
from typing import Any

import psycopg
import pytest

from cacheproof.models.schedule import Keeps
from cacheproof.models.zones import Linearizable
from cacheproof.patterns.cache_aside_validated import CacheAsideValidated


def entry(env: Any) -> Any:
    cached = env.cached("user:1")
    return cached and json.loads(cached)


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key leaves version and value in the cache for `ttl` seconds."""
    assert opened(CacheAsideValidated).read("user:1") == "v1"
    assert entry(env) == [0, "v1"]
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_asks_the_database_for_the_version_alone(env: Any, opened: Any) -> None:
    """What is cached is returned if the version is right: the value in the row is not looked at."""
    cache = opened(CacheAsideValidated)
    cache.read("user:1")
    env.store("user:1", "changed without a new version")
    assert cache.read("user:1") == "v1"
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.read("user:1")


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(CacheAsideValidated).read("nobody") is None
    assert env.redis.dbsize() == 0


def test_a_record_without_a_value_is_cached_as_such(env: Any, opened: Any) -> None:
    """A row whose value is null is a row: the next read need not fetch it again."""
    cache = opened(CacheAsideValidated)
    env.db.execute("update records set value = null where key = 'user:1'")
    assert cache.read("user:1") is None
    assert entry(env) == [0, None]
    assert cache.read("user:1") is None


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(CacheAsideValidated, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_needs_no_cache(env: Any, opened: Any) -> None:
    """A write touches the row alone, and every client's next read is fresh."""
    cache, other = opened(CacheAsideValidated), opened(CacheAsideValidated)
    cache.read("user:1")
    cache.redis.close()
    env.redis.config_resetstat()
    other.write("user:1", "v2")
    assert not {"cmdstat_set", "cmdstat_del"} & set(env.redis.info("commandstats"))
    assert (env.stored("user:1"), entry(env)) == ("v2", [0, "v1"])
    assert cache.read("user:1") == "v2"
    assert entry(env) == [1, "v2"]


def test_a_stale_set_is_found_out(stage_for: Any) -> None:
    """Anomaly 1 cannot harm it: the old value is put into the cache, and nobody takes it for the new one."""
    lines = stage_for(CacheAsideValidated).lines("A read, A ..; B write, B .; A .; B read, B ...")
    assert lines[-6:] == [
        "A ok v1",
        "B read",
        'B GET -> [0, "v1"]',
        "B SELECT -> 1 v2",
        "B SET -> OK",
        "B ok v2",
    ]


def test_a_failover_brings_back_nothing_that_is_believed(stage_for: Any) -> None:
    """Anomaly 44 cannot harm it: an entry from the past has a version from the past."""
    script = "A read, A ...; A write, A .; A read, A ...; failover 1; B read, B ..."
    run = stage_for(CacheAsideValidated).play(script, keeps=Keeps.REPLICA)
    assert [op.value for op in run.history.operations if op.f == "read"][2] == "v2"
    assert not Linearizable().check(run.history).findings


def test_a_row_that_is_inserted_anew_may_be_mistaken(env: Any, opened: Any) -> None:
    """Anomaly 17, the residual weakness: versions that count from 0 again meet those of an older entry."""
    cache = opened(CacheAsideValidated)
    cache.read("user:1")
    env.db.execute("delete from records where key = 'user:1'")
    env.db.execute("insert into records values ('user:1', 'another record', 0)")
    assert cache.read("user:1") == "v1"
