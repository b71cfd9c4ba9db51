"""Staleness in versions: how many newer versions were complete before a read began.

0 is the newest version at some instant of the read; n means that n newer ones were complete before:

        A:  |--w1--|  |--w2--|  |--w3--|
        B:      |-r0-|            |-r1-|  |-r1-|      behind by 0, 1 and 2:
        db:      1       2          3                 r0 began before 1 was committed, and the first r1 before 3

Rule 1. Where the database recorded commits of the key, a version is complete when it is committed, and the
        count is exact.  A commit of the value that was there already makes no new version.  A value is
        as new as its last commit before the read returned; one that is not committed yet (write-behind: the
        cache is ahead of the database), or that another write of it may yet commit, is behind by nothing.
Rule 2. Where there are none, a version is what one write made, complete when the write has returned ok.  It is
        newer if its write was invoked after all possible sources of the value had returned.  That counts
        what is certain, so the true number may be higher: concurrent writes might have come later, too.

Rule 2 gives a lower bound on the k of k-atomicity, which asks for one order of all operations in which each read
returns one of the last k values (Aiyer, Alvisi and Bazzi, On the availability of non-strict quorum systems,
DISC 2005; its verification: Golab, Hurwitz and Li, On the k-atomicity-verification problem, ICDCS 2013): a
read that is n versions behind refutes every k up to n.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import NamedTuple

from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, judge_registers, obstacle, registers, written
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["Lag", "StalenessInVersions", "lags", "most_versions_behind"]

_Identity = tuple[type, Value]


@dataclass(frozen=True, slots=True)
class Lag:
    """How far one read was behind: `behind` of the `complete` versions were newer than what it returned.

    `after` is where they begin: the place among the versions that were committed, or else the event index
    after which their writes were invoked.
    """

    read: Operation
    behind: int
    complete: int
    after: float


@dataclass(frozen=True, slots=True)
class StalenessInVersions:
    """No read returns a value when more than `versions` newer ones were complete before it began."""

    versions: int

    def __post_init__(self) -> None:
        if isinstance(self.versions, bool) or not isinstance(self.versions, int) or self.versions < 0:
            raise UsageError(f"a bound on staleness is {self.versions!r} versions; write 0, 1, 2, …")

    @property
    def name(self) -> str:
        return "staleness-in-versions"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding "versions-behind" for each read that is too far behind, with the number in `found`.

        `because` and `versions` show as many newer versions as break the bound, the oldest of them.  Judges
        reads before which more than `versions` versions were complete: others cannot be too far behind.
        """
        return judge_registers(history, self._judge)

    def _judge(self, register: Register) -> Judgement:
        scale = _scale(register)
        judged = [lag for lag in scale.lags() if lag.complete > self.versions]
        findings = [self._finding(scale, lag) for lag in judged if lag.behind > self.versions]
        return Judgement(tuple(findings), len(judged))

    def _finding(self, scale: "_Commits | _Writes", lag: Lag) -> Finding:
        because, versions = scale.newer(lag, self.versions + 1)
        return Finding(
            property=self.name,
            kind="versions-behind",
            key=scale.register.key,
            culprit=lag.read,
            because=because,
            versions=versions,
            stale_s=lag.read.invoked_s - versions[-self.versions - 1].at_s if versions else None,
            found=lag.behind,
            allowed=(0, self.versions),
        )


def most_versions_behind(history: History) -> int | None:
    """The most versions that a read was behind; None if no read had a version to be behind.

    Keys with operations that are neither reads nor writes are left out.
    """
    readable = (register for register in registers(history) if obstacle(register.operations) is None)
    found = [lag.behind for register in readable for lag in lags(register) if lag.complete]
    return max(found, default=None)


def lags(register: Register) -> Iterator[Lag]:
    """Every ok read of a value that somebody may have written, in order of invocation.  O(n log n)."""
    return _scale(register).lags()


def _scale(register: Register) -> "_Commits | _Writes":
    return _Commits(register) if register.commits else _Writes(register)


