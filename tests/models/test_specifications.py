"""Each specification means what it says, and its traits hold in every state."""

import random
from collections.abc import Sequence
from itertools import product

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.models.operation import Value
from cacheproof.models.specifications import (
    REJECTED,
    SPECIFICATIONS,
    Rejection,
    Specification,
    State,
    mark,
    specification_named,
)

Call = tuple[str, Value, Value]

VALUES: tuple[Value, ...] = ("a", "b", 1, True, 1.0, "1", None, ("a", 1), ("a", True))
RESULTS: tuple[Value, ...] = (None, True, False)

CALLS: dict[str, Sequence[Call]] = {
    "register": [(f, value, None) for f in ("read", "write") for value in VALUES] + [("delete", None, 1)],
    "cas-register": [
        *((f, value, None) for f in ("read", "write") for value in VALUES[:5]),
        ("delete", None, None),
        *(("cas", pair, result) for pair in product(("a", 1, True, None), repeat=2) for result in RESULTS),
    ],
    "counter": [
        *(("read", value, None) for value in (None, 0, 1, 2, 3, 1.0, True, "1")),
        *(("increment", value, None) for value in (-2, -1, 0, 1, 2)),
    ],
    "key-value": [
        *((f, value, None) for f in ("read", "write", "append") for value in ("", "a", "b", "ab")),
        *((f, None, None) for f in ("read", "write", "delete")),
        ("read", 1, None),
    ],
    "mutex": [(f, None, result) for f in ("acquire", "release") for result in RESULTS],
    "set": [
        *((f, value, None) for f in ("add", "remove") for value in ("a", 1, True)),
        *(("read", value, None) for value in (None, (), ("a",), (1, True), (True, 1), ("a", "a"), "a")),
    ],
}
"""Calls of every kind that a specification has to tell apart."""

NO = REJECTED


def reached(specification: Specification, rounds: int = 3) -> set[State]:
    """The states that a few calls lead to."""
    states = {specification.start(specification.initial)}
    for _ in range(rounds):
        after = {specification.step(state, *call) for state in states for call in CALLS[specification.name]}
        states |= {state for state in after if not isinstance(state, Rejection)}
    return states


def run(model: str, *calls: Call, initial: Value = None) -> bool:
    """Whether these calls are accepted, one after the other."""
    specification = SPECIFICATIONS[model]
    state = specification.start(specification.initial if initial is None else initial)
    for call in calls:
        after = specification.step(state, *call)
        if isinstance(after, Rejection):
            return False
        state = after
    return True


def write(value: Value) -> Call:
    return "write", value, None


def read(value: Value) -> Call:
    return "read", value, None


def cas(old: Value, new: Value, result: Value) -> Call:
    return "cas", (old, new), result


DELETE, ACQUIRE, RELEASE = ("delete", None, None), ("acquire", None, None), ("release", None, None)


@pytest.mark.parametrize(
    ("model", "calls", "accepted"),
    [
        ("register", [read(None), write("a"), read("a"), write("b"), read("b")], True),
        ("register", [write("a"), read("b")], False),
        ("register", [write("a"), ("delete", None, 1), read(None)], True),
        ("register", [write("a"), DELETE, read("a")], False),
        ("register", [write(1), read(True)], False),
        ("register", [write((1,)), read((True,))], False),
        ("cas-register", [write("a"), cas("a", "b", True), read("b")], True),
        ("cas-register", [write("a"), cas("c", "b", True)], False),
        ("cas-register", [write("a"), cas("c", "b", False), read("a")], True),
        ("cas-register", [write("a"), cas("a", "b", False)], False),
        ("cas-register", [write("a"), cas("a", "b", None), read("b")], True),
        ("cas-register", [write("a"), cas("c", "b", None), read("a")], True),
        ("cas-register", [write(1), cas(True, "b", True)], False),
        ("counter", [read(0), read(None), ("increment", 2, 7), ("increment", -3, None), read(-1)], True),
        ("counter", [("increment", 1, None), read(None)], False),
        ("counter", [("increment", 1, None), read(True)], False),
        ("key-value", [read(""), ("append", "a", None), ("append", "b", None), read("ab")], True),
        ("key-value", [("append", "a", None), ("append", "b", None), read("ba")], False),
        ("key-value", [("append", "a", None), write("b"), ("append", "c", None), read("bc")], True),
        ("key-value", [("append", "a", None), DELETE, read(None), ("append", "c", None), read("c")], True),
        ("key-value", [read(None)], False),
        ("mutex", [ACQUIRE, RELEASE, ACQUIRE], True),
        ("mutex", [ACQUIRE, ACQUIRE], False),
        ("mutex", [RELEASE], False),
        ("mutex", [("acquire", 7, 7), ("acquire", None, False), ("release", None, True)], True),
        ("mutex", [("release", None, False), ("acquire", None, False)], True),
        ("set", [read(None), ("add", "a", 1), ("add", "b", 1), ("add", "a", 0), read(("b", "a"))], True),
        ("set", [("add", "a", 1), ("remove", "a", 1), ("remove", "a", 0), read(())], True),
        ("set", [("add", "a", 1), read(("a", "a"))], False),
        ("set", [("add", 1, 1), read((True,))], False),
        ("set", [("add", "a", 1), read("a")], False),
    ],
)
def test_one_client_alone(model: str, calls: list[Call], accepted: bool) -> None:
    """What a sequence of calls may return, and what it may not."""
    assert run(model, *calls) is accepted


