"""What is known of the order of a key's versions, each piece with its evidence.

A version is what one write made of the record; the initial record is the first.  Two sources tell which of two
versions is the older one:

Rule 1. Between two versions that the database committed, the order of the commits decides, and nothing else.
Rule 2. Otherwise real time does: the write of the older one returned before that of the newer one was invoked.
        A write that ended `info` never returned; the initial record is older than every write.
Rule 3. A value counts once, so of a value with several possible versions only that is known which holds for
        all of them: several writes of it, or several places among the commits (`db: 1 2 1`).  Commits in a row
        of the same value are one place: a flush that is delivered twice makes no new version.

        A:  |--w1--| |--w2--| |--w3--|        1 < 3: committed in this order.  1 < 2 < 3 in real time:
        db:             1           3         2 was superseded before it was flushed, and left out

Rule 4. Where the database committed two versions against real time, real time is no witness for either:

        A:  |--w1--| |--w2--| |--w3--|        2 < 1 by rule 1, although w1 had returned before w2 began.
        db:                      2  1         3 was not committed: it is older or newer, nobody knows

All of this together never contradicts itself.  Both rules are interval orders (Fishburn, Intransitive
indifference with unequal intervals, J. Math. Psychology 1970): each version has a start and an end, and x is
older than y if x ends before y starts.  A circle of both kinds of facts could be shortened to two committed
versions that real time orders one way and the commits the other way, and rule 4 takes real time from these.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from math import inf
from typing import NamedTuple

from cacheproof.models.event import Committed
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, identity, written

__all__ = ["Edge", "Fact", "OrderGraph", "Span", "Version", "VersionOrder"]

_Identity = tuple[type, Value]


@dataclass(frozen=True, slots=True)
class Version:
    """A value of the record, and when it may have come about.

    `sources` are the writes that may have made it, in order of invocation; `initial` says that the record
    started with it.  `places` are its first and last place among the commits (the initial record has place 0),
    None if it was never committed; `commits` are those at the two places.  `begun` and `ended` enclose every
    moment at which it may have been made, in event indices, as real time alone tells.
    """

    value: Value
    sources: tuple[Operation, ...]
    initial: bool
    commits: tuple[Committed, ...]
    places: tuple[int, int] | None
    begun: float
    ended: float

    @property
    def unique(self) -> bool:
        """True if whoever read the value has seen this one version and no other."""
        one_place = self.places is None or self.places[0] == self.places[1]
        return self.origins == 1 and one_place

    @property
    def origins(self) -> int:
        """How many writes may have made it, the initial record included."""
        return len(self.sources) + self.initial


@dataclass(frozen=True, slots=True)
class Fact:
    """One version is older than another.

    The evidence is either in `versions`, two commits (one, if the older version is the initial record), or in
    `because`, the writes that stand in real time.
    """

    older: Version
    newer: Version
    because: tuple[Operation, ...] = ()
    versions: tuple[Committed, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A version on one of the two scales: it is older than another that starts after its end."""

    version: Version
    start: float
    end: float


