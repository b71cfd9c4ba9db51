"""The ladder: what holds, what broke the rest, and that what implies what is so."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from cacheproof.models.delta_atomicity import DeltaAtomicity
from cacheproof.models.durability import Durability
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed, Entered, Event, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.ladder import RUNGS, Doubt, Rung, climb, rungs
from cacheproof.models.operation import Outcome, Value
from cacheproof.models.properties import property_to_dict
from cacheproof.models.verdict import Judgement, Verdict
from cacheproof.models.version_staleness import StalenessInVersions
from cacheproof.models.zones import Linearizable

Draw = Callable[..., History]

SMALL = rungs(seconds=(1,), versions=(0, 1))
"""A ladder with every kind of rung, and two of most that have a bound."""

BY_NAME = {rung.name: rung for rung in SMALL}
EDGES = [(rung.name, below) for rung in SMALL for below in rung.implies]

CASES = 10_000


class Replicas:
    """Makes a history of two or three clients, whose reads may lag behind, and of a database, which may too."""

    def __init__(self, seed: int, most: int = 8) -> None:
        self.most = most
        self.chance = random.Random(seed)
        self.keys = ("k", "a")[: self.chance.choice((1, 1, 2))]
        self.clients = self.chance.choice((2, 3))
        self.events: list[Event] = []
        self.now_s = 0.0
        self.open: dict[int, Invoked] = {}
        self.values: dict[str, list[Value]] = {key: ["v0"] for key in self.keys}
        self.flushed = dict.fromkeys(self.keys, 0)
        self.last = 0
        self.lag = self.chance.choice((0.1, 0.3, 0.6))

    def history(self) -> History:
        for _ in range(self.chance.randint(3, self.most)):
            self.step(self.chance.randrange(self.clients))
        if self.chance.random() < 0.5:
            self.events.append(Entered(len(self.events), self.now_s, Phase.QUIESCE))
            for key in self.keys:
                self.now_s += self.chance.choice((0.0, 2.0, 6.0, 90_000.0))
                self.read(key)
        return History(dict.fromkeys(self.keys, "v0"), tuple(self.events), self.clients)

    def step(self, client: int) -> None:
        self.now_s += self.chance.choice((0.0, 0.0, 1.0, 3.0))
        if client in self.open:
            self.end(self.open.pop(client))
        elif self.chance.random() < 0.15:
            self.commit(self.chance.choice(self.keys))
        else:
            self.begin(client, self.chance.choice(self.keys), self.chance.random() < 0.55)

    def begin(self, client: int, key: str, reads: bool) -> None:
        value = None
        if not reads:
            self.last += 1
            value = f"v{self.last}"
            self.values[key].append(value)
        self.add(client, key, value)

    def add(self, client: int, key: str, value: Value, final: bool = False) -> None:
        f = "read" if value is None else "write"
        self.open[client] = Invoked(len(self.events), self.now_s, client, f, key, value, final)
        self.events.append(self.open[client])

    def end(self, call: Invoked) -> None:
        doubt = call.f == "write" and self.chance.random() < 0.1
        value = call.value if call.f == "write" else self.seen(str(call.key))
        outcome = Outcome.INFO if doubt else Outcome.OK
        self.events.append(Returned(len(self.events), self.now_s, call.process, outcome, value))

    def seen(self, key: str) -> Value:
        values = self.values[key]
        if self.chance.random() < self.lag:
            return self.chance.choice([*values, f"v{self.last + 1}"])
        return values[-1]

    def commit(self, key: str) -> None:
        value = self.seen(key)
        self.flushed[key] += 1
        self.events.append(Committed(len(self.events), self.now_s, key, value, self.flushed[key]))

    def read(self, key: str) -> None:
        self.add(self.clients, key, None, final=True)
        self.end(self.open.pop(self.clients))


class Verdicts:
    """What the rungs say of one history, each asked at most once."""

    def __init__(self, history: History) -> None:
        commits = [event for event in history.events if isinstance(event, Committed)]
        self.whole = history
        self.alone = replace(history, events=tuple(item for item in history.events if item not in commits))
        self.known: dict[str, Verdict] = {}

    def __getitem__(self, name: str) -> Verdict:
        if name not in self.known:
            rung = BY_NAME[name]
            seen = self.alone if rung.without_commits else self.whole
            self.known[name] = rung.property.check(seen).verdict
        return self.known[name]


def test_what_is_implied_holds() -> None:
    """Who keeps the stronger keeps the weaker: 10,000 small histories for every edge, and none against it."""
    held: Counter[tuple[str, str]] = Counter()
    for seed in range(CASES):
        verdicts = Verdicts(Replicas(seed, most=8 if seed % 4 else 14).history())
        for stronger, weaker in EDGES:
            if verdicts[stronger] in (Verdict.UPHELD, Verdict.NOT_EXERCISED):
                held[stronger, weaker] += verdicts[stronger] is Verdict.UPHELD
                assert verdicts[weaker] is not Verdict.REFUTED, (seed, stronger, weaker)
    assert set(held) == set(EDGES) and min(held.values()) > 300, held


def test_every_rung_falls_somewhere() -> None:
    """Or else such histories (here longer ones) would not put the edges to the test."""
    fell: Counter[str] = Counter()
    for seed in range(600):
        ladder = climb([Replicas(seed, most=14).history()], SMALL)
        fell.update(item.rung.name for item in ladder.standings if item.fall is not None)
    weaker = {below for _, below in EDGES}
    assert min(fell[name] for name in weaker) >= 3, fell


@pytest.mark.parametrize(
    ("stronger", "weaker", "drawing"),
    [
        pytest.param(
            "sequential",
            "read-your-writes",
            """
            A: |--w1--|
            B:           |--w2--|  |-r1-|
            """,
            id="sequential consistency may put the older write last",
        ),
        pytest.param(
            "sequential",
            "monotonic-reads",
            """
            A: |--w1--|  |--w2--|
            B: |--w3--|
            C:                     |-r2-|  |-r3-|
            """,
            id="or see the newer one first",
        ),
        pytest.param(
            "sequential",
            "integrity",
            """
            A: |-r1-|
            B:         |--w1--|
            """,
            id="or read what is not yet written",
        ),
        pytest.param(
            "sequential",
            "linearizable",
            """
            A: |--w1--|
            B:           |-r0-|
            """,
            id="or lag behind",
        ),
        pytest.param(
            "causal-memory",
            "causal-convergence",
            """
            A: |-w1-|
            D: |-w2-|
            B:          |-r1-| |-r2-|
            C:          |-r2-| |-r1-|
            """,
            id="two readers may disagree about concurrent writes",
        ),
        pytest.param(
            "causal-convergence",
            "causal-memory",
            """
            A: |-w1@b-|  |-w1-|  |-w1@a-|
            B: |-w2-|                      |-r0@b-|  |-r1@a-|  |-r2-|
            """,
            id="a reader may mix what it should have seen with what it need not",
        ),
        pytest.param(
            "read-after-write",
            "read-your-writes",
            """
            A: |--w1--|  |-r2-|
            B: |--w2--|  |-r1-|
            """,
            id="each saw the other's write, and thinks it is the last",
        ),
        pytest.param(
            "read-your-writes",
            "read-after-write",
            """
            A: |--w1--|  |-r1-|
            B:           |-r0-|
            """,
            id="what others wrote may be missed",
        ),
        pytest.param(
            "read-after-write",
            "monotonic-reads",
            """
            A: |----------w1----------|  |-r1-|
            B:   |-r1-| |-r0-|
            """,
            id="while a write is open, nothing is promised",
        ),
        pytest.param(
            "monotonic-reads",
            "delta-atomicity:seconds=1",
            """
            A: |--w1--|
            B:              |-r0-|  |-r1-|
            s: 0          9
            """,
            id="in order, and late",
        ),
        pytest.param(
            "delta-atomicity:seconds=1",
            "monotonic-reads",
            """
            A: |--w1--|
            B:           |-r1-|  |-r0-|
            """,
            id="in time, and out of order",
        ),
        pytest.param(
            "linearizable",
            "bounded-staleness:seconds=0",
            """
            A: |-----w1-----|
            B:                   |-r1-|
            C: |-----w2-----|
            db:      1  2
            """,
            id="the database may order concurrent writes the other way round",
        ),
        pytest.param(
            "bounded-staleness:seconds=0",
            "linearizable",
            """
            A: |----------w1----------|  |-r1-|
            B:   |-r1-| |-r0-|
            db:               1
            """,
            id="what is read before its commit is not stale",
        ),
        pytest.param(
            "staleness-in-versions:versions=0",
            "convergence:within_s=0",
            """
            A: |--w1--|
            B:                    |-R1-|
            quiet:         *
            """,
            id="fresh, and never flushed",
        ),
    ],
)
def test_what_is_not_implied_does_not_hold(draw: Draw, stronger: str, weaker: str, drawing: str) -> None:
    """Each with a history that keeps the one and breaks the other."""
    verdicts = Verdicts(draw(drawing, {"k": "v0", "a": "v0", "b": "v0"}))
    assert (verdicts[stronger], verdicts[weaker]) == (Verdict.UPHELD, Verdict.REFUTED)
    assert stronger not in {item.rung.name for item in climb([], SMALL).stronger(weaker)}


def test_the_order_is_what_the_drawing_says() -> None:
    """Everything that a client can see of one clock is below linearizable, and nothing else is."""
    ladder = climb([])
    below = [item.rung.name for item in ladder.standings if ladder.stronger(item.rung.name)]
    assert [item.rung.name for item in ladder.stronger("causal")] == [
        "linearizable",
        "sequential",
        "causal-convergence",
        "causal-memory",
    ]
    assert [item.rung.name for item in ladder.stronger("integrity")] == [
        "linearizable",
        *(f"delta-atomicity:seconds={age}" for age in (1, 10, 60, 300)),
    ]
    assert [item.rung.name for item in ladder.stronger("bounded-staleness:seconds=1")] == [
        "staleness-in-versions:versions=0",
        "bounded-staleness:seconds=0",
    ]
    tops = [item.rung.name for item in ladder.standings if item.rung.name not in below]
    assert tops == [
        "linearizable",
        "staleness-in-versions:versions=0",
        "monotonic-writes",
        "writes-follow-reads",
        "convergence:within_s=0",
    ]


def test_rungs_are_properties_that_can_be_written_down() -> None:
    """Each has a name of its own, begun by that of its property, and comes before what it implies."""
    names = [rung.name for rung in RUNGS]
    assert len(set(names)) == len(names)
    for place, rung in enumerate(RUNGS):
        assert property_to_dict(rung.property) is not None
        assert rung.name.partition(":")[0] == rung.property.name
        assert all(names.index(below) > place for below in rung.implies)


def test_bounds_can_be_chosen() -> None:
    """Zero is always among the ages, as linearizable and as nothing superseded; bounds need not be sorted."""
    names = [rung.name for rung in rungs(seconds=(30, 0, 0.5), versions=())]
    assert [name for name in names if ":" in name] == [
        "delta-atomicity:seconds=0.5",
        "delta-atomicity:seconds=30",
        "bounded-staleness:seconds=0",
        "bounded-staleness:seconds=0.5",
        "bounded-staleness:seconds=30",
        "convergence:within_s=0",
        "convergence:within_s=0.5",
        "convergence:within_s=30",
        "convergence:within_s=null",
    ]
    assert rungs(seconds=())[0].implies[1] == "integrity"
    assert all(rung.property != StalenessInVersions(0) for rung in rungs(versions=(1,)))
    with pytest.raises(UsageError, match="-1"):
        rungs(seconds=(-1,))
    with pytest.raises(UsageError, match="-1"):
        rungs(versions=(-1,))


FRESH = """
A: |--w1--|           |-r1-|
B:           |-r1-|
"""
LATE = """
A: |--w1--|
B:           |-r0-|   |-r1-|
"""


def test_the_strongest_models_and_what_broke_the_stronger_ones(draw: Draw) -> None:
    """Of two histories the second lags behind: sequential still, but linearizable no more."""
    ladder = climb([draw(FRESH), draw(LATE)])
    assert ladder.histories == 2
    assert [rung.name for rung in ladder.strongest] == [
        "sequential",
        "delta-atomicity:seconds=1",
        "read-your-writes",
        "monotonic-reads",
    ]
    (linearizable,) = ladder.stronger("sequential")
    assert linearizable.verdict is Verdict.REFUTED and linearizable.judged == 4
    assert linearizable.fall is not None and linearizable.fall.history == 1
    finding = linearizable.fall.finding
    assert finding.culprit is not None
    assert (finding.kind, finding.culprit.value) == ("stale-read", "v0")
    below = ladder.stronger("delta-atomicity:seconds=1")
    assert [item.fall and item.fall.history for item in below] == [1]


def test_only_the_first_counterexample_is_kept(draw: Draw) -> None:
    """A rung that has fallen is not judged again."""
    ladder = climb([draw(LATE), draw(FRESH), draw(LATE)])
    standing = ladder.standing("linearizable")
    assert standing.fall is not None and (standing.fall.history, standing.judged) == (0, 2)
    assert ladder.standing("sequential").judged == 6


def test_a_chain_stops_where_the_bound_suffices(draw: Draw) -> None:
    """Stale for 9 s: too much for 1 s, and for nothing from 10 s on."""
    drawing = """
    A: |--w1--|
    B:             |-r0-|
    db:     1
    s: 0         9
    """
    ladder = climb([draw(drawing)])
    names = [rung.name for rung in ladder.strongest]
    assert "delta-atomicity:seconds=10" in names and "bounded-staleness:seconds=10" in names
    assert "delta-atomicity:seconds=60" not in names and "staleness-in-versions:versions=1" not in names
    assert ladder.standing("staleness-in-versions:versions=1").verdict is Verdict.NOT_EXERCISED


def test_a_doubt_is_no_success(draw: Draw) -> None:
    """One history in which nobody can tell, and the rung does not hold; a counterexample outweighs the doubt."""
    twice = """
    A: |--w1--|  |--w1--|
    B:                     |-r1-|
    """
    only = [Rung("linearizable", DeltaAtomicity(0))]
    ladder = climb([draw(FRESH), draw(twice)], only)
    (standing,) = ladder.standings
    assert (standing.verdict, ladder.strongest) == (Verdict.UNKNOWN, ())
    assert standing.doubt == Doubt(1, "'v1' was read, and more than one write may have written it")
    (standing,) = climb([draw(twice), draw(LATE)], only).standings
    assert standing.verdict is Verdict.REFUTED and standing.doubt is not None
    assert (standing.doubt.history, standing.fall and standing.fall.history) == (0, 1)


def test_what_was_not_exercised_is_no_success(draw: Draw) -> None:
    """Nothing was read, so nothing holds; and nothing holds for no histories."""
    ladder = climb([draw("A: |--w1--|")])
    assert ladder.strongest == () and not any(item.judged for item in ladder.standings)
    assert climb([]).strongest == ()
    assert {item.verdict for item in climb([]).standings} == {Verdict.NOT_EXERCISED}


def test_a_weaker_rung_stands_for_itself_if_the_stronger_does_not_hold(draw: Draw) -> None:
    """What is implied is named only where nothing that implies it holds."""
    pair = (Rung("strong", Durability(), ("weak",)), Rung("weak", Integrity()))
    assert [rung.name for rung in climb([draw(FRESH)], pair).strongest] == ["weak"]
    pair = (Rung("strong", Linearizable(), ("weak",)), Rung("weak", Integrity()))
    assert [rung.name for rung in climb([draw(FRESH)], pair).strongest] == ["strong"]


class Broken:
    """A property that cannot judge."""

    name = "broken"
    probes_s: tuple[float, ...] = ()

    def check(self, history: History) -> Judgement:
        raise ValueError("no")


def test_a_checker_that_raises_is_a_doubt(draw: Draw) -> None:
    """It has not found anything out, and does not keep the others from it."""
    ladder = climb([draw(FRESH)], [Rung("broken", Broken()), Rung("integrity", Integrity())])
    standing = ladder.standing("broken")
    assert standing.doubt is not None and "ValueError('no')" in standing.doubt.reason
    assert [rung.name for rung in ladder.strongest] == ["integrity"]


def test_commits_are_kept_from_rungs_that_go_by_the_clock(draw: Draw) -> None:
    """The database put 1 before 2; A, who wrote 2 and reads 1, cannot know, for the writes were concurrent."""
    history = draw(
        """
        A: |--w2--|  |-r1-|
        B: |--w1--|
        db:    1 2
        """
    )
    names = ("linearizable", "read-your-writes", "read-after-write")
    ladder = climb([history])
    assert [ladder.standing(name).verdict for name in names] == [Verdict.UPHELD] * 3
    known = [rung for rung in RUNGS if rung.name in names]
    whole = [rung.property.check(history).verdict for rung in known]
    assert sorted(whole) == [Verdict.REFUTED, Verdict.REFUTED, Verdict.UPHELD]


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        ([Rung("a", Integrity()), Rung("a", Durability())], "two rungs are called 'a'"),
        ([Rung("a", Integrity(), ("b",))], r"'a' implies \['b'\]; put those rungs behind it"),
        ([Rung("b", Integrity()), Rung("a", Integrity(), ("b",))], "put those rungs behind it"),
    ],
)
def test_a_ladder_that_is_no_order_is_refused(ladder: list[Rung], message: str) -> None:
    """UsageError, before anything is judged."""
    with pytest.raises(UsageError, match=message):
        climb([], ladder)


def test_an_unknown_rung_has_no_standing() -> None:
    """KeyError, of what stands on it too."""
    with pytest.raises(KeyError):
        climb([]).standing("piano")
    with pytest.raises(KeyError):
        climb([]).stronger("piano")


def test_histories_are_taken_one_at_a_time(draw: Draw) -> None:
    """A long set need not be in memory: each is judged before the next is asked for."""
    seen: list[int] = []

    @dataclass(frozen=True)
    class Counting(Broken):
        def check(self, history: History) -> Judgement:
            seen.append(len(history.events))
            return Judgement(judged=1)

    def source() -> Iterator[History]:
        for place in range(3):
            assert len(seen) == place
            yield draw(FRESH)

    assert climb(source(), [Rung("counting", Counting())]).histories == len(seen) == 3
