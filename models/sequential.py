"""Sequential consistency: one order of all operations of all keys that respects every session, not real time.

Lamport, How to Make a Multiprocessor Computer That Correctly Executes Multiprocess Programs, 1979.  In that
order every read returns the latest write of its key.  A cache may lag behind, if it lags behind as a whole:

        A: |-w1@x-|  |-w2@y-|
        B:                     |-r0@y-|  |-r1@x-|      r0@y, then both writes: sequential, not linearizable
        C:                     |-r2@y-|  |-r0@x-|      never: w1@x was before w2@y

An ambiguous write takes effect anywhere after what its session did before it, or never.

Testing this is NP-complete, even if every value is written once (Gibbons and Korach, Testing Shared Memories,
SIAM J. Comput. 1997), and unlike linearizability it is no matter of one key at a time.  So four steps, of
which the first that knows ends it:

Step 1. A value that nobody wrote refutes.
Step 2. Every key linearizable (by zones): so is the whole, and hence sequential.
Step 3. Saturation that goes in a circle refutes; whatever breaks causal consistency, convergence or memory
        does.
Step 4. Search: place one operation after the other, never against what saturation found, and remember states
        from which there was no way on.  A budget of steps bounds it; when it is used up, nothing is known.
"""

from array import array
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from cacheproof.models.causal import circle_finding
from cacheproof.models.errors import UsageError
from cacheproof.models.happens_before import Scene, Session, observe, session_of
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import identity, is_write, written
from cacheproof.models.saturation import LARGEST, Order, saturate
from cacheproof.models.verdict import Finding, Judgement
from cacheproof.models.zones import check_register

__all__ = ["Sequential"]

_SATURATION_STEPS = 8_000_000  # some ten seconds


@dataclass(frozen=True, slots=True)
class Sequential:
    """All operations fit one order that respects program order, in which reads return the latest write.

    `budget_steps` is how many operations the search may place, those it takes back included.
    """

    budget_steps: int = 200_000

    def __post_init__(self) -> None:
        steps = self.budget_steps
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UsageError(f"budget_steps is {steps!r}; give a whole number of steps, 1 or more")

    @property
    def name(self) -> str:
        return "sequential"

    @property
    def probes_s(self) -> tuple[float, ...]:
        return (0.0,)

    def check(self, history: History) -> Judgement:
        """At most one finding "non-sequential", or one "fabricated" or "aborted" a key.  Judges ok reads.

        Culprit is a read that cannot be explained.  `because` are, where saturation found it out, the
        operations that admit no order with it, in order of invocation; where the search did, the last
        operation of each session in the longest order that was found, and then those that could not follow
        (the next of each session).
        """
        scene = observe(history)
        made_up = tuple(scene.made_up(self.name))
        if made_up or _linearizable(scene):
            return Judgement(made_up, scene.judged, scene.left_out)
        small = len(scene.operations) <= LARGEST
        order = saturate(scene, sorted(scene.sources), _SATURATION_STEPS) if small else None
        if order is not None and order.pasts is None:
            finding = circle_finding(self.name, "non-sequential", order)
            return Judgement((finding,), scene.judged, scene.left_out)
        search = _Search(_parts(history, scene), scene, order)
        found = search.run(self.budget_steps)
        if found is None:
            doubt = f"no order of all operations was found within {self.budget_steps} steps"
            return Judgement((), scene.judged, scene.left_out or doubt)
        stuck = () if found else (_stuck_finding(self.name, scene, search),)
        return Judgement(stuck, scene.judged, scene.left_out)


