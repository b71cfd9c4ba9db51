"""Saturation: all that must come before what, if what was read is to be explained by one order of operations.

A scene (see happens_before) gives program order and reads-from.  From these, further constraints follow.  Let
a read have returned the value of the write w, and let w' be another write of that key:

Rule 1. w' before the read, hence w' before w.      Else the read had found w', or what came after it.
Rule 2. w before w', hence the read before w'.      Likewise.  The initial record is before every write.

        A: |-w1@x-|  |-r0@y-|        w1@x before r0@y, by rule 2 before w1@y,
        B: |-w1@y-|  |-r0@x-|        before r0@x, by rule 2 before w1@x: a circle

Saturation adds these until nothing is new or the constraints go in a circle: then there is no such order.
Rule 1 makes the conflict and happened-before relations of Bouajjani, Enea, Guerraoui and Hamza, On Verifying
Causal Consistency, POPL 2017.  A constraint keeps its reason, so that a circle can be proved from program
order and reads-from alone.

Pasts are bit sets: n operations take n²/8 bytes, and a round O(n² s / 64) steps for s sessions.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from math import inf

from cacheproof.models.happens_before import Scene

__all__ = ["LARGEST", "Order", "saturate"]

LARGEST = 20_000
"""The most operations that an order should be asked to hold: it takes 50 MB then."""


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why an operation comes before another.

    Round 0 is program order and reads-from; in a later round, that `start` comes before `end` by reasons of
    earlier rounds.
    """

    round: int = 0
    start: int = 0
    end: int = 0


_GIVEN = _Reason()
_Constraint = tuple[int, int, _Reason]


class Order:
    """A growing set of constraints on the nodes of a scene, at first program order and reads-from.

    `before` has for each node those that must come before it, each with a reason; `size` counts them.
    `pasts` has a bit set for each node, of the node itself and all that must come before it; it is None if
    the constraints go in a circle.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.before: list[dict[int, _Reason]] = [{} for _ in scene.operations]
        self.size = 0
        self._after: list[list[int]] = [[] for _ in scene.operations]
        for node, other in (*enumerate(scene.previous), *scene.sources.items()):
            if other is not None:
                self._add(other, node, _GIVEN)
        self._pasts = self._closed()

    @property
    def pasts(self) -> Sequence[int] | None:
        return self._pasts if all(self._pasts) else None

    def grow(self, reads: Sequence[int], round_number: int, *, both_rules: bool) -> bool:
        """Add what follows from what these reads returned, and say whether anything did.

        Rule 2 is left out unless `both_rules`.
        """
        added = [*self._writes_before(reads, round_number)]
        if both_rules:
            added += self._reads_before(reads, round_number)
        for one, other, reason in added:
            self._add(one, other, reason)
        self._pasts = self._closed() if added else self._pasts
        return bool(added)

    def path(self, start: int, end: int, below: float = inf) -> list[int]:
        """A shortest way from `start` to `end` by constraints of rounds before `below`, both included.

        Nodes that only continue a session are left out.  From a node to itself the way is a circle.
        Requires that there is a way.
        """
        follower: dict[int, int] = {}
        queue = deque([end])
        while start not in follower:
            node = queue.popleft()
            for other, reason in self.before[node].items():
                if reason.round < below and other not in follower:
                    follower[other] = node
                    queue.append(other)
        found = [start, follower[start]]
        while found[-1] != end:
            found.append(follower[found[-1]])
        return self._shortened(found)

    def circle(self) -> list[int]:
        """Nodes each of which must come before the next, and the last before the first.

        Requires that there is a circle (`pasts` is None).
        """
        stuck = {node for node, past in enumerate(self._pasts) if not past}
        node, seen = min(stuck), set[int]()
        while node not in seen:
            seen.add(node)
            node = next(other for other in self.before[node] if other in stuck)
        return self.path(node, node)[:-1]

    def proof(self, circle: Sequence[int]) -> list[int]:
        """The nodes that force this circle by program order and reads-from alone, in order of invocation."""
        found, done = set[int](), set[_Reason]()
        ways = [[*circle, circle[0]]]
        while ways:
            way = ways.pop()
            found.update(way)
            for one, other in pairwise(way):
                reason = self.before[other].get(one, _GIVEN)  # two of a session may have lost those between
                if reason.round and reason not in done:
                    done.add(reason)
                    start, end = reason.start, reason.end
                    ways.append([start] if start == end else self.path(start, end, reason.round))
        return sorted(found)

    def _add(self, one: int, other: int, reason: _Reason) -> None:
        if one not in self.before[other]:
            self.before[other][one] = reason
            self._after[one].append(other)
            self.size += 1

    def _closed(self) -> list[int]:
        """The pasts by Kahn's topological order; 0 for nodes on a circle or behind one."""
        waiting = [len(before) for before in self.before]
        ready = [node for node, number in enumerate(waiting) if not number]
        pasts = [0] * len(waiting)
        for node in ready:  # grows while it is walked
            past = 1 << node
            for other in self.before[node]:
                past |= pasts[other]
            pasts[node] = past
            for other in self._after[node]:
                waiting[other] -= 1
                if not waiting[other]:
                    ready.append(other)
        return pasts

    def _writes_before(self, reads: Iterable[int], round_number: int) -> Iterator[_Constraint]:
        """Rule 1.  The last write of each chain before a read speaks for all."""
        scene, pasts = self.scene, self._pasts
        for read in reads:
            source = scene.sources[read]
            if source is not None:
                for write in scene.latest(pasts[read], scene.operations[read].key):
                    if not pasts[source] >> write & 1:
                        yield write, source, _Reason(round_number, write, read)

    def _reads_before(self, reads: Iterable[int], round_number: int) -> Iterator[_Constraint]:
        """Rule 2.  The last read and the first write of each chain speak for all."""
        scene, pasts = self.scene, self._pasts
        last = {(scene.sources[r], scene.operations[r].key, scene.chains[r]): r for r in reads}
        for (source, key, _), read in last.items():
            for writes in scene.writes.get(str(key), ()):
                write = self._first_after(source, writes)
                if write is not None and not pasts[write] >> read & 1:
                    yield read, write, _Reason(round_number, write if source is None else source, write)

    def _first_after(self, source: int | None, writes: Sequence[int]) -> int | None:
        """The first of these writes of one chain that must come after `source`, if any must."""
        if source is None:
            return writes[0]
        pasts = self._pasts
        place = bisect_left(writes, True, key=lambda node: node != source and bool(pasts[node] >> source & 1))
        return writes[place] if place < len(writes) else None

    def _shortened(self, way: list[int]) -> list[int]:
        chains, kept = self.scene.chains, [way[0]]
        for node, after in pairwise(way[1:]):
            one_session = chains[kept[-1]] == chains[node] == chains[after]
            if not (one_session and kept[-1] < node < after):  # nodes ascend in program order
                kept.append(node)
        return [*kept, way[-1]]


def saturate(scene: Scene, reads: Sequence[int], budget_steps: int) -> Order | None:
    """The order in which nothing more follows from what these reads returned, or that goes in a circle.

    A step is one constraint looked at once.  None if the budget is used up before.
    """
    order = Order(scene)
    steps, rounds = 0, count(1)
    while order.pasts is not None:
        steps += order.size + len(scene.operations)
        if steps > budget_steps:
            return None
        if not order.grow(reads, next(rounds), both_rules=True):
            break
    return order
