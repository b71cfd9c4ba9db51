"""Cache-aside with delayed double delete on real servers: what the second DEL mends, and what it does not."""

from typing import Any

import psycopg
import pytest

from cacheproof.models.convergence import Convergence
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.zones import Linearizable
from cacheproof.patterns.cache_aside_double_delete import DELAY_S, DoubleDelete


def test_a_miss_loads_the_record_and_fills_the_cache_with_a_ttl(env: Any, opened: Any) -> None:
    """A read of a cold key leaves it in the cache for `ttl` seconds; a hit asks the database nothing."""
    cache = opened(DoubleDelete)
    assert cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Reading a key without a row returns None and leaves nothing behind."""
    assert opened(DoubleDelete).read("nobody") is None
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` fills with no ttl at all."""
    opened(DoubleDelete, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_deletes_before_and_after(env: Any, opened: Any) -> None:
    """A write deletes twice, with the UPDATE in between, and leaves other keys alone."""
    cache = opened(DoubleDelete, delay_s=0)
    cache.read("user:1")
    cache.read("user:2")
    env.redis.config_resetstat()
    cache.write("user:1", "v2")
    assert env.redis.info("commandstats")["cmdstat_del"]["calls"] == 2
    assert (env.stored("user:1"), env.cached("user:1"), env.cached("user:2")) == ("v2", None, "v1")
    assert cache.read("user:1") == "v2"


def test_the_first_delete_comes_before_the_update(env: Any, opened: Any) -> None:
    """If the database refuses the UPDATE, the cache is empty already."""
    cache = opened(DoubleDelete, delay_s=0)
    cache.read("user:1")
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert env.cached("user:1") is None


def test_a_fill_within_the_sleep_is_deleted(stage_for: Any) -> None:
    """What it is for: a reader that loaded v1 fills while the writer sleeps, and the second DEL mends that."""
    script = f"A read, A ..; B write, B ..; A .; advance {DELAY_S}; B ."
    run = stage_for(DoubleDelete).play(script)
    assert not ReadAfterWrite().check(run.history).findings


def test_a_fill_after_the_sleep_stays(stage_for: Any) -> None:
    """Anomaly 19: a reader that is slower than the sleep puts v1 back for as long as the ttl."""
    script = f"A read, A ..; B write, B ..; advance {DELAY_S}; B .; A ."
    run = stage_for(DoubleDelete).play(script)
    assert [found.kind for found in ReadAfterWrite().check(run.history).findings] == ["stale-read"]


def test_a_writer_that_dies_in_its_sleep_deletes_once(stage_for: Any) -> None:
    """Anomaly 19: a crash before the second DEL leaves what was filled over the first one."""
    run = stage_for(DoubleDelete).play("A read, A ..; B write, B ..; A .; B crash")
    assert [found.kind for found in Convergence(within_s=0).check(run.history).findings] == ["divergence"]


def test_while_a_writer_sleeps_time_may_run_backwards(stage_for: Any) -> None:
    """Claim CA9: C reads v2, A fills what it loaded before, and C reads v1."""
    script = f"A read, A ..; B write, B ..; C read, C ...; A .; C read, C .; advance {DELAY_S}; B ."
    run = stage_for(DoubleDelete).play(script, clients=3)
    assert [op.value for op in run.history.operations if op.process == 2 and not op.final] == ["v2", "v1"]
    assert Linearizable().check(run.history).findings
