"""What is known of the order of versions is true, complete by its rules, free of contradiction, and evident."""

import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import permutations, product

import pytest

from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, registers
from cacheproof.models.version_order import Edge, OrderGraph, Version, VersionOrder

Draw = Callable[..., History]
OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO

RANDOM_HISTORIES = 10_000
SIMULATED_HISTORIES = 6_000
CONTRADICTIONS_SOUGHT = 1_000
RANDOM_GRAPHS = 2_500


def order_of(history: History) -> VersionOrder:
    (register,) = registers(history)
    return VersionOrder(register)


def value_of(write: Operation) -> Value:
    return None if write.f == "delete" else write.value


class Naive:
    """The rules of the module, word by word and pair by pair."""

    def __init__(self, history: History) -> None:
        self.writes = [op for op in history.operations if op.f != "read" and op.outcome is not FAIL]
        self.values: list[Value] = list(dict.fromkeys(["v0", *map(value_of, self.writes)]))
        self.commits = history.commits["k"]
        self.late = cache(self._late)
        values: list[Value] = ["v0", *(commit.value for commit in history.commits["k"])]
        times: list[float] = [-1.0, *(float(commit.index) for commit in history.commits["k"])]
        self.runs = [
            (v, t) for n, (v, t) in enumerate(zip(values, times, strict=True)) if not n or values[n - 1] != v
        ]

    def places(self, value: Value) -> list[int]:
        return [place for place, (other, _) in enumerate(self.runs) if other == value]

    def origins(self, value: Value) -> int:
        return sum(value_of(op) == value for op in self.writes) + (value == "v0")

    def in_time(self, older: Value, newer: Value) -> bool:
        """Every moment at which `older` may have been made is before every such moment of `newer`."""
        ends = [
            op.returned if op.returned is not None else 1e9 for op in self.writes if value_of(op) == older
        ]
        starts = [op.invoked for op in self.writes if value_of(op) == newer] + [-1e9] * (newer == "v0")
        ends += [self.runs[place][1] for place in self.places(older)] * (len(self.places(older)) > 1)
        begins = starts + [self.runs[place][1] for place in self.places(newer)] * (
            len(self.places(newer)) > 1
        )
        return all(end < begin for end, begin in product(ends or [-1e8], begins))

    def committed(self, older: Value, newer: Value) -> bool:
        pairs = list(product(self.places(older), self.places(newer)))
        return bool(pairs) and all(one < other for one, other in pairs)

    def _late(self, value: Value) -> bool:
        others = [other for other in self.values if other != value]
        return bool(self.commits) and any(
            (self.in_time(a, b) and self.committed(b, a)) for o in others for a, b in ((value, o), (o, value))
        )

    def known(self, older: Value, newer: Value) -> bool:
        in_time = self.in_time(older, newer) and not self.late(older) and not self.late(newer)
        if self.places(older) and self.places(newer):
            alone = self.origins(older) == self.origins(newer) == 1
            return self.committed(older, newer) and (alone or in_time)
        return in_time


def test_it_knows_exactly_what_the_rules_say(happenings: Callable[..., History]) -> None:
    """On 10,000 random histories, repeated values among them: every pair, every rule, and nothing else."""
    seen = {True: 0, False: 0}
    late = 0
    for seed in range(RANDOM_HISTORIES):
        history = happenings(seed)
        order, naive = order_of(history), Naive(history)
        assert [version.value for version in order.versions] == naive.values
        for older, newer in permutations(order.versions, 2):
            fact = order.known(older, newer)
            assert (fact is not None) == naive.known(older.value, newer.value), (seed, older, newer)
            seen[fact is not None] += 1
        late += any(naive.late(value) for value in naive.values)
    assert min(seen.values()) > 5_000 and late > 100


