"""Mutual exclusion: the critical sections of a lock are disjoint, and fencing tokens grow.

A section of a key begins when `acquire` has returned; it certainly lasts until its process next calls
`release` of that key, dies or is restarted, or has an operation end `info` (which may have been its death).

        A: |-acquire-|~~~~~~~~~~~~~~~~~|-release-|            ~ the section
        B:              |-acquire-|~~~~~~~~~|-release-|       two holders: both think they are alone

        A: |-acquire-|~~~~~~|-release-|                       not an overlap: the lock may have been free as
        B:     |--------acquire--------|~~~~~~                soon as A's release had begun

That the ttl of the lock had run out, or that somebody else released it, explains an overlap and does not
excuse it: whoever holds the lock does not know.

Rule 1  `acquire` has acquired if it returned ok with None (it had nothing to say) or anything that is true;
        with False, 0 or an empty value it has not.
Rule 2  A process that holds the lock already may acquire it again; the next release ends all of that.
Rule 3  Numbers that `acquire` returns are fencing tokens: one that began after another had returned must have
        the greater token (Kleppmann, How to do distributed locking, 2016).  Where only 0 and 1 were returned
        they may just as well mean no and yes, and are judged only with `fenced=True`.  The tokens of one
        process are compared only if a release that succeeded lies between them, since whoever still holds the
        lock may be given the same one.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, nextafter

from cacheproof.models.decision import ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Event, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.trace import mentioned, steps
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["MutualExclusion"]

_Lock = str | None
"""The key that a lock is named by."""


@dataclass(frozen=True, slots=True)
class MutualExclusion:
    """At most one process at a time is between `acquire` and `release` of a key.

    `fenced` says whether the numbers that `acquire` returns are fencing tokens: True, False, or None for
    "if one of them is neither 0 nor 1".
    """

    fenced: bool | None = None

    def __post_init__(self) -> None:
        if self.fenced is not None and not isinstance(self.fenced, bool):
            raise UsageError(f"fenced is {self.fenced!r}; write True, False or None")

    @property
    def name(self) -> str:
        return "mutual-exclusion"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return ()

    def check(self, history: History) -> Judgement:
        """Judges the acquisitions; at most one finding of each kind for each of them.

        "two-holders": `culprit` is the later acquire, `because` the acquire of the section that it fell into,
        and the release that ended that section, if one was called; `at` the first event after which the lock
        of the earlier holder may have been gone (it expired, the cache was killed, somebody else deleted it),
        if one was recorded.

        "fence-not-increasing": `culprit` is the acquire with the token `found`, `because` the one that had
        returned before it began with a token as great or greater; `allowed` the least token that would do.
        """
        walk = _Walk(history)
        findings = [self._overlap(history, walk, later, earlier) for later, earlier in walk.overlaps]
        doubt = None
        for lock, tenures in walk.tenures.items():
            if self._judges_tokens(tenures):
                findings += (self._late_token(lock, *pair) for pair in _not_increasing(tenures))
                doubt = doubt or (_without_token(tenures) if self.fenced else None)
        return Judgement(tuple(findings), walk.acquired, doubt)

    def _judges_tokens(self, tenures: Sequence[Operation]) -> bool:
        tokens = [token for op in tenures if (token := _token(op)) is not None]
        return any(token != 1 for token in tokens) if self.fenced is None else self.fenced

    def _overlap(self, history: History, walk: "_Walk", later: Operation, earlier: Operation) -> Finding:
        release = walk.release_after(earlier)
        lost = walk.lost_from(history, earlier, later)
        return Finding(
            property=self.name,
            kind="two-holders",
            key=later.key,
            culprit=later,
            because=(earlier,) if release is None else (earlier, release),
            at=() if lost is None else (lost,),
        )

    def _late_token(self, lock: _Lock, later: Operation, earlier: Operation) -> Finding:
        token, greatest = _token(later), _token(earlier)
        assert token is not None and greatest is not None
        least = greatest + 1 if isinstance(greatest, int) else nextafter(greatest, inf)
        return Finding(
            property=self.name,
            kind="fence-not-increasing",
            key=lock,
            culprit=later,
            because=(earlier,),
            found=token,
            allowed=(least, None),
        )


class _Walk:
    """One pass over a history.

    `acquired` counts the acquisitions; `overlaps` are pairs (later, earlier) of acquires whose sections
    certainly overlap; `tenures` are, for each lock, the acquires by which a process that did not hold it got
    it, in the order in which they returned.
    """

    def __init__(self, history: History) -> None:
        self.acquired = 0
        self.overlaps: list[tuple[Operation, Operation]] = []
        self.tenures: dict[_Lock, list[Operation]] = {}
        self._calls = {operation.invoked: operation for operation in history.operations}
        self._open: dict[int, Operation] = {}
        self._holders: dict[_Lock, dict[int, Operation]] = {}
        self._depth: dict[tuple[_Lock, int], int] = {}
        self._releases: dict[tuple[_Lock, int], list[Operation]] = {}
        self._losses: dict[_Lock, list[tuple[int, int | None]]] = {}
        for event in history.events:
            self._take(event)

    def _take(self, event: Event) -> None:
        match event:
            case Invoked(process=process):
                operation = self._open[process] = self._calls[event.index]
                if operation.f == "release":
                    self._holders.get(operation.key, {}).pop(process, None)
                    self._releases.setdefault((operation.key, process), []).append(operation)
            case Returned(process=process) if process in self._open:
                self._end(self._open.pop(process), event.outcome)
            case Faulted(fault="crash" | "restart", process=int(process)):
                self._bury(process)

    def _end(self, operation: Operation, outcome: Outcome) -> None:
        if outcome is Outcome.INFO:
            self._bury(operation.process)
        elif outcome is Outcome.OK and operation.f == "release":
            place = operation.key, operation.process
            self._depth[place] = max(0, self._depth.get(place, 0) - 1)
        elif outcome is Outcome.OK and operation.f == "acquire" and _has_acquired(operation):
            self._enter(operation)

    def _enter(self, acquire: Operation) -> None:
        self.acquired += 1
        holders = self._holders.setdefault(acquire.key, {})
        others = [holder for process, holder in holders.items() if process != acquire.process]
        if others and acquire.process not in holders:
            self.overlaps.append((acquire, others[-1]))
        holders.setdefault(acquire.process, acquire)
        place = acquire.key, acquire.process
        if not self._depth.get(place):
            self.tenures.setdefault(acquire.key, []).append(acquire)
        self._depth[place] = self._depth.get(place, 0) + 1

    def _bury(self, process: int) -> None:
        """The process may be gone, and whatever it held with it."""
        for holders in self._holders.values():
            holders.pop(process, None)

    def release_after(self, acquire: Operation) -> Operation | None:
        """The release that ended the section which `acquire` began."""
        calls = self._releases.get((acquire.key, acquire.process), [])
        place = bisect_right(calls, acquire.invoked, key=lambda call: call.invoked)
        return calls[place] if place < len(calls) else None

    def lost_from(self, history: History, holder: Operation, later: Operation) -> int | None:
        """The first event by which the lock of `holder` may have become free before `later` returned."""
        if holder.key not in self._losses:
            self._losses[holder.key] = sorted(_losses(history, holder.key))
        losses = self._losses[holder.key]
        place = bisect_right(losses, holder.invoked, key=lambda loss: loss[0])
        while place < len(losses) and losses[place][1] == holder.process:
            place += 1
        index = losses[place][0] if place < len(losses) else inf
        return int(index) if later.returned is not None and index < later.returned else None


def _losses(history: History, lock: _Lock) -> Iterator[tuple[int, int | None]]:
    """The events that may have freed a lock, each with the process that did it."""
    for fault in history.faults:
        named = lock is not None and isinstance(fault.detail, str) and mentioned(lock, fault.detail)
        if named or (fault.server is ServerName.CACHE and fault.detail is None):
            yield fault.index, None
    for step in steps(history, lock):
        if step.deletes and not step.sets and step.took_effect and step.exchange.reply != 0:
            yield step.index, step.exchange.process


def _has_acquired(acquire: Operation) -> bool:
    return acquire.result is None or bool(acquire.result)


def _token(acquire: Operation) -> int | float | None:
    """The number that an acquire returned, if it did."""
    result = acquire.result
    return result if isinstance(result, int | float) and not isinstance(result, bool) else None


def _without_token(tenures: Sequence[Operation]) -> str | None:
    for acquire in tenures:
        if _token(acquire) is None:
            return f"acquire of {acquire.key!r} returned {acquire.result!r}, which is no fencing token"
    return None


def _not_increasing(tenures: Sequence[Operation]) -> Iterator[tuple[Operation, Operation]]:
    """Pairs (later, earlier): the earlier had returned before the later began, with no smaller a token.

    For each later one, the earlier one with the greatest token: O(n log n).
    """
    numbered = [(token, op) for op in tenures if (token := _token(op)) is not None]
    greatest: tuple[int | float, Operation] | None = None
    returned = 0
    for token, later in sorted(numbered, key=lambda pair: pair[1].invoked):
        while numbered[returned][1].precedes(later):
            if greatest is None or numbered[returned][0] > greatest[0]:
                greatest = numbered[returned]
            returned += 1
        if greatest is not None and token <= greatest[0]:
            yield later, greatest[1]
