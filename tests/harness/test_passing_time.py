"""Virtual time passes: what is due happens at its time, in order.

Scripts and dialogues are those of script.py: A and B are clients, Q is a worker.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from cacheproof.models.decision import (
    Advance,
)
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
COLD_READ = ["A read", "A GET -> nil", "A SELECT -> v1", "A SET -> OK", "A ok v1"]
TWO_KEYS = ("user:1", "user:2")


def test_a_ttl_runs_out_in_virtual_time(stage_for: StageFor) -> None:
    """300 seconds are over after 299 and 2, and not before; no real second passes."""
    script = "A read, A ..., advance 299, A read, A ., advance 2, A read, A ..."
    assert stage_for(CacheAside).lines(script) == [
        *COLD_READ,
        "advance 299",
        "A read",
        "A GET -> v1",
        "A ok v1",
        "advance 2",
        "expire user:1",
        *COLD_READ,
    ]


def test_a_key_expires_at_its_own_time(stage_for: StageFor) -> None:
    """While 400 seconds pass, the key goes at 300: the history says when."""
    run = stage_for(CacheAside).play("A read, A ..., advance 400")
    (expired,) = [event for event in run.history.faults if event.fault == "expire"]
    assert expired.at_s == pytest.approx(300)


def test_sleepers_wake_in_order(stage_for: StageFor, caches: ModuleType) -> None:
    """B sleeps one second, A two: after 1.5 seconds only B has asked."""
    with stage_for(caches.Sleepy).open("A read, B read @user:2", keys=TWO_KEYS) as execution:
        assert (execution.wake_ns_of(0), execution.next_wake_ns()) == (2 * 10**9, 10**9)
        execution.take(Advance(1.5))
        assert (len(execution.pending(0)), len(execution.pending(1))) == (0, 1)
        execution.take(Advance(0.5))
        assert (len(execution.pending(0)), len(execution.pending(1))) == (1, 1)


def test_a_blocking_command_ends_in_virtual_time(stage_for: StageFor, caches: ModuleType) -> None:
    """BRPOP with a time-out of 5 gives up after 5 virtual seconds, with nothing."""
    assert stage_for(caches.Queueing).lines("A read, A ., advance 4, advance 1") == [
        "A read",
        "A BRPOP waits",
        "advance 4",
        "advance 1",
        "A BRPOP -> nil at last",
        "A ok",
    ]
