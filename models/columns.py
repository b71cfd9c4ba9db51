"""A history as columns: one numpy array a field, so that millions of operations can be judged.

Rule 1. Row n is the n-th operation in order of invocation.  What repeats is a number that leads into a table:
        keys, values, methods, errors.  Number 0 stands for None among values and errors, -1 among keys.
Rule 2. Values have one number only if their types are equal: 1, 1.0, True and "1" are four values.
Rule 3. `columns.operation(n)` is the operation that the history would give: nothing is lost but the events
        between operations (exchanges, commits, faults, phases), which are skipped.

        {"index":4,"time":0.5,"type":"invoke","process":1,"f":"read","key":"k","value":null}
        {"index":5,"time":0.5,"type":"ok","process":1,"value":"v1"}

        process  f   key  value  invoked  returned  outcome
           1     0    0     3       4        5         0

An operation takes 62 bytes, and each different value is stored once.  Files become columns in
`column_reader`; the zones of columns are judged in `zone_columns`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value

__all__ = [
    "DELETE",
    "FAIL",
    "INFO",
    "NO_KEY",
    "NO_VALUE",
    "OK",
    "PENDING",
    "READ",
    "WRITE",
    "Columns",
    "Tables",
    "columns_of",
]

READ, WRITE, DELETE = 0, 1, 2
"""Numbers of the methods that a register has; others follow as they appear."""

OK, FAIL, INFO = 0, 1, 2
"""Numbers of the outcomes."""

NO_VALUE = 0
NO_KEY = -1
PENDING = 2**62
"""In `returned`: the operation has not returned."""

_OUTCOMES = (Outcome.OK, Outcome.FAIL, Outcome.INFO)
_METHODS = ("read", "write", "delete")

_Whole = npt.NDArray[np.int64]
_Number = npt.NDArray[np.int32]
_Seconds = npt.NDArray[np.float64]
_Flag = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The operations of a history, one array a field, in order of invocation.

    `key`, `value`, `result`, `f` and `error` are places in `keys`, `values`, `methods` and `errors`;
    `initial` has the value before the run for every key.  `invoked` and `returned` are event indices, and
    `returned` is PENDING where it is None; `invoked_s` and `returned_s` are virtual seconds, not a number
    where None.  `keys` begin with those that the history started with.
    """

    process: _Whole
    f: _Number
    key: _Number
    value: _Number
    result: _Number
    error: _Number
    outcome: npt.NDArray[np.int8]
    final: _Flag
    invoked: _Whole
    returned: _Whole
    invoked_s: _Seconds
    returned_s: _Seconds
    keys: tuple[str, ...]
    values: tuple[Value, ...]
    methods: tuple[str, ...]
    errors: tuple[str | None, ...]
    initial: _Number

    def __len__(self) -> int:
        return len(self.invoked)

    def operation(self, row: int) -> Operation:
        """The operation in a row, as the history would give it."""
        key, end, end_s = int(self.key[row]), int(self.returned[row]), float(self.returned_s[row])
        return Operation(
            process=int(self.process[row]),
            f=self.methods[self.f[row]],
            key=None if key == NO_KEY else self.keys[key],
            value=self.values[self.value[row]],
            invoked=int(self.invoked[row]),
            returned=None if end == PENDING else end,
            outcome=_OUTCOMES[self.outcome[row]],
            invoked_s=float(self.invoked_s[row]),
            returned_s=None if isnan(end_s) else end_s,
            error=self.errors[self.error[row]],
            final=bool(self.final[row]),
            result=self.values[self.result[row]],
        )

    def operations(self) -> Iterator[Operation]:
        """All of them, in order of invocation."""
        return map(self.operation, range(len(self)))


