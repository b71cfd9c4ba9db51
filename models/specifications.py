"""Sequential specifications: what one client alone would see of a register, a counter, a mutex, a set ….

A specification is a value: a state to begin with, and a step that says what a call makes of a state, or that
the call could not have ended so.  The general checker (general.py) looks for an order in which every step is
accepted.  One step of each:

    register       "a"  write "b"          → "b"          "a"  read → "b"               REJECTED
    cas-register   "a"  cas (a, b) → True  → "b"          "a"  cas (a, b) → False       REJECTED
    counter        3    increment 2        → 5            3    read → 4                 REJECTED
    key-value      "a"  append "b"         → "ab"         "a"  read → "b"               REJECTED
    mutex          free acquire            → held         held acquire                  REJECTED
    set            {a}  add "b"            → {a, b}       {a}  read → ("a", "b")        REJECTED

Rule 1. Values are equal if their types are: 1, 1.0, True and "1" are four values, also inside tuples.
Rule 2. `value` is the argument (of a read: what it returned), `result` what an ok call returned.  A result of
        None tells nothing: the step then accepts whatever any other result would have accepted, with the same
        effect.  So is a call judged whose outcome is unknown.
Rule 3. Nothing is held against a call that says it did nothing: an acquire or a release that returned False
        is accepted in every state.  A compare-and-set that returned False says more: the state was not `from`.
Rule 4. What calls return beyond that (row counts, the new count of a counter) is not judged.
Rule 5. A mutex has no owner: whoever releases, frees it.  In a counter no record is 0, in a set it is ().
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import eq

from cacheproof.models.errors import UsageError
from cacheproof.models.operation import Value
from cacheproof.models.register import identity

__all__ = [
    "REJECTED",
    "SPECIFICATIONS",
    "Rejection",
    "Specification",
    "State",
    "Traits",
    "mark",
    "specification_named",
]

State = Hashable
"""What a specification knows between two calls: small, immutable, and never None."""


class Rejection(Enum):
    """The answer of a step that cannot be."""

    REJECTED = "rejected"


REJECTED = Rejection.REJECTED


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of a call whatever the state.  A search without any of it is right, and slower.

    `pure`: never changes the state.  `total`: accepted in every state.  `blind`: total, and leaves the same
    state behind whatever was before.  `needs`: in every other state it is rejected or changes nothing (None:
    there is no such single state); a pure call that is not total is accepted there.  `leaves`: the state
    after it, wherever it changes the state at all (None: there is no such single state).  `grows`: it turns a
    state only into those to which the state `leads`.
    """

    pure: bool = False
    total: bool = False
    blind: bool = False
    needs: State | None = None
    leaves: State | None = None
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Specification:
    """What correct means for one client alone.

    `functions` are the calls that it knows, `initial` is the value before the first of them and `start` makes
    a state of such a value (UsageError if it cannot).  `step(state, f, value, result)` is the state after an
    ok call, or REJECTED.  `traits(f, value, result)` says what holds of the call in every state.
    `fits(f, value)` is False for an argument that the call cannot have.  `leads(state, other)` is False only
    where no sequence of calls that grow turns `state` into `other`; it is True of a state and itself, and
    transitive.  With `by_key` each key has a state of its own; otherwise all keys together have one.
    """

    name: str
    functions: frozenset[str]
    initial: Value
    start: Callable[[Value], State]
    step: Callable[[State, str, Value, Value], State | Rejection]
    traits: Callable[[str, Value, Value], Traits]
    fits: Callable[[str, Value], bool]
    leads: Callable[[State, State], bool] = eq
    by_key: bool = True


def specification_named(name: str) -> Specification:
    """The specification of that name.  Raises UsageError with the names that there are."""
    found = SPECIFICATIONS.get(name)
    if found is None:
        raise UsageError(f"no model is called {name!r}; choose one of {', '.join(SPECIFICATIONS)}")
    return found


def mark(value: Value) -> tuple[type, object]:
    """What a value is compared by: the identity of a register's value, also inside tuples (rule 1)."""
    return (tuple, tuple(map(mark, value))) if isinstance(value, tuple) else identity(value)


_NOTHING = mark(None)


# Registers: the state is the mark of the value.


def _register_step(state: State, f: str, value: Value, result: Value) -> State | Rejection:
    if f == "read":
        return state if state == mark(value) else REJECTED
    return _NOTHING if f == "delete" else mark(value)


def _register_traits(f: str, value: Value, result: Value) -> Traits:
    if f == "read":
        return Traits(pure=True, needs=mark(value))
    return Traits(total=True, blind=True, leaves=_NOTHING if f == "delete" else mark(value))


def _fits_anything(f: str, value: Value) -> bool:
    return True


def _cas_step(state: State, f: str, value: Value, result: Value) -> State | Rejection:
    if f != "cas":
        return _register_step(state, f, value, result)
    expected, wanted = _pair(value)
    if state == expected:
        return REJECTED if result is False else wanted
    return REJECTED if result is True else state


def _cas_traits(f: str, value: Value, result: Value) -> Traits:
    if f != "cas":
        return _register_traits(f, value, result)
    expected, wanted = _pair(value)
    changes = result is not False and expected != wanted
    total = not isinstance(result, bool)
    needs = expected if result is True or changes else None
    return Traits(pure=not changes, total=total, needs=needs, leaves=wanted)


def _cas_fits(f: str, value: Value) -> bool:
    return f != "cas" or (isinstance(value, tuple) and len(value) == 2)


