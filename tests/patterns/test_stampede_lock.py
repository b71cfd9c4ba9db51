"""The corrected lock on real servers: one operation at a time, and the schedules that break the recipe."""

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import redis

from cacheproof.models.liveness import Liveness
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.single_flight import SingleFlight
from cacheproof.patterns import stampede_lock
from cacheproof.patterns.stampede_lock import ABSENT_TTL_S, PAUSES_S, StampedeLock

LOCK = "lock:user:1"


def test_a_miss_loads_under_a_lock_and_gives_it_back(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row, leaves it in the cache with a ttl, and no lock."""
    assert opened(StampedeLock).read("user:1") == "v1"
    assert env.cached("user:1") == '"v1"'
    assert 290 <= env.redis.ttl("user:1") <= 300
    assert env.redis.exists(LOCK) == 0


def test_a_hit_asks_neither_lock_nor_database(env: Any, opened: Any) -> None:
    """A read of a warm key returns what is cached, whoever holds the lock."""
    cache = opened(StampedeLock, ttl=None)
    cache.read("user:1")
    cache.db.close()
    env.redis.set(LOCK, "somebody")
    assert cache.read("user:1") == "v1"
    assert env.redis.ttl("user:1") == -1


def test_a_write_invalidates_the_key_and_takes_the_lock_away(env: Any, opened: Any) -> None:
    """After a write the row is new, and neither entry nor lock is there."""
    cache = opened(StampedeLock)
    cache.read("user:1")
    env.redis.set(LOCK, "somebody")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.redis.keys()) == ("v2", [])
    assert cache.read("user:1") == "v2"


def test_a_record_that_does_not_exist_is_remembered_for_a_while(env: Any, opened: Any) -> None:
    """The second reader of an absent row asks the database nothing."""
    cache = opened(StampedeLock)
    assert cache.read("nobody") is None
    assert 0 < env.redis.ttl("nobody") <= ABSENT_TTL_S
    cache.db.close()
    assert cache.read("nobody") is None


def test_a_load_that_fails_gives_the_lock_back(env: Any, opened: Any) -> None:
    """The error reaches the caller, and nobody has to wait."""
    cache = opened(StampedeLock)
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.read("user:1")
    assert env.redis.keys() == []


def test_a_lock_that_cannot_be_given_back_hides_no_error(
    env: Any, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the release fails as well, the first error is the one that counts; the ttl frees the lock."""
    cache = opened(StampedeLock)
    cache.db.close()

    def fail(*_: Any) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr(cache.redis, "eval", fail)
    with pytest.raises(psycopg.OperationalError):
        cache.read("user:1")
    assert 0 < env.redis.pttl(LOCK) <= 2000


def test_only_its_owner_fills_and_releases(env: Any, opened: Any) -> None:
    """Under somebody else's lock, or none, a fill and a release do nothing."""
    cache = opened(StampedeLock)
    owner = cache._acquire("user:1")
    for holder in ("somebody", None):
        env.redis.delete(LOCK) if holder is None else env.redis.set(LOCK, holder)
        cache._fill("user:1", owner, "v1")
        cache._release("user:1", owner)
        assert (env.redis.get(LOCK), env.cached("user:1")) == (holder, None)


def test_a_waiter_that_missed_before_the_fill_looks_again(stage_for: Any) -> None:
    """B takes the lock after A has filled, finds the value, and gives the lock back: one load."""
    run = stage_for(StampedeLock).play("A read, A .; B read, B .; A ....; B ...")
    assert stage_for(StampedeLock).dialogue(run.history)[-4:] == [
        "B SET -> OK",
        'B GET -> "v1"',
        "B EVAL -> 1",
        "B ok v1",
    ]
    assert SingleFlight().check(run.history).findings == ()


def test_a_reader_that_loaded_before_a_write_cannot_fill_after_it(stage_for: Any) -> None:
    """The write takes the lock away, so the stale set (1) is refused, and the next read is fresh."""
    run = stage_for(StampedeLock).play("A read, A ....; B write, B ..; A .")
    assert stage_for(StampedeLock).dialogue(run.history)[-3:] == ["B ok v2", "A EVAL -> 0", "A ok v1"]
    assert ReadAfterWrite().check(run.history).findings == ()


def test_a_lock_that_ran_out_costs_a_load_and_nothing_else(stage_for: Any) -> None:
    """Its residual weakness (33): B loads as well; A can neither fill over B's value nor release B's lock."""
    run = stage_for(StampedeLock).play(f"A read, A ...; expire {LOCK}; B read, B ...; A ..; B ..")
    assert stage_for(StampedeLock).dialogue(run.history)[-6:] == [
        "A SELECT -> v1",
        "A EVAL -> 0",
        "A ok v1",
        "B SELECT -> v1",
        "B EVAL -> 1",
        "B ok v1",
    ]
    assert [finding.found for finding in SingleFlight().check(run.history).findings] == [2]


def test_whoever_dies_with_the_lock_delays_the_others_and_no_more(stage_for: Any) -> None:
    """A dies while it loads: B gets its answer within three seconds, when the lock has run out."""
    run = stage_for(StampedeLock).play("A read, A ..., A crash, B read, B .")
    assert Liveness(3.0).check(run.history).findings == ()
    (waited,) = [found for found in Liveness(1.0).check(run.history).findings if found.culprit.process == 1]
    assert 1.9 <= waited.found <= 2.1


def test_waiting_has_an_end(env: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nobody loads within three seconds, a reader gives up with an error that says so, and does not load."""
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(stampede_lock, "time", clock)
    cache = opened(StampedeLock)
    cache.db.close()
    env.redis.set(LOCK, "somebody who never lets go")
    with pytest.raises(TimeoutError, match="nobody has loaded 'user:1' within 3"):
        cache.read("user:1")
    assert 3.0 <= sum(slept) <= 3.0 + max(PAUSES_S)
    assert min(PAUSES_S) <= min(slept) <= max(slept) <= max(PAUSES_S)
