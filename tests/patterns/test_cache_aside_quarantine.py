"""Cache-aside with a quarantine on real servers: one operation at a time, and its races, with three clients."""

from typing import Any

import psycopg
import pytest

from cacheproof.models.invalidation import Invalidation
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.zones import Linearizable
from cacheproof.patterns.cache_aside_quarantine import CacheAsideQuarantine


def quarantined(env: Any) -> Any:
    return env.redis.scard("quarantine:user:1")


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key leaves the row in the cache for `ttl` seconds, and no lease; a hit asks nobody else."""
    cache = opened(CacheAsideQuarantine)
    assert cache.read("user:1") == "v1"
    assert env.redis.keys() == ["user:1"]
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(CacheAsideQuarantine, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves no entry behind."""
    assert opened(CacheAsideQuarantine).read("nobody") is None
    assert env.cached("nobody") is None


def test_a_write_leaves_nothing_in_the_cache(env: Any, opened: Any) -> None:
    """After a write the row is new, entry and quarantine are gone, and the next read is fresh."""
    cache = opened(CacheAsideQuarantine)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.redis.dbsize()) == ("v2", 0)
    assert cache.read("user:1") == "v2"


def test_a_write_that_fails_leaves_the_key_in_quarantine(env: Any, opened: Any) -> None:
    """Nobody knows what becomes of its UPDATE, so readers ask the database until the quarantine expires."""
    broken, reader = opened(CacheAsideQuarantine), opened(CacheAsideQuarantine)
    reader.read("user:1")
    broken.db.close()
    with pytest.raises(psycopg.OperationalError):
        broken.write("user:1", "v2")
    assert quarantined(env) == 1
    assert 50 <= env.redis.ttl("quarantine:user:1") <= 60
    assert reader.read("user:1") == "v1"
    assert env.cached("user:1") is None


def test_who_is_second_to_miss_reads_and_fills_nothing(env: Any, opened: Any) -> None:
    """A lease belongs to one reader; the others ask the database."""
    env.redis.set("lease:user:1", "somebody's")
    assert opened(CacheAsideQuarantine).read("user:1") == "v1"
    assert env.redis.keys() == ["lease:user:1"]


def test_a_server_that_forgets_its_scripts_is_not_noticed(env: Any, opened: Any) -> None:
    """SCRIPT FLUSH between any two operations changes nothing."""
    cache = opened(CacheAsideQuarantine)
    cache.write("user:1", "v2")
    env.redis.script_flush()
    assert cache.read("user:1") == "v2"
    assert env.cached("user:1") == "v2"


def test_nobody_hits_while_a_write_is_under_way(stage_for: Any) -> None:
    """Anomaly 9 is avoided: between UPDATE and RELEASE a warm key misses, and the reader fills nothing."""
    script = "A read, A ....; B write, B ..; A read, A ..."
    lines = stage_for(CacheAsideQuarantine).lines(script)
    assert lines[-4:] == ["A GET -> nil", "A EVAL -> 0", "A SELECT -> v2", "A ok v2"]


def test_the_first_writer_to_finish_does_not_end_the_quarantine_of_the_other(stage_for: Any) -> None:
    """Two writers, two tokens: a reader between them still gets no lease."""
    script = "A write, A .; B write, B .; A ..; C read, C ..."
    run = stage_for(CacheAsideQuarantine).play(script, clients=3)
    assert stage_for(CacheAsideQuarantine).dialogue(run.history)[-4:] == [
        "C GET -> nil",
        "C EVAL -> 0",
        "C SELECT -> v2",
        "C ok v2",
    ]


def test_a_quarantine_that_expires_before_the_commit_shows_the_past(stage_for: Any) -> None:
    """Anomaly 47, the residual weakness: C sees v2 in the database and then hits v1; RELEASE puts an end to it.

    C misses before A fills, and has to load by itself since A has the lease.
    """
    script = """
        B write, B .; expire quarantine:user:1
        A read, A ..., C read, C .., A .
        B .; C .
        C read, C .
        B .
    """
    run = stage_for(CacheAsideQuarantine).play(script, clients=3)
    assert [op.value for op in run.history.operations if op.process == 2 and not op.final] == ["v2", "v1"]
    assert Linearizable().check(run.history).findings
    assert Invalidation(within_s=0).check(run.history).findings
    assert not ReadAfterWrite().check(run.history).findings