def _pair(value: Value) -> tuple[State, State]:
    assert isinstance(value, tuple)
    expected, wanted = value
    return mark(expected), mark(wanted)


# Counters: the state is an int.


def _counter_start(value: Value) -> State:
    if value is None or type(value) is int:
        return value or 0
    raise UsageError(f"a counter cannot start with {value!r}; give an integer, or None for 0")


def _count(value: Value) -> State:
    """The state that a read shows; what is no count equals no state."""
    return 0 if value is None else value if type(value) is int else mark(value)


def _counter_step(state: State, f: str, value: Value, result: Value) -> State | Rejection:
    if f == "read":
        return state if state == _count(value) else REJECTED
    assert isinstance(state, int) and isinstance(value, int)
    return state + value


def _counter_traits(f: str, value: Value, result: Value) -> Traits:
    if f == "read":
        return Traits(pure=True, needs=_count(value))
    assert isinstance(value, int)
    return Traits(pure=value == 0, total=True, grows=value >= 0)


def _counter_fits(f: str, value: Value) -> bool:
    return f == "read" or type(value) is int


def _counter_leads(state: State, other: State) -> bool:
    return isinstance(state, int) and isinstance(other, int) and state <= other


# Texts that grow: the state is the mark of a string, or of None.


def _text_start(value: Value) -> State:
    if value is None or isinstance(value, str):
        return mark(value)
    raise UsageError(f"nothing can be appended to {value!r}; start with a string, or None for no record")


def _text_step(state: State, f: str, value: Value, result: Value) -> State | Rejection:
    if f != "append":
        return _register_step(state, f, value, result)
    assert isinstance(state, tuple) and isinstance(value, str)
    return str, (state[1] or "") + value


def _text_traits(f: str, value: Value, result: Value) -> Traits:
    return Traits(total=True, grows=True) if f == "append" else _register_traits(f, value, result)


def _text_fits(f: str, value: Value) -> bool:
    if f == "append":
        return isinstance(value, str)
    return f != "write" or value is None or isinstance(value, str)


def _text_leads(state: State, other: State) -> bool:
    assert isinstance(state, tuple) and isinstance(other, tuple)
    if state in (other, _NOTHING):
        return True
    return other[0] is str and bool(other[1].startswith(state[1]))


# Mutexes: the state is whether it is held.


def _mutex_start(value: Value) -> State:
    return value is True


def _mutex_step(state: State, f: str, value: Value, result: Value) -> State | Rejection:
    if result is False:
        return state
    holds = f == "release"
    return not holds if state is holds else REJECTED


def _mutex_traits(f: str, value: Value, result: Value) -> Traits:
    if result is False:
        return Traits(pure=True, total=True)
    return Traits(needs=f == "release", leaves=f == "acquire")


# Sets: the state is the frozen set of the marks of the elements.


def _members(value: Value) -> State:
    """The state that a read shows; what is no set, or names an element twice, equals no state."""
    elements = () if value is None else value
    if not isinstance(elements, tuple):
        return mark(value)
    found = frozenset(map(mark, elements))
    return found if len(found) == len(elements) else mark(value)


def _set_start(value: Value) -> State:
    state = _members(value)
    if isinstance(state, frozenset):
        return state
    raise UsageError(f"a set cannot start with {value!r}; give a tuple of different elements, or None")


def _set_step(state: State, f: str, value: Value, result: Value) -> State | Rejection:
    assert isinstance(state, frozenset)
    if f == "read":
        return state if state == _members(value) else REJECTED
    return state | {mark(value)} if f == "add" else state - {mark(value)}


def _set_traits(f: str, value: Value, result: Value) -> Traits:
    if f == "read":
        return Traits(pure=True, needs=_members(value))
    return Traits(total=True, grows=f == "add")


def _set_leads(state: State, other: State) -> bool:
    return isinstance(state, frozenset) and isinstance(other, frozenset) and state <= other


_TABLE = (
    Specification(
        name="cas-register",
        functions=frozenset({"cas", "delete", "read", "write"}),
        initial=None,
        start=mark,
        step=_cas_step,
        traits=_cas_traits,
        fits=_cas_fits,
    ),
    Specification(
        name="counter",
        functions=frozenset({"increment", "read"}),
        initial=0,
        start=_counter_start,
        step=_counter_step,
        traits=_counter_traits,
        fits=_counter_fits,
        leads=_counter_leads,
    ),
    Specification(
        name="key-value",
        functions=frozenset({"append", "delete", "read", "write"}),
        initial="",
        start=_text_start,
        step=_text_step,
        traits=_text_traits,
        fits=_text_fits,
        leads=_text_leads,
    ),
    Specification(
        name="mutex",
        functions=frozenset({"acquire", "release"}),
        initial=None,
        start=_mutex_start,
        step=_mutex_step,
        traits=_mutex_traits,
        fits=_fits_anything,
    ),
    Specification(
        name="register",
        functions=frozenset({"delete", "read", "write"}),
        initial=None,
        start=mark,
        step=_register_step,
        traits=_register_traits,
        fits=_fits_anything,
    ),
    Specification(
        name="set",
        functions=frozenset({"add", "read", "remove"}),
        initial=(),
        start=_set_start,
        step=_set_step,
        traits=_set_traits,
        fits=_fits_anything,
        leads=_set_leads,
    ),
)

SPECIFICATIONS: Mapping[str, Specification] = {item.name: item for item in _TABLE}
"""The specifications by name."""