def _linearizable(scene: Scene) -> bool:
    results = (check_register(item.operations, item.initial) for item in scene.registers.values())
    return all(result.clash is None and result.unknown is None for result in results)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What has to be put in order, in order of invocation: a place is an index into `operations`.

    `lanes` are the places of ok operations, session by session, in program order.  `optional` are ambiguous
    writes whose value was read, each with the place that comes before it in program order, or None.
    """

    operations: tuple[Operation, ...]
    lanes: tuple[tuple[int, ...], ...]
    optional: Mapping[int, int | None]


def _parts(history: History, scene: Scene) -> _Parts:
    read = {(op.key, identity(op.value)) for item in scene.registers.values() for op in item.reads}
    operations = tuple(op for op in history.operations if op.key in scene.registers and _takes_part(op, read))
    sessions = session_of(history)
    lanes: dict[Session, list[int]] = {}
    optional = {}
    for place, op in enumerate(operations):
        lane = lanes.setdefault(sessions[op.invoked], [])
        if op.outcome is Outcome.OK:
            lane.append(place)
        else:
            optional[place] = lane[-1] if lane else None
    return _Parts(operations, tuple(tuple(lane) for lane in lanes.values() if lane), optional)


def _takes_part(operation: Operation, read: Container[tuple[str | None, tuple[type, Value]]]) -> bool:
    """Ambiguous writes that nobody read are left out: an order with them is an order without them."""
    if operation.outcome is Outcome.INFO:
        return is_write(operation) and (operation.key, identity(written(operation))) in read
    return operation.outcome is Outcome.OK


class _Search:
    """Depth-first search for an order, with the operations placed so far and the values that they left.

    Two kinds of moves need no choice.  Take any order of the rest that begins in the present state.

    A read that finds the value that it returned can be placed at once: moved to the front of that order, it
    still returns it, and reads change nothing for the others.

    A write can be placed at once if no read that is left returns its value, and none returns the present
    value of its key.  Moved to the front, it is in the way only of reads of that key up to the next write,
    which return the present value: there are none.  Where it stood, it is missed only by reads of its value.

    And one kind is no move: a write that ends the last chance of a read, because what that read returned is
    there now, and nothing that is left will write it again.
    """

    def __init__(self, parts: _Parts, scene: Scene, order: Order | None) -> None:
        self.parts = parts
        numbers: dict[tuple[str, tuple[type, object]], int] = {}
        keys = {key: place for place, key in enumerate(scene.registers)}
        self._now = [
            numbers.setdefault((key, identity(item.initial)), len(numbers))
            for key, item in scene.registers.items()
        ]
        self._key = [keys[str(op.key)] for op in parts.operations]
        self._value = [
            numbers.setdefault((str(op.key), identity(written(op))), len(numbers)) for op in parts.operations
        ]
        self._reads = [not is_write(op) for op in parts.operations]
        self._wanted = [0] * len(numbers)  # reads of a value, and writes of it, that are not yet placed
        self._offered = [0] * len(numbers)
        for place, value in enumerate(self._value):
            (self._wanted if self._reads[place] else self._offered)[value] += 1
        self._before = _required(parts, order)
        self._placed = [False] * len(parts.operations)
        self._heads = [0] * len(parts.lanes)
        self._lane = {place: number for number, lane in enumerate(parts.lanes) for place in lane}
        self._left = sum(map(len, parts.lanes))
        self.trail: list[tuple[int, int]] = []  # what was placed, and the value that it replaced
        self.steps = 0
        self.longest: tuple[int, ...] = ()

    def run(self, budget_steps: int) -> bool | None:
        """Whether there is an order; None if the budget was used up.  Then `longest` is the best dead end."""
        dead: set[bytes] = set()
        self._settle()
        stack = [(len(self.trail), iter(self._choices()))]
        while stack and self._left:
            if self.steps > budget_steps:
                return None
            mark, choices = stack[-1]
            self._take_back(mark)
            choice = next(choices, None)
            if choice is None:
                dead.add(self._state())
                stack.pop()
                continue
            self._place(choice)
            self._settle()
            if not dead or self._state() not in dead:
                stack.append((len(self.trail), iter(self._choices())))
        return not self._left

    def heads(self) -> list[int]:
        """The next operation of each lane that is not at its end, in order of invocation."""
        lanes = zip(self.parts.lanes, self._heads, strict=True)
        return sorted(lane[head] for lane, head in lanes if head < len(lane))

    def _choices(self) -> list[int]:
        """The writes that may come next, the one invoked first at the front."""
        found = [place for place in self.heads() if not self._reads[place] and self._may_write(place)]
        for place, previous in self.parts.optional.items():
            begun = previous is None or self._placed[previous]
            if (
                begun
                and not self._placed[place]
                and self._wanted[self._value[place]]
                and self._may_write(place)
            ):
                found.append(place)
        if not found and len(self.trail) > len(self.longest):
            self.longest = tuple(place for place, _ in self.trail)
        return sorted(found)

    def _may_write(self, place: int) -> bool:
        now = self._now[self._key[place]]
        last_chance = self._wanted[now] and not self._offered[now]
        return not last_chance and self._is_ready(place)

    def _is_ready(self, place: int) -> bool:
        return all(self._placed[other] for other in self._before[place])

    def _settle(self) -> None:
        """Place what needs no choice, until there is nothing of the kind."""
        moved = True
        while moved:
            moved = False
            for number, lane in enumerate(self.parts.lanes):
                while self._heads[number] < len(lane) and self._is_free(lane[self._heads[number]]):
                    self._place(lane[self._heads[number]])
                    moved = True

    def _is_free(self, place: int) -> bool:
        now, value = self._now[self._key[place]], self._value[place]
        fits = now == value if self._reads[place] else not (self._wanted[value] or self._wanted[now])
        return fits and self._is_ready(place)

    def _place(self, place: int) -> None:
        self.steps += 1
        key, value = self._key[place], self._value[place]
        self.trail.append((place, self._now[key]))
        self._count(place, -1)
        self._now[key] = value

    def _take_back(self, mark: int) -> None:
        while len(self.trail) > mark:
            place, replaced = self.trail.pop()
            self._count(place, +1)
            self._now[self._key[place]] = replaced

    def _count(self, place: int, change: int) -> None:
        """Count an operation as placed (-1) or as one of the rest (+1)."""
        self._placed[place] = change < 0
        (self._wanted if self._reads[place] else self._offered)[self._value[place]] += change
        if (lane := self._lane.get(place)) is not None:
            self._heads[lane] -= change
            self._left += change

    def _state(self) -> bytes:
        """All that the rest depends on: what is placed, and the present values that are still to be read."""
        optional = (place for place in self.parts.optional if self._placed[place])
        wanted = (value for value in self._now if self._wanted[value])
        return array("q", (*self._heads, -1, *optional, -1, *wanted)).tobytes()


def _required(parts: _Parts, order: Order | None) -> list[list[int]]:
    """For each place those that must be placed before, as far as saturation knows."""
    before: list[list[int]] = [[] for _ in parts.operations]
    if order is not None:
        place = {op.invoked: number for number, op in enumerate(parts.operations)}
        names = [place[op.invoked] for op in order.scene.operations]
        for node, others in enumerate(order.before):
            before[names[node]] = [names[other] for other in others]
    return before


def _stuck_finding(name: str, scene: Scene, search: _Search) -> Finding:
    """The longest order that was found, and what could not follow it."""
    operations, order, placed = search.parts.operations, search.longest, set(search.longest)
    rests = [[place for place in lane if place not in placed] for lane in search.parts.lanes]
    heads = sorted(rest[0] for rest in rests if rest)
    culprit = _unexplained(scene, search, heads, sorted(place for rest in rests for place in rest))
    done = [lane[: len(lane) - len(rest)] for lane, rest in zip(search.parts.lanes, rests, strict=True)]
    ends = {places[-1] for places in done if places}
    because = [*(place for place in order if place in ends), *(place for place in heads if place != culprit)]
    return scene.finding(
        name, "non-sequential", operations[culprit], [operations[place] for place in because]
    )


def _unexplained(scene: Scene, search: _Search, heads: Sequence[int], rest: Sequence[int]) -> int:
    """A read of what a write among the heads would take away, or else a head, or else any.

    There is one: if no read were left, every write that is left could be placed.
    """
    operations = search.parts.operations
    now: dict[str | None, object] = {key: identity(item.initial) for key, item in scene.registers.items()}
    now |= {operations[place].key: identity(written(operations[place])) for place in search.longest}
    blocked = {operations[place].key for place in heads if is_write(operations[place])}
    reads = [place for place in rest if not is_write(operations[place])]
    held = [
        place
        for place in reads
        if operations[place].key in blocked
        and now[operations[place].key] == identity(operations[place].value)
    ]
    return next(place for place in (*held, *heads, *reads) if place in reads)
