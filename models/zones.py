"""Linearizability of registers by zones: Gibbons and Korach, Testing Shared Memories, SIAM J. Comput. 1997.

A write and the reads that returned its value form a cluster: in any legal order they stand together.  Let
minf be the earliest finish in a cluster and maxs the latest start.  If minf of X < maxs of Y, some operation
of X had finished before some operation of Y began, so X comes before Y.  The history of one key, in which
every value is written once, is linearizable if and only if

    1. every read returned a value that somebody wrote (or the initial one),
    2. no read finished before the write of its value began, and
    3. no two clusters have minf of X < maxs of Y and minf of Y < maxs of X.

        A: |--w1--|            |-r1-|        w1 finished before w2 began, so 1 comes before 2;
        B:          |--w2--|                 w2 finished before r1 began, so 2 comes before 1

A longer circle of clusters always contains such a pair, so pairs are enough, and sorting finds one in
O(n log n).  The initial value is a write at minus infinity.  An ambiguous write that nobody read is dropped;
one that was read took effect, and its finish is plus infinity.  Ambiguous reads are dropped.  Intervals are
closed: two that touch are concurrent.

Where a value that was read has several possible writes (two deletes, say) zones do not apply.  Such clusters
are set aside: what is left can still be refuted, but no longer upheld.  `Linearizable` then searches for an
order (general.py) within a budget, which is exact as well, and only beyond it is there no verdict.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from cacheproof.models.general import check_linearizable
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Value
from cacheproof.models.register import Register, identity, judge_registers, obstacle, written
from cacheproof.models.specifications import SPECIFICATIONS
from cacheproof.models.verdict import Finding, Judgement, Verdict

__all__ = [
    "REPEATED",
    "UNWRITTEN",
    "Clash",
    "Cluster",
    "Linearizable",
    "ZoneResult",
    "check_register",
    "clusters",
    "explain_clash",
    "repetition",
]

UNWRITTEN = frozenset({"aborted", "fabricated", "premature"})
"""The kinds of clash that one read is enough for: its value had not been written when it returned."""

REPEATED = "{!r} was read, and more than one write may have written it"
"""The doubt that a value with several possible writes leaves."""


_BUDGET_STEPS = 5_000
_BUDGET_PER_OPERATION = 50
"""Of the search for an order of one key: some hundredths of a second, and linear in what there is to judge."""

_TELLING = 3


@dataclass(frozen=True, slots=True)
class Clash:
    """Why a register is not linearizable.

    `kind` is "stale-read" (a newer write had returned before the read of the older value began),
    "non-linearizable" (any other clash of two clusters), "fabricated" (nobody wrote the value), "aborted"
    (only a write that failed did) or "premature" (it was written later).  `because` are the operations that,
    with the culprit, admit no order.
    """

    kind: str
    culprit: Operation
    because: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class ZoneResult:
    """A clash, or none.  `unknown` says why, where neither a clash nor an order can be shown."""

    clash: Clash | None = None
    unknown: str | None = None


@dataclass(frozen=True, slots=True)
class Linearizable:
    """Each key is one register: all operations on it fit one order that respects real time.

    Composes by key (Herlihy and Wing, Linearizability, TOPLAS 1990, theorem 1).
    """

    @property
    def name(self) -> str:
        return "linearizable"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """At most one finding a key: one clash settles it.  Judges ok reads."""
        return judge_registers(history, self.judge)

    def judge(self, register: Register) -> Judgement:
        """The same for one key, on which only reads, writes and deletes were called."""
        result = check_register(register.operations, register.initial)
        if result.unknown is not None:
            result = _search(register, result.unknown)
        judged = len(register.reads)
        if result.clash is None:
            return Judgement(judged=judged, unknown=result.unknown)
        finding = _finding(self.name, register, result.clash)
        return Judgement((finding,), judged)


def check_register(operations: Sequence[Operation], initial: Value = None) -> ZoneResult:
    """Whether the operations on one key are those of an atomic register that starts with `initial`.

    Takes reads, writes and deletes in any order; with any other method among them the result is unknown.
    Exact if each value that was read has one possible write; otherwise unknown, unless what remains without
    such values is refuted already.
    """
    register = Register("", initial, tuple(operations))
    if doubt := obstacle(register.operations):
        return ZoneResult(unknown=doubt)
    if clash := _unwritten(register):
        return ZoneResult(clash)
    if sides := _clash(list(clusters(register))):
        return ZoneResult(explain_clash(*sides))
    return ZoneResult(unknown=repetition(register))


def _search(register: Register, doubt: str) -> ZoneResult:
    """Whether there is an order, where zones leave a doubt; the doubt remains if the budget is too small."""
    (found,) = check_linearizable(
        register.operations,
        SPECIFICATIONS["register"],
        initial={register.key: register.initial},
        budget_steps=_BUDGET_STEPS + _BUDGET_PER_OPERATION * len(register.operations),
    ).keys
    if found.verdict is Verdict.REFUTED:
        culprit, *others = found.stuck
        return ZoneResult(Clash("non-linearizable", culprit, (*found.order[-_TELLING:], *others)))
    return ZoneResult(unknown=None if found.verdict is Verdict.UPHELD else doubt)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A write (None: the initial value) and the reads of its value; `first` and `last` are its minf and maxs."""

    write: Operation | None
    reads: tuple[Operation, ...]

    @property
    def minf(self) -> float:
        return min([-inf if self.write is None else _finish(self.write), *map(_finish, self.reads)])

    @property
    def maxs(self) -> float:
        return max([-inf if self.write is None else self.write.invoked, *(op.invoked for op in self.reads)])

    @property
    def first(self) -> Operation:
        """The operation that finished first."""
        return min(self._operations, key=_finish)

    @property
    def last(self) -> Operation:
        """The operation that began last."""
        return max(self._operations, key=lambda op: op.invoked)

    @property
    def _operations(self) -> tuple[Operation, ...]:
        return self.reads if self.write is None else (self.write, *self.reads)


