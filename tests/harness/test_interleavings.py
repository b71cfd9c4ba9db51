"""Re-interleavings: all of them, each once, those with the fewest preemptions first."""

from math import comb

from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.harness.interleavings import MOST_ORDERS, orders
from cacheproof.harness.rank import count_preemptions
from cacheproof.harness.reading import client_of, operations_of
from cacheproof.models.decision import Advance, Deliver, Invoke

A, B = Deliver(0), Deliver(1)
READ, WRITE = Invoke(0, "read", "k"), Invoke(1, "write", "k")


def preemptions(schedule: tuple[object, ...]) -> int:
    return count_preemptions(schedule, operations_of(schedule))


def test_every_merge_of_two_operations_comes_once() -> None:
    """Three and two steps merge in ten ways; so many preemptions in, all of them are there."""
    found = list(orders((READ, A, A, WRITE, B), 9))
    assert len(found) == len(set(found)) == comb(5, 2)
    assert [preemptions(order) for order in found] == sorted(preemptions(order) for order in found)
    assert found[0] == (READ, A, A, WRITE, B)


def test_at_most_so_many_preemptions() -> None:
    """None: the two ways to run one after the other."""
    assert list(orders((READ, A, WRITE, B), 0)) == [(READ, A, WRITE, B), (WRITE, B, READ, A)]


def test_faults_of_the_world_stay_behind_the_step_they_followed() -> None:
    """What precedes every step stays in front."""
    first, then = Advance(1.0), Advance(2.0)
    for order in orders((first, READ, then, A, WRITE, B), 9):
        assert order[0] == first
        assert order[order.index(then) - 1] == READ


@settings(max_examples=50, deadline=None)
@given(lanes=st.lists(st.integers(1, 4), min_size=1, max_size=4), most=st.integers(0, 2))
def test_orders_keep_what_each_client_does(lanes: list[int], most: int) -> None:
    """Each client's steps stay in order, preemptions stay within bounds, and no number of them floods."""
    schedule = tuple(
        step for n, size in enumerate(lanes) for step in (Invoke(n, "read", "k"), *[Deliver(n)] * size)
    )
    found = list(orders(schedule, most))
    assert len(found) <= MOST_ORDERS * (most + 1)
    for order in found:
        assert preemptions(order) <= most
        for client in range(len(lanes)):
            assert [d for d in order if client_of(d) == client] == [
                d for d in schedule if client_of(d) == client
            ]
