"""Δ-atomicity: a register may show the past, but no more than Δ virtual seconds of it.

Golab, Li and Shah, Analyzing Consistency Properties for Fun and Profit, PODC 2011: a history is Δ-atomic if
it is linearizable once the start of every read is moved back by Δ.

        A: |--w1--| |--w2--|    5 s             r1 is stale: w2 had returned 5 s before it began.
        B:                  <- - - - - |-r1-|   With Δ = 5 it begins as w2 returns, and may come before it.

Unlike bounded staleness this needs no database that tells when a version became visible, only operations,
and it forbids inversions as well: who has seen the new value, and then sees the old one, needs a Δ too.

Rule 1. A moment is (virtual seconds, event index), compared in this order.  With Δ = 0 that is the order of
        events, so 0-atomic is exactly linearizable.
Rule 2. With Δ > 0 a read that was invoked at t begins with the first event of the instant t - Δ: the whole
        instant counts, so a value superseded exactly Δ seconds ago may be read.  That is the more lenient
        reading of a tie, and the only one under which a least Δ exists.
Rule 3. A violation within one instant (0 s, but in a clear order of events) is allowed by every Δ > 0.
Rule 4. Ends do not move.  A value that was read before anybody wrote it is wrong for every Δ.
Rule 5. Ambiguous operations, and values that may have been written more than once, are as in zones.py.

The least Δ.  Let f be the earliest finish in a cluster, r the latest start of a read, w the start of its
write.  X need not come before Y once r of Y has moved back to f of X, unless Y's write itself began after
it.  So two clusters need min(r_X - f_Y, r_Y - f_X), and if f_X < w_Y, r_X - f_Y (f_Y ≥ w_Y > f_X rules the
other way out).  The smaller term is r_X - f_Y just if r_X + f_X ≤ r_Y + f_Y.  Hence the least Δ is the largest
r_X - f_Y over the pairs (X, Y) with f_X < w_Y, or with X before Y in the order of r + f.  In either order the
best X for each Y is a running maximum of r: O(n log n), the pair included.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from operator import itemgetter

from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Value
from cacheproof.models.register import Register, judge_registers, obstacle, written
from cacheproof.models.verdict import Finding, Judgement
from cacheproof.models.zones import (
    UNWRITTEN,
    Clash,
    Cluster,
    check_register,
    clusters,
    explain_clash,
    repetition,
)

__all__ = ["DeltaAtomicity", "LeastDelta", "least_delta"]

_TOLERANCE_S = 1e-6  # virtual seconds are sums of floats, and a bound must not fail by rounding

_Moment = tuple[float, float]


@dataclass(frozen=True, slots=True)
class LeastDelta:
    """How far the reads of a register have to be moved back, and what makes it so far.

    Without a clash `seconds` is 0: it is linearizable.  With a clash it is the least Δ under which the
    register is Δ-atomic; 0 then means that every Δ > 0 will do, though 0 itself will not (rule 3), and
    infinity that none will (rule 4).  `unknown` is a doubt, in spite of which `seconds` is a lower bound.
    """

    seconds: float = 0.0
    clash: Clash | None = None
    unknown: str | None = None

    def exceeds(self, seconds: float) -> bool:
        """True if the register is certainly not Δ-atomic with this many seconds."""
        if self.clash is None or seconds == 0:
            return self.clash is not None
        return self.seconds > seconds + _TOLERANCE_S


@dataclass(frozen=True, slots=True)
class DeltaAtomicity:
    """Each key is one register, the reads of which may lag behind by `seconds` (virtual)."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < inf:
            raise UsageError(f"the Δ of Δ-atomicity is {self.seconds!r}; write seconds from 0 on")

    @property
    def name(self) -> str:
        return "delta-atomicity"

    @property
    def probes_s(self) -> tuple[float, ...]:
        """A second before the bound, when what was cached in time is still there, and a second after it, when
        it should be gone: what is read then and was superseded before the end is too old in any case.
        """
        return (max(self.seconds - 1.0, 0.0), self.seconds + 1.0)

    def check(self, history: History) -> Judgement:
        """At most one finding a key: the clash that needs the largest Δ.  Judges ok reads.

        The kinds are those of `Linearizable` ("stale-read", "non-linearizable", "fabricated", "aborted",
        "premature").  `found` is the least Δ in seconds, None where none will do.
        """
        return judge_registers(history, self._judge)

    def _judge(self, register: Register) -> Judgement:
        least = least_delta(register.operations, register.initial)
        judged = len(register.reads)
        if least.clash is None or not least.exceeds(self.seconds):
            return Judgement(judged=judged, unknown=least.unknown)
        return Judgement((self._finding(register, least, least.clash),), judged)

    def _finding(self, register: Register, least: LeastDelta, clash: Clash) -> Finding:
        values = [op.value if op.f == "read" else written(op) for op in (clash.culprit, *clash.because)]
        return Finding(
            property=self.name,
            kind=clash.kind,
            key=register.key,
            culprit=clash.culprit,
            because=clash.because,
            versions=register.versions(*values),
            stale_s=register.stale_s(clash.culprit),
            found=None if least.seconds == inf else least.seconds,
            allowed=(None, self.seconds),
        )


