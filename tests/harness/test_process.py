"""A client process from the director's side: its lines, its sleepers, and its end."""

import os
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


def test_a_process_says_when_it_wants_to_wake(stage_for: StageFor, caches: ModuleType) -> None:
    """The earliest deadline of its sleeping parts; none when nobody sleeps."""
    with stage_for(caches.Sleepy).open("A read, B write") as execution:
        assert execution.crew.get(0).next_deadline_ns == 2 * 10**9
        assert execution.crew.get(1).next_deadline_ns is None


def test_a_process_that_waits_is_blocked(stage_for: StageFor) -> None:
    """For a server, and for the next order."""
    with stage_for(CacheAside).open("A read, B read, B ...") as execution:
        assert all(process.blocked() for process in execution.crew.alive())


def test_a_kill_is_over_when_the_process_is_gone(stage_for: StageFor) -> None:
    """Its lines are closed."""
    with stage_for(CacheAside).open("A read") as execution:
        process = execution.crew.get(0)
        pid = process.pid
        execution.crew.bury(process)
        assert not os.path.exists(f"/proc/{pid}")
        assert process.ended


def test_a_process_that_dies_by_itself_is_noticed(stage_for: StageFor) -> None:
    """Its operation is in doubt, and the client is down until it is restarted."""

    class Dying:
        def __init__(self, env: Any) -> None: ...

        def read(self, key: str) -> str:
            return "v1"

        def write(self, key: str, value: str) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    with stage_for(Dying).open("A write") as execution:
        assert execution.is_down(0)
        (operation,) = execution.recorder.history().operations
        assert (operation.outcome.value, operation.value) == ("info", "v2")
