"""A few operations alone: which sets are tried, on which clients, and that all of it is smaller."""

from cacheproof.harness.isolation import alone
from cacheproof.harness.rank import rank
from cacheproof.harness.reading import operations_of
from cacheproof.models.decision import Deliver, Invoke

A, B, W = Deliver(0), Deliver(1), Deliver(2)


def read(client: int, key: str = "k") -> Invoke:
    return Invoke(client, "read", key)


def test_everything_that_is_tried_is_smaller_and_the_fewest_operations_come_first() -> None:
    """Every smaller subset of three operations, each in every order with at most one preemption."""
    schedule = (read(0), A, Invoke(1, "write", "k"), B, A, read(1), B)
    tried = list(alone(schedule, {0, 1}, {"read": 2, "write": 1}))
    sizes = [len(operations_of(candidate)) for candidate in tried]
    assert set(sizes) == {1, 2} and sizes == sorted(sizes)
    assert all(rank(candidate) < rank(schedule) for candidate in tried)


def test_operations_of_one_client_get_clients_of_their_own() -> None:
    """Two operations of client 0 interleave once one of them is moved to a free client."""
    schedule = (read(0), A, A, Invoke(0, "write", "k"), A, read(1), B, read(1), B)
    tried = list(alone(schedule, {0, 1}, {"read": 2, "write": 1}))
    assert (read(0), A, Invoke(1, "write", "k"), B, A) in tried


def test_operations_are_given_the_deliveries_they_may_need() -> None:
    """Alone, a read may take as long as the longest that was seen."""
    schedule = (read(0), A, read(1), B)
    assert (read(0), A, A, A) in list(alone(schedule, {0, 1}, {"read": 3}))


def test_a_worker_takes_fewer_and_fewer_steps() -> None:
    """With one write left, what the worker does is tried at every length."""
    schedule = (read(0), A, read(1), B, W, W)
    tried = list(alone(schedule, {0, 1}, {"read": 1}))
    assert {candidate.count(W) for candidate in tried} == {0, 1, 2}


def test_of_many_operations_only_two_of_each_kind_are_tried() -> None:
    """Twelve reads by two clients: alone or in pairs, never more."""
    schedule = tuple(step for n in range(12) for step in (read(n % 2), Deliver(n % 2)))
    sizes = {len(operations_of(candidate)) for candidate in alone(schedule, {0, 1}, {"read": 1})}
    assert sizes == {1, 2}