def _finish(operation: Operation) -> float:
    return inf if operation.returned is None else operation.returned


def _source_count(register: Register, value: Value) -> int:
    return len(register.sources(value)) + register.is_initial(value)


def repetition(register: Register) -> str | None:
    """The doubt that remains because a value that was read has several possible writes, or None."""
    repeated = (read for read in register.reads if _source_count(register, read.value) > 1)
    return next((REPEATED.format(read.value) for read in repeated), None)


def _unwritten(register: Register) -> Clash | None:
    """The first read whose value nobody had begun to write when it returned."""
    for read in register.reads:
        sources = register.sources(read.value)
        if register.is_initial(read.value) or any(not read.precedes(write) for write in sources):
            continue
        if sources:
            return Clash("premature", read, sources)
        failed = register.wrote(read.value)
        return Clash("aborted" if failed else "fabricated", read, failed)
    return None


def clusters(register: Register) -> Iterator[Cluster]:
    """The clusters of values with one source.  Writes that nobody read are clusters by themselves."""
    reads: dict[tuple[type, Value], list[Operation]] = {}
    for read in register.reads:
        reads.setdefault(identity(read.value), []).append(read)
    for group in reads.values():
        if _source_count(register, group[0].value) == 1:
            write = next(iter(register.sources(group[0].value)), None)
            yield Cluster(write, tuple(group))
    for write in register.acknowledged:
        if identity(written(write)) not in reads:
            yield Cluster(write, ())


def _clash(zones: list[Cluster]) -> tuple[Cluster, Cluster] | None:
    """Two clusters that must each come before the other.

    A cluster with minf < maxs is a forward zone, the interval between them; the others are backward zones.
    Two forward zones clash if they overlap, a backward zone clashes if it lies inside a forward one, and two
    backward zones never clash.
    """
    forward = sorted((item for item in zones if item.minf < item.maxs), key=lambda item: item.minf)
    for one, next_one in pairwise(forward):
        if next_one.minf < one.maxs:
            return one, next_one
    starts = [item.minf for item in forward]
    for item in zones:
        place = bisect_left(starts, item.maxs) - 1  # the last forward zone that starts before maxs
        if item.minf >= item.maxs and place >= 0 and item.minf < forward[place].maxs:
            return forward[place], item
    return None


def explain_clash(one: Cluster, other: Cluster) -> Clash:
    """The read that shows best that two clusters clash.

    Where one write had returned before the other began, that is the read that brought the older value back:
    after the newer write had returned, or else after a read of the newer value.  Where the writes are
    concurrent neither value is the older one, and it is the latest of the reads that contradict each other.
    """
    for older, newer in ((one, other), (other, one)):
        if newer.write and (older.write is None or older.write.precedes(newer.write)):
            stale = [read for read in older.reads if newer.write.precedes(read)]
            if stale:
                return Clash("stale-read", stale[0], (newer.write,))
            evidence = {older.last, newer.first, newer.write}
            break
    else:
        evidence = {one.first, one.last, other.first, other.last}
    ordered = sorted(evidence, key=lambda op: op.invoked)
    culprit = [op for op in ordered if op.f == "read"][-1]
    return Clash("non-linearizable", culprit, tuple(op for op in ordered if op is not culprit))


def _finding(name: str, register: Register, clash: Clash) -> Finding:
    values = [op.value if op.f == "read" else written(op) for op in (clash.culprit, *clash.because)]
    return Finding(
        property=name,
        kind=clash.kind,
        key=register.key,
        culprit=clash.culprit,
        because=clash.because,
        versions=register.versions(*values),
        stale_s=register.stale_s(clash.culprit) if clash.culprit.f == "read" else None,
    )