@dataclass(frozen=True)
class VersionOrder:
    """The order of the versions of one key, as far as it is known.  Making it costs O(n log n)."""

    register: Register

    @cached_property
    def versions(self) -> tuple[Version, ...]:
        """Every version that a write which did not fail may have made: the initial one, then as written."""
        register = self.register
        sources: dict[_Identity, list[Operation]] = {identity(register.initial): []}
        for write in register.writes:
            if write.outcome is not Outcome.FAIL:
                sources.setdefault(identity(written(write)), []).append(write)
        places = _places(register)
        return tuple(
            _version(value, tuple(writes), register.is_initial(value[1]), places.get(value, []))
            for value, writes in sources.items()
        )

    def find(self, value: Value) -> Version | None:
        """The version of this value, or None if nobody may have written it."""
        return self._by_value.get(identity(value))

    def known(self, older: Version, newer: Version) -> Fact | None:
        """The fact that `older` is older than `newer`, or None if that is not known."""
        in_time = older.ended < newer.begun and not self._is_late(older) and not self._is_late(newer)
        if older.places is None or newer.places is None:
            return Fact(older, newer, because=_ends(older, newer)) if in_time else None
        # Of several writes of a value some may have been left out of the database: rule 2 holds for those.
        lone = older.origins == newer.origins == 1
        if older.places[1] < newer.places[0] and (lone or in_time):
            return Fact(older, newer, versions=(*older.commits[-1:], *newer.commits[:1]))
        return None

    @property
    def by_commit(self) -> Iterator[Span]:
        """The unique versions that were committed, on the scale of places."""
        for version in self.versions:
            if version.unique and version.places is not None:
                yield Span(version, *version.places)

    @property
    def by_real_time(self) -> Iterator[Span]:
        """The unique versions for which real time is a witness, on the scale of event indices.

        Together with `by_commit` this is all that is known of unique versions, and no more.
        """
        for version in self.versions:
            if version.unique and not self._is_late(version):
                yield Span(version, version.begun, version.ended)

    @cached_property
    def _by_value(self) -> Mapping[_Identity, Version]:
        return {identity(version.value): version for version in self.versions}

    @cached_property
    def _late(self) -> frozenset[_Identity]:
        return frozenset(identity(version.value) for version in _against_time(self.versions))

    def _is_late(self, version: Version) -> bool:
        return identity(version.value) in self._late


def _places(register: Register) -> Mapping[_Identity, list[tuple[int, Committed | None]]]:
    """Where each value stands among the commits; a commit of the value that was there makes no new place."""
    last, place = identity(register.initial), 0
    found: dict[_Identity, list[tuple[int, Committed | None]]] = {last: [(0, None)]}
    for commit in register.commits:
        value = identity(commit.value)
        if value != last:
            last, place = value, place + 1
            found.setdefault(value, []).append((place, commit))
    return found


def _version(
    value: _Identity,
    sources: tuple[Operation, ...],
    initial: bool,
    places: list[tuple[int, Committed | None]],
) -> Version:
    begun = [-inf] if initial else [float(write.invoked) for write in sources]
    ended = [-inf, *(inf if write.returned is None else write.returned for write in sources)]
    ends = (places[0], places[-1]) if len(places) > 1 else tuple(places)
    commits = tuple(commit for _, commit in ends if commit is not None)
    if len(places) > 1:  # the database came back to it, and real time cannot tell why
        begun += [float(commit.index) for commit in commits]
        ended += [float(commit.index) for commit in commits]
    span = (ends[0][0], ends[-1][0]) if ends else None
    return Version(value[1], sources, initial, commits, span, min(begun), max(ended))


def _ends(older: Version, newer: Version) -> tuple[Operation, ...]:
    """The writes that show an order in real time: the last one to return, and the first one invoked."""
    last = max(older.sources, key=lambda write: write.returned or 0, default=None)
    return (*(() if last is None else (last,)), newer.sources[0])


def _against_time(versions: Iterable[Version]) -> Iterator[Version]:
    """The versions that were committed before one which real time says is older, or after a newer one."""
    placed = [(version, *version.places) for version in versions if version.places is not None]
    by_last = sorted(placed, key=lambda item: item[2])
    lasts = [last for _, _, last in by_last]
    newest = list(accumulate((version.begun for version, _, _ in by_last), max))
    by_first = sorted(placed, key=lambda item: -item[1])
    firsts = [-first for _, first, _ in by_first]
    oldest = list(accumulate((version.ended for version, _, _ in by_first), min))
    for version, first, last in placed:
        before, behind = bisect_left(lasts, first), bisect_left(firsts, -last)
        after_a_newer = before > 0 and newest[before - 1] > version.ended
        before_an_older = behind > 0 and oldest[behind - 1] < version.begun
        if after_a_newer or before_an_older:
            yield version


class Edge(NamedTuple):
    """One step of an order graph: what leads to `target` is older than it, or the same.

    `cost` is 1 where an order becomes complete, so that a path costs what it has of facts and demands.
    `rank` numbers demands; what is known has none (-1).  `because` are operations that show it.
    """

    target: int
    cost: int
    rank: int = -1
    because: tuple[Operation, ...] = ()


