"""A client process from the director's side: its lines, its sleepers, and its end."""

import os
import signal
from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.models.decision import Deliver, ServerName
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]


def test_a_process_says_when_it_wants_to_wake(stage_for: StageFor, caches: ModuleType) -> None:
    """The earliest deadline of its sleeping parts; none when nobody sleeps."""
    with stage_for(caches.Sleepy).open("A read, B write") as execution:
        assert execution.crew.get(0).next_deadline_ns == 2 * 10**9
        assert execution.crew.get(1).next_deadline_ns is None


def test_the_time_out_of_a_socket_counts_only_with_a_fault(stage_for: StageFor, caches: ModuleType) -> None:
    """It is known once it is asked for; and another connection's fault is no reason."""
    with stage_for(caches.Impatient).open("A read, freeze cache") as execution:
        process, wire = execution.crew.get(0), execution.world.wire
        assert execution.wake_ns_of(0) == process.next_deadline_ns == 200_000_000
        (line,) = [sleeper.line for sleeper in process.sleepers if sleeper.line]
        assert line in [link.line for link in wire.links(0)]
        wire.thaw(ServerName.CACHE)
        wire.freeze(ServerName.DATABASE)
        assert process.next_deadline_ns is None
        process.wake(300_000_000)
        assert [sleeper.deadline_ns for sleeper in process.sleepers if sleeper.line] == [200_000_000]


def test_a_process_that_waits_is_blocked(stage_for: StageFor) -> None:
    """For a server, and for the next order."""
    with stage_for(CacheAside).open("A read, B read, B ...") as execution:
        assert all(process.asleep() for process in execution.crew.alive())


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


def test_a_process_that_is_stopped_does_nothing(stage_for: StageFor) -> None:
    """Not even hear its reply; when it goes on, it does."""
    with stage_for(CacheAside).open("A read, A ..") as execution:
        process = execution.crew.get(0)
        process.stop()
        assert process.paused and process.asleep() is None
        execution.take(Deliver(0))
        assert process.take_packet() is None
        process.go_on()
        assert not process.paused
        execution.crew.settle(process)
        assert process.take_packet() == {"value": "v1"}


def test_a_process_that_is_stopped_can_be_killed(stage_for: StageFor) -> None:
    """SIGKILL wakes it for that."""
    with stage_for(CacheAside).open("A read") as execution:
        process = execution.crew.get(0)
        process.stop()
        pid = process.pid
        execution.crew.bury(process)
        assert not os.path.exists(f"/proc/{pid}")