def test_what_is_known_never_contradicts_itself(happenings: Callable[..., History]) -> None:
    """On 1,000 longer histories some order of the versions agrees with every fact, and the graph holds them all."""
    for seed in range(CONTRADICTIONS_SOUGHT):
        history = simulate(random.Random(seed), faithful=False)
        order = order_of(history)
        facts = {
            (a.value, b.value) for a, b in permutations(order.versions, 2) if order.known(a, b) is not None
        }
        assert sortable([version.value for version in order.versions], facts), seed
        graph = OrderGraph(order)
        assert graph.first_circle() == ()
        unique = [version for version in order.versions if version.unique]
        for one, other in permutations(unique, 2):
            closing = OrderGraph(order)
            closing.add(closing.node(other), Edge(closing.node(one), 1, 0))
            circle = closing.first_circle()
            direct = sum(edge.cost for edge in circle) == 2
            assert direct == ((one.value, other.value) in facts), (seed, one, other)


def sortable(values: list[Value], pairs: set[tuple[Value, Value]]) -> bool:
    """Whether some order of the values agrees with all pairs (older, newer) of them."""
    left = list(values)
    while left:
        oldest = [v for v in left if not any((other, v) in pairs for other in left)]
        if not oldest:
            return False
        left.remove(oldest[0])
    return True


def simulate(chance: random.Random, *, faithful: bool = True) -> History:
    """The history of a store whose writes take effect one by one, and whose database follows behind.

    The order of the effects is the truth: it is kept in `effects` of the history that is returned.  The
    database commits what the store holds, later, and leaves out what was superseded by then; with
    `faithful=False` it also commits older values again, and lets go of the order of effects.
    """
    return Simulation(chance, faithful).history


class Simulation:
    def __init__(self, chance: random.Random, faithful: bool) -> None:
        self.chance, self.faithful = chance, faithful
        self.operations: list[Operation] = []
        self.open: dict[int, tuple[int, Value, bool]] = {}
        self.zombies: list[Value] = []
        self.effects: list[Value] = ["v0"]
        self.commits: list[Committed] = []
        self.number = self.flushed = 0
        for index in range(chance.randint(1, 24)):
            self._step(index)
        for process in list(self.open):
            self._return(process, 99, INFO)
        operations = tuple(sorted(self.operations, key=lambda op: op.invoked))
        self.register = Register("k", "v0", operations, tuple(self.commits))

    @property
    def history(self) -> History:
        history = History({"k": "v0"})
        history.__dict__["operations"] = self.register.operations
        history.__dict__["commits"] = {"k": self.register.commits}
        return history

    def _step(self, index: int) -> None:
        process = self.chance.randint(0, 4)
        if process > 2:
            self._flush(index) if process == 3 or not self.zombies else self._take_effect_late()
        elif process not in self.open:
            self.number += self.chance.random() < 0.9 or not self.number
            self.open[process] = (index, f"v{self.number}", False)
        elif not self.open[process][2]:
            self._take_effect(process) if self.chance.random() < 0.9 else self._return(process, index, FAIL)
        else:
            self._return(process, index, self.chance.choice((OK, OK, OK, INFO)))

    def _take_effect(self, process: int) -> None:
        invoked, value, _ = self.open[process]
        if self.chance.random() < 0.2:  # times out first, and takes effect later or never
            self._return(process, 0, INFO)
            self.zombies.append(value)
            return
        self.effects.append(value)
        self.open[process] = (invoked, value, True)

    def _take_effect_late(self) -> None:
        self.effects.append(self.zombies.pop())

    def _return(self, process: int, index: int, outcome: Outcome) -> None:
        invoked, value, _ = self.open.pop(process)
        end = None if outcome is INFO else index
        self.operations.append(Operation(process, "write", "k", value, invoked, end, outcome))

    def _flush(self, index: int) -> None:
        places = range(self.flushed if self.faithful else 0, len(self.effects))
        self.flushed = self.chance.choice((places[-1], self.chance.choice(places)))
        if self.flushed or not self.faithful:
            value = self.effects[self.flushed]
            self.commits.append(Committed(index, 0.0, "k", value, len(self.commits) + 1))


