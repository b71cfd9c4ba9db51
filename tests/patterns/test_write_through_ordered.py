"""Ordered write-through on real servers: one operation at a time, then in the orders that break write-through."""

from typing import Any

import psycopg
import pytest

from cacheproof.patterns.write_through_ordered import OrderedWriteThrough


def entry(env: Any, key: str) -> dict[str, str]:
    found: dict[str, str] = env.redis.hgetall(key)
    return found


def ends_with(run: Any) -> Any:
    """What the last final read returned."""
    return run.history.operations[-1].value


def test_a_miss_loads_the_record_and_its_version(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row and leaves value and version in the cache, for `ttl` seconds."""
    assert opened(OrderedWriteThrough).read("user:1") == "v1"
    assert entry(env, "user:1") == {"version": "0", "value": "v1"}
    assert 290 <= env.redis.ttl("user:1") <= 300


def test_a_hit_asks_the_database_nothing(env: Any, opened: Any) -> None:
    """A read of a warm key needs no connection to the database."""
    cache = opened(OrderedWriteThrough)
    cache.read("user:1")
    cache.db.close()
    assert cache.read("user:1") == "v1"


def test_a_record_that_does_not_exist_is_not_cached(env: Any, opened: Any) -> None:
    """Neither by a read, which returns None, nor by a write, which changes nothing."""
    cache = opened(OrderedWriteThrough)
    assert cache.read("nobody") is None
    cache.write("nobody", "v2")
    assert env.redis.exists("nobody") == 0


def test_without_a_ttl_entries_never_expire(env: Any, opened: Any) -> None:
    """`ttl=None` sets no ttl at all."""
    opened(OrderedWriteThrough, ttl=None).read("user:1")
    assert env.redis.ttl("user:1") == -1


def test_a_write_counts_the_version_up_and_caches_it(env: Any, opened: Any) -> None:
    """After each write both hold value and version, and other keys are untouched."""
    cache = opened(OrderedWriteThrough)
    cache.write("user:1", "v2")
    cache.write("user:1", "v3")
    assert (env.stored("user:1"), entry(env, "user:1")) == ("v3", {"version": "2", "value": "v3"})
    assert (env.stored("user:2"), entry(env, "user:2")) == ("v1", {})


def test_the_update_comes_before_the_set(env: Any, opened: Any) -> None:
    """If the database refuses the UPDATE, the error reaches the caller and the cache is not touched."""
    cache = opened(OrderedWriteThrough)
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.write("user:1", "v2")
    assert entry(env, "user:1") == {}


def test_a_row_that_begins_at_0_again_is_refused(env: Any, opened: Any) -> None:
    """Anomaly 17: the cache holds on to a higher version of a row that was deleted and inserted anew."""
    cache = opened(OrderedWriteThrough)
    cache.write("user:1", "v2")
    cache.write("user:1", "v3")
    env.db.execute("delete from records where key = 'user:1'")
    env.db.execute("insert into records values ('user:1', 'reborn', 0)")
    cache.write("user:1", "v4")
    assert (env.stored("user:1"), cache.read("user:1")) == ("v4", "v3")


# -- in other orders ---------------------------------------------------------------------------------------


def test_the_later_update_wins_whatever_the_order_of_the_sets(stage_for: Any) -> None:
    """Anomaly 6 is avoided: a writer that is overtaken between its UPDATE and its SET changes nothing."""
    stage = stage_for(OrderedWriteThrough)
    run = stage.play("A write, A ., B write, B .., A .")
    assert stage.dialogue(run.history)[-2:] == ["A EVAL -> 0", "A ok v2"]
    assert ends_with(run) == "v3"


def test_a_slow_fill_is_refused(stage_for: Any) -> None:
    """Anomaly 7 is avoided: a reader that missed and loaded before a write does not overwrite it."""
    stage = stage_for(OrderedWriteThrough)
    run = stage.play("A read, A .., B write, B .., A .")
    assert stage.dialogue(run.history)[-2:] == ["A EVAL -> 0", "A ok v1"]
    assert ends_with(run) == "v2"


@pytest.mark.parametrize(
    "script",
    [
        "A read, A .., B write, B .., expire user:1, A .",
        "A read, A ., A pause, A ., B write, B .., kill, start, A resume, A .",
    ],
    ids=["expired", "restarted empty while a reader stands still"],
)
def test_a_cache_that_has_forgotten_takes_an_old_value(stage_for: Any, script: str) -> None:
    """Residual weakness, anomaly 47: with the entry goes the version that a slow reader is compared with."""
    assert ends_with(stage_for(OrderedWriteThrough).play(script)) == "v1"


def test_a_crash_between_commit_and_set_lasts_until_the_ttl(stage_for: Any) -> None:
    """Residual weakness, anomaly 39: what was committed and never acknowledged is seen when the entry expires."""
    script = "A read, A ..., B write, B ., B crash"
    run = stage_for(OrderedWriteThrough).play(script, probes_s=(0.0, 300.001))
    assert [read.value for read in run.history.operations if read.final] == ["v1", "v2"]
