"""Counters behind a cache: sums that are stored in rounds, and what is counted twice."""

import time
from typing import Any

import pytest

from cacheproof.models.counters import ExactlyOnce
from cacheproof.patterns.write_behind_counters import EVERY_S, PENDING, WriteBehindCounters

COUNTING = {"workers": 1, "operations": ("increment",), "numbers": True}


@pytest.fixture(autouse=True)
def zero(env: Any) -> None:
    """The records are counters."""
    env.db.execute("update records set value = '0'")


def kinds(run: Any) -> list[str]:
    return [finding.kind for finding in ExactlyOnce().check(run.history).findings]


def test_an_increment_touches_the_cache_alone(env: Any, opened: Any) -> None:
    """It is acknowledged without the database, and stored in the next round."""
    cache = opened(WriteBehindCounters)
    cache.increment("user:1", 2)
    cache.increment("user:1", 3)
    assert (cache.read("user:1"), env.redis.hgetall(PENDING)) == (0, {"user:1": "5"})
    cache.flush()
    assert (cache.read("user:1"), env.redis.hgetall(PENDING)) == (5, {"user:1": "0"})
    assert cache.read("nobody") is None


def test_what_has_been_stored_is_not_stored_again(env: Any, opened: Any) -> None:
    """A second round finds nothing, and a later increment is added to what is there."""
    cache = opened(WriteBehindCounters)
    cache.increment("user:1", 2)
    cache.flush()
    cache.flush()
    cache.increment("user:1", 1)
    cache.flush()
    assert env.stored("user:1") == "3"


def test_the_worker_rests_between_rounds(env: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Round, pause, round: what is counted during the pause is stored in the next one."""
    cache = opened(WriteBehindCounters)
    pauses: list[float] = []

    def rest(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt
        cache.increment("user:1", 1)

    monkeypatch.setattr(time, "sleep", rest)
    with pytest.raises(KeyboardInterrupt):
        cache.work()
    assert (env.stored("user:1"), pauses) == ("1", [EVERY_S, EVERY_S])


def test_an_increment_during_a_round_is_not_lost(stage_for: Any) -> None:
    """It comes between HGETALL and HINCRBY, and is a part of the next sum."""
    run = stage_for(WriteBehindCounters).play("A increment, A .; Q ..; A increment, A .; Q .", **COUNTING)
    assert [commit.value for commit in run.history.commits["user:1"]] == [1, 2]
    assert kinds(run) == []


def test_a_worker_that_dies_after_its_update_counts_twice(stage_for: Any) -> None:
    """The sum is still there for its next life (53)."""
    run = stage_for(WriteBehindCounters).play("A increment, A .; Q .., Q crash", **COUNTING)
    assert [commit.value for commit in run.history.commits["user:1"]] == [1, 2]
    assert kinds(run) == ["double-applied"]


def test_a_driver_that_repeats_a_command_counts_twice(stage_for: Any) -> None:
    """The reply to HINCRBY is lost, and it is sent once more (42): one increment, counted as 2."""
    run = stage_for(WriteBehindCounters).play("A increment, A reply-lost, A .", **COUNTING)
    assert [commit.value for commit in run.history.commits["user:1"]] == [2]
    assert kinds(run) == ["double-applied"]
