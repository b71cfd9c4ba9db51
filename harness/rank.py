"""What smaller means for a schedule: one table, the order of all that the minimiser compares.

What must be small comes first (operations, faults, preemptions), what reads well after it, and at last what
makes the result unique.  A *preemption* is a switch away from an operation that goes on later: the stuff of
races.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

from cacheproof.harness.reading import (
    OWNED,
    WORLD,
    Decisions,
    Operation,
    appearance,
    client_of,
    is_fault,
    operations_of,
)
from cacheproof.models.decision import (
    Advance,
    Crash,
    Decision,
    Deliver,
    Failover,
    Fate,
    InFlight,
    Invoke,
    Manner,
    Partition,
    Start,
)

__all__ = ["PLAIN_FIRST", "count_preemptions", "count_struck", "plainer_forms", "rank", "weight"]


def rank(decisions: Decisions) -> tuple[object, ...]:
    """The order of schedules, as a tuple that compares: smaller is better.  See `_RANK` for its parts."""
    operations = operations_of(decisions)
    return tuple(part(decisions, operations) for part in _RANK)


def _count_faults(decisions: Decisions, operations: list[Operation]) -> int:
    return sum(map(is_fault, decisions))


def count_preemptions(decisions: Decisions, operations: list[Operation]) -> int:
    going_on = {index for operation in operations for index in operation.steps[:-1]}
    stepping = [index for index, decision in enumerate(decisions) if isinstance(decision, OWNED)]
    return sum(
        index in going_on and client_of(decisions[index]) != client_of(decisions[following])
        for index, following in pairwise(stepping)
    )


def count_struck(decisions: Decisions, operations: list[Operation]) -> int:
    """Faults of the world that strike in the middle of an operation: those between two read better."""
    return sum(
        isinstance(decision, WORLD) and any(item.steps[0] < index < item.steps[-1] for item in operations)
        for index, decision in enumerate(decisions)
    )


def _count_clients(decisions: Decisions, operations: list[Operation]) -> int:
    return len({operation.client for operation in operations})


def _count_keys(decisions: Decisions, operations: list[Operation]) -> int:
    return len({decision.key for decision in decisions if isinstance(decision, Invoke)} - {None})


def _count_odd(decisions: Decisions, operations: list[Operation]) -> int:
    """Decisions that have a plainer form."""
    return sum(any(True for _ in plainer_forms(decision)) for decision in decisions)


def plainer_forms(decision: Decision) -> Iterator[Decision]:
    """The first exchange, a request lost (a lost reply has an effect), a statement that ends with its client,
    a connection that breaks rather than falls silent, fewer writes lost."""
    match decision:
        case Deliver(pick=pick) if pick > 0:
            yield replace(decision, pick=0)
        case Deliver(fate=Fate.REPLY_LOST):
            yield replace(decision, fate=Fate.REQUEST_LOST)
        case Deliver(fate=Fate.DELAYED):
            yield replace(decision, fate=Fate.REPLY_LOST)
        case Partition(manner=manner) if manner is not Manner.REFUSE:
            yield replace(decision, manner=Manner.REFUSE)
        case Start(behind=behind) | Failover(behind=behind) if behind > 0:
            yield replace(decision, behind=behind - 1)
        case Crash(in_flight=InFlight.RUNS):
            yield replace(decision, in_flight=InFlight.CANCELLED)


def _sum_seconds(decisions: Decisions, operations: list[Operation]) -> float:
    return sum(decision.seconds for decision in decisions if isinstance(decision, Advance))


def _plainness(decisions: Decisions, operations: list[Operation]) -> int:
    """A read is plainer than a write, and a write than anything else."""
    return sum(weight(decision.f) for decision in decisions if isinstance(decision, Invoke))


def weight(f: str) -> int:
    return PLAIN_FIRST.index(f) if f in PLAIN_FIRST else len(PLAIN_FIRST)


def _count_decisions(decisions: Decisions, operations: list[Operation]) -> int:
    return len(decisions)


def _shape(decisions: Decisions, operations: list[Operation]) -> tuple[int, ...]:
    """Who takes each step, numbered by first appearance: whoever runs goes on as long as possible."""
    order = appearance(decisions)
    return tuple(order[decision.client] for decision in decisions if isinstance(decision, OWNED))


def _names(decisions: Decisions, operations: list[Operation]) -> tuple[str, ...]:
    return tuple(decision.f for decision in decisions if isinstance(decision, Invoke))


def _clients(decisions: Decisions, operations: list[Operation]) -> tuple[int, ...]:
    return tuple(appearance(decisions))


PLAIN_FIRST = ("read", "write")

# What must be small comes first, what reads well after it, and at last what makes the result unique.
_RANK: tuple[Callable[[Decisions, list[Operation]], object], ...] = (
    lambda decisions, operations: len(operations),
    _count_faults,
    count_preemptions,
    count_struck,
    _count_clients,
    _count_keys,
    _count_odd,
    _sum_seconds,
    _plainness,
    _count_decisions,
    _shape,
    _names,
    _clients,
)
