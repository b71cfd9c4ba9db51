"""Cache-aside that tolerates an outage, on real servers: it works without the cache, and loses invalidations."""

from typing import Any

import psycopg
import pytest

from cacheproof.models.availability import Availability
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.patterns.cache_aside_tolerant import PATIENCE_S, CacheAsideTolerant


def test_with_a_cache_it_is_cache_aside(env: Any, opened: Any) -> None:
    """A miss fills with a ttl, a hit asks the database nothing, a write invalidates."""
    cache = opened(CacheAsideTolerant)
    assert cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", None)
    assert cache.read("user:1") == "v2"
    cache.db.close()
    assert cache.read("user:1") == "v2"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(CacheAsideTolerant).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(CacheAsideTolerant, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_it_never_waits_for_long(opened: Any) -> None:
    """Both time-outs are set, and nothing is tried twice."""
    cache = opened(CacheAsideTolerant)
    connection = cache.redis.connection_pool.make_connection()
    assert connection.socket_timeout == connection.socket_connect_timeout == PATIENCE_S
    assert connection.retry.get_retries() == 0


def test_errors_of_the_database_reach_the_caller(env: Any, opened: Any) -> None:
    """Only the cache may fail: without the database nothing is true, and the entry stays."""
    cache = opened(CacheAsideTolerant)
    cache.read("user:1")
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert env.cached("user:1") == "v1"
    with pytest.raises(psycopg.OperationalError):
        cache.read("user:2")


@pytest.mark.parametrize("outage", ["partition cache", "partition cache silent", "freeze cache"])
def test_without_the_cache_it_still_works(stage_for: Any, outage: str) -> None:
    """CA6: a read and a write go through while the cache refuses, or never answers, and soon enough."""
    wait = "" if outage == "partition cache" else "advance 1; "
    script = f"A read, A ...; {outage}; A write, A .; {wait} A read; {wait} A .; {wait}"
    run = stage_for(CacheAsideTolerant).play(script)
    assert [op.outcome.value for op in run.history.operations] == ["ok"] * len(run.history.operations)
    judgement = Availability(within_s=1.0).check(run.history)
    assert (judgement.findings, judgement.judged >= 1) == ((), True)


def test_an_outage_swallows_the_invalidation(stage_for: Any) -> None:
    """Anomalies 40 and 49: the write is acknowledged without its DEL, and the old value is still served."""
    script = "A read, A ...; partition cache B; B write, B .; A read, A ."
    run = stage_for(CacheAsideTolerant).play(script)
    assert [op.value for op in run.history.operations if not op.final] == ["v1", "v2", "v1"]
    assert {found.kind for found in ReadAfterWrite().check(run.history).findings} == {"stale-read"}
