"""Liveness: once everything is healed, every operation returns, soon enough, and no lock is left behind.

Healed is a run when its epilogue begins to drain (until then servers are started and faults mended), else when
it entered the phase `heal`, else after its last fault.  From then on nothing is held back by a schedule, and
all time that passes is the cache's own:

    healed: ------*------------------------
    A:         |------r1------|                 slow, if from * to its return takes longer than the bound
    B:            |---w2-------------------     hangs: the run came to rest, and it never returned
    C:               |-<acquire>-|              orphan lock: refused, though no living process holds the lock

An operation returns by raising, too: whether it may fail is for other properties to say.  Operations of
crashed clients are excused, and so are those of workers, which never end.

A process *may hold* a lock from the invocation of an `acquire` that did not certainly fail (it raised having
changed nothing, or returned False) to the end of its own ok `release` of that key, or to its crash.  An
`acquire` that is refused, is slow or hangs is excused while a living process may hold the lock.  One that
returned False is an orphan lock only if it was invoked when the bound had passed, for a dead holder's lock may
have a time to live; one that raised, only if besides somebody died holding the lock, and no fault had ever
cut a connection of its client.
"""

from dataclasses import dataclass
from math import inf

from cacheproof.models.availability import MENDED_BY, TOLERANCE_S, Call, calls
from cacheproof.models.decision import Fate
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Entered, Event, Exchanged, Faulted, Phase
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["Liveness"]

_CUTS = MENDED_BY.keys() | {"failover"}
"""The faults that no connection can be trusted to survive."""


@dataclass(frozen=True, slots=True)
class _Hold:
    """A process may hold a lock from event `since` to event `until`; `died` if it ended by a crash."""

    acquire: Operation
    since: int
    until: float
    died: bool
    pending: bool


@dataclass(frozen=True, slots=True)
class _Moment:
    index: int
    at_s: float