class _Commits:
    """Rule 1.  `versions` are the commits that changed the value; the version at place n is the n-th of them."""

    def __init__(self, register: Register) -> None:
        self.register = register
        self.versions: list[Committed] = []
        self._commits: dict[_Identity, list[int]] = {}
        self._places: dict[_Identity, list[int]] = {}
        last = identity(register.initial)
        for commit in register.commits:
            value = identity(commit.value)
            if value != last:
                self.versions.append(commit)
                self._places.setdefault(value, []).append(len(self.versions))
            self._commits.setdefault(value, []).append(commit.index)
            last = value
        self._indices = [commit.index for commit in self.versions]
        self._sources = _sources(register)

    def lags(self) -> Iterator[Lag]:
        for read in self.register.reads:
            complete = bisect_left(self._indices, read.invoked)
            place = self._place(read)
            if place is not None:
                yield Lag(read, max(complete - place, 0), complete, place)

    def newer(self, lag: Lag, most: int) -> tuple[tuple[Operation, ...], tuple[Committed, ...]]:
        """The writes of the oldest `most` newer versions; their commits, after that of what was read."""
        place = int(lag.after)
        newer = self.versions[place : place + most]
        because = dict.fromkeys(write for item in newer for write in self.register.sources(item.value))
        return tuple(because), (*self.versions[max(place - 1, 0) : place], *newer)

    def _place(self, read: Operation) -> int | None:
        """The place of what was read, the newest where it may not be committed yet, None if nobody wrote it."""
        value, returned = identity(read.value), _finish(read)
        begun = bisect_right(self._sources.get(value, _NOBODY).invoked, returned)
        if begun > bisect_left(self._commits.get(value, ()), returned):
            return len(self.versions)
        places = self._places.get(value, [])
        seen = bisect_left(places, returned, key=lambda place: self._indices[place - 1])
        if seen:
            return places[seen - 1]
        return 0 if self.register.is_initial(read.value) else None


class _Writes:
    """Rule 2.  `versions` are the acknowledged writes, in order of invocation."""

    def __init__(self, register: Register) -> None:
        self.register = register
        self.versions = sorted(register.acknowledged, key=lambda write: write.invoked)
        self._invoked = [write.invoked for write in self.versions]
        self._returned = sorted(map(_finish, self.versions))
        self._sources = _sources(register)

    def lags(self) -> Iterator[Lag]:
        """Sweeps over reads and writes in order of invocation, with the writes that are open at each read."""
        started, still_open = 0, list[Operation]()
        for read in sorted(self.register.reads, key=lambda read: read.invoked):
            upto = bisect_left(self._invoked, read.invoked)
            still_open = [op for op in (*still_open, *self.versions[started:upto]) if not op.precedes(read)]
            started = upto
            after = self._last_source(read)
            if after is not None:
                newer = upto - bisect_right(self._invoked, after)
                newer -= sum(op.invoked > after for op in still_open)
                yield Lag(read, max(newer, 0), bisect_left(self._returned, read.invoked), after)

    def newer(self, lag: Lag, most: int) -> tuple[tuple[Operation, ...], tuple[Committed, ...]]:
        """The oldest `most` newer writes."""
        later = islice(self.versions, bisect_right(self._invoked, lag.after), None)
        return tuple(islice((write for write in later if write.precedes(lag.read)), most)), ()

    def _last_source(self, read: Operation) -> float | None:
        """When the last possible source of what was read had returned; None if nobody had begun to write it."""
        sources = self._sources.get(identity(read.value), _NOBODY)
        begun = bisect_right(sources.invoked, _finish(read))
        if begun:
            return sources.ended[begun - 1]
        return -inf if self.register.is_initial(read.value) else None


class _Sources(NamedTuple):
    """The possible writes of a value in order of invocation; `ended` is when each and all before it had returned."""

    invoked: list[int]
    ended: list[float]


_NOBODY = _Sources([], [])


def _sources(register: Register) -> dict[_Identity, _Sources]:
    found: dict[_Identity, _Sources] = {}
    for write in sorted(register.writes, key=lambda write: write.invoked):
        if write.outcome is not Outcome.FAIL:
            sources = found.setdefault(identity(written(write)), _Sources([], []))
            sources.invoked.append(write.invoked)
            sources.ended.append(max([_finish(write), *sources.ended[-1:]]))
    return found


def _finish(operation: Operation) -> float:
    return inf if operation.returned is None else operation.returned
