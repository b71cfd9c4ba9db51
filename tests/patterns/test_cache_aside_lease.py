"""Cache-aside with leases on real servers: one operation at a time, and the schedules that it is made for."""

from typing import Any

import psycopg
import pytest

from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.schedule import Keeps
from cacheproof.models.zones import Linearizable
from cacheproof.patterns.cache_aside_lease import LEASE_MS, CacheAsideLease

STALE_SET = "A read, A ...; B write, B .."
"""A has missed, has the lease, and has loaded v1; B has written v2 meanwhile."""

FOR_EVER_S = 3600


def lease(env: Any) -> Any:
    return env.redis.get("lease:user:1")


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row, leaves it in the cache for `ttl` seconds, and no lease."""
    cache = opened(CacheAsideLease)
    assert cache.read("user:1") == "v1"
    assert (env.cached("user:1"), lease(env)) == ("v1", None)
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_leaves_nothing_behind(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None, and nobody has to wait for its lease."""
    assert opened(CacheAsideLease).read("nobody") is None
    assert env.redis.dbsize() == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(CacheAsideLease, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_takes_entry_and_lease_away_at_once(env: Any, opened: Any) -> None:
    """After a write the row is new, entry and lease are gone by one command, and other keys are untouched."""
    cache = opened(CacheAsideLease)
    cache.read("user:1")
    cache.read("user:2")
    env.redis.set("lease:user:1", "somebody's")
    env.redis.config_resetstat()
    cache.write("user:1", "v2")
    assert env.redis.info("commandstats")["cmdstat_del"]["calls"] == 1
    assert (env.stored("user:1"), env.cached("user:1"), lease(env)) == ("v2", None, None)
    assert (env.stored("user:2"), env.cached("user:2")) == ("v1", "v1")
    assert cache.read("user:1") == "v2"


def test_the_update_comes_before_the_delete(env: Any, opened: Any) -> None:
    """If the database refuses the UPDATE, the error reaches the caller and the cache keeps its entry."""
    cache = opened(CacheAsideLease)
    cache.read("user:1")
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert env.cached("user:1") == "v1"


def test_who_has_no_lease_reads_and_fills_nothing(env: Any, opened: Any) -> None:
    """A reader that has waited in vain for the holder asks the database, and leaves the cache alone."""
    env.redis.set("lease:user:1", "somebody's")
    assert opened(CacheAsideLease).read("user:1") == "v1"
    assert (env.cached("user:1"), lease(env)) == (None, "somebody's")


def test_a_server_that_forgets_its_scripts_is_not_noticed(env: Any, opened: Any) -> None:
    """SCRIPT FLUSH before a fill changes nothing."""
    env.redis.script_flush()
    opened(CacheAsideLease).read("user:1")
    assert env.cached("user:1") == "v1"


def test_a_load_from_an_old_snapshot_is_taken(env: Any, opened: Any) -> None:
    """Anomaly 4, a residual weakness: a lease taken after the write is valid, and the load is old all the same."""
    reader, writer = opened(CacheAsideLease), opened(CacheAsideLease)
    reader.db.execute("begin isolation level repeatable read")
    reader.db.execute("select 1 from records").fetchone()  # which takes the snapshot
    writer.write("user:1", "v2")
    assert reader.read("user:1") == "v1"
    assert (writer.read("user:1"), env.stored("user:1")) == ("v1", "v2")


def test_the_stale_set_is_refused(stage_for: Any) -> None:
    """Anomaly 1: the write took the lease away, so the reader's fill comes to nothing."""
    lines = stage_for(CacheAsideLease).lines(f"{STALE_SET}; A .")
    assert lines[-2:] == ["A EVAL -> 0", "A ok v1"]


@pytest.mark.parametrize("loss", ["expire lease:user:1", "flush", f"advance {FOR_EVER_S}"])
def test_who_lost_its_lease_fills_nothing(stage_for: Any, loss: str) -> None:
    """Evidence is needed, not its absence: a lease that expired or was lost is as good as one taken away."""
    run = stage_for(CacheAsideLease).play(f"A read, A ...; {loss}; B write, B ..; A .")
    assert not ReadAfterWrite().check(run.history).findings
    assert LEASE_MS < FOR_EVER_S * 1000


def test_a_zombie_fill_is_refused(stage_for: Any) -> None:
    """Anomaly 41: the reader has given up, a write comes and goes, and then the fill arrives."""
    run = stage_for(CacheAsideLease).play("A read, A ..., A delayed; B write, B ..; A arrive")
    assert not ReadAfterWrite().check(run.history).findings


def test_a_failover_brings_the_old_value_back(stage_for: Any) -> None:
    """Anomaly 44, a residual weakness: a replica that lacked the DEL still has the entry, and serves it."""
    script = "A read, A ....; B write, B ..; failover 1"
    run = stage_for(CacheAsideLease).play(script, keeps=Keeps.REPLICA)
    assert [found.kind for found in ReadAfterWrite().check(run.history).findings] == ["stale-read"]


def test_a_third_client_can_tell_it_from_the_database(stage_for: Any) -> None:
    """Anomaly 9, a residual weakness: C sees v2 in the database, and then hits v1, while B's write is open.

    C has no lease and loads by itself in the end; A has it, has loaded before the write, and fills before its DEL.
    """
    waits = "C .., advance 0.02; " * 5
    script = f"A read, A ...; C read, {waits} B write, B .; C .; A .; C read, C .; B ."
    run = stage_for(CacheAsideLease).play(script, clients=3)
    assert [op.value for op in run.history.operations if op.process == 2] == ["v2", "v1"]
    assert Linearizable().check(run.history).findings
    assert not ReadAfterWrite().check(run.history).findings
