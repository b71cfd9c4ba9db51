"""Who may come next at every moment, in small sets of bits, and what helps a call that waits."""

import random

import pytest

from cacheproof.models.fronts import NEVER, REFUSED, Machine, Timeline
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.specifications import SPECIFICATIONS

OK, INFO = Outcome.OK, Outcome.INFO


def call(f: str, value: Value, invoked: int, returned: int | None, result: Value = None) -> Operation:
    return Operation(0, f, "k", value, invoked, returned, INFO if returned is None else OK, result=result)


def timeline(model: str, *calls: Operation) -> Timeline:
    specification = SPECIFICATIONS[model]
    return Timeline(Machine(specification, specification.initial), calls)


def bits(found: Timeline, place: int) -> dict[int, int]:
    """The bit of each member of a front, by place."""
    return {member: bit for bit, member in found.front(place).members}


def test_equal_calls_are_of_one_kind_and_each_step_is_taken_once() -> None:
    """Kinds and states are numbers; values of different types are different."""
    machine = Machine(SPECIFICATIONS["register"], None)
    one, yes, again = (machine.kind("write", value, None) for value in (1, True, 1))
    assert one == again != yes
    read = machine.kind("read", 1, 1)
    after = machine.step(one, machine.start)
    for _ in range(2):
        assert (machine.step(read, after), machine.step(read, machine.start)) == (after, REFUSED)
    assert machine.rows[read] == {after: after, machine.start: REFUSED}
    assert machine.leaves[one] == machine.needs[read] == after and machine.needs[one] == NEVER


def test_a_front_has_the_calls_that_were_invoked_when_it_returns() -> None:
    """Touching intervals are concurrent; what returned before is gone."""
    found = timeline(
        "register",
        call("write", 1, 0, 10),
        call("write", 2, 2, 4),
        call("write", 3, 4, 6),
        call("write", 4, 7, 12),
    )
    assert [op.value for op in found.calls] == [2, 3, 1, 4]
    assert [list(bits(found, place)) for place in range(4)] == [[0, 1, 2], [1, 2], [2, 3], [3]]


def test_calls_that_overlap_have_different_bits() -> None:
    """On random histories: in each front all bits differ, and no more are in use than calls overlap at once."""
    chance = random.Random(4)
    for _ in range(300):
        starts = [chance.randrange(60) for _ in range(chance.randint(1, 30))]
        calls = [call("write", n, start, start + chance.randrange(12)) for n, start in enumerate(starts)]
        found = timeline("register", *calls)
        most = max(sum(op.invoked <= at <= (op.returned or 0) for op in calls) for at in range(72))
        for place, front_call in enumerate(found.calls):
            taken = bits(found, place)
            assert len(set(taken.values())) == len(taken) and max(taken.values()) < 1 << most
            expected = {
                n for n, op in enumerate(found.calls) if n >= place and op.invoked <= front_call.returned
            }
            assert set(taken) == expected


def test_a_call_that_never_returned_is_always_the_last() -> None:
    """An ok call without a return has to come, at any time after its invocation."""
    endless = Operation(0, "write", "k", 1, 0, None, OK)
    found = timeline("register", endless, call("read", 1, 5, 6))
    assert [op.f for op in found.calls] == ["read", "write"] and len(bits(found, 0)) == 2


def test_members_are_told_apart_by_what_they_do() -> None:
    """Reads by the state that they show, other pure calls one by one, the rest with its earlier equals."""
    found = timeline(
        "cas-register",
        call("read", "a", 0, 9),
        call("cas", ("a", "b"), 0, 10, False),
        call("write", "a", 0, 11),
        call("write", "a", 0, 12),
        call("cas", ("a", "b"), 0, 13, True),
        call("cas", ("a", "b"), 0, 14),
    )
    front, bit = found.front(0), bits(found, 0)
    a = found.machine.step(found.kinds[2], found.machine.start)
    assert front.bit == bit[0] and front.shown == {a: bit[0]}
    assert front.checks == ((bit[1], found.kinds[1]),)
    assert [(moved, twins) for moved, _, twins in front.moves] == [
        (bit[5], 0),
        (bit[4], 0),
        (bit[3], bit[2]),
        (bit[2], 0),
    ]
    assert front.excusable == bit[2] | bit[3] | bit[5]  # always accepted
    assert front.seers == bit[1] | bit[5] and front.seeing == {a: bit[0] | bit[4]}


def test_without_blind_calls_nothing_is_excusable() -> None:
    """Increments are always accepted, but nothing ever hides them."""
    assert timeline("counter", call("increment", 1, 0, 1)).front(0).excusable == 0


