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
linearizability it says nothing about reads that overlap the write.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Value
from cacheproof.models.register import Register, judge_registers, written
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
        for read, newest in _after_acknowledgement(register):
            if not (register.sources(read.value) or register.is_initial(read.value)):
                continue
            judged += 1
            write = newest if _is_older(register, read, newest) else _committed_later(register, read)
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


def _is_older(register: Register, read: Operation, write: Operation) -> bool:
    """Rule 1: whatever may have written what was read had returned before `write` was invoked."""
    return all(source.precedes(write) for source in register.sources(read.value))


def _committed_later(register: Register, read: Operation) -> Operation | None:
    """Rule 2: the acknowledged write that the database committed last after the value that was read."""
    place, source = register.position(read.value), _only_source(register, read.value)
    if place is None or source is None:
        return None
    for commit in reversed(register.commits[place:]):
        write = _only_source(register, commit.value)
        if commit.index < read.invoked and write and write.precedes(read) and not write.precedes(source):
            return write
    return None


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
