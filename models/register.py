"""A key seen as a register: who read it, who wrote it, and which versions the database committed.

Every property of this package looks at a history one key at a time, and through these rules:

Rule 1. `read` reads; `write` writes its value; `delete` writes None, whatever the method returned.  A method
        that is neither (an increment, a compare-and-set) may have written anything, so a key on which one
        was called is left without a verdict.
Rule 2. Only `ok` reads have seen something.  The others are dropped.
Rule 3. The possible *sources* of a value are the writes of that value that did not fail, and the initial
        record.  A value is certainly older than a write only if all of its sources are.
Rule 4. Values are equal if their types are: 1, 1.0, True and "1" are four values.
Rule 5. `write_many` of ((key, value), …) is a write of each of these keys (of None: a delete), whenever between
        its beginning and its end.  That they belong together is for atomic_reads.py to judge; what a
        `read_many` returned is, too.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Judgement

__all__ = [
    "Register",
    "add_judgements",
    "identity",
    "is_write",
    "judge_registers",
    "obstacle",
    "operations_on",
    "pairs_of",
    "registers",
    "written",
]

_WRITES = frozenset({"write", "delete"})


def identity(value: Value) -> tuple[type, Value]:
    """What a value is compared by: Python holds 1, 1.0 and True for equal, a cache must not."""
    return type(value), value


def is_write(operation: Operation) -> bool:
    """True for a call that sets the whole record: a write or a delete."""
    return operation.f in _WRITES


def written(operation: Operation) -> Value:
    """The value that a write or a delete leaves behind."""
    return None if operation.f == "delete" else operation.value


def obstacle(operations: tuple[Operation, ...]) -> str | None:
    """Why these operations cannot be read as those of a register, or None if they can."""
    for operation in operations:
        if operation.f != "read" and not is_write(operation) and operation.outcome is not Outcome.FAIL:
            return f"{operation.f!r} on {operation.key!r} is neither a read nor a write of the whole value"
    return None


@dataclass(frozen=True)
class Register:
    """One key of a history.  `commits` are the versions after the initial one, in commit order.

    A *position* counts versions: 0 is the initial record, n is `commits[n - 1]`.
    """

    key: str
    initial: Value
    operations: tuple[Operation, ...]
    commits: tuple[Committed, ...] = ()

    @cached_property
    def reads(self) -> tuple[Operation, ...]:
        """The ok reads, in order of invocation."""
        return tuple(op for op in self.operations if op.f == "read" and op.outcome is Outcome.OK)

    @cached_property
    def writes(self) -> tuple[Operation, ...]:
        """Every write and delete, whatever became of it, in order of invocation."""
        return tuple(op for op in self.operations if is_write(op))

    @cached_property
    def acknowledged(self) -> tuple[Operation, ...]:
        """The writes and deletes that returned ok, in order of invocation."""
        return tuple(op for op in self.writes if op.outcome is Outcome.OK)

    @property
    def final(self) -> Value:
        """What the database holds at the end of the history."""
        return self.commits[-1].value if self.commits else self.initial

    def wrote(self, value: Value) -> tuple[Operation, ...]:
        """The writes of `value`, the failed ones too."""
        return self._writes_by_value.get(identity(value), ())

    def sources(self, value: Value) -> tuple[Operation, ...]:
        """The writes that may have put `value` there: those that did not fail."""
        return tuple(op for op in self.wrote(value) if op.outcome is not Outcome.FAIL)

    def is_initial(self, value: Value) -> bool:
        return identity(value) == identity(self.initial)

    def position(self, value: Value, before: int | None = None) -> int | None:
        """The last position at which `value` was committed (before event `before`, if given), or None."""
        places = self._places.get(identity(value), ())
        count = len(places) if before is None else bisect_left(places, before, key=self._index_of)
        if count:
            return places[count - 1]
        return 0 if self.is_initial(value) else None

    def _index_of(self, place: int) -> int:
        return self.commits[place - 1].index

    def superseded(self, value: Value, before: int) -> Committed | None:
        """The commit that ended the last version with `value`, if it came before event `before`."""
        place = self.position(value, before)
        if place is None or place == len(self.commits) or self.commits[place].index >= before:
            return None
        return self.commits[place]

    def versions(self, *values: Value) -> tuple[Committed, ...]:
        """The last committed version of each of these values that has one, oldest first."""
        places = sorted({place for value in values if (place := self.position(value))})
        return tuple(self.commits[place - 1] for place in places)

    def stale_s(self, read: Operation) -> float | None:
        """For how many virtual seconds what `read` returned had been superseded when it was invoked."""
        ended = self.superseded(read.value, read.invoked)
        return None if ended is None else read.invoked_s - ended.at_s

    @cached_property
    def _writes_by_value(self) -> Mapping[tuple[type, Value], tuple[Operation, ...]]:
        found: dict[tuple[type, Value], list[Operation]] = {}
        for op in self.writes:
            found.setdefault(identity(written(op)), []).append(op)
        return {value: tuple(writes) for value, writes in found.items()}

    @cached_property
    def _places(self) -> Mapping[tuple[type, Value], list[int]]:
        """The positions at which each value was committed, in order."""
        found: dict[tuple[type, Value], list[int]] = {}
        for place, commit in enumerate(self.commits, start=1):
            found.setdefault(identity(commit.value), []).append(place)
        return found


def pairs_of(value: Value) -> Mapping[str, Value] | None:
    """((key, value), …) as a mapping (the last value of a key counts), or None if it is no such thing."""
    if not isinstance(value, tuple):
        return None
    found: dict[str, Value] = {}
    for pair in value:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            return None
        found[pair[0]] = pair[1]
    return found


def operations_on(history: History, key: str) -> tuple[Operation, ...]:
    """The operations on one key in order of invocation, with the part of each `write_many` that concerns it.

    A `write_many` without readable pairs may have written any key, and stays what it is.
    """
    parts = _parts(history)
    return _merged(history.on_key(key), parts.get(key, ()), parts.get(None, ()))


def _merged(*groups: tuple[Operation, ...]) -> tuple[Operation, ...]:
    several = [group for group in groups if group]
    if len(several) < 2:
        return several[0] if several else ()
    return tuple(sorted((op for group in several for op in group), key=lambda op: op.invoked))


def _parts(history: History) -> Mapping[str | None, tuple[Operation, ...]]:
    """What each `write_many` did to each key, as writes and deletes; those that cannot be read under None."""
    found: dict[str | None, list[Operation]] = {}
    for op in (op for op in history.on_no_key if op.f == "write_many"):
        pairs = pairs_of(op.value)
        if pairs is None and op.outcome is not Outcome.FAIL:
            found.setdefault(None, []).append(op)
        for key, value in (pairs or {}).items():
            f = "delete" if value is None else "write"
            found.setdefault(key, []).append(replace(op, f=f, key=key, value=value))
    return {key: tuple(operations) for key, operations in found.items()}


def registers(history: History) -> tuple[Register, ...]:
    """The keys of a history: those that it started with, then others as they first appear.

    Made once for each history, however many properties ask.
    """
    known: tuple[Register, ...] | None = history.derived.get("registers")
    if known is None:
        known = history.derived["registers"] = tuple(_registers(history))
    return known


def _registers(history: History) -> Iterator[Register]:
    parts = _parts(history)
    named = [op.key for op in history.operations if op.key is not None]
    named += [key for key in parts if key is not None]
    for key in dict.fromkeys((*history.initial, *history.commits, *named)):
        operations = _merged(history.on_key(key), parts.get(key, ()), parts.get(None, ()))
        yield Register(key, history.initial.get(key), operations, history.commits.get(key, ()))


def judge_registers(history: History, judge: Callable[[Register], Judgement]) -> Judgement:
    """Judge every key by itself, as rule 1 allows, and add the judgements up."""

    def judge_one(register: Register) -> Judgement:
        doubt = obstacle(register.operations)
        return judge(register) if doubt is None else Judgement(unknown=doubt)

    return add_judgements(judge_one(register) for register in registers(history))


def add_judgements(judgements: Iterable[Judgement]) -> Judgement:
    """All findings, everything judged, and the first doubt."""
    items = tuple(judgements)
    return Judgement(
        findings=tuple(finding for item in items for finding in item.findings),
        judged=sum(item.judged for item in items),
        unknown=next((item.unknown for item in items if item.unknown is not None), None),
    )