def test_what_is_known_is_true() -> None:
    """On 6,000 simulated stores, where the true order of all effects is at hand, no fact is wrong."""
    facts = 0
    for seed in range(SIMULATED_HISTORIES):
        simulation = Simulation(random.Random(seed), faithful=True)
        order = VersionOrder(simulation.register)
        places: dict[Value, list[int]] = {}
        for place, value in enumerate(simulation.effects):
            places.setdefault(value, []).append(place)
        for older, newer in permutations(order.versions, 2):
            if order.known(older, newer) is not None:
                facts += 1
                true = max(places.get(older.value, [-1])) < min(places.get(newer.value, [99]))
                assert true, (seed, older, newer)
    assert facts > 20_000


ORDERS = {
    "real time without a database": ("A: |-w1-| |-w2-|", "0<1 0<2 1<2"),
    "concurrent writes": ("A: |--w1--|\nB:    |--w2--|", "0<1 0<2"),
    "an ambiguous write never returned": ("A: |-w1-?  |-w2-|", "0<1 0<2"),
    "a failed write made nothing": ("A: |-w1-!  |-w2-|", "0<2"),
    "commits decide between concurrent writes": ("A:  |--w1--|\nB:  |--w2--|\ndb:    2  1", "0<1 0<2 2<1"),
    "commits decide against real time": ("A:  |-w1-| |-w2-|\ndb:               2  1", "0<1 0<2 2<1"),
    "left out by the flush": ("A:  |-w1-| |-w2-| |-w3-|\ndb:   1               3", "0<1 0<2 0<3 1<2 1<3 2<3"),
    "real time is no witness any more": (
        "A:  |-w1-| |-w2-| |-w3-|\ndb:               2    1",
        "0<1 0<2 0<3 2<1",
    ),
    "only those that it wronged": (
        "A:  |-w1-| |-w2-| |-w3-| |-w4-| |-w5-|\ndb:            2    1    4",
        "0<1 0<2 0<3 0<4 0<5 2<1 1<4 2<4 3<4 3<5 4<5",
    ),
    "delivered twice in a row": ("A:  |-w1-| |-w2-|\ndb:   1  1    2", "0<1 0<2 1<2"),
    "the database came back to it": ("A:  |-w1-| |-w2-|\ndb:   1       2  1", "0<1 0<2"),
    "and to the initial record": ("A:  |-w1-| |-w2-|\ndb:   1       0", "1<2"),
    "of two deletions only what holds for both": ("A: |-d-| |-w1-| |-d-| |-w2-|", "0<1 0<2 0<x 1<2 x<2"),
    "committed once of two deletions": ("A:  |-d-| |-w1-| |-d-|\ndb:   x     1", "0<1 0<x"),
    "somebody else's commit": ("A:  |-w1-|\ndb:    7", "0<1"),
}


@pytest.mark.parametrize("title", ORDERS)
def test_the_order_of_versions(title: str, draw: Draw) -> None:
    """Each rule by an example: all pairs that are known, and no others."""
    drawing, expected = ORDERS[title]
    order = order_of(draw(drawing))
    found = [
        f"{short(one)}<{short(other)}"
        for one, other in permutations(order.versions, 2)
        if order.known(one, other) is not None
    ]
    assert sorted(found) == sorted(expected.split())


def short(version: Version) -> str:
    return str(version.value or "vx")[1:]


def test_a_fact_comes_with_its_evidence(draw: Draw) -> None:
    """Two commits, or one where the other is the initial record; or the writes that stand in real time."""
    order = order_of(draw("A:  |-w1-| |-w2-| |-w3-|\ndb:   1               3"))
    initial, one, two, three = order.versions
    by_commit = order.known(one, three)
    assert by_commit is not None and (by_commit.older, by_commit.newer) == (one, three)
    assert [commit.value for commit in by_commit.versions] == ["v1", "v3"] and by_commit.because == ()
    in_time = order.known(one, two)
    assert in_time is not None and in_time.versions == ()
    assert [write.value for write in in_time.because] == ["v1", "v2"]
    first, second = order.known(initial, one), order.known(initial, two)
    assert first is not None and [commit.value for commit in first.versions] == ["v1"]
    assert second is not None and [write.value for write in second.because] == ["v2"]


