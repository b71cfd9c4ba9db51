"""Re-interleavings of a schedule, those with the fewest preemptions first.

In the spirit of Musuvathi and Qadeer's iterative context bounding (2007): most races need one preemption or
two, so schedules are tried in the order of their number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from cacheproof.harness.rank import rank
from cacheproof.harness.reading import OWNED, Decisions, operations_of
from cacheproof.models.decision import Decision

__all__ = ["MOST_ORDERS", "orders"]

MOST_ORDERS = 40
"""How many re-interleavings are tried at a time."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A decision of a client and the faults of the world right after it, which stay together.

    `yields` is True if another client may follow at no cost: the operation is over.
    """

    decisions: tuple[Decision, ...]
    yields: bool


def _lanes(decisions: Decisions) -> tuple[Decisions, dict[int, list[_Step]]]:
    """The faults before anybody's first step, and the steps of each client."""
    pausing = {index for operation in operations_of(decisions) for index in operation.steps[:-1]}
    first = next((i for i, decision in enumerate(decisions) if isinstance(decision, OWNED)), len(decisions))
    lanes: dict[int, list[_Step]] = {}
    lane: list[_Step] = []
    for index, decision in enumerate(decisions[first:], start=first):
        if isinstance(decision, OWNED):
            lane = lanes.setdefault(decision.client, [])
            lane.append(_Step((decision,), index not in pausing))
        else:
            lane[-1] = replace(lane[-1], decisions=(*lane[-1].decisions, decision))
    return decisions[:first], lanes


def _merges(lanes: Sequence[Sequence[_Step]], preemptions: int) -> Iterator[list[_Step]]:
    """Every merge of the lanes with exactly so many preemptions, the longest runs first."""

    def extend(at: tuple[int, ...], running: int, left: int) -> Iterator[list[_Step]]:
        if all(at[lane] == len(steps) for lane, steps in enumerate(lanes)):
            if left == 0:
                yield []
            return
        paused = running >= 0 and at[running] > 0 and not lanes[running][at[running] - 1].yields
        for lane in sorted(range(len(lanes)), key=lambda lane: lane != running):
            cost = int(paused and lane != running)
            if at[lane] < len(lanes[lane]) and cost <= left:
                following = (*at[:lane], at[lane] + 1, *at[lane + 1 :])
                for rest in extend(following, lane, left - cost):
                    yield [lanes[lane][at[lane]], *rest]

    yield from extend((0,) * len(lanes), -1, preemptions)


def orders(decisions: Decisions, most: int) -> Iterator[Decisions]:
    """Re-interleavings with at most so many preemptions, the smallest first; at most `MOST_ORDERS` of each."""
    prefix, lanes = _lanes(decisions)
    for preemptions in range(most + 1):
        merges = islice(_merges(list(lanes.values()), preemptions), 4 * MOST_ORDERS)
        orders = [prefix + tuple(d for step in merge for d in step.decisions) for merge in merges]
        yield from sorted(orders, key=rank)[:MOST_ORDERS]
