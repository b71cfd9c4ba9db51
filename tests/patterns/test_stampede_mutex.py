"""The mutex recipe on real servers: one operation at a time, and the schedules that it is not made for."""

from typing import Any

import psycopg
import pytest

from cacheproof.models.liveness import Liveness
from cacheproof.models.mutual_exclusion import MutualExclusion
from cacheproof.models.single_flight import SingleFlight
from cacheproof.patterns.stampede_mutex import STAMPEDE_MUTEX_LOCK, StampedeMutex

LOCK = "lock:user:1"


def test_a_miss_loads_under_a_lock_and_gives_it_back(env: Any, opened: Any) -> None:
    """A read of a cold key returns the row, leaves it in the cache with a ttl, and no lock."""
    assert opened(StampedeMutex).read("user:1") == "v1"
    assert env.cached("user:1") == "v1"
    assert 290 <= env.redis.ttl("user:1") <= 300
    assert env.redis.exists(LOCK) == 0


def test_a_hit_asks_neither_lock_nor_database(env: Any, opened: Any) -> None:
    """A read of a warm key returns what is cached, whoever holds the lock."""
    cache = opened(StampedeMutex, ttl=None)
    cache.read("user:1")
    cache.db.close()
    env.redis.set(LOCK, "somebody")
    assert cache.read("user:1") == "v1"
    assert env.redis.ttl("user:1") == -1


def test_a_write_is_stored_and_invalidates_one_key(env: Any, opened: Any) -> None:
    """After a write the row is new, the key is gone, and the next read is fresh."""
    cache = opened(StampedeMutex)
    cache.read("user:1")
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", None)
    assert cache.read("user:1") == "v2"


def test_a_record_that_does_not_exist_is_loaded_by_everybody(env: Any, opened: Any) -> None:
    """Nothing is cached for an absent row (26), but the lock is given back."""
    assert opened(StampedeMutex).read("nobody") is None
    assert env.redis.keys() == []


def test_a_load_that_fails_leaves_its_lock_behind(env: Any, opened: Any) -> None:
    """An exception between lock and DEL makes everybody wait for the ttl of the lock (35)."""
    cache = opened(StampedeMutex)
    cache.db.close()
    with pytest.raises(psycopg.OperationalError):
        cache.read("user:1")
    assert 4 <= env.redis.ttl(LOCK) <= 5


def test_the_lock_excludes_until_it_is_released(opened: Any) -> None:
    """The second of two is refused while the first holds it."""
    one, other = opened(StampedeMutex), opened(StampedeMutex)
    assert [one.acquire("user:1"), other.acquire("user:1"), other.acquire("user:2")] == [True, False, True]
    one.release("user:1")
    assert other.acquire("user:1")


def test_a_waiter_that_missed_before_the_fill_loads_again(stage_for: Any) -> None:
    """Nobody looks at the cache again after taking the lock: two loads, and nothing was broken."""
    run = stage_for(StampedeMutex).play(
        """
        A read, A .
        B read, B .
        A ....
        B ....
        """
    )
    assert [finding.found for finding in SingleFlight().check(run.history).findings] == [2]


def test_the_lock_runs_out_and_somebody_elses_is_deleted(stage_for: Any) -> None:
    """A's lock expires while it loads: B loads as well (33), and A deletes B's lock, so that C loads too (34)."""
    stage = stage_for(StampedeMutex)
    run = stage.play(
        f"""
        A read, A ..
        B read, B .
        C read, C .
        expire {LOCK}
        B .
        A ...
        C ..
        """,
        clients=3,
    )
    assert stage.dialogue(run.history)[7:] == [
        f"expire {LOCK}",
        "B SET -> OK",
        "A SELECT -> v1",
        "A SET -> OK",
        "A DEL -> 1",
        "A ok v1",
        "C SET -> OK",
        "C SELECT -> v1",
    ]
    assert [finding.found for finding in SingleFlight().check(run.history).findings] == [3]


def test_whoever_dies_with_the_lock_keeps_the_others_waiting(stage_for: Any) -> None:
    """A dies while it loads: B polls for what is left of the five seconds (35)."""
    run = stage_for(StampedeMutex).play("A read, A .., A crash, B read, B .")
    (slow,) = [found for found in Liveness(1.0).check(run.history).findings if found.culprit.process == 1]
    assert slow.kind == "slow"
    assert 4.9 <= slow.found <= 5.1


def test_its_lock_has_two_holders_once_it_runs_out(stage_for: Any) -> None:
    """The contract of the lock by itself: A believes that it holds what B has acquired."""
    contract = STAMPEDE_MUTEX_LOCK()
    run = stage_for(StampedeMutex).play(
        f"A acquire, A ., expire {LOCK}, B acquire, B .", operations=contract.operations, probes_s=()
    )
    assert [finding.kind for finding in MutualExclusion().check(run.history).findings] == ["two-holders"]
