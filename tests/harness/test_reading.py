"""How a schedule reads: operations, faults, and the tools that cut and respell."""

from typing import get_args

from cacheproof.harness.reading import (
    OWNED,
    WORLD,
    appearance,
    changed_at,
    client_of,
    gathered,
    is_call,
    is_fault,
    moved,
    operations_of,
    renumber,
    respell,
    without,
)
from cacheproof.models.decision import (
    Advance,
    Arrive,
    Crash,
    Decision,
    Deliver,
    Fate,
    Heal,
    Invoke,
    Partition,
    Pause,
    Restart,
    Resume,
    ServerName,
    Skew,
)

CACHE = ServerName.CACHE
READ, WRITE = Invoke(0, "read", "k"), Invoke(1, "write", "k")
RACE = (READ, Deliver(0), WRITE, Deliver(1), Deliver(0), Advance(1.0))


def test_an_operation_is_an_invocation_and_its_deliveries() -> None:
    """Deliveries belong to the client's open operation, whoever acts in between; time belongs to nobody."""
    first, second = operations_of(RACE)
    assert (first.client, first.steps, first.faults, first.ends) == (0, (0, 1, 4), (), True)
    assert (second.client, second.steps, second.ends) == (1, (2, 3), True)


def test_a_crash_cuts_an_operation_off() -> None:
    """The crash and the restart after it are its faults, and it cannot run to its end."""
    (only,) = operations_of((READ, Deliver(0), Crash(0), Restart(0)))
    assert (only.steps, only.faults, only.ends) == ((0, 1), (2, 3), False)
    assert only.indices == {0, 1, 2, 3}


def test_what_a_worker_does_is_one_operation_without_an_end() -> None:
    """Unbidden deliveries are read as one operation, and so is the loop of a worker that is invoked anew."""
    (unbidden,) = operations_of((Deliver(2), Deliver(2)))
    (invoked,) = operations_of((Invoke(2, "work"), Deliver(2)))
    assert not unbidden.ends and not invoked.ends
    assert is_call(READ) and not is_call(Invoke(2, "work")) and not is_call(Deliver(2))


def test_respelling_changes_the_last_plain_run_only() -> None:
    """An operation's final deliveries become so many: at least, or exactly; a lost exchange stays."""
    lost = Deliver(0, fate=Fate.REQUEST_LOST)
    schedule = (READ, Deliver(0), lost, Deliver(0), Deliver(0))
    assert respell(schedule, 1, exactly=True) == (READ, Deliver(0), lost, Deliver(0))
    assert respell(schedule, 3, exactly=False) == (READ, Deliver(0), lost, *[Deliver(0)] * 3)
    assert respell(schedule, 1, exactly=False) == schedule
    assert respell((READ, Deliver(0), Crash(0)), 3, exactly=True) == (READ, Deliver(0), Crash(0))


def test_faults_are_all_but_invocations_and_plain_deliveries() -> None:
    """A lost exchange counts as a fault."""
    assert [is_fault(decision) for decision in (READ, Deliver(0), Crash(0), Advance(1.0))] == [
        *(False, False, True, True)
    ]
    assert is_fault(Deliver(0, fate=Fate.REPLY_LOST))


def test_every_decision_is_of_a_client_or_of_the_world() -> None:
    """A decision that is added has to be in one of the two."""
    assert {*OWNED, *WORLD} == set(get_args(Decision)) and set(OWNED).isdisjoint(WORLD)


def test_faults_of_the_world_belong_to_no_operation() -> None:
    """They stand between its steps, even those that name its client."""
    decisions = (READ, Pause(0), Deliver(0), Skew(0, 1.0), Resume(0), Deliver(0), Arrive(0))
    (only,) = operations_of(decisions)
    assert (only.steps, only.faults, only.ends) == ((0, 2, 5), (), True)
    assert [is_fault(decision) for decision in decisions] == [False, True, False, True, True, False, True]
    assert all(client_of(decision) is None for decision in (Pause(0), Skew(0, 1.0), Arrive(0)))


def test_a_fault_follows_the_client_that_it_names() -> None:
    """One that names nobody in particular is everybody's, and stays so."""
    schedule = (Partition(CACHE, 3), Partition(CACHE), Heal(CACHE, 1), Pause(3), Arrive(1), Skew(3, 1.0))
    assert renumber(schedule, {3: 0, 1: 2}) == (
        *(Partition(CACHE, 0), Partition(CACHE), Heal(CACHE, 2), Pause(0), Arrive(2), Skew(0, 1.0)),
    )
    assert moved(Partition(CACHE, 0), {3: 0}) == Partition(CACHE, 0)


def test_cutting_and_moving() -> None:
    """Without some, one changed, some gathered in front of another: the rest keeps its order."""
    letters = tuple(Deliver(n) for n in range(5))
    assert without(letters, [1, 3]) == (Deliver(0), Deliver(2), Deliver(4))
    assert changed_at(letters, 1, READ) == (Deliver(0), READ, *letters[2:])
    assert [client_of(d) for d in gathered(letters, [3, 4], 1)] == [0, 3, 4, 1, 2]
    assert [client_of(d) for d in gathered(letters, [0, 1], 4)] == [2, 3, 0, 1, 4]


def test_clients_are_numbered_by_appearance_and_moved() -> None:
    """Decisions about nobody stay as they are."""
    schedule = (Advance(1.0), Deliver(3), Deliver(1), Deliver(3))
    assert appearance(schedule) == {3: 0, 1: 1}
    assert renumber(schedule, {3: 0}) == (Advance(1.0), Deliver(0), Deliver(1), Deliver(0))
    assert moved(Advance(1.0), {3: 0}) == Advance(1.0)
    assert client_of(Advance(1.0)) is None
