"""Columns hold what a history holds: the same operations, and values told apart by type."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cacheproof.models.columns import (
    DELETE,
    INFO,
    NO_KEY,
    NO_VALUE,
    OK,
    PENDING,
    READ,
    WRITE,
    columns_of,
)
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import identity


def test_a_history_and_back(happenings: Callable[..., History]) -> None:
    """The operations of columns are those of the history, with keys as it names them and their first values."""
    for seed in range(500):
        history = happenings(seed, keys=2)
        columns = columns_of(history)
        assert tuple(columns.operations()) == history.operations and len(columns) == len(history.operations)
        assert columns.keys[:2] == tuple(history.initial)
        assert [columns.values[number] for number in columns.initial[:2]] == ["v0", "v0"]


def test_every_field_survives() -> None:
    """Errors, results, final reads, seconds and calls without a key as well."""
    operations = [
        Operation(3, "write", "a", "x", 0, 1, Outcome.OK, 0.5, 1.5, result=1),
        Operation(-1, "read", "b", None, 2, None, Outcome.INFO, 2.0, None, "timed out"),
        Operation(0, "read_many", None, (("a", "x"), ("b", None)), 3, 9, Outcome.OK, 3.0, 4.0, final=True),
        Operation(0, "cas", "a", ("x", 2), 10, 11, Outcome.FAIL, 5.0, 5.0, "not x"),
    ]
    columns = columns_of(operations, {"b": 7})
    assert list(columns.operations()) == operations
    assert [columns.operation(row) for row in (-1, 0)] == [operations[-1], operations[0]]
    assert columns.keys == ("b", "a") and [columns.values[number] for number in columns.initial] == [7, None]
    assert replace(columns, keys=("x", "y")).operation(0).key == "y"


def test_the_columns_are_numbers() -> None:
    """As documented: methods, outcomes, pending returns, missing keys and values."""
    operations = [
        Operation(0, "write", "k", 5, 0, 1, Outcome.OK),
        Operation(0, "delete", "k", None, 2, 4, Outcome.FAIL),
        Operation(1, "read", None, 5, 3, None, Outcome.INFO),
        Operation(0, "push", "k", 5, 5, 6, Outcome.OK, returned_s=2.5),
    ]
    columns = columns_of(operations)
    assert columns.f.tolist() == [WRITE, DELETE, READ, 3] and columns.methods[3] == "push"
    assert columns.outcome.tolist()[::2] == [OK, INFO] and columns.returned.tolist() == [1, 4, PENDING, 6]
    assert columns.key.tolist() == [0, 0, NO_KEY, 0] and columns.value.tolist() == [1, NO_VALUE, 1, 1]
    assert np.isnan(columns.returned_s[:3]).all() and columns.returned_s[3] == 2.5
    assert columns.values[NO_VALUE] is None and columns.errors == (None,)


ALIKE: list[list[Value]] = [
    [1, 1.0, True, "1"],
    [0, 0.0, False, "", None],
    [(1,), (True,), (1.0,), ("1",), ((1,),)],
    [2**70, float(2**70), str(2**70)],
]


@pytest.mark.parametrize("values", ALIKE)
def test_values_are_told_apart_by_type(values: list[Value]) -> None:
    """What Python holds for equal gets different numbers, what is equal the same one, each with its own type."""
    operations = [Operation(0, "write", "k", value, 0, 1, Outcome.OK) for value in values * 2]
    columns = columns_of(operations)
    numbers = columns.value.tolist()
    assert numbers[: len(values)] == numbers[len(values) :] and len(set(numbers)) == len(values)
    for found, value in zip(columns.operations(), values, strict=False):
        assert identity(found.value) == identity(value) and repr(found.value) == repr(value)


def test_objects_are_no_values() -> None:
    """Not even inside an array."""
    with pytest.raises(TypeError, match="an object inside an array"):
        columns_of([Operation(0, "write", "k", ({"a": 1},), 0, 1, Outcome.OK)])  # type: ignore[arg-type]


def test_nothing_is_a_history_too() -> None:
    """Without operations there are no rows; keys may be there all the same."""
    columns = columns_of(History({"k": "v0"}))
    assert len(columns) == 0 and list(columns.operations()) == []
    assert columns.keys == ("k",) and columns_of([]).keys == ()


def test_those_who_use_no_columns_load_no_numpy() -> None:
    """Importing cacheproof and the zones of small histories brings in neither numpy nor msgspec."""
    program = (
        "import sys, cacheproof, cacheproof.models.zones, cacheproof.models.delta_atomicity;"
        "print(sorted({'numpy', 'msgspec'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