def columns_of(source: History | Sequence[Operation], initial: Mapping[str, Value] | None = None) -> Columns:
    """The columns of a history, or of operations in order of invocation.

    `initial` is the value of each record before the operations; a key that is not in it starts with None.
    """
    if isinstance(source, History):
        return columns_of(source.operations, source.initial)
    tables = Tables(initial or {})
    ends = [PENDING if op.returned is None else op.returned for op in source]
    ends_s = [np.nan if op.returned_s is None else op.returned_s for op in source]
    return tables.columns(
        process=np.array([op.process for op in source], np.int64),
        f=tables.methods.numbers(op.f for op in source),
        key=tables.key_numbers(op.key for op in source),
        value=tables.values.numbers(op.value for op in source),
        result=tables.values.numbers(op.result for op in source),
        error=tables.errors.numbers(op.error for op in source),
        outcome=np.array([_OUTCOMES.index(op.outcome) for op in source], np.int8),
        final=np.array([op.final for op in source], np.bool_),
        invoked=np.array([op.invoked for op in source], np.int64),
        returned=np.array(ends, np.int64),
        invoked_s=np.array([op.invoked_s for op in source], np.float64),
        returned_s=np.array(ends_s, np.float64),
    )


# -- tables ----------------------------------------------------------------------------------------------------


def _numbers(numbers: list[int]) -> _Number:
    return np.fromiter(numbers, np.int32, len(numbers))


class _Table(dict[Any, int]):
    """Numbers things by first appearance; `items_` are the things, in the order of their numbers."""

    def __init__(self, items: Sequence[Any] = ()) -> None:
        super().__init__((item, number) for number, item in enumerate(items))
        self.items_ = list(items)

    def __missing__(self, item: Any) -> int:
        self[item] = number = len(self.items_)
        self.items_.append(item)
        return number

    def numbers(self, items: Iterable[Any]) -> _Number:
        return _numbers([self[item] for item in items])


class _ValuesOfType(_Table):
    """The values of one type; all of them are numbered together."""

    def __init__(self, everything: list[Value]) -> None:
        super().__init__()
        self.items_ = everything


class _Arrays(_ValuesOfType):
    """JSON arrays, as tuples.  Their words tell (1,) from (True,), which Python holds for equal."""

    def __getitem__(self, value: Any) -> int:
        frozen = _frozen(value)
        number = self.get(repr(frozen))
        if number is None:
            self[repr(frozen)] = number = len(self.items_)
            self.items_.append(frozen)
        return number


class _Values(dict[type, _ValuesOfType]):
    """Numbers values by type and value.  None is 0."""

    def __init__(self) -> None:
        self.items_: list[Value] = []
        super().__init__({kind: _Arrays(self.items_) for kind in (list, tuple)})
        self.numbers([None])

    def __missing__(self, kind: type) -> _ValuesOfType:
        self[kind] = _ValuesOfType(self.items_)
        return self[kind]

    def numbers(self, values: Iterable[Any]) -> _Number:
        """Raises TypeError for a JSON object inside an array."""
        return _numbers([self[type(value)][value] for value in values])


def _frozen(value: Any) -> Value:
    if isinstance(value, dict):
        raise TypeError("an object inside an array")
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


class Tables:
    """What the numbers of columns stand for, while columns are made.  `initial`: the values before the run."""

    def __init__(self, initial: Mapping[str, Any]) -> None:
        self.keys = _Table(tuple(initial))
        self.values = _Values()
        self.methods = _Table(_METHODS)
        self.errors = _Table((None,))
        self.initial = self.values.numbers(initial.values())

    def key_numbers(self, keys: Iterable[str | None]) -> _Number:
        return _numbers([NO_KEY if key is None else self.keys[key] for key in keys])

    def columns(self, **arrays: Any) -> Columns:
        later = np.full(len(self.keys) - len(self.initial), NO_VALUE, np.int32)
        return Columns(
            **arrays,
            keys=tuple(self.keys.items_),
            values=tuple(self.values.items_),
            methods=tuple(self.methods.items_),
            errors=tuple(self.errors.items_),
            initial=np.concatenate((self.initial, later)),
        )
