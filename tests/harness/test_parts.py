"""The parts of a run know the same situation."""

from collections.abc import Callable
from typing import Any

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Fate, Invoke
from cacheproof.models.schedule import Scenario
from cacheproof.patterns.cache_aside import CacheAside


def test_what_one_part_does_the_others_see(stage_for: Callable[[Any], Any]) -> None:
    """An operation that is invoked has an exchange to release, and time finds nobody asleep."""
    parts = Parts(stage_for(CacheAside).world, Scenario(clients=1, keys=("user:1",)))
    try:
        parts.operations.invoke(Invoke(0, "read", "user:1"))
        parts.exchanges.release(parts.situation.pending(0)[0], Fate.DELIVERED)
        assert [item.verb for item in parts.situation.pending(0)] == ["SELECT"]
        assert parts.time.next_wake_ns() is None
    finally:
        parts.situation.end()
