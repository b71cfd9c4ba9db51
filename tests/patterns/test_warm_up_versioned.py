"""Versioned warm-up on real servers: what it loads, and what the cache refuses."""

import time
from typing import Any

import pytest

from cacheproof.models.convergence import Convergence
from cacheproof.models.decision import Deliver, Invoke
from cacheproof.models.schedule import Scenario, Schedule
from cacheproof.patterns import warm_up_versioned
from cacheproof.patterns.warm_up_versioned import PAUSE_S, WarmUpVersioned

OVERTAKEN = (
    Invoke(0, "warm_up", None),
    Deliver(0),
    Invoke(1, "write", "user:1"),
    Deliver(1),
    Deliver(1),
    Deliver(0),
)
"""A whole write between the SELECT of a warm-up and what it does with it."""


def test_a_warm_up_loads_every_record_with_a_ttl_of_its_own(env: Any, opened: Any) -> None:
    """Afterwards reads need no database; ttls are up to a tenth shorter."""
    cache = opened(WarmUpVersioned, ttl=3000)
    cache.warm_up()
    assert all(2690 <= env.redis.ttl(key) <= 3000 for key in ("user:1", "user:2"))
    cache.db.close()
    assert (cache.read("user:1"), cache.read("user:2")) == ("v1", "v1")


def test_it_loads_a_few_at_a_time(env: Any, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pause between two portions, and each record once."""
    pauses: list[float] = []
    monkeypatch.setattr(warm_up_versioned, "AT_ONCE", 1)
    monkeypatch.setattr(time, "sleep", pauses.append)
    opened(WarmUpVersioned, ttl=None).warm_up()
    assert pauses == [PAUSE_S, PAUSE_S]
    assert env.redis.hget("user:2", "value") == "v1"
    assert env.redis.ttl("user:2") == -1


def test_a_write_leaves_a_floor_below_which_nothing_is_taken(env: Any, opened: Any) -> None:
    """What a read loads after the write is taken; a record that is not there is neither read nor written."""
    cache = opened(WarmUpVersioned)
    assert cache.read("user:1") == "v1"
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.redis.hgetall("user:1")) == ("v2", {"version": "1"})
    assert cache.read("user:1") == "v2"
    cache.write("nobody", "v3")
    assert (cache.read("nobody"), env.redis.exists("nobody")) == (None, 0)


def test_a_warm_up_changes_nothing_that_is_warm(env: Any, opened: Any) -> None:
    """The same version is not taken twice, so the entry keeps its ttl."""
    cache = opened(WarmUpVersioned)
    cache.read("user:1")
    env.redis.expire("user:1", 7)
    cache.warm_up()
    assert env.redis.ttl("user:1") <= 7


def test_a_write_during_the_warm_up_is_not_overwritten(stage_for: Any) -> None:
    """The warm-up has read v1 when somebody writes v2 and invalidates; what it then offers (73) is refused."""
    stage = stage_for(WarmUpVersioned)
    scenario = Scenario(operations=("read", "write", "warm_up"), probes_s=(0.0, 300.001))
    run = stage.runner.replay(Schedule(scenario, OVERTAKEN), anew=False)
    assert run.problem is None
    assert stage.dialogue(run.history)[-2:] == ["A EVAL -> 0", "A ok"]
    assert Convergence(within_s=0).check(run.history).findings == ()
