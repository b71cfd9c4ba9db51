"""Write-behind with a dirty set: one UPDATE for many writes, and the mark that is taken away too much."""

import time
from typing import Any

import psycopg
import pytest

from cacheproof.models.durability import Durability
from cacheproof.patterns.write_behind_dirty_set import DIRTY, EVERY_S, WriteBehindDirtySet


def test_a_miss_fills_with_a_ttl_and_a_write_takes_it_away(env: Any, opened: Any) -> None:
    """A loaded value lives `ttl` seconds; a written one does not expire, and is marked as not stored yet."""
    cache = opened(WriteBehindDirtySet)
    assert cache.read("user:1") == cache.read("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.write("user:1", "v2")
    assert (env.cached("user:1"), env.redis.ttl("user:1"), env.stored("user:1")) == ("v2", -1, "v1")
    assert env.redis.smembers(DIRTY) == {"user:1"}
    assert cache.read("nobody") is None


def test_many_writes_are_one_update(env: Any, opened: Any) -> None:
    """A round stores the newest value of each marked record, once, and takes the marks away."""
    cache = opened(WriteBehindDirtySet)
    for value in ("v2", "v3", "v4"):
        cache.write("user:1", value)
    cache.write("user:2", "v5")
    env.db.execute("update records set version = 0")
    cache.flush()
    assert (env.stored("user:1"), env.stored("user:2")) == ("v4", "v5")
    assert env.redis.exists(DIRTY) == 0


def test_a_marked_key_that_is_gone_is_passed_over(env: Any, opened: Any) -> None:
    """If the cache has lost the value, the record stays as it is, and the mark goes."""
    cache = opened(WriteBehindDirtySet)
    cache.write("user:1", "v2")
    env.redis.delete("user:1")
    cache.flush()
    assert (env.stored("user:1"), env.redis.exists(DIRTY)) == ("v1", 0)


def test_a_round_that_fails_is_begun_again(env: Any, opened: Any) -> None:
    """The mark stays until the value is committed."""
    cache, next_life = opened(WriteBehindDirtySet), opened(WriteBehindDirtySet)
    cache.write("user:1", "v2")
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.flush()
    next_life.flush()
    assert env.stored("user:1") == "v2"


def test_the_worker_rests_between_rounds(env: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Round, pause, round: a write during the pause is stored in the next one."""
    cache = opened(WriteBehindDirtySet)
    pauses: list[float] = []

    def rest(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        cache.write("user:1", "v2")

    monkeypatch.setattr(time, "sleep", rest)
    with pytest.raises(KeyboardInterrupt):
        cache.work()
    assert (env.stored("user:1"), pauses) == ("v2", [EVERY_S, EVERY_S])


def test_a_write_within_a_round_is_forgotten(stage_for: Any) -> None:
    """v3 is written between the GET of v2 and the SREM (57): it is in the cache, and will never be stored."""
    run = stage_for(WriteBehindDirtySet).play("A write, A .; Q ..; A write, A .; Q ..", workers=1)
    assert [commit.value for commit in run.history.commits["user:1"]] == ["v2"]
    assert [finding.kind for finding in Durability().check(run.history).findings] == ["lost-write"]
