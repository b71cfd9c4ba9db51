"""The table of decisions: what can be taken when.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from cacheproof.harness.actions import ACTIONS
from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Expire,
    Fate,
    Invoke,
    Kill,
    Restart,
    Resume,
    ServerName,
    Start,
    Survived,
)
from cacheproof.models.errors import ReplayMismatch
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


def refused(error: str | None) -> Deliver:
    return Deliver(0, 0, Fate.REFUSED, error)


def start(survived: Survived | None, behind: int = 0) -> Start:
    return Start(ServerName.DATABASE, survived, behind)


@pytest.mark.parametrize(
    ("script", "possible", "impossible"),
    [
        ("", [Invoke(0, "read", "user:1")], [Invoke(0, "read", "user:9"), Invoke(2, "read", "user:1")]),
        ("", [Kill(ServerName.CACHE)], [Start(ServerName.CACHE), Start(ServerName.DATABASE)]),
        ("", [Advance(1.0)], [Advance(0.0), Crash(0), Restart(0), Deliver(0), Expire("user:1")]),
        ("A read", [Deliver(0), Crash(0)], [Deliver(0, 1), Deliver(1), Invoke(0, "write", "user:1")]),
        ("A read, A crash", [Restart(0)], [Crash(0), Deliver(0), Invoke(0, "read", "user:1")]),
        ("A read, A ...", [Expire("user:1"), Crash(0)], [Expire("user:2"), Deliver(0)]),
        ("kill", [Start(ServerName.CACHE)], [Kill(ServerName.CACHE), Expire("user:1")]),
        ("", [Kill(ServerName.DATABASE)], [Start(ServerName.DATABASE)]),
        ("kill database", [Start(ServerName.DATABASE)], [start(Survived.EVERYTHING), start(None, 1)]),
        (
            "A read",
            [refused("loading"), refused("busy")],
            [refused("oom"), refused("deadlock"), refused("odd")],
        ),
        ("A write", [refused("deadlock")], [refused("serialization"), refused("loading"), refused(None)]),
        ("A read, freeze cache", [Deliver(0)], [refused("loading"), Deliver(0, 0, Fate.DELAYED)]),
        ("A read, A pause", [Deliver(0), Resume(0)], [Invoke(0, "read", "user:1"), Restart(0)]),
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


def test_every_decision_has_its_action() -> None:
    """A decision that is added has to say when it can be taken, and what it does."""
    assert set(ACTIONS) == set(get_args(Decision))


def test_what_is_mended_first(stage_for: StageFor) -> None:
    """Servers, then the network, then what is under way, then the replica, then clients."""
    script = "B read, B .., A read, B delayed, A pause, lag, partition cache A silent, freeze database"
    with stage_for(CacheAside).open(script) as execution:
        done = []
        for decision in execution.mends():
            done.append(type(decision).__name__)
            execution.perform(decision)
        assert done == ["Thaw", "Heal", "Arrive", "Replicate", "Resume"]