class OrderGraph:
    """All that is known of the unique versions of a key, and whatever is demanded of them besides.

    There is a total order of the versions that extends both if and only if the graph has no circle.  A node
    stands for a version, or gathers several so that the number of edges stays linear.
    """

    def __init__(self, order: VersionOrder) -> None:
        self.order = order
        self._edges: list[list[Edge]] = [[] for _ in order.versions]
        self._nodes = {identity(version.value): place for place, version in enumerate(order.versions)}
        self._add_scale(order.by_commit, timed=False)
        self._add_scale(order.by_real_time, timed=True)

    def node(self, version: Version) -> int:
        """The node of a version."""
        return self._nodes[identity(version.value)]

    def add_node(self) -> int:
        """A new node that stands for no version."""
        self._edges.append([])
        return len(self._edges) - 1

    def add(self, source: int, edge: Edge) -> None:
        self._edges[source].append(edge)

    def passed(self, edges: Iterable[Edge]) -> Iterator[Version]:
        """The versions on a path, in its order."""
        versions = self.order.versions
        return (versions[edge.target] for edge in edges if edge.target < len(versions))

    def first_circle(self) -> tuple[Edge, ...]:
        """A circle, empty if there is none: of those that the lowest rank closes, one with the least cost.

        O(n) if there is none, O(n log n) otherwise, where n counts edges.
        """
        if not self._is_circular(inf):
            return ()
        demands = {edge.rank: edge.target for edges in self._edges for edge in edges if edge.rank >= 0}
        ranks = sorted(demands)
        first = ranks[bisect_left(ranks, True, key=self._is_circular)]
        return self._shortest_circle(demands[first], first)

    def _is_circular(self, rank: float) -> bool:
        """True if there is a circle without demands above `rank`: peel off what nothing leads to (Kahn 1962)."""
        waiting = [0] * len(self._edges)
        for edges in self._edges:
            for edge in edges:
                waiting[edge.target] += edge.rank <= rank
        free = [node for node, count in enumerate(waiting) if not count]
        for node in free:
            for edge in self._edges[node]:
                if edge.rank <= rank:
                    waiting[edge.target] -= 1
                    if not waiting[edge.target]:
                        free.append(edge.target)
        return len(free) < len(self._edges)

    def _shortest_circle(self, start: int, rank: int) -> tuple[Edge, ...]:
        """The cheapest way from a node back to it without demands above `rank`: breadth first, free steps first."""
        queue: deque[tuple[int, tuple[int, Edge] | None]] = deque([(start, None)])
        came: dict[int, tuple[int, Edge]] = {}
        while start not in came:
            node, step = queue.popleft()
            if step is not None and came.setdefault(node, step) is not step:
                continue
            for edge in self._edges[node]:
                if edge.rank <= rank and edge.target not in came:
                    (queue.append if edge.cost else queue.appendleft)((edge.target, (node, edge)))
        return self._path_back(start, came)

    @staticmethod
    def _path_back(start: int, came: Mapping[int, tuple[int, Edge]]) -> tuple[Edge, ...]:
        node, edge = came[start]
        path = [edge]
        while node != start:
            node, edge = came[node]
            path.append(edge)
        return tuple(reversed(path))

    def _add_scale(self, spans: Iterable[Span], *, timed: bool) -> None:
        """A chain of nodes in order of starts: each leads to its version, and that to what starts after its end."""
        ordered = sorted(spans, key=lambda span: span.start)
        starts = [span.start for span in ordered]
        chain = [self.add_node() for _ in ordered]
        for one, following in pairwise(chain):
            self.add(one, Edge(following, 0))
        for link, span in zip(chain, ordered, strict=True):
            node, because = self.node(span.version), span.version.sources if timed else ()
            self.add(link, Edge(node, 1, because=because))
            after = bisect_right(starts, span.end)
            if after < len(chain):
                self.add(node, Edge(chain[after], 0, because=because))
