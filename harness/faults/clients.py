"""Faults of clients: crash and restart, pause and resume, a wall clock that jumps."""

from collections.abc import Iterator

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Crash, Decision, InFlight, Pause, Restart, Resume, Skew
from cacheproof.models.operation import Outcome

__all__ = [
    "can_crash",
    "can_pause",
    "can_restart",
    "can_resume",
    "can_skew",
    "crash",
    "mends",
    "pause",
    "restart",
    "resume",
    "skew",
]


def can_crash(parts: Parts, decision: Crash) -> bool:
    return parts.situation.crew.get(decision.client) is not None


def crash(parts: Parts, decision: Crash) -> None:
    """SIGKILL; over when the servers have let go of the client's transactions and locks."""
    here = parts.situation
    process = here.crew.get(decision.client)
    assert process is not None
    runs = decision.in_flight is InFlight.RUNS
    here.fault("crash", process=decision.client, detail=decision.in_flight.value if runs else None)
    if process.operation is not None:
        here.returned(process, Outcome.INFO, process.operation.value, "the client crashed")
    here.bury(process, decision.in_flight)
    parts.exchanges.resolve_waiting()


def can_restart(parts: Parts, decision: Restart) -> bool:
    return parts.situation.is_down(decision.client) and parts.situation.can_run(decision.client)


def restart(parts: Parts, decision: Restart) -> None:
    parts.operations.restart(decision.client)


def can_pause(parts: Parts, decision: Pause) -> bool:
    process = parts.situation.crew.get(decision.client)
    return process is not None and not process.paused and not process.ended


def pause(parts: Parts, decision: Pause) -> None:
    """SIGSTOP.  What it has sent goes on; what it is sent waits in its sockets, and so do its timers."""
    here = parts.situation
    process = here.crew.get(decision.client)
    assert process is not None
    here.fault("pause", process=decision.client)
    process.stop()


def can_resume(parts: Parts, decision: Resume) -> bool:
    process = parts.situation.crew.get(decision.client)
    return process is not None and process.paused


def resume(parts: Parts, decision: Resume) -> None:
    """It goes on where it was: first with what it was sent, then with timers that have run out meanwhile."""
    here = parts.situation
    process = here.crew.get(decision.client)
    assert process is not None
    here.fault("resume", process=decision.client)
    process.go_on()
    here.settle(process)
    parts.time.catch_up()


def can_skew(parts: Parts, decision: Skew) -> bool:
    return decision.client < parts.situation.scenario.processes and decision.by_s != 0


def skew(parts: Parts, decision: Skew) -> None:
    """Its wall clock jumps; clocks that only measure (monotonic ones, those of timers) do not."""
    clock = parts.situation.world.clock
    parts.situation.fault("skew", process=decision.client, detail=decision.by_s)
    clock.set_skew_ns(decision.client, clock.skew_ns(decision.client) + round(decision.by_s * 1e9))


def mends(parts: Parts) -> Iterator[Decision]:
    """What the epilogue has to do so that every client goes on."""
    for process in parts.situation.crew.alive():
        if process.paused:
            yield Resume(process.number)
