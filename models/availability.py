"""Availability: while the cache is down, the application still works, and soon enough.

The cache is down from a fault that takes it away to the fault that brings it back (`MENDED_BY`), or to the
phase `heal`.  A partition takes it away from one client or from all, and is mended for one or for all.  Every
operation that is invoked while the cache is down for its client must return ok within the bound, whatever becomes
of the cache later:

    cache: --down======================up---
    A:          |-r1-|                          ok in time
    A:               |-w2-!                     unavailable
    B:          |---------r1---------|          slow, if that took longer than the bound
    C:               |------w3-------------!    not judged: it failed in time, and with the cache up

What is open when the cache goes down is not judged: it may have met the very moment.  Nor is what the cache
is not to blame for:

Rule 1. The client crashed while the operation was open.
Rule 2. The database had its share: a fault of it, or a lost message between it and this client, at any time
        before the end of the operation, or an error that it answered in the course of the operation.
Rule 3. Time that a schedule made pass while it may have held a request back (the fault "advance" before
        `heal`) is the network's.  It counts only if the client was certainly waiting for the cache: its last
        request was taken by the cache and not answered.  All other time counts, and so does that of the
        epilogue, which holds nothing back.  A failure at the end of time that does not count may be the
        time-out of a database request that was held back: not judged, unless the database was heard after it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["MENDED_BY", "TOLERANCE_S", "Availability", "Call", "Outage", "calls", "outages"]

_RETURNS = frozenset({"heal", "start", "up"})

MENDED_BY: Mapping[str, frozenset[str]] = {
    "down": _RETURNS,
    "freeze": _RETURNS | {"failover", "thaw"},
    "kill": _RETURNS,
    "partition": frozenset({"heal"}),
    "pause": _RETURNS | {"resume"},
    "stop": _RETURNS | {"resume"},
}
"""The faults that take a server away, each with those that bring it back."""

TOLERANCE_S = 1e-6  # virtual seconds are sums of floats, and a bound must not fail by rounding

_OF_LINKS = frozenset({"partition"})
"""Faults of the network: what mends them may do so for one client."""

_MAY_DECLINE = frozenset({"acquire", "cas", "release"})
"""Methods for which a failure can be the right answer."""

_HOLDS_BACK = frozenset({"advance"})


@dataclass(frozen=True, slots=True)
class Call:
    """An operation and how it really ended: for `info`, `Operation.returned` does not tell.

    `ended` is None if the call never returned; `crashed` is set if its client crashed before it had.
    """

    operation: Operation
    ended: Returned | None
    crashed: bool


def calls(history: History) -> tuple[Call, ...]:
    """Every operation of a client, in order of invocation; `work` and what workers do never returns."""
    ends: dict[int, Returned] = {}
    crashed: set[int] = set()
    last: dict[int, int] = {}
    for event in history.events:
        if isinstance(event, Invoked):
            last[event.process] = event.index
        elif isinstance(event, Returned) and event.process in last:
            ends[last.pop(event.process)] = event
        elif isinstance(event, Faulted) and event.fault == "crash" and event.process in last:
            crashed.add(last[event.process])
    return tuple(
        Call(op, ends.get(op.invoked), op.invoked in crashed)
        for op in history.operations
        if op.f != "work" and op.process not in history.workers
    )


@dataclass(frozen=True, slots=True)
class Outage:
    """A server is away from event `fault` to the event `until` (None: to the end of the history).

    `spared` are the clients for which it came back before that, each with the event.
    """

    fault: Faulted
    until: int | None = None
    spared: tuple[tuple[int, int], ...] = ()

    def covers(self, process: int, index: int) -> bool:
        """True if the server is away for `process` at event `index`."""
        ends = [at for client, at in self.spared if client == process]
        ends += [] if self.until is None else [self.until]
        meant = self.fault.process in (None, process)
        return meant and self.fault.index < index and all(index < at for at in ends)


def outages(history: History, server: ServerName) -> tuple[Outage, ...]:
    """Every time that a server was away, in order of the faults that took it away."""
    heal = history.phase_start(Phase.HEAL)
    return tuple(
        _outage(fault, tuple(_mends(history, fault)), heal)
        for fault in history.faults
        if fault.fault in MENDED_BY and fault.server is server
    )


def _mends(history: History, fault: Faulted) -> Iterator[Faulted]:
    """What brings the same server back after `fault`, for somebody or for all."""
    for other in history.faults:
        named = other.fault in MENDED_BY[fault.fault] and other.server in (None, fault.server)
        if named and other.index > fault.index:
            yield other


def _outage(fault: Faulted, mends: tuple[Faulted, ...], heal: int | None) -> Outage:
    """What was away for all is away until it is back for all; a network may come back for one client."""
    ends = [mend.index for mend in mends if mend.process in (None, fault.process)]
    ends += [] if heal is None or heal < fault.index else [heal]
    for_one = fault.process is None and fault.fault in _OF_LINKS
    spared = tuple((m.process, m.index) for m in mends if for_one and m.process is not None)
    return Outage(fault, min(ends, default=None), spared)


@dataclass(frozen=True, slots=True)
class Availability:
    """What is invoked while the cache is down returns ok within `within_s` virtual seconds."""

    within_s: float

    def __post_init__(self) -> None:
        if not self.within_s >= 0:
            raise UsageError(f"availability within {self.within_s!r}; write 0 or more seconds")

    @property
    def name(self) -> str:
        return "availability"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return ()

    def check(self, history: History) -> Judgement:
        """One finding for each operation that was invoked while the cache was down, and did not work.

        "unavailable": it failed, or ended in doubt, with the cache still down; "slow": it had not returned
        within the bound (`found` are the seconds that it certainly took).  `at` is the fault that took the
        cache away.  Unknown if the history ends while an operation may still return in time.
        """
        away = outages(history, ServerName.CACHE)
        met = ((call, _met(away, call)) for call in calls(history)) if away else ()
        results = [self._judge(history, call, away, first) for call, first in met if first is not None]
        return Judgement(
            findings=tuple(found for found in results if isinstance(found, Finding)),
            judged=sum(found is None or isinstance(found, Finding) for found in results),
            unknown=next((found for found in results if isinstance(found, str) and found), None),
        )

    def _judge(
        self, history: History, call: Call, away: tuple[Outage, ...], first: Faulted
    ) -> Finding | str | None:
        """A finding, None if all is well, a doubt in words, or "" if nothing can be asked of the call."""
        operation, ended = call.operation, call.ended
        if call.crashed or _database_had_its_share(history, call):
            return ""
        took_s = _own_seconds(history, call)
        if took_s > self.within_s + TOLERANCE_S:
            return self._finding("slow", operation, first, took_s)
        if ended is None:
            return f"the history ends while {operation.f} of {operation.key!r} is open"
        if ended.outcome is Outcome.OK:
            return None
        still_down = any(outage.covers(operation.process, ended.index) for outage in away)
        if not still_down or operation.f in _MAY_DECLINE or _may_have_timed_out(history, call):
            return ""
        return self._finding("unavailable", operation, first, None)

    def _finding(self, kind: str, operation: Operation, first: Faulted, found: float | None) -> Finding:
        allowed = None if found is None else (0.0, self.within_s)
        return Finding(
            property=self.name,
            kind=kind,
            key=operation.key,
            culprit=operation,
            at=(first.index,),
            found=found,
            allowed=allowed,
        )


def _met(away: tuple[Outage, ...], call: Call) -> Faulted | None:
    """The fault that had taken the cache away when the operation was invoked, or None."""
    where = (call.operation.process, call.operation.invoked)
    return next((outage.fault for outage in away if outage.covers(*where)), None)


def _exchanges(history: History, call: Call) -> Iterator[Exchanged]:
    """The exchanges of the client from the invocation to the end of the call."""
    for exchange in history.exchanges:
        inside = call.operation.invoked < exchange.index and (
            call.ended is None or exchange.index < call.ended.index
        )
        if inside and exchange.process == call.operation.process:
            yield exchange


def _database_had_its_share(history: History, call: Call) -> bool:
    """Rule 2."""
    process, end = call.operation.process, call.ended.index if call.ended else len(history.events)
    broken = any(fault.server is ServerName.DATABASE and fault.index < end for fault in history.faults)
    lost = any(
        exchange.fate is not Fate.DELIVERED and exchange.index < end
        for exchange in history.exchanges
        if exchange.server is ServerName.DATABASE and exchange.process == process
    )
    return broken or lost or any(_is_refusal(exchange) for exchange in _exchanges(history, call))


def _is_refusal(exchange: Exchanged) -> bool:
    refused = isinstance(exchange.reply, dict) and "error" in exchange.reply
    return refused and exchange.server is ServerName.DATABASE


def _held_back(history: History, call: Call) -> Iterator[Faulted]:
    """Rule 3: the faults that let time pass while a request of this call may have been held back."""
    heal = history.phase_start(Phase.HEAL)
    end = call.ended.index if call.ended else len(history.events)
    exchanges = tuple(_exchanges(history, call))
    for fault in history.faults:
        inside = call.operation.invoked < fault.index < (end if heal is None else min(end, heal))
        if fault.fault in _HOLDS_BACK and inside:
            before = [exchange for exchange in exchanges if exchange.index < fault.index]
            if not (before and before[-1].waits and before[-1].server is ServerName.CACHE):
                yield fault


def _own_seconds(history: History, call: Call) -> float:
    """The virtual seconds that the call certainly took by itself; to the end of the history if it is open."""
    began_s = call.operation.invoked_s
    ended_s = call.ended.at_s if call.ended else history.events[-1].at_s
    held_s = sum(
        min(fault.at_s + fault.detail, ended_s) - fault.at_s
        for fault in _held_back(history, call)
        if isinstance(fault.detail, (int, float))
    )
    return ended_s - began_s - held_s


def _may_have_timed_out(history: History, call: Call) -> bool:
    """True if the last time that does not count may have ended a database request that was held back."""
    held = max((fault.index for fault in _held_back(history, call)), default=None)
    return held is not None and not any(
        exchange.index > held and exchange.server is ServerName.DATABASE and not exchange.waits
        for exchange in _exchanges(history, call)
    )