@dataclass(frozen=True, slots=True)
class Liveness:
    """After healing every operation returns within `within_s` virtual seconds, and finds no orphan lock."""

    within_s: float

    def __post_init__(self) -> None:
        if not self.within_s >= 0:
            raise UsageError(f"liveness within {self.within_s!r}; write 0 or more seconds")

    @property
    def name(self) -> str:
        return "liveness"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding for each operation that does not return in time.  Judges what is open after healing.

        "slow": it took `found` seconds; "hangs": it never returned (`found`: the seconds until the history
        ended); "orphan-lock": the culprit is an `acquire` that was refused or hangs, `because` are those of
        the processes that died holding the lock.  Unknown if the history ends too early to tell.
        """
        healed = _healed(history)
        every = calls(history)
        open_after = [call for call in every if not call.crashed and _end(call) > healed.index]
        results = [self._judge(history, call, every, healed) for call in open_after]
        return Judgement(
            findings=tuple(found for found in results if isinstance(found, Finding)),
            judged=sum(found is None or isinstance(found, Finding) for found in results),
            unknown=next((found for found in results if isinstance(found, str) and found), None),
        )

    def _judge(
        self, history: History, call: Call, every: tuple[Call, ...], healed: _Moment
    ) -> Finding | str | None:
        """A finding, None if all is well, a doubt in words, or "" if nothing can be asked of the call."""
        operation = call.operation
        took_s = _end_s(history, call) - max(operation.invoked_s, healed.at_s)
        late = took_s > self.within_s + TOLERANCE_S
        rest = history.phase_start(Phase.QUIESCE)
        hangs = call.ended is None and rest is not None and (late or operation.invoked < rest)
        holds = _holds(history, every, call)
        if hangs:
            assert rest is not None
            return self._hanging(call, holds, rest, took_s)
        if late:
            return "" if _held_by_the_living(call, holds) else self._finding("slow", operation, took_s)
        if call.ended is None:
            return f"the history ends while {operation.f} of {operation.key!r} is open"
        due_s = healed.at_s + self.within_s - TOLERANCE_S
        asked_late = operation.invoked > healed.index and operation.invoked_s >= due_s
        if asked_late and _is_refused(history, call, holds) and not _held_by_the_living(call, holds):
            return self._orphan(call, holds, None)
        return None

    def _hanging(self, call: Call, holds: list[_Hold], rest: int, took_s: float) -> Finding | str:
        if call.operation.f != "acquire":
            return self._finding("hangs", call.operation, took_s)
        begun = max(call.operation.invoked, rest)
        if any(hold.until > begun and not hold.pending for hold in holds):
            return ""
        return self._orphan(call, holds, took_s)

    def _orphan(self, call: Call, holds: list[_Hold], took_s: float | None) -> Finding:
        dead = tuple(hold.acquire for hold in holds if hold.died and hold.until < _end(call))
        return self._finding("orphan-lock", call.operation, took_s, dead)

    def _finding(
        self, kind: str, culprit: Operation, found: float | None, because: tuple[Operation, ...] = ()
    ) -> Finding:
        return Finding(
            property=self.name,
            kind=kind,
            key=culprit.key,
            culprit=culprit,
            because=because,
            found=found,
            allowed=None if found is None else (0.0, self.within_s),
        )


def _healed(history: History) -> _Moment:
    """The moment from which on nothing is broken any more, and nothing is held back."""
    for phase in (Phase.DRAIN, Phase.HEAL):
        for event in history.events:
            if isinstance(event, Entered) and event.phase is phase:
                return _Moment(event.index, event.at_s)
    last = history.faults[-1] if history.faults else None
    if last is None:
        return _Moment(-1, 0.0)
    passed_s = last.detail if last.fault == "advance" and isinstance(last.detail, (int, float)) else 0.0
    return _Moment(last.index, last.at_s + passed_s)


def _end(call: Call) -> float:
    return inf if call.ended is None else call.ended.index


def _end_s(history: History, call: Call) -> float:
    return history.events[-1].at_s if call.ended is None else call.ended.at_s


def _holds(history: History, every: tuple[Call, ...], call: Call) -> list[_Hold]:
    """Whoever may hold the lock that `call` asks for, apart from itself; nobody if it asks for none."""
    if call.operation.f != "acquire":
        return []
    others = (
        other
        for other in every
        if other.operation.f == "acquire" and other.operation.key == call.operation.key and other is not call
    )
    return [_hold(history, every, other) for other in others if not _certainly_failed(other)]


def _certainly_failed(call: Call) -> bool:
    return call.operation.outcome is Outcome.FAIL or call.operation.result is False


def _hold(history: History, every: tuple[Call, ...], acquire: Call) -> _Hold:
    operation = acquire.operation
    released = (
        _end(call)
        for call in every
        if call.operation.f == "release"
        and call.operation.key == operation.key
        and call.operation.process == operation.process
        and call.operation.invoked > operation.invoked
        and call.operation.outcome is Outcome.OK
    )
    died = (
        fault.index
        for fault in history.faults
        if fault.fault == "crash" and fault.process == operation.process and fault.index > operation.invoked
    )
    release, death = next(released, inf), next(died, inf)
    pending = acquire.ended is None and not acquire.crashed
    return _Hold(operation, operation.invoked, min(release, death), death < release, pending)


def _held_by_the_living(call: Call, holds: list[_Hold]) -> bool:
    """True if a living process may have held the lock at some time while the call was open."""
    return any(hold.since < _end(call) and hold.until > call.operation.invoked for hold in holds)


def _is_refused(history: History, call: Call, holds: list[_Hold]) -> bool:
    operation = call.operation
    if operation.f != "acquire" or operation.outcome is Outcome.INFO:
        return False
    if operation.outcome is Outcome.OK:
        return operation.result is False
    return any(hold.died for hold in holds) and not any(
        _cuts(event, operation.process) for event in history.events[: operation.invoked]
    )


def _cuts(event: Event, process: int) -> bool:
    """True if a connection of `process` did not survive the event."""
    if isinstance(event, Exchanged):
        return event.process == process and event.fate is not Fate.DELIVERED
    return isinstance(event, Faulted) and event.fault in _CUTS and event.process in (None, process)
