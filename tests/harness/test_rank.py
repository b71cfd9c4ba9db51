"""What smaller means: each row beats the next, whatever comes behind in the table."""

from itertools import pairwise

from cacheproof.harness.rank import count_preemptions, count_struck, plainer_forms, rank, weight
from cacheproof.harness.reading import operations_of
from cacheproof.models.decision import Advance, Crash, Deliver, Fate, InFlight, Invoke

READ, WRITE = Invoke(0, "read", "k"), Invoke(1, "write", "k")
A, B = Deliver(0), Deliver(1)


def test_fewer_operations_then_faults_then_preemptions() -> None:
    """The table in order: one row differs from the next in exactly what ranks them."""
    rows = [
        (READ, A, A, A, A, A),
        (READ, A, A, WRITE, B, B),
        (READ, A, WRITE, B, B, A),
        (READ, WRITE, A, B, A, B),
        (READ, A, A, WRITE, B, B, Advance(1.0)),
        (READ, A, A, WRITE, B, Advance(1.0), B),
        (READ, A, A, WRITE, B, B, Advance(9.0), Advance(1.0)),
        (READ, A, A, WRITE, B, B, READ),
    ]
    assert all(rank(one) < rank(other) for one, other in pairwise(rows))


def test_what_reads_better_ranks_lower() -> None:
    """One client before two, one key before two, a read before a write, few seconds before many."""
    assert rank((READ, A, READ, A)) < rank((READ, A, Invoke(1, "read", "k"), B))
    assert rank((READ, A, READ, A)) < rank((READ, A, Invoke(0, "read", "other"), A))
    assert rank((READ, A)) < rank((Invoke(0, "write", "k"), A))
    assert rank((Advance(1.0),)) < rank((Advance(1.5),))
    assert rank((READ, A)) < rank((READ, A, A))
    assert (weight("read"), weight("write"), weight("increment")) == (0, 1, 2)


def test_preemptions_are_switches_away_from_what_goes_on() -> None:
    """A switch where an operation is over costs nothing; faults of the world are no switch."""
    race = (READ, A, WRITE, B, B, Advance(1.0), A)
    assert count_preemptions(race, operations_of(race)) == 1
    turns = (READ, A, A, WRITE, B, B)
    assert count_preemptions(turns, operations_of(turns)) == 0
    assert count_struck(race, operations_of(race)) == 1


def test_odd_decisions_have_plainer_forms() -> None:
    """A plain delivery has none; a pick, a lost reply and a statement that goes on have one."""
    assert list(plainer_forms(A)) == []
    assert list(plainer_forms(Deliver(0, 2))) == [A]
    assert list(plainer_forms(Deliver(0, fate=Fate.REPLY_LOST))) == [Deliver(0, fate=Fate.REQUEST_LOST)]
    assert list(plainer_forms(Crash(0, InFlight.RUNS))) == [Crash(0, InFlight.CANCELLED)]
