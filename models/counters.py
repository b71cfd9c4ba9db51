"""Exactly-once counters: the database holds the sum of what was counted.

At the end of a run, what was added to a key is the sum of the acknowledged increments and of some of the
ambiguous ones, each of which was applied once or not at all.

        A: |--+1--|  |--+1--|              0 → 2     each of them once
        A: |--+1--|  |--+1--|              0 → 3     one was applied twice: a retry, or a redelivery
        A: |--+1--|  |--+1--|              0 → 1     one was lost
        A: |--+1--|  |--+5--?              0 → 1 or 6; but 4 is neither

Rule 1  `increment` adds its argument, or 1 if it has none; one that failed adds nothing.
Rule 2  A counter is a whole number or the text of one ("10", as a column of type text holds it); no record
        counts as 0.  On a key that holds anything else, or that was also written, nothing is judged.
Rule 3  Before the run has come to rest, what is missing may still be on its way: only too much is certain.

Which sums the ambiguous increments can make is computed exactly (subset sum by dynamic programming over the
reachable sums, Bellman, Dynamic Programming, 1957), as long as there are not too many of them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from cacheproof.models.event import Invoked, Phase
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, add_judgements, registers
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["MOST_BITS", "MOST_SUMS", "ExactlyOnce", "can_add_up"]

MOST_BITS = 1 << 24
"""So wide a range of sums is kept as one bit for each."""

MOST_SUMS = 1 << 16
"""So many sums are kept one by one, where their range is wider than that."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,1000}")


@dataclass(frozen=True, slots=True)
class ExactlyOnce:
    """Each acknowledged increment is in the database once, each ambiguous one at most once."""

    @property
    def name(self) -> str:
        return "exactly-once"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """At most one finding a key.  Judges increments, on every key on which one was called.

        "double-applied": more was added than all increments together; "lost-increment": less than the
        acknowledged ones; "impossible-sum": in between, but not the sum of any of the ambiguous ones with the
        acknowledged.  `found` is what was added, `allowed` the least and the most that could have been.
        `because` are the increments that count, acknowledged or ambiguous, `versions` what the database
        committed, `at` the first version that is more than had been asked for by then, if one is.

        Where amounts of both signs were added, "double-applied" means too much and "lost-increment" too
        little; where all are negative, it is the other way round.
        """
        asked = {event.index: event.value for event in history.events if isinstance(event, Invoked)}
        quiet = history.phase_start(Phase.QUIESCE) is not None
        counted = (item for item in registers(history) if any(op.f == "increment" for op in item.operations))
        return add_judgements(self._judge(register, asked, quiet) for register in counted)

    def _judge(self, register: Register, asked: Mapping[int, Value], quiet: bool) -> Judgement:
        if doubt := _obstacle(register, asked):
            return Judgement(unknown=doubt)
        tally = _Tally(register, tuple(_increments(register, asked)))
        judged = sum(op.f == "increment" for op in register.operations)
        kind, doubt = tally.verdict(quiet)
        if kind is None:
            return Judgement(judged=judged, unknown=doubt)
        finding = Finding(
            property=self.name,
            kind=kind,
            key=register.key,
            because=tuple(item.operation for item in tally.increments),
            versions=register.commits,
            at=tally.excess,
            found=tally.added,
            allowed=tally.range(quiet),
        )
        return Judgement((finding,), judged)


@dataclass(frozen=True, slots=True)
class _Increment:
    operation: Operation
    amount: int