def least_delta(operations: Sequence[Operation], initial: Value = None) -> LeastDelta:
    """The least Δ, in virtual seconds, under which the operations on one key are Δ-atomic.  O(n log n).

    Takes reads, writes and deletes in any order; with any other method among them the result is unknown.
    """
    register = Register("", initial, tuple(operations))
    if doubt := obstacle(register.operations):
        return LeastDelta(unknown=doubt)
    clash, doubt = check_register(operations, initial).clash, repetition(register)
    if clash is None:
        return LeastDelta(unknown=doubt)
    if clash.kind in UNWRITTEN:
        return LeastDelta(inf, clash, doubt)
    lags = [_Lag.of(cluster) for cluster in clusters(register)]
    most = max((*_by_begin(lags), *_by_middle(lags)), key=lambda need: need.seconds, default=None)
    if most is None or most.seconds <= 0:
        return LeastDelta(0.0, clash, doubt)
    return LeastDelta(most.seconds, _explain(most), doubt)


@dataclass(frozen=True, slots=True)
class _Lag:
    """A cluster, its earliest finish f and the latest start r of its reads, in virtual seconds."""

    cluster: Cluster
    finish_s: float
    start_s: float

    @classmethod
    def of(cls, cluster: Cluster) -> "_Lag":
        write = -inf if cluster.write is None else _finish(cluster.write)[0]
        finish_s = min([write, *(_finish(read)[0] for read in cluster.reads)])
        return cls(cluster, finish_s, max((read.invoked_s for read in cluster.reads), default=-inf))


@dataclass(frozen=True, slots=True)
class _Need:
    """The least Δ that two clusters need, in seconds."""

    seconds: float
    one: Cluster
    other: Cluster


def _by_begin(lags: Sequence[_Lag]) -> Iterator[_Need]:
    """For each Y with a write, the X with the latest read of those with f_X < w_Y."""
    pending = sorted(lags, key=lambda lag: lag.cluster.minf, reverse=True)
    latest: _Lag | None = None
    begun = [(lag.cluster.write.invoked, lag) for lag in lags if lag.cluster.write]
    for begin, lag in sorted(begun, key=itemgetter(0)):
        while pending and pending[-1].cluster.minf < begin:
            latest = _later(latest, pending.pop())
        if latest:
            yield _Need(latest.start_s - lag.finish_s, latest.cluster, lag.cluster)


def _by_middle(lags: Sequence[_Lag]) -> Iterator[_Need]:
    """For each Y with reads, the X with the latest read of those before it in the order of r + f."""
    latest: _Lag | None = None
    read = (lag for lag in lags if lag.cluster.reads)
    for lag in sorted(read, key=lambda item: item.start_s + item.finish_s):
        if latest:
            seconds = min(latest.start_s - lag.finish_s, lag.start_s - latest.finish_s)
            yield _Need(seconds, latest.cluster, lag.cluster)
        latest = _later(latest, lag)


def _later(one: _Lag | None, other: _Lag) -> _Lag:
    """The one with the later read."""
    return other if one is None or one.start_s < other.start_s else one


def _explain(need: _Need) -> Clash:
    """Why a little less than the Δ that two clusters need would be too little."""
    moved = _Moved(need.seconds - _TOLERANCE_S, (need.one, need.other))
    clash = explain_clash(*(moved.cluster(cluster) for cluster in (need.one, need.other)))
    because = sorted(map(moved.original, clash.because), key=lambda op: op.invoked)
    return Clash(clash.kind, moved.original(clash.culprit), tuple(because))


class _Moved:
    """Two clusters on a new clock, on which reads begin `seconds` earlier (rules 1 and 2)."""

    def __init__(self, seconds: float, sides: Iterable[Cluster]) -> None:
        self._seconds = max(seconds, 0.0)
        operations = [op for side in sides for op in (*side.reads, side.write) if op]
        moments = {self._start(op) for op in operations} | {_finish(op) for op in operations}
        self._clock = {moment: time for time, moment in enumerate(sorted(moments))}
        self._originals: dict[int, Operation] = {}

    def _start(self, operation: Operation) -> _Moment:
        if operation.f == "read" and self._seconds:
            return operation.invoked_s - self._seconds, -1
        return operation.invoked_s, operation.invoked

    def _move(self, operation: Operation) -> Operation:
        end = None if operation.returned is None else self._clock[_finish(operation)]
        moved = replace(operation, invoked=self._clock[self._start(operation)], returned=end)
        self._originals[id(moved)] = operation
        return moved

    def cluster(self, cluster: Cluster) -> Cluster:
        write = None if cluster.write is None else self._move(cluster.write)
        return Cluster(write, tuple(map(self._move, cluster.reads)))

    def original(self, moved: Operation) -> Operation:
        return self._originals[id(moved)]


def _finish(operation: Operation) -> _Moment:
    """The moment of return; never, if the operation is pending or the time of its return is not known."""
    if operation.returned is None:
        return inf, inf
    return inf if operation.returned_s is None else operation.returned_s, operation.returned
