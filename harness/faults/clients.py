"""Faults of clients: crash and restart."""

from cacheproof.harness.parts import Parts
from cacheproof.models.decision import Crash, Restart
from cacheproof.models.operation import Outcome

__all__ = ["can_crash", "can_restart", "crash", "restart"]


def can_crash(parts: Parts, decision: Crash) -> bool:
    return parts.situation.crew.get(decision.client) is not None


def crash(parts: Parts, decision: Crash) -> None:
    """SIGKILL; over when the servers have let go of the client's transactions and locks."""
    here = parts.situation
    process = here.crew.get(decision.client)
    assert process is not None
    here.fault("crash", process=decision.client)
    if process.operation is not None:
        here.returned(process, Outcome.INFO, process.operation.value, "the client crashed")
    here.bury(process, decision.in_flight)
    parts.exchanges.resolve_waiting()


def can_restart(parts: Parts, decision: Restart) -> bool:
    return parts.situation.is_down(decision.client) and parts.situation.can_run(decision.client)


def restart(parts: Parts, decision: Restart) -> None:
    parts.operations.restart(decision.client)