@dataclass(frozen=True, slots=True)
class _Tally:
    """What was asked for on one key, without what failed, and what the database made of it."""

    register: Register
    increments: tuple[_Increment, ...]

    @property
    def added(self) -> int:
        return (_number(self.register.final) or 0) - self._start

    @property
    def excess(self) -> tuple[int, ...]:
        """The first version that is more (or less) than all that had been asked for by then can make."""
        least, most, counted = 0, 0, 0
        for commit in self.register.commits:
            while counted < len(self.increments) and self._begun(counted) < commit.index:
                amount, counted = self.increments[counted].amount, counted + 1
                least, most = least + min(amount, 0), most + max(amount, 0)
            number = _number(commit.value)
            if number is not None and not least <= number - self._start <= most:
                return (commit.index,)
        return ()

    def range(self, quiet: bool) -> tuple[int, int]:
        """The least and the most that may have been added; at rest, all that was acknowledged has been."""
        sure = sum(self._amounts(Outcome.OK)) if quiet else 0
        rest = self._amounts(Outcome.INFO) + ([] if quiet else self._amounts(Outcome.OK))
        return sure + _least(rest), sure + _most(rest)

    def verdict(self, quiet: bool) -> tuple[str | None, str | None]:
        """(the kind of a finding, a doubt); neither if the sum is right."""
        least, most = self.range(quiet)
        amounts = [item.amount for item in self.increments]
        downward = _most(amounts) == 0 > _least(amounts)
        if not least <= self.added <= most:
            kind = "double-applied" if (self.added > most) is not downward else "lost-increment"
            if quiet or kind == "double-applied":
                return kind, None
        if not quiet:
            return None, "the run never came to rest: what is missing may still be on its way"
        missing = self.added - sum(self._amounts(Outcome.OK))
        found = can_add_up(self._amounts(Outcome.INFO), missing)
        if found is None:
            return None, f"too many ambiguous increments of {self.register.key!r} to try all their sums"
        return (None if found else "impossible-sum"), None

    def _begun(self, place: int) -> int:
        return self.increments[place].operation.invoked

    @property
    def _start(self) -> int:
        return _number(self.register.initial) or 0

    def _amounts(self, outcome: Outcome) -> list[int]:
        return [item.amount for item in self.increments if item.operation.outcome is outcome]


def can_add_up(amounts: Sequence[int], target: int) -> bool | None:
    """Whether some of these amounts (each used at most once) add up to `target`; None if that is too hard.

    Exact and O(n · span / 64) while the sum of all amounts, in units of their greatest common divisor, is at
    most MOST_BITS; beyond that exact while there are at most MOST_SUMS different sums up to the target.
    """
    target -= _least(amounts)  # to leave a negative amount out is to add its size
    sizes = [abs(amount) for amount in amounts if amount]
    unit = gcd(*sizes) or 1
    if not 0 <= target <= sum(sizes) or target % unit:
        return False
    parts = list(_parts(sizes))
    if sum(sizes) // unit > MOST_BITS:
        return _can_add_up_one_by_one(parts, target)
    sums = 1  # bit n: n units can be made
    for part in parts:
        sums |= sums << part // unit
    return bool(sums >> target // unit & 1)


def _can_add_up_one_by_one(parts: Sequence[int], target: int) -> bool | None:
    sums = {0}
    for part in parts:
        sums |= {item + part for item in sums if item + part <= target}
        if len(sums) > MOST_SUMS:
            return None
    return target in sums


def _parts(sizes: Sequence[int]) -> Iterator[int]:
    """Sizes with the same sums, fewer of them: five times 3 are 3, 2·3 and 2·3."""
    for size, count in Counter(sizes).items():
        step = 1
        while count:
            taken = min(step, count)
            yield taken * size
            count, step = count - taken, step * 2


def _least(amounts: Sequence[int]) -> int:
    return sum(amount for amount in amounts if amount < 0)


def _most(amounts: Sequence[int]) -> int:
    return sum(amount for amount in amounts if amount > 0)


def _number(value: Value) -> int | None:
    """The whole number that a value is, or None; the absence of a record is 0."""
    match value:
        case None:
            return 0
        case bool():
            return None
        case int():
            return value
        case float():
            return int(value) if value.is_integer() else None
        case str():
            return int(value) if _WHOLE.fullmatch(value) else None
    return None


def _increments(register: Register, asked: Mapping[int, Value]) -> Iterator[_Increment]:
    for operation in register.operations:
        if operation.f == "increment" and operation.outcome is not Outcome.FAIL:
            yield _Increment(operation, _amount(operation, asked) or 0)


def _amount(operation: Operation, asked: Mapping[int, Value]) -> int | None:
    """What an increment adds; None if that is no whole number."""
    argument = asked[operation.invoked]  # the operation itself may hold its result in this place
    return 1 if argument is None else _number(argument)


def _obstacle(register: Register, asked: Mapping[int, Value]) -> str | None:
    """Why this key cannot be read as a counter, or None if it can."""
    for operation in register.operations:
        if operation.outcome is Outcome.FAIL or operation.f == "read":
            continue
        if operation.f != "increment":
            return f"{operation.f!r} on {operation.key!r}, a counter, is neither a read nor an increment"
        if _amount(operation, asked) is None:
            return f"{operation.key!r} was incremented by {asked[operation.invoked]!r}, no whole number"
    for value in (register.initial, register.final):
        if _number(value) is None:
            return f"{register.key!r} is a counter and held {value!r}, which is no whole number"
    return None
