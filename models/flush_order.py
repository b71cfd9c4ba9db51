"""Flush order: the database takes the writes of a key in their order.

The versions that were committed are a subsequence of the writes: some may be left out (a flush that skips
what is superseded anyway), none comes after a newer one.

        A: |--w1--|  |--w2--|       db: 1  2     in order; so is 2 alone
        A: |--w1--|  |--w2--|       db: 2  1     reordered: w1 had returned before w2 was invoked
        A: |--w1--|  |--w2--|       db: 1  2  1  redelivered: w1 was flushed once more, over w2
        A: |----w1----|             db: 2  1     either order will do: the writes are concurrent,
        B:     |----w2----|         db: 1  2  1  but no order has one of them on both sides of the other

Rule 1  The order of writes is any that respects real time.  A history is refuted only if no such order, and
        no choice of the write that each version came from, explains the commits.
Rule 2  A write that ended `info` may take effect at any time after it was invoked: it precedes nothing.  So
        may one that was said to have failed, where its value was committed all the same.
Rule 3  The initial record is older than every write.  Who commits it again has restored an old value.
Rule 4  A version with the value of the one before it changes nothing and is passed over; so is a version that
        nobody wrote, but then the key cannot be upheld.

Why pairs suffice: real time orders intervals.  Let version i come from the write s(i), a different write
for each.  A circle made of "s(i) is flushed before s(j)" for i < j and of "precedes" needs one step that goes
back, and that step alone, s(j) precedes s(i) with i < j, is a circle.  So it is enough that each write had not
returned before the latest invocation among those flushed before it.  With one possible write for each value
that is one pass, O(n).  Where values repeat, the choices that may matter are carried along, and they are few:
of two writes of one value, the one that both began and ended first is used first (in any solution in which it
comes second, or not at all, the two can be exchanged).
"""

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, judge_registers
from cacheproof.models.verdict import Finding, Judgement

__all__ = ["MOST_WAYS", "FlushOrder"]

_Identity = tuple[type, Value]

MOST_WAYS = 1_000
"""So many ways to explain the versions so far are carried along; with more of them the key is unknown."""


@dataclass(frozen=True, slots=True)
class FlushOrder:
    """No version of a key is committed after a newer one."""

    @property
    def name(self) -> str:
        return "flush-order"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """One finding "flush-reorder" for each version that was committed after a newer one.

        `culprit` is the older write (None for the initial record), `because` the newer one, `versions` the
        commits of the two, in commit order.  Judges the versions that replaced another one.

        Unknown if a version was committed that no operation wrote, or if values repeat so often that the
        writes they came from cannot be told apart.
        """
        return judge_registers(history, self._judge)

    def _judge(self, register: Register) -> Judgement:
        explained = tuple(commit for commit in register.commits if _is_explained(register, commit))
        doubt = _doubt(register)
        ways = _Ways(_repeated(explained))
        findings: list[Finding] = []
        judged = 0
        newest = last = register.initial
        for commit in explained:
            if identity(commit.value) not in (identity(newest), identity(last)):
                judged += 1
                sources = _sources(register, commit)
                if ways.extend(commit, sources):
                    newest = commit.value
                else:
                    findings.append(self._finding(register.key, commit, sources, ways.one))
                if ways.count > MOST_WAYS:
                    doubt = f"values of {register.key!r} repeat: too many orders of the writes explain them"
                    break
            last = commit.value
        return Judgement(tuple(findings), max(0, judged - 1), doubt)

    def _finding(
        self, key: str, commit: Committed, sources: tuple[Operation, ...], flushed: "_Flushed | None"
    ) -> Finding:
        """The late version, against the last one before it that is certainly newer (or just the last one)."""
        culprit = max(sources, key=_finish, default=None)
        assert flushed is not None  # the first version can always be explained
        until = -inf if culprit is None else _finish(culprit)
        over = next((item for item in _back(flushed) if until < item.write.invoked), flushed)
        return Finding(
            property=self.name,
            kind="flush-reorder",
            key=key,
            culprit=culprit,
            because=(over.write,),
            versions=(over.commit, commit),
        )


@dataclass(frozen=True, slots=True)
class _Flushed:
    """A version and the write it came from; a chain back to the first."""

    commit: Committed
    write: Operation
    before: "_Flushed | None"


def _back(flushed: _Flushed | None) -> Iterator[_Flushed]:
    while flushed is not None:
        yield flushed
        flushed = flushed.before


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one explanation of the versions so far leaves open: `latest` is the latest invocation among the
    writes they came from, `used` the (finish, invocation) of those that could explain a later version too."""

    latest: float = -inf
    used: frozenset[tuple[float, int]] = frozenset()


class _Ways:
    """Every way to explain the versions so far, as far as the difference can matter.

    `repeated` are the values that are committed more than once: of the others it need not be kept which of
    their writes were used.
    """

    def __init__(self, repeated: Container[_Identity]) -> None:
        self._repeated = repeated
        self._ways: Mapping[_Choice, _Flushed | None] = {_Choice(): None}

    @property
    def count(self) -> int:
        return len(self._ways)

    @property
    def one(self) -> _Flushed | None:
        """The latest version in one of the ways."""
        return next(iter(self._ways.values()))

    def extend(self, commit: Committed, sources: tuple[Operation, ...]) -> bool:
        """Go on with a version from each of the ways.  False, and nothing changes, if none can go on."""
        further: dict[_Choice, _Flushed | None] = {}
        for choice, flushed in self._ways.items():
            for write in _candidates(choice, sources):
                further.setdefault(self._next(choice, commit, write), _Flushed(commit, write, flushed))
        self._ways = further or self._ways
        return bool(further)

    def _next(self, choice: _Choice, commit: Committed, write: Operation) -> _Choice:
        latest = max(choice.latest, write.invoked)
        used = set(choice.used)
        if identity(commit.value) in self._repeated:
            used.add((_finish(write), write.invoked))
        return _Choice(latest, frozenset(item for item in used if item[0] >= latest))


def _candidates(choice: _Choice, sources: tuple[Operation, ...]) -> Iterator[Operation]:
    """The writes that may come next, without those that began and ended after another one of them."""
    earliest: float | None = None
    for write in sources:  # in order of invocation
        finish = _finish(write)
        free = finish >= choice.latest and (finish, write.invoked) not in choice.used
        if free and (earliest is None or finish < earliest):
            earliest = finish
            yield write


def _finish(write: Operation) -> float:
    """Until when a write may take effect."""
    return write.returned if write.outcome is Outcome.OK and write.returned is not None else inf


def _sources(register: Register, commit: Committed) -> tuple[Operation, ...]:
    """The writes of the value of a version that had begun by then."""
    return tuple(write for write in register.wrote(commit.value) if write.invoked < commit.index)


def _is_explained(register: Register, commit: Committed) -> bool:
    return register.is_initial(commit.value) or bool(_sources(register, commit))


def _doubt(register: Register) -> str | None:
    for commit in register.commits:
        if not _is_explained(register, commit):
            return f"the database committed {commit.value!r}, which no operation had written by then"
    return None


def _repeated(commits: tuple[Committed, ...]) -> frozenset[_Identity]:
    """The values that more than one of these versions has."""
    counts = Counter(identity(commit.value) for commit in commits)
    return frozenset(value for value, count in counts.items() if count > 1)
