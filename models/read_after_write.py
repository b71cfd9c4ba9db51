"""After a write is acknowledged, every later read sees it, or something newer.

A read is stale if it returned a value that is certainly older than a write that had returned ok before the
read was invoked.  A value v is certainly older than a write w in two cases:

Rule 1. Every source of v returned before w was invoked; the initial record is older than everything.

        A: |--w1--|  |--w2--|                 w1 < w2 < r, so 1 is stale
        B:                     |-r1-|

Rule 2. v and w were concurrent, each value has a single source, and before the read was invoked the database
        had committed w, after it had committed v for the last time.  The database is the truth between
        concurrent writes: what it overwrote is old, even if clients could not have known.

An ambiguous write never returned, so what it wrote is never certainly older by rule 1.  Reads of values that
nobody wrote are not the business of this property (see integrity), and reads that no acknowledged write
precedes prove nothing: neither counts as judged.  This is the safety half of "strongly consistent": unlike
linearizability it says nothing about reads that overlap the write.  O(n log n).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, judge_registers, written
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["ReadAfterWrite"]


@dataclass(frozen=True, slots=True)
class ReadAfterWrite:
    """A read that begins after a write was acknowledged returns that write's value or a newer one."""

    @property
    def name(self) -> str:
        return "read-after-write"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding "stale-read" for each stale read, with the newest write that had been acknowledged."""
        return judge_registers(history, self._judge)

    def _judge(self, register: Register) -> Judgement:
        findings, judged = [], 0
        finished, decided = _last_returns(register), _Decided(register)
        for read, newest in _after_acknowledgement(register):
            source = finished.get(identity(read.value), -inf if register.is_initial(read.value) else None)
            if source is None:
                continue
            judged += 1
            write = newest if source < newest.invoked else decided.after(read)
            if write is not None:
                findings.append(_finding(self.name, register, read, write))
        return Judgement(tuple(findings), judged)


def _after_acknowledgement(register: Register) -> Iterator[tuple[Operation, Operation]]:
    """Each read that an acknowledged write precedes, with the one of them that was invoked last."""
    acknowledged = sorted(register.acknowledged, key=_finish)
    returns = [_finish(write) for write in acknowledged]
    newest = list(accumulate(acknowledged, _later))
    for read in register.reads:
        count = bisect_left(returns, read.invoked)
        if count:
            yield read, newest[count - 1]


def _finish(operation: Operation) -> float:
    return inf if operation.returned is None else operation.returned


def _later(one: Operation, other: Operation) -> Operation:
    return one if one.invoked > other.invoked else other


def _last_returns(register: Register) -> Mapping[tuple[type, Value], float]:
    """For rule 1: when the last of those that may have written a value returned.  Nobody wrote what is missing."""
    found: dict[tuple[type, Value], float] = {}
    for write in register.writes:
        if write.outcome is not Outcome.FAIL:
            value = identity(written(write))
            found[value] = max(_finish(write), found.get(value, -inf))
    return found


class _Decided:
    """For rule 2: what the database has decided between concurrent writes, asked in order of time.

    Of the acknowledged writes that are committed, only those are kept which returned later than all that were
    committed after them: a staircase.  Whichever was committed last of those that returned after some moment
    stands on it, and is found by bisection.
    """

    def __init__(self, register: Register) -> None:
        self._register = register
        self._steps: list[tuple[int, Operation]] = []  # places grow, returns fall
        places = enumerate(register.commits, start=1)
        sources = ((commit.index, place, _only_source(register, commit.value)) for place, commit in places)
        known = [(max(index, _finish(write)), place, write) for index, place, write in sources if write]
        self._coming = sorted(known, key=lambda item: item[:2], reverse=True)

    def after(self, read: Operation) -> Operation | None:
        """The acknowledged write that was committed last, if that was after what was read; no read goes back."""
        place, source = self._register.position(read.value), _only_source(self._register, read.value)
        if place is None or source is None:
            return None
        while self._coming and self._coming[-1][0] < read.invoked:
            self._add(*self._coming.pop()[1:])
        count = bisect_right(self._steps, -float(source.invoked), key=lambda step: -_finish(step[1]))
        last, write = self._steps[count - 1] if count else (0, source)
        return write if last > place else None

    def _add(self, place: int, write: Operation) -> None:
        """Whatever was committed later, and is known already, returned before: else it would not be known."""
        end = bisect_left(self._steps, place, key=lambda step: step[0])
        start = end
        while start and _finish(self._steps[start - 1][1]) <= _finish(write):
            start -= 1
        self._steps[start:end] = [(place, write)]


def _only_source(register: Register, value: Value) -> Operation | None:
    sources = register.sources(value)
    return sources[0] if len(sources) == 1 and not register.is_initial(value) else None


def _finding(name: str, register: Register, read: Operation, write: Operation) -> Finding:
    return Finding(
        property=name,
        kind="stale-read",
        key=register.key,
        culprit=read,
        because=(write,),
        versions=register.versions(read.value, written(write)),
        stale_s=register.stale_s(read),
    )
