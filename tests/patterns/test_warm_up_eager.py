"""Eager warm-up on real servers: what it loads, and what it overwrites."""

from typing import Any

from cacheproof.models.convergence import Convergence
from cacheproof.models.decision import Deliver, Invoke
from cacheproof.models.schedule import Scenario, Schedule
from cacheproof.patterns.warm_up_eager import WarmUpEager

OVERTAKEN = (
    Invoke(0, "warm_up", None),
    Deliver(0),
    Invoke(1, "write", "user:1"),
    Deliver(1),
    Deliver(1),
    Deliver(0),
)
"""A whole write between the SELECT of a warm-up and what it does with it."""


def test_a_warm_up_loads_every_record_with_a_ttl(env: Any, opened: Any) -> None:
    """Afterwards reads need no database."""
    cache = opened(WarmUpEager)
    cache.warm_up()
    assert 290 <= env.redis.ttl("user:1") <= 300
    cache.db.close()
    assert (cache.read("user:1"), cache.read("user:2")) == ("v1", "v1")


def test_without_it_a_miss_loads_and_a_write_invalidates(env: Any, opened: Any) -> None:
    """Cache-aside, as ever."""
    cache = opened(WarmUpEager, ttl=None)
    assert (cache.read("user:1"), cache.read("nobody")) == ("v1", None)
    assert (env.cached("user:1"), env.redis.ttl("user:1")) == ("v1", -1)
    cache.write("user:1", "v2")
    assert (env.stored("user:1"), env.cached("user:1")) == ("v2", None)


def test_a_write_during_the_warm_up_is_overwritten(stage_for: Any) -> None:
    """The warm-up has read v1 when somebody writes v2 and invalidates; then it sets v1 (73), for a whole ttl."""
    stage = stage_for(WarmUpEager)
    scenario = Scenario(operations=("read", "write", "warm_up"), probes_s=(0.0, 300.001))
    run = stage.runner.replay(Schedule(scenario, OVERTAKEN), anew=False)
    assert run.problem is None
    assert [finding.kind for finding in Convergence(within_s=0).check(run.history).findings] == ["divergence"]
    assert Convergence(within_s=300).check(run.history).findings == ()
