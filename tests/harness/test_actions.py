"""The table of decisions: what can be taken when.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from typing import Any

import pytest

from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Invoke,
    Kill,
    Restart,
    ServerName,
    Start,
)
from cacheproof.models.errors import ReplayMismatch
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("script", "possible", "impossible"),
    [
        ("", [Invoke(0, "read", "user:1")], [Invoke(0, "read", "user:9"), Invoke(2, "read", "user:1")]),
        ("", [Kill(ServerName.CACHE)], [Start(ServerName.CACHE), Kill(ServerName.DATABASE)]),
        ("", [Advance(1.0)], [Advance(0.0), Crash(0), Restart(0), Deliver(0), Expire("user:1")]),
        ("A read", [Deliver(0), Crash(0)], [Deliver(0, 1), Deliver(1), Invoke(0, "write", "user:1")]),
        ("A read, A crash", [Restart(0)], [Crash(0), Deliver(0), Invoke(0, "read", "user:1")]),
        ("A read, A ...", [Expire("user:1"), Crash(0)], [Expire("user:2"), Deliver(0)]),
        ("kill", [Start(ServerName.CACHE)], [Kill(ServerName.CACHE), Expire("user:1")]),
    ],
)
def test_what_is_enabled(
    stage_for: StageFor, script: str, possible: list[Decision], impossible: list[Decision]
) -> None:
    """Every decision says whether its turn has come; one that is not enabled is a ReplayMismatch."""
    with stage_for(CacheAside).open(script) as execution:
        before = len(execution.recorder.events)
        assert [item for item in possible if not execution.is_enabled(item)] == []
        for decision in impossible:
            assert not execution.is_enabled(decision)
            with pytest.raises(ReplayMismatch, match="is not possible at this point"):
                execution.take(decision)
        assert len(execution.recorder.events) == before
