"""The table of operations: what each takes, what of its result is recorded, and which lists of them make sense."""

from decimal import Decimal
from typing import Any

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.models.operation import Value
from cacheproof.models.workload import (
    OPERATIONS,
    READ_AND_WRITE,
    WORKLOAD,
    OperationKind,
    Takes,
    Unrecordable,
    as_number,
    as_recorded,
    check_operations,
    frozen,
    kind_of,
    of_numbers,
)


def test_the_table() -> None:
    """Each operation takes what its name says; only reads are certain not to have happened when they raise."""
    assert {name: kind.takes.value for name, kind in WORKLOAD.items()} == {
        "acquire": "key",
        "delete": "key",
        "increment": "key, by",
        "read": "key",
        "read_many": "keys",
        "release": "key",
        "warm_up": "",
        "work": "",
        "write": "key, value",
        "write_many": "pairs",
    }
    assert {kind.name for kind in WORKLOAD.values() if not kind.changes} == {"read", "read_many"}
    assert [name for name in WORKLOAD if kind_of(name).on_one_key] == [
        *("acquire", "delete", "increment", "read", "release", "write")
    ]
    assert set(OPERATIONS) == WORKLOAD.keys() - {"work"} and set(READ_AND_WRITE) < set(OPERATIONS)


def test_other_methods_take_a_key() -> None:
    """What the table does not know is called on a key, may change anything, and nothing of it is recorded."""
    assert kind_of("refresh") == OperationKind("refresh", Takes.KEY)
    assert kind_of("refresh").changes and as_recorded("refresh", object()) is None


@pytest.mark.parametrize(
    ("f", "returned", "recorded"),
    [
        ("read", "v1", "v1"),
        ("read", None, None),
        ("read", 0.5, 0.5),
        ("read", False, False),
        ("write", object(), None),
        ("delete", 1, None),
        ("warm_up", [1, 2], None),
        ("increment", 3, 3),
        ("increment", None, None),
        ("acquire", None, False),
        ("acquire", False, False),
        ("acquire", True, True),
        ("acquire", 7, 7),
        ("acquire", "token", "token"),
        ("release", None, None),
        ("release", 1, True),
        ("release", 0, False),
        ("release", True, True),
        ("read_many", {"b": "v2", "a": None}, (("a", None), ("b", "v2"))),
        ("read_many", [("b", "v2"), ["a", 1]], (("b", "v2"), ("a", 1))),
        ("read_many", (), ()),
        ("read_many", {}, ()),
    ],
)
def test_what_is_recorded_of_a_result(f: str, returned: Any, recorded: Value) -> None:
    """Scalars as they are, dicts as pairs sorted by key; of an acquire that says nothing, that it failed."""
    assert as_recorded(f, returned) == recorded and type(as_recorded(f, returned)) is type(recorded)


@pytest.mark.parametrize(
    ("f", "returned", "todo"),
    [
        ("read", b"v1", "return the value alone"),
        ("read", float("nan"), "return the value alone"),
        ("read", ("v1",), "return the value alone"),
        ("increment", float("inf"), "return the value alone"),
        ("increment", Decimal(3), "return the value alone"),
        ("acquire", object(), "return the value alone"),
        ("release", "yes", "return True or False"),
        ("read_many", None, "return {key: value"),
        ("read_many", ["v1", "v2"], "return {key: value"),
        ("read_many", [("a", 1, 2)], "return {key: value"),
        ("read_many", {b"a": "v1"}, "return {key: value"),
        ("read_many", {"a": b"v1"}, "return the value alone"),
        ("read_many", "ab", "return {key: value"),
    ],
)
def test_what_cannot_be_recorded_is_refused(f: str, returned: Any, todo: str) -> None:
    """With what to return instead."""
    with pytest.raises(Unrecordable) as refused:
        as_recorded(f, returned)
    assert refused.value.todo.startswith(todo) and str(refused.value) == (
        f"{refused.value.expected}: {refused.value.todo}"
    )


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        (5, 5),
        (3.0, 3),
        (2.5, 2.5),
        ("2.5", "2.5"),
        ("", ""),
        ("v1", "v1"),
        ("1_0", "1_0"),
        ("٣", "٣"),
        (None, None),
        (True, True),
        ((("a", "1"), ("b", None)), (("a", 1), ("b", None))),
    ],
)
def test_in_a_run_of_numbers_text_is_the_number_that_it_says(value: Value, number: Value) -> None:
    """Only decimal text of whole numbers is; all else stays as it is, for a model to stumble over."""
    assert as_number(value) == number and type(as_number(value)) is type(number)


def test_arrays_are_tuples() -> None:
    """At every depth, as in every value of a history."""
    assert frozen([["a", 1], ["b", None]]) == (("a", 1), ("b", None)) and frozen("v1") == "v1"


def test_counting_makes_numbers() -> None:
    """An increment among the operations says that records are numbers."""
    assert of_numbers(("read", "increment")) and not of_numbers(READ_AND_WRITE)


@pytest.mark.parametrize("operations", [READ_AND_WRITE, ("acquire", "release"), ("acquire",), ("warm_up",)])
def test_lists_that_make_sense(operations: tuple[str, ...]) -> None:
    """Whatever clients can do, in any order."""
    check_operations(operations, "contract 'c'")


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ((), "list one or more, each once"),
        ("read", "list one or more, each once"),
        (("read", "read"), "list one or more, each once"),
        (("read", "increase"), "'increase'; clients can do acquire, delete"),
        (("work",), "'work'; clients can do"),
        (("release", "read"), "'release' without 'acquire'"),
    ],
)
def test_lists_that_make_none(operations: Any, why: str) -> None:
    """Named with whose they are, and what there is to choose from."""
    with pytest.raises(UsageError, match="contract 'c' has operation") as refused:
        check_operations(operations, "contract 'c'")
    assert why in str(refused.value)