@pytest.mark.parametrize("model", SPECIFICATIONS)
def test_traits_hold_in_every_state(model: str) -> None:
    """In all states that a few calls lead to, every trait of every call is true."""
    specification = SPECIFICATIONS[model]
    states = reached(specification)
    assert None not in states
    for call in CALLS[model]:
        traits = specification.traits(*call)
        after = {state: specification.step(state, *call) for state in states}
        changed = {state: end for state, end in after.items() if end is not NO and end != state}
        assert not (traits.pure and changed)
        assert not (traits.total and NO in after.values())
        assert not traits.blind or (traits.total and set(after.values()) == {traits.leaves})
        if traits.needs is not None:
            others = {state: end for state, end in after.items() if state != traits.needs}
            assert all(end in (NO, state) for state, end in others.items())
            assert traits.total or set(others.values()) <= {NO}
            if traits.pure and not traits.total and traits.needs in states:
                assert after[traits.needs] == traits.needs
        assert traits.leaves is None or set(changed.values()) <= {traits.leaves}
        if traits.grows:
            assert all(specification.leads(state, end) for state, end in changed.items())


@pytest.mark.parametrize("model", SPECIFICATIONS)
def test_traits_are_not_left_out(model: str) -> None:
    """A call that is never rejected, or never changes anything, in any of these states, says so."""
    specification = SPECIFICATIONS[model]
    states = reached(specification)
    for call in CALLS[model]:
        traits = specification.traits(*call)
        after = {state: specification.step(state, *call) for state in states}
        assert traits.pure or any(end not in (NO, state) for state, end in after.items())
        assert traits.total or NO in after.values()
        accepting = [state for state, end in after.items() if end is not NO]
        assert traits.total or traits.needs is not None or len(accepting) != 1


@pytest.mark.parametrize("model", SPECIFICATIONS)
def test_an_unknown_result_allows_what_any_result_allows(model: str) -> None:
    """Whatever a call with a result does to a state, the same call with no result does, or it does nothing."""
    specification = SPECIFICATIONS[model]
    for f, value, result in CALLS[model]:
        for state in reached(specification):
            known, unknown = (specification.step(state, f, value, told) for told in (result, None))
            assert known in (NO, state, unknown)


@pytest.mark.parametrize("model", SPECIFICATIONS)
def test_leading_on_is_reflexive_and_transitive(model: str) -> None:
    """Each state leads to itself, and to where those lead to which it leads."""
    specification, chance = SPECIFICATIONS[model], random.Random(1)
    states = sorted(reached(specification, 2), key=repr)
    leads = specification.leads
    assert all(leads(state, state) for state in states)
    for one, two, three in (chance.choices(states, k=3) for _ in range(3_000)):
        assert leads(one, three) or not (leads(one, two) and leads(two, three))


def test_growth_is_not_taken_for_more_than_it_is() -> None:
    """Texts lead to what begins with them, counters to what is no less, sets to what holds them."""
    for model, start, goals, others in (
        ("key-value", "a", ("a", "ab"), ("", "b", "ba", None)),
        ("counter", 2, (2, 3), (1, None)),
        ("set", ("a",), (("a",), ("b", "a")), ((), ("b",))),
        ("register", "a", ("a",), ("b",)),
    ):
        specification = SPECIFICATIONS[model]
        state = specification.start(start)
        assert all(specification.leads(state, specification.start(goal)) for goal in goals)
        assert not any(specification.leads(state, specification.start(goal)) for goal in others)
    text = SPECIFICATIONS["key-value"]
    assert text.leads(text.start(None), text.start("a")) and not text.leads(text.start("a"), mark(1))


def test_arguments_that_do_not_fit_are_told_apart() -> None:
    """A compare-and-set takes two values, an increment an integer, an append a string."""
    for model, f, fitting, others in (
        ("register", "write", VALUES, ()),
        ("cas-register", "cas", (("a", None),), (None, "ab", ("a",), ("a", "b", "c"))),
        ("cas-register", "write", VALUES, ()),
        ("counter", "increment", (1, -1, 0), (None, True, 1.0, "1")),
        ("counter", "read", VALUES, ()),
        ("key-value", "append", ("", "a"), (None, 1)),
        ("key-value", "write", ("", "a", None), (1, True)),
        ("key-value", "read", VALUES, ()),
    ):
        fits = SPECIFICATIONS[model].fits
        assert all(fits(f, value) for value in fitting) and not any(fits(f, value) for value in others)


def test_values_to_start_with() -> None:
    """What a key held before; a lock is held only if that was True."""
    assert run("register", read("x"), initial="x") and run("key-value", read("x"), initial="x")
    assert run("counter", read(7), initial=7) and run("set", read(("a",)), initial=("a",))
    assert run("mutex", RELEASE, initial=True) and run("mutex", ACQUIRE, initial="v0")
    for model, value in (
        ("counter", "v0"),
        ("counter", True),
        ("key-value", 1),
        ("set", "a"),
        ("set", ("a", "a")),
    ):
        with pytest.raises(UsageError, match=rf"{value!r}".replace("(", r"\(").replace(")", r"\)")):
            SPECIFICATIONS[model].start(value)


def test_specifications_have_names() -> None:
    """The table is sorted, and whoever asks for another name is told which there are."""
    assert list(SPECIFICATIONS) == sorted(SPECIFICATIONS) == sorted(CALLS)
    for name, specification in SPECIFICATIONS.items():
        assert specification_named(name) is specification and specification.name == name
        assert specification.functions == {f for f, _, _ in CALLS[name]}
    with pytest.raises(
        UsageError, match="no model is called 'stack'; choose one of cas-register, counter, key-value"
    ):
        specification_named("stack")