def test_versions_know_where_they_come_from(draw: Draw) -> None:
    """Sources, places, and whether a reader can tell which version it saw."""
    order = order_of(draw("A:  |-w1-| |-w2-| |-d-| |-d-|\ndb:   1      2 1"))
    initial, one, two, gone = order.versions
    assert (initial.initial, initial.places, initial.unique, initial.sources) == (True, (0, 0), True, ())
    assert (one.places, one.unique, one.origins) == ((1, 3), False, 1)
    assert (two.places, two.unique, two.origins) == ((2, 2), True, 1)
    assert (gone.places, gone.unique, gone.origins) == (None, False, 2)
    assert order.find("v2") is two and order.find("v9") is None and order.find(2) is None


def random_graph(chance: random.Random) -> tuple[VersionOrder, list[tuple[int, int, int]]]:
    """An order of up to 6 versions, and demands (older, newer, rank) upon them."""
    order = VersionOrder(Simulation(chance, faithful=False).register)
    unique = [place for place, version in enumerate(order.versions) if version.unique]
    pairs = [tuple(chance.sample(unique, 2)) for _ in range(chance.randint(0, 5))] if len(unique) > 1 else []
    return order, [(one, other, rank) for rank, (one, other) in enumerate(pairs)]


def facts_of(order: VersionOrder) -> set[tuple[int, int]]:
    places = [place for place, version in enumerate(order.versions) if version.unique]
    return {(a, b) for a, b in permutations(places, 2) if order.known(order.versions[a], order.versions[b])}


def steps(
    facts: set[tuple[int, int]], demands: list[tuple[int, int, int]], rank: int
) -> set[tuple[int, int]]:
    return facts | {(a, b) for a, b, number in demands if number <= rank}


def shortest(pairs: set[tuple[int, int]], through: int) -> int | None:
    """The number of steps of a shortest circle through a place, by walking ever further."""
    reached = {b for a, b in pairs if a == through}
    for length in range(1, 12):
        if through in reached:
            return length
        reached = {b for a, b in pairs if a in reached}
    return None


def test_the_first_circle_is_the_first_and_a_shortest() -> None:
    """On 2,500 random graphs: there is one iff facts and demands admit no order, and none comes before it."""
    circles = 0
    for seed in range(RANDOM_GRAPHS):
        order, demands = random_graph(random.Random(seed))
        graph = OrderGraph(order)
        for one, other, rank in demands:
            graph.add(one, Edge(other, 1, rank))
        circle = graph.first_circle()
        values, facts = list(range(len(order.versions))), facts_of(order)
        closing = (rank for _, _, rank in demands if not sortable(values, set(steps(facts, demands, rank))))  # type: ignore[arg-type]
        first = next(closing, None)
        assert bool(circle) == (first is not None), seed
        if first is not None:
            circles += 1
            allowed = steps(facts, demands, first)
            assert max(edge.rank for edge in circle) == first
            assert sum(edge.cost for edge in circle) == shortest(allowed, demands[first][1])
            passed = [order.versions.index(version) for version in graph.passed(circle)]
            assert all(pair in allowed for pair in around(passed))
    assert 300 < circles < RANDOM_GRAPHS - 300


def around(places: list[int]) -> Iterator[tuple[int, int]]:
    return zip(places, [*places[1:], places[0]], strict=True)


def test_ten_thousand_versions_take_moments() -> None:
    """O(n log n): an order of 10,000 versions and its graph in well under what pairs would need."""
    writes = tuple(Operation(n % 9, "write", "k", f"v{n}", n, n + 9, OK) for n in range(1, 10_000))
    commits = tuple(Committed(n, 0.0, "k", f"v{n}", n) for n in range(1, 10_000, 2))
    begun = time.process_time()
    assert OrderGraph(VersionOrder(Register("k", "v0", writes, commits))).first_circle() == ()
    assert time.process_time() - begun < 2
