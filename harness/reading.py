"""How a schedule reads: as operations and faults, with the tools to cut and to respell it.

An *operation* is an invocation and the exchanges delivered to its client until the next one; what a worker
does counts as one operation, which has no end.  All else is *faults*: those of a client (a crash, a restart,
a lost exchange) and those of the world (a server, time).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard, cast

from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Decision,
    Deliver,
    Evict,
    Expire,
    Failover,
    Fate,
    Flush,
    Freeze,
    Heal,
    Invoke,
    Kill,
    Lag,
    Partition,
    Pause,
    Replicate,
    Restart,
    Resume,
    Skew,
    Start,
    Thaw,
)

__all__ = [
    "OWNED",
    "WORLD",
    "Decisions",
    "Operation",
    "appearance",
    "changed_at",
    "client_of",
    "gathered",
    "is_call",
    "is_fault",
    "moved",
    "operations_of",
    "renumber",
    "respell",
    "without",
]

Decisions = tuple[Decision, ...]
OWNED = (Invoke, Deliver, Crash, Restart)
"""Decisions by which one client goes on, or does not."""
WORLD = (
    *(Kill, Start, Freeze, Thaw, Failover, Lag, Replicate, Partition, Heal),
    *(Expire, Evict, Flush, Advance, Arrive, Pause, Resume, Skew),
)
"""Faults that take no step of an operation."""


@dataclass(frozen=True, slots=True)
class Operation:
    """The indices of one operation in a schedule.

    `steps` are its invocation and deliveries; `faults` the crash that ended it and the restart after.
    `ends` is True if it can run to its end: it is no worker's, and not cut off by a crash.
    """

    client: int
    steps: tuple[int, ...]
    faults: tuple[int, ...]
    ends: bool

    @property
    def indices(self) -> frozenset[int]:
        return frozenset(self.steps + self.faults)


def operations_of(decisions: Decisions) -> list[Operation]:
    """Split a schedule into operations, in order of their first step."""
    steps: list[list[int]] = []
    faults: list[list[int]] = []
    going_on: dict[int, int] = {}
    latest: dict[int, int] = {}
    for index, decision in enumerate(decisions):
        if isinstance(decision, Crash | Restart):
            going_on.pop(decision.client, None)
            if decision.client in latest:
                faults[latest[decision.client]].append(index)
        elif isinstance(decision, Invoke) or (
            isinstance(decision, Deliver) and decision.client not in going_on
        ):
            going_on[decision.client] = latest[decision.client] = len(steps)
            steps.append([index])
            faults.append([])
        elif isinstance(decision, Deliver):
            steps[going_on[decision.client]].append(index)
    return [_operation(decisions, *indices) for indices in zip(steps, faults, strict=True)]


def _operation(decisions: Decisions, steps: list[int], faults: list[int]) -> Operation:
    first = decisions[steps[0]]
    assert isinstance(first, Invoke | Deliver)
    return Operation(first.client, tuple(steps), tuple(faults), is_call(first) and not faults)


def is_call(decision: Decision) -> TypeGuard[Invoke]:
    """True for an invocation by a client; what a worker does has no end, even if it is invoked anew."""
    return isinstance(decision, Invoke) and decision.f != "work"


def _is_plain(decision: Decision) -> bool:
    return isinstance(decision, Deliver) and decision.pick == 0 and decision.fate is Fate.DELIVERED


def _final_run(decisions: Decisions, operation: Operation) -> range:
    """The indices of the plain deliveries, uninterrupted, with which an operation ends; maybe none."""
    stop = operation.steps[-1] + 1
    start = stop
    while start - 1 in operation.steps and _is_plain(decisions[start - 1]):
        start -= 1
    return range(start, stop)


def respell(decisions: Decisions, length: int, *, exactly: bool) -> Decisions:
    """Make the final run of each operation `length` deliveries long: at least, or exactly."""
    runs: dict[int, Decisions] = {}
    respelled: set[int] = set()
    for operation in operations_of(decisions):
        if operation.ends:
            run = _final_run(decisions, operation)
            wanted = length if exactly else max(length, len(run))
            runs[operation.steps[-1]] = (Deliver(operation.client),) * wanted
            respelled.update(run)
    out: list[Decision] = []
    for index, decision in enumerate(decisions):
        out += () if index in respelled else (decision,)
        out += runs.get(index, ())
    return tuple(out)


def is_fault(decision: Decision) -> bool:
    if isinstance(decision, Deliver):
        return decision.fate is not Fate.DELIVERED
    return not isinstance(decision, Invoke)


def without(decisions: Decisions, indices: Iterable[int]) -> Decisions:
    gone = set(indices)
    return tuple(decision for index, decision in enumerate(decisions) if index not in gone)


def gathered(decisions: Decisions, indices: Sequence[int], at: int) -> Decisions:
    """These decisions, one after the other, moved to before what was at index `at`."""
    together = tuple(decisions[index] for index in indices)
    gone = set(indices)
    before = tuple(decisions[index] for index in range(at) if index not in gone)
    after = tuple(decisions[index] for index in range(at, len(decisions)) if index not in gone)
    return before + together + after


def changed_at(decisions: Decisions, index: int, decision: Decision) -> Decisions:
    return (*decisions[:index], decision, *decisions[index + 1 :])


def client_of(decision: Decision) -> int | None:
    return decision.client if isinstance(decision, OWNED) else None


def appearance(decisions: Decisions) -> dict[int, int]:
    """Clients by first appearance: the first to act is 0."""
    order: dict[int, int] = {}
    for decision in decisions:
        if isinstance(decision, OWNED):
            order.setdefault(decision.client, len(order))
    return order


def moved(decision: Decision, numbers: dict[int, int]) -> Decision:
    """The decision for another client, where `numbers` has one for it."""
    client = getattr(decision, "client", None)
    if client is None or client not in numbers:
        return decision
    changed: Any = decision
    return cast(Decision, replace(changed, client=numbers[client]))


def renumber(decisions: Decisions, numbers: dict[int, int]) -> Decisions:
    return tuple(moved(decision, numbers) for decision in decisions)
