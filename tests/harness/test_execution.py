"""A run takes decisions, and knows them afterwards.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from typing import Any

from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


def test_the_schedule_is_what_was_taken(stage_for: StageFor, decisions: Callable[..., Any]) -> None:
    """Exactly the decisions, in order: no step of the epilogue."""
    stage = stage_for(CacheAside)
    run = stage.play("A read, A .., B write, B .")
    assert run.schedule.decisions == decisions("A read, A .., B write, B .")
