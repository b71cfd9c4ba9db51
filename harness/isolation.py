"""A few operations of a schedule alone: what one removal at a time cannot find.

A read that fills the cache and a write that empties it again may only be needed because of each other.  So
small sets of operations are taken out of the schedule, given clients of their own, and interleaved with at
most one preemption.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import combinations

from cacheproof.harness.interleavings import orders
from cacheproof.harness.rank import rank
from cacheproof.harness.reading import Decisions, Operation, is_call, moved, operations_of, without
from cacheproof.models.decision import Deliver, Invoke

__all__ = ["alone"]

_FEW = 5
"""Up to so many operations, every subset of them is tried alone."""


def alone(decisions: Decisions, clients: AbstractSet[int], longest: Mapping[str, int]) -> Iterator[Decisions]:
    """Of few operations every subset, of many one or two of each kind; the fewest first.

    `clients` are those that may invoke operations; `longest` is, by name, how many deliveries an operation
    was seen to take at most.
    """
    operations = operations_of(decisions)
    few = len(operations) <= _FEW
    invoked = [item for item in operations if _call(decisions, item) is not None]
    pool = invoked if few else _of_each_kind(decisions, invoked)
    unbidden = [item for item in operations if _call(decisions, item) is None]
    for size in range(1, len(pool) + 1 if few else 3):
        for chosen in combinations(pool, size):
            others = [i for item in invoked if item not in chosen for i in item.indices]
            apart = _spread(decisions, chosen, clients)
            for shorter in _shortened(unbidden):
                rest = without(apart, [*others, *shorter])
                if rank(rest) < rank(decisions):
                    yield from orders(_stretched(rest, longest), 1)


def _spread(decisions: Decisions, chosen: Sequence[Operation], clients: AbstractSet[int]) -> Decisions:
    """The schedule with the chosen operations on clients of their own, so that they can interleave."""
    out = list(decisions)
    free = sorted(clients - {item.client for item in chosen})
    taken: set[int] = set()
    for item in chosen:
        client = free.pop(0) if item.client in taken and free else item.client
        taken.add(client)
        for index in item.indices:
            out[index] = moved(out[index], {item.client: client})
    return tuple(out)


def _call(decisions: Decisions, operation: Operation) -> Invoke | None:
    first = decisions[operation.steps[0]]
    return first if is_call(first) else None


def _of_each_kind(decisions: Decisions, invoked: list[Operation]) -> list[Operation]:
    """The first operation of each name and key, and the first such one by another client."""
    kinds: dict[tuple[object, ...], list[Operation]] = {}
    for item in invoked:
        call = _call(decisions, item)
        kind = kinds.setdefault((call and call.f, call and call.key, item.ends), [])
        if len(kind) < 2 and all(item.client != other.client for other in kind):
            kind.append(item)
    return [item for kind in kinds.values() for item in kind]


def _shortened(unbidden: list[Operation]) -> Iterator[frozenset[int]]:
    """The indices to leave out so that a worker only takes its first steps: none, one, two … of them.

    What a worker does is one long operation; with fewer writes to flush, it has fewer steps to take.
    """
    for taken in range(max((len(item.steps) for item in unbidden), default=0) + 1):
        yield frozenset(i for item in unbidden for i in item.steps[taken:])


def _stretched(decisions: Decisions, longest: Mapping[str, int]) -> Decisions:
    """Each operation with as many deliveries as one of its name was ever seen to take."""
    extra: dict[int, Decisions] = {}
    for operation in operations_of(decisions):
        call = decisions[operation.steps[0]]
        if operation.ends and is_call(call):
            lacking = longest[call.f] - (len(operation.steps) - 1)
            extra[operation.steps[-1]] = (Deliver(operation.client),) * lacking
    return tuple(d for i, decision in enumerate(decisions) for d in (decision, *extra.get(i, ())))
