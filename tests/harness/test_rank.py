"""What smaller means: each row beats the next, whatever comes behind in the table."""

from itertools import pairwise

import pytest

from cacheproof.harness.rank import count_preemptions, count_struck, plainer_forms, rank, weight
from cacheproof.harness.reading import operations_of
from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Decision,
    Deliver,
    Evict,
    Failover,
    Fate,
    Flush,
    Freeze,
    InFlight,
    Invoke,
    Lag,
    Manner,
    Partition,
    Pause,
    Replicate,
    ServerName,
    Skew,
    Start,
    Survived,
)

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


CACHE = ServerName.CACHE


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        (Deliver(0, fate=Fate.DELAYED), Deliver(0, fate=Fate.REPLY_LOST)),
        (Partition(CACHE, 0, Manner.SILENT), Partition(CACHE, 0)),
        (Partition(CACHE, None, Manner.REPLIES), Partition(CACHE)),
        (Start(CACHE, Survived.SYNCED, 2), Start(CACHE, Survived.SYNCED, 1)),
        (Start(CACHE, Survived.SNAPSHOT, 1), Start(CACHE, Survived.SNAPSHOT)),
        (Failover(1), Failover(0)),
    ],
)
def test_faults_have_plainer_forms(odd: Decision, plain: Decision) -> None:
    """A zombie is odder than a lost reply, silence than a refusal, and the more is lost the odder."""
    assert list(plainer_forms(odd)) == [plain]
    assert rank((plain,)) < rank((odd,)) or any(plainer_forms(plain))


@pytest.mark.parametrize(
    "decision",
    [
        *(Deliver(0, fate=Fate.REFUSED, error="loading"), Partition(CACHE), Failover(0), Freeze(CACHE)),
        *(Start(CACHE), Pause(0), Skew(0, 5.0), Flush(), Evict("k"), Lag(), Replicate(), Arrive(0)),
    ],
)
def test_most_faults_are_as_plain_as_they_get(decision: Decision) -> None:
    """Nothing could take their place that says less."""
    assert list(plainer_forms(decision)) == []


def test_a_fault_that_strikes_within_an_operation_reads_worse() -> None:
    """Whatever kind it is, as long as it takes no step of an operation."""
    for fault in (Freeze(CACHE), Partition(CACHE, 0), Pause(0), Skew(0, 1.0), Failover(0), Lag(), Evict("k")):
        assert rank((READ, A, A, fault)) < rank((READ, A, fault, A))
