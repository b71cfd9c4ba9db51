"""The workload: which operations the clients of a cache can be asked for, in one table.

    operation                  takes                      what of its result is recorded
    read(key)                  a key                      the value, or None: no such record
    write(key, value)          a key and a new value      nothing
    delete(key)                a key                      nothing
    increment(key, by)         a key and a number         the new count, or None: it is not told
    read_many(keys)            every key of the run       ((key, value), …); from a dict sorted by key
    write_many(pairs)          [(key, value), …], all     nothing
    acquire(key)               the name of a lock         its token, or True; None and False: not acquired
    release(key)               the name of a lock         whether it was released; None: it is not told
    warm_up()                  nothing                    nothing
    work()                     nothing                    nothing: the main loop of a background worker

A contract says which of them its clients do (`Contract.operations`), and only those are ever invoked.  Rules:

Rule 1. An operation that raised after it had reached a server may have happened, unless it only looks.
Rule 2. What is recorded is a value of `Operation`: scalars, and tuples of them.  Lists become tuples.
Rule 3. In a run of numbers (`Scenario.numbers`) the records are whole numbers.  The column of the database
        holds their decimal text, and a cache may return either: what is recorded is the number.

An upsert is no operation of its own: whether a write makes a record that is not there is the cache's business.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any

from cacheproof.models.errors import UsageError
from cacheproof.models.operation import Value

__all__ = [
    "OPERATIONS",
    "READ_AND_WRITE",
    "WORKLOAD",
    "OperationKind",
    "Takes",
    "Unrecordable",
    "as_number",
    "as_recorded",
    "check_operations",
    "frozen",
    "kind_of",
    "of_numbers",
]


class Takes(StrEnum):
    """What an operation is called with, as its parameters."""

    NOTHING = ""
    KEY = "key"
    VALUE = "key, value"
    AMOUNT = "key, by"
    KEYS = "keys"
    PAIRS = "pairs"


class Unrecordable(UsageError):
    """An operation returned something that cannot be written down and compared.

    `expected` says what it returns, `todo` how to do that.
    """

    def __init__(self, expected: str, todo: str) -> None:
        super().__init__(f"{expected}: {todo}")
        self.expected = expected
        self.todo = todo


@dataclass(frozen=True, slots=True)
class OperationKind:
    """One row of the table.

    `record` makes of what a call returned what is recorded of it, and raises Unrecordable; None: nothing is.
    `changes` is False for an operation that only looks: if it raised, it certainly has not happened.
    """

    name: str
    takes: Takes
    record: Callable[[Any], Value] | None = None
    changes: bool = True

    @property
    def on_one_key(self) -> bool:
        """True if it is called on one key; else on all keys, or on none."""
        return self.takes in (Takes.KEY, Takes.VALUE, Takes.AMOUNT)


def _value(returned: Any) -> Value:
    """A scalar that can be compared and written down: not so a number that does not equal itself."""
    if isinstance(returned, (str, int, float, bool)) and not _is_endless(returned):
        return returned
    if returned is None:
        return None
    raise Unrecordable(
        "a cache returns a str, a number or None", "return the value alone, or its text (json.dumps)"
    )


def _is_endless(returned: Any) -> bool:
    return isinstance(returned, float) and not isfinite(returned)


def _pairs(returned: Any) -> Value:
    """((key, value), …); those of a dict sorted by key, since their order says nothing."""
    items = sorted(returned.items()) if _is_dict(returned) else returned
    if not isinstance(items, (list, tuple)) or not all(map(_is_pair, items)):
        raise Unrecordable("a read of several keys returns each with its value", "return {key: value, …}")
    return tuple((key, _value(value)) for key, value in items)


def _is_dict(returned: Any) -> bool:
    return isinstance(returned, Mapping) and all(isinstance(key, str) for key in returned)


def _is_pair(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], str)


def _token(returned: Any) -> Value:
    """Whether a lock was acquired: its token, or True.  None says no, as False does."""
    return False if returned is None else _value(returned)


def _answer(returned: Any) -> Value:
    """Yes or no; a number is taken for how many there were."""
    if returned is None:
        return None
    if isinstance(returned, (bool, int)):
        return bool(returned)
    raise Unrecordable("it returns whether it did anything", "return True or False, or None")


WORKLOAD: Mapping[str, OperationKind] = {
    kind.name: kind
    for kind in (
        OperationKind("acquire", Takes.KEY, _token),
        OperationKind("delete", Takes.KEY),
        OperationKind("increment", Takes.AMOUNT, _value),
        OperationKind("read", Takes.KEY, _value, changes=False),
        OperationKind("read_many", Takes.KEYS, _pairs, changes=False),
        OperationKind("release", Takes.KEY, _answer),
        OperationKind("warm_up", Takes.NOTHING),
        OperationKind("work", Takes.NOTHING),
        OperationKind("write", Takes.VALUE),
        OperationKind("write_many", Takes.PAIRS),
    )
}
"""The operations by name."""

READ_AND_WRITE = ("read", "write")
"""What clients do unless their contract says otherwise."""

OPERATIONS: tuple[str, ...] = tuple(name for name in WORKLOAD if name != "work")
"""The names of the operations that clients can be asked for; `work` is for workers."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,1000}")


def kind_of(f: str) -> OperationKind:
    """The row of an operation.  A method of any other name takes a key, and nothing of it is recorded."""
    return WORKLOAD.get(f) or OperationKind(f, Takes.KEY)


def of_numbers(operations: Iterable[str]) -> bool:
    """True if the records have to be numbers: some operation counts."""
    return any(kind_of(f).takes is Takes.AMOUNT for f in operations)


def check_operations(operations: Sequence[str], whose: str) -> None:
    """Raises UsageError unless these are what clients can do: known, all different, and at least one."""
    if isinstance(operations, str) or not operations or len(set(operations)) < len(operations):
        raise UsageError(f"{whose} has operations {operations!r}; list one or more, each once")
    for f in operations:
        if f not in OPERATIONS:
            raise UsageError(f"{whose} has operation {f!r}; clients can do {', '.join(OPERATIONS)}")
    if "release" in operations and "acquire" not in operations:
        raise UsageError(f"{whose} has operation 'release' without 'acquire': nothing could be released")


def as_recorded(f: str, returned: Any) -> Value:
    """What is recorded of the result of a call.  Raises Unrecordable, with what to return instead."""
    record = kind_of(f).record
    return None if record is None else record(returned)


def as_number(value: Value) -> Value:
    """In a run of numbers: the whole number that a value is or is the text of, also inside tuples.

    All else is left as it is: a model then finds that it is no number.
    """
    match value:
        case tuple():
            return tuple(as_number(item) for item in value)
        case str() if _WHOLE.fullmatch(value):
            return int(value)
        case float() if value.is_integer():
            return int(value)
    return value


def frozen(value: Any) -> Value:
    """A value as it comes from JSON: arrays are tuples."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value