def test_ambiguous_calls_are_kept_by_kind_in_order_of_invocation() -> None:
    """Equal ones side by side; reads, and whatever else changes nothing, are left out."""
    found = timeline(
        "cas-register",
        call("write", "a", 8, None),
        call("write", "a", 1, None),
        call("read", "a", 0, None),
        call("cas", ("b", "b"), 0, None),
        call("cas", ("b", "c"), 0, None),
        call("read", None, 1, 2),
        call("read", None, 9, 9),
    )
    by_kind = {item.effect: item for item in found.ambiguous}
    assert [effect[0] for effect in by_kind] == ["cas", "write"]  # type: ignore[index]  # pairs
    write = next(item for item in found.ambiguous if len(item.calls) == 2)
    assert [op.invoked for op in write.calls] == [1, 8] and write.mask == write.low * 3
    assert found.front(0).open == write.low | found.ambiguous[0].mask
    assert found.front(1).open == write.mask | found.ambiguous[0].mask
    assert found.front(0).equals == {}
    cas = found.machine.needs[found.ambiguous[0].kind]
    assert found.ambiguous_seers == [(cas, found.ambiguous[0].mask)]


def test_ambiguous_calls_are_found_by_what_they_leave() -> None:
    """By state, with those that may leave any; None asks for all."""
    found = timeline("key-value", call("write", "a", 0, None), call("append", "b", 0, None))
    a = found.machine.leaves[found.ambiguous[0].kind]
    assert list(found.leaving(None)) == [0, 1]
    assert list(found.leaving([a])) == [1, 0] and list(found.leaving([])) == [1]


def test_equals_are_listed_where_there_are_ambiguous_calls() -> None:
    """An ambiguous write has the effect of a write of that value that returned."""
    found = timeline(
        "register", call("write", "a", 0, None), call("write", "a", 0, 5), call("write", "b", 0, 5)
    )
    equals = found.front(0).equals[found.ambiguous[0].effect]
    assert list(equals) == [(bits(found, 0)[0], found.kinds[0])]


def waiting(found: Timeline, place: int = 0) -> dict[int, tuple[int, int]]:
    """The members that wait at a front, with who helps."""
    return {item.place: (item.helpers, item.ambiguous) for item in found.front(place).waiting}


def test_a_read_waits_for_those_who_write_its_value() -> None:
    """Those that may come before it returns: present ones and ambiguous ones.  Where one is yet to be invoked,
    nothing is said."""
    read, write = call("read", "a", 0, 9), call("write", "a", 0, 10)
    assert waiting(timeline("register", read)) == {0: (0, 0)}
    both = timeline("register", read, write)
    assert waiting(both) == {0: (bits(both, 0)[1], 0)}
    assert waiting(timeline("register", read, call("write", "a", 9, None))) == {0: (0, 1)}
    assert waiting(timeline("register", read, call("write", "a", 10, None))) == {0: (0, 0)}
    later = timeline("register", call("write", "b", 0, 1), call("write", "a", 9, 12), call("read", "a", 0, 9))
    assert waiting(later, 0) == {} and waiting(later, 1) == {1: (bits(later, 1)[2], 0)}


def test_reads_that_are_invoked_soon_wait_already() -> None:
    """They have no bit yet: they cannot have come."""
    found = timeline("register", call("write", "a", 0, 1), call("read", "b", 2, 3), call("write", "c", 4, 5))
    (soon,) = found.front(0).waiting
    assert (soon.place, soon.bit, soon.helpers) == (1, 0, 0)


def test_calls_that_only_grow_do_not_help() -> None:
    """Appends and increments lead on or not at all; a write helps only if its value leads to the goal."""
    read = call("read", "ab", 0, 9)
    for f, value, helps in (("append", "b", 0), ("write", "a", 1), ("write", "b", 0), ("delete", None, 1)):
        found = timeline("key-value", read, call(f, value, 0, 10))
        assert waiting(found) == {0: (helps * bits(found, 0)[1], 0)}, f
    counter = timeline("counter", call("read", 3, 0, 9), call("increment", -1, 0, 10))
    assert waiting(counter) == {0: (bits(counter, 0)[1], 0)}


@pytest.mark.parametrize(("others", "waits"), [(10, 1), (100, 0)])
def test_only_so_many_later_calls_are_looked_at(others: int, waits: int) -> None:
    """Where a long call overlaps very many, one of them may help."""
    calls = [call("write", "b", 2 * n + 5, 2 * n + 6) for n in range(others)]
    found = timeline("register", call("write", "a", 0, 1), call("read", "x", 0, 999), *calls)
    assert len(waiting(found)) == waits


def test_what_is_left_behind_may_be_seen_by_whoever_comes_later() -> None:
    """By a read of the value, by a call that sees any state, or by an ambiguous call; not by those before."""
    write, read = call("write", "a", 0, 1), call("read", "a", 2, 3)
    assert timeline("register", write, read).may_be_seen(0)
    assert not timeline("register", write, call("read", "b", 2, 3)).may_be_seen(0)
    assert not timeline("register", call("read", "a", 0, 0), write).may_be_seen(1)
    assert timeline("cas-register", write, call("cas", ("b", "c"), 2, 3, False)).may_be_seen(0)
    assert timeline("cas-register", write, call("cas", ("a", "c"), 0, None)).may_be_seen(0)
    assert not timeline("cas-register", write, call("cas", ("b", "c"), 0, None)).may_be_seen(0)
    assert timeline("key-value", call("append", "a", 0, 1)).may_be_seen(0)
    assert timeline("key-value", call("write", "a", 0, 1), call("append", "b", 0, None)).may_be_seen(0)
    assert not timeline("register", write, call("write", "a", 0, None)).may_be_seen(0)
