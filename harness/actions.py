"""The table of decisions: for each kind, whether it can be taken now, and what it does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cacheproof.harness import faults
from cacheproof.harness.parts import Parts
from cacheproof.models.decision import (
    Advance,
    Crash,
    Deliver,
    Expire,
    Invoke,
    Kill,
    Restart,
    Start,
)

__all__ = ["ACTIONS", "Action"]


@dataclass(frozen=True, slots=True)
class Action:
    """What a kind of decision means.  Both functions take the parts of the run and the decision."""

    is_enabled: Callable[[Parts, Any], bool]
    perform: Callable[[Parts, Any], None]


def _can_invoke(parts: Parts, decision: Invoke) -> bool:
    here = parts.situation
    known = decision.key in here.scenario.keys if decision.key is not None else decision.f == "work"
    free = decision.client < here.scenario.processes and not here.is_down(decision.client)
    return free and known and here.operation(decision.client) is None


def _invoke(parts: Parts, decision: Invoke) -> None:
    parts.operations.invoke(decision)


def _can_deliver(parts: Parts, decision: Deliver) -> bool:
    return decision.pick < len(parts.situation.pending(decision.client))


def _deliver(parts: Parts, decision: Deliver) -> None:
    parts.exchanges.release(parts.situation.pending(decision.client)[decision.pick], decision.fate)


def _can_advance(parts: Parts, decision: Advance) -> bool:
    return decision.seconds > 0


def _advance(parts: Parts, decision: Advance) -> None:
    parts.time.advance(parts.situation.now_ns + round(decision.seconds * 1e9), decision.seconds)


ACTIONS: Mapping[type[Any], Action] = {
    Advance: Action(_can_advance, _advance),
    Crash: Action(faults.can_crash, faults.crash),
    Deliver: Action(_can_deliver, _deliver),
    Expire: Action(faults.can_expire, faults.expire),
    Invoke: Action(_can_invoke, _invoke),
    Kill: Action(faults.can_kill, faults.kill),
    Restart: Action(faults.can_restart, faults.restart),
    Start: Action(faults.can_start, faults.start),
}
