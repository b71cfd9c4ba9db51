"""The session guarantees are what their definition says, on one total order of versions for all sessions."""

import random
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations

import pytest

from cacheproof.models.event import Committed, Event, Faulted, Invoked, Returned
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, registers
from cacheproof.models.sessions import (
    MonotonicReads,
    MonotonicWrites,
    ReadYourWrites,
    WritesFollowReads,
    check_sessions,
    restarts,
)
from cacheproof.models.verdict import Verdict

Draw = Callable[..., History]
OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO

RANDOM_HISTORIES = 10_000
GUARANTEES = (ReadYourWrites(), MonotonicReads(), MonotonicWrites(), WritesFollowReads())
ALL = {guarantee.name: guarantee for guarantee in GUARANTEES}
KINDS = {
    "read-your-writes": "read-your-writes",
    "monotonic-reads": "non-monotonic-read",
    "monotonic-writes": "non-monotonic-write",
    "writes-follow-reads": "write-before-read",
}
EARLIER_AND_LATER = {
    "read-your-writes": ("write", "read"),
    "monotonic-reads": ("read", "read"),
    "monotonic-writes": ("write", "write"),
    "writes-follow-reads": ("read", "write"),
}
Pair = tuple[Value, Value]


def happening(seed: int, later: str) -> History:
    """A random history of one key whose values are written once: anything may be read, committed, crash.

    Demands on `later` writes can be broken by commits only, so there are more of both then.
    """
    chance = random.Random(seed)
    events: list[Event] = []
    opened: dict[int, tuple[str, Value]] = {}
    written = 0
    clients = chance.choice((1, 2, 2, 3))
    rate = chance.choice((0.0, 0.1, 0.25) if later == "read" else (0.25, 0.4))
    commits: list[Committed] = []
    for index in range(22 if later == "read" else 30):
        process = chance.randrange(clients)
        if written and chance.random() < rate:
            fresh = [n for n in range(1, written + 1) if f"v{n}" not in {c.value for c in commits}]
            again = not fresh or chance.random() < 0.1
            value = f"v{chance.randint(1, written) if again else chance.choice(fresh)}"
            commits.append(Committed(index, 0.0, "k", value, len(commits) + 1))
            events.append(commits[-1])
        elif chance.random() < 0.03:
            events.append(Faulted(index, 0.0, chance.choice(("crash", "restart")), process))
            opened.pop(process, None)
        elif process in opened:
            f, wrote = opened.pop(process)
            outcome = chance.choice((OK,) * 8 + (INFO, FAIL))
            seen = f"v{min(chance.randint(0, 1 + written), written)}"
            events.append(Returned(index, 0.0, process, outcome, wrote if f == "write" else seen))
        else:
            f = chance.choice(("read", "write")) if written < (4 if later == "read" else 5) else "read"
            written += f == "write"
            opened[process] = (f, f"v{written}" if f == "write" else None)
            events.append(Invoked(index, 0.0, process, f, "k", opened[process][1]))
    return History({"k": "v0"}, tuple(events), clients)


def value_of(op: Operation) -> Value:
    return None if op.f == "delete" else op.value


def writes(op: Operation) -> bool:
    return op.f in ("write", "delete")


class Definition:
    """One total order of the versions that extends what is known and what is demanded: tried one by one.

    Values that several versions may have are left out, as the module says.
    """

    def __init__(self, history: History, name: str) -> None:
        self.history = history
        self.earlier, self.later = EARLIER_AND_LATER[name]
        self.sources: dict[Value, list[Operation]] = {"v0": []}
        for op in history.operations:
            if writes(op) and op.outcome is not FAIL:
                self.sources.setdefault(value_of(op), []).append(op)
        self.runs: list[tuple[Value, float]] = [("v0", -1.0)]
        for commit in history.commits["k"]:
            if commit.value != self.runs[-1][0]:
                self.runs.append((commit.value, commit.index))
        self.unique = [v for v in self.sources if self.origins(v) == 1 and len(self.places(v)) < 2]

    def origins(self, value: Value) -> int:
        return len(self.sources[value]) + (value == "v0")

    def places(self, value: Value) -> list[int]:
        return [place for place, (other, _) in enumerate(self.runs) if other == value]

    def satisfied(self, until: int = 10**9) -> bool:
        return self._has_order(tuple(self.unique), self.known() | self.demanded(until))

    def _has_order(self, left: tuple[Value, ...], pairs: set[Pair]) -> bool:
        """Whether an order of what is left agrees with all pairs (older, newer): each may be the oldest."""
        if not left:
            return True
        oldest = (v for v in left if not any((other, v) in pairs for other in left))
        return any(self._has_order(tuple(x for x in left if x != v), pairs) for v in oldest)

    def known(self) -> set[Pair]:
        pairs = list(permutations(self.sources, 2))
        in_time = {(a, b) for a, b in pairs if self._moments(a)[-1] < self._moments(b)[0]}
        by_commit = {(a, b) for a, b in pairs if self._committed_before(a, b)}
        late = {value for a, b in in_time if (b, a) in by_commit for value in (a, b)}
        return by_commit | {
            (a, b)
            for a, b in in_time
            if not (self.places(a) and self.places(b)) and a not in late and b not in late
        }

    def _committed_before(self, older: Value, newer: Value) -> bool:
        one, other = self.places(older), self.places(newer)
        return bool(one and other) and one[-1] < other[0]

    def _moments(self, value: Value) -> list[float]:
        """When it may have been made; of a value that the database came back to, then as well."""
        found = [-1.0] * (value == "v0")
        for write in self.sources[value]:
            found += [write.invoked, 1e9 if write.returned is None else write.returned]
        places = self.places(value)
        return sorted(found + [self.runs[place][1] for place in places] * (len(places) > 1))

    def demanded(self, until: int) -> set[Pair]:
        found = set()
        for one, other in combinations(self.history.operations, 2):
            if self._demands(one) and self._is_obliged(other) and self._life(one) == self._life(other):
                pair = (value_of(one), value_of(other))
                if other.invoked < until and pair[0] != pair[1] and set(pair) <= set(self.unique):
                    found.add(pair)
        return found

    def _life(self, op: Operation) -> tuple[int, int]:
        faults = (fault for fault in self.history.faults if fault.process == op.process)
        return op.process, sum(fault.index < op.invoked for fault in faults)

    def _demands(self, op: Operation) -> bool:
        return op.outcome is OK and self._is(op, self.earlier)

    def _is_obliged(self, op: Operation) -> bool:
        return (op.outcome is OK or (op.outcome is INFO and writes(op))) and self._is(op, self.later)

    def _is(self, op: Operation, what: str) -> bool:
        """It writes; or it reads what had been written by then."""
        if writes(op):
            return what == "write"
        begun = op.value == "v0" or any(not op.precedes(w) for w in self.sources.get(op.value, ()))
        return what == "read" and begun


FEWEST_REFUTED = {
    "read-your-writes": 1_000,
    "monotonic-reads": 700,
    "monotonic-writes": 200,
    "writes-follow-reads": 50,
}


@pytest.mark.parametrize("name", EARLIER_AND_LATER)
def test_it_is_the_definition(name: str) -> None:
    """On 10,000 random histories a guarantee is refuted exactly if no total order of the versions will do.

    Where one will do, it is in doubt only if the database came back to a value; and the culprit is the first
    operation with which no order is left.
    """
    refuted = 0
    for seed in range(RANDOM_HISTORIES // 4):
        history = happening(seed, EARLIER_AND_LATER[name][1])
        judgement, definition = ALL[name].check(history), Definition(history, name)
        assert bool(judgement.findings) != definition.satisfied(), seed
        assert judgement.unknown is None or len(definition.unique) < len(definition.sources)
        refuted += bool(judgement.findings)
        for finding in judgement.findings:
            assert finding.culprit is not None and judgement.judged
            assert definition.satisfied(until=finding.culprit.invoked), seed
            assert not definition.satisfied(until=finding.culprit.invoked + 1), seed
    assert FEWEST_REFUTED[name] < refuted < RANDOM_HISTORIES // 4 - 1_000


@pytest.mark.parametrize("name", EARLIER_AND_LATER)
def test_repeated_values_are_set_aside(name: str, happenings: Callable[..., History]) -> None:
    """On 1,000 histories with deletes and repeated values: refuted exactly if the rest admits no order."""
    for seed in range(1_000):
        history = happenings(seed)
        judgement, definition = ALL[name].check(history), Definition(history, name)
        assert bool(judgement.findings) != definition.satisfied(), seed
        if len(definition.unique) == len(definition.sources):
            assert judgement.unknown is None


@pytest.mark.parametrize("name", EARLIER_AND_LATER)
def test_a_circle_is_a_proof_by_itself(name: str) -> None:
    """Culprit, evidence, and the writes and commits of the versions named refute without anything else."""
    for seed in range(1_000):
        history = happening(seed, EARLIER_AND_LATER[name][1])
        (register,) = registers(history)
        circle = check_sessions(register, name, restarts(history)).circle
        if circle is None:
            continue
        assert circle.culprit not in circle.because
        assert list(circle.because) == sorted(circle.because, key=lambda op: op.invoked)
        proof = {circle.culprit, *circle.because, *(w for v in circle.values for w in register.sources(v))}
        rest = Register(
            key="k",
            initial="v0",
            operations=tuple(op for op in register.operations if op in proof),
            commits=tuple(commit for commit in register.commits if commit.value in circle.values),
        )
        assert check_sessions(rest, name, restarts(history)).circle, seed


def atomic_run(seed: int) -> History:
    """A faithful run: each operation takes effect at one instant, where the database commits what it wrote.

    Some writes time out, and take effect then, later, or never.
    """
    chance = random.Random(seed)
    events: list[Event] = []
    opened: dict[int, Invoked] = {}
    done: dict[int, tuple[Outcome, Value]] = {}
    zombies: list[Value] = []
    current: Value = "v0"
    written = committed = 0
    for _ in range(40):
        process, effect = chance.randrange(4), list[Value]()
        if process == 3:
            effect = [zombies.pop()] if zombies else []
        elif process in done:
            outcome, value = done.pop(process)
            events.append(Returned(len(events), 0.0, process, outcome, value))
            del opened[process]
        elif process in opened:
            call = opened[process]
            lost = call.f != "read" and chance.random() < 0.15
            (zombies if lost else effect).extend([call.value] if call.f != "read" else [])
            outcome = INFO if lost or chance.random() < 0.1 else OK
            done[process] = (outcome, current if call.f == "read" else call.value)
        else:
            f = chance.choice(("read", "read", "write", "write", "delete"))
            written += f == "write"
            asked = f"v{written}" if f == "write" else None
            opened[process] = Invoked(len(events), 0.0, process, f, "k", asked)
            events.append(opened[process])
        for current in effect:
            committed += 1
            events.append(Committed(len(events), 0.0, "k", current, committed))
    return History({"k": "v0"}, tuple(events), 3)


@pytest.mark.parametrize("name", EARLIER_AND_LATER)
def test_a_faithful_run_is_never_refuted(name: str) -> None:
    """On 1,500 runs of an atomic register, deletes and zombie writes among them: no false alarm."""
    upheld = 0
    for seed in range(1_500):
        judgement = ALL[name].check(atomic_run(seed))
        assert judgement.findings == (), seed
        upheld += judgement.verdict is Verdict.UPHELD
    assert upheld > 300


def short(op: Operation | None) -> str:
    return "" if op is None else f"{op.f[0]}{str(op.value or '')[1:]}"


VIOLATIONS = {
    "the own write is not seen": ("read-your-writes", "A: |-w1-| |-r0-|", "r0", "w1", ""),
    "an older own write is seen": (
        "read-your-writes",
        "A: |-w1-| |-w2-| |-r1-|",
        "r1",
        "w1 w2",
        "",
    ),
    "somebody else's write that the database overwrote": (
        "read-your-writes",
        """
        A:  |--w1--|  |-r2-|
        B:  |--w2--|
        db:    2 1
        """,
        "r2",
        "w1",
        "v2 v1",
    ),
    "the deletion is not seen": ("read-your-writes", "A: |-w1-| |-d-| |-r1-|", "r1", "w1 d", ""),
    "a final read": ("read-your-writes", "A: |-w1-| |-w2-| |-R1-|", "R1".lower(), "w1 w2", ""),
    "the smaller of two own commits": (
        "read-your-writes",
        """
        A:  |-w1-| |-w2-| |-r2-|
        db:           2      1
        """,
        "r2",
        "w1",
        "v2 v1",
    ),
    "newer, then older": (
        "monotonic-reads",
        """
        A: |-w1-| |-w2-|
        B:                |-r2-| |-r1-|
        """,
        "r1",
        "w1 w2 r2",
        "",
    ),
    "back to the initial record": ("monotonic-reads", "A: |-w1-|\nB: |-r1-| |-r0-|", "r0", "w1 r1", ""),
    "over a value that was set aside": (
        "monotonic-reads",
        """
        A: |-d-| |-w1-| |-w2-| |-d-|
        B:                           |-r2-| |-r-| |-r1-|
        """,
        "r1",
        "w1 w2 r2",
        "",
    ),
    "two sessions that disagree": (
        "monotonic-reads",
        """
        A: |----w1----|
        B: |----w2----|
        C:              |-r1-| |-r2-|
        D:              |-r2-|   |-r1-|
        """,
        "r1",
        "r1 r2 r2",
        "",
    ),
    "older, then newer, then older": (
        "monotonic-reads",
        """
        A: |-------------w1-------------|
        B:  |------------w2------------|
        C:    |-r1-|  |-r2-|  |-r1-|
        """,
        "r1",
        "r1 r2",
        "",
    ),
    "committed the other way round": (
        "monotonic-writes",
        """
        A:  |-w1-| |-w2-|
        db:               2 1
        """,
        "w2",
        "w1",
        "v2 v1",
    ),
    "an ambiguous write that came too early": (
        "monotonic-writes",
        """
        A:  |-w1-| |-w2-?
        db:               2 1
        """,
        "w2",
        "w1",
        "v2 v1",
    ),
    "committed before what had been read": (
        "writes-follow-reads",
        """
        A:  |---------w1------------|
        B:     |-r1-| |-w2-|
        db:               2   1
        """,
        "w2",
        "r1",
        "v2 v1",
    ),
    "not what was read last, but before": (
        "writes-follow-reads",
        """
        A:  |---------w1------------|
        B:     |-r1-| |-r0-|  |-w2-|
        db:                      2 1
        """,
        "w2",
        "r1",
        "v2 v1",
    ),
    "over a write that was never committed": (
        "writes-follow-reads",
        """
        A:  |---------w1--------------------------|
        B:     |-r1-| |-----------w2-------|
        C:               |-r2-| |-w3-|
        db:                        3  1
        """,
        "w3",
        "r1 w2 r2",
        "v3 v1",
    ),
}


@pytest.mark.parametrize("title", VIOLATIONS)
def test_a_violation_is_found(title: str, draw: Draw) -> None:
    """Each way of breaking a guarantee, with the operation that closes the circle and what it clashes with."""
    name, drawing, culprit, because, versions = VIOLATIONS[title]
    judgement = ALL[name].check(draw(drawing))
    (finding,) = judgement.findings
    assert (finding.property, finding.kind, finding.key) == (name, KINDS[name], "k")
    assert short(finding.culprit) == culprit
    assert [short(op) for op in finding.because] == because.split()
    assert [commit.value for commit in finding.versions] == versions.split()
    assert judgement.verdict is Verdict.REFUTED and judgement.judged > 0


NEAR_MISSES = {
    "somebody else's concurrent write": ("read-your-writes", "A: |-w1-| |-r2-|\nB: |-w2-|", 1),
    "somebody else's newer write": ("read-your-writes", "A: |-w1-|         |-r2-|\nB:         |-w2-|", 1),
    "somebody else does not see it": ("read-your-writes", "A: |-w1-|\nB:         |-r0-|", 0),
    "an ambiguous write need not be seen": ("read-your-writes", "A: |-w1-? |-r0-|", 0),
    "a failed write need not be seen": ("read-your-writes", "A: |-w1-! |-r0-|", 0),
    "ambiguous and failed reads": ("read-your-writes", "A: |-w1-| |-r? |-r!", 0),
    "own writes that the database put in another order": (
        "read-your-writes",
        "A:  |-w1-| |-w2-| |-r1-|\ndb:            2  1",
        1,
    ),
    "nobody wrote it": ("read-your-writes", "A: |-w1-| |-r7-|", 0),
    "an aborted value": ("monotonic-reads", "A: |-w1-! |-r1-| |-r0-|", 0),
    "read before it was written": ("monotonic-reads", "A:        |-w1-|\nB: |-r1-|         |-r0-|", 0),
    "other clients may lag behind": (
        "monotonic-reads",
        "A: |-w1-|\nB:         |-r1-|\nC:               |-r0-|",
        0,
    ),
    "concurrent writes, one way": (
        "monotonic-reads",
        "A: |-w1-|\nB: |-w2-|\nC:        |-r2-| |-r1-|",
        1,
    ),
    "the database decided the same way": (
        "monotonic-reads",
        "A:  |-w1-|\nB:  |-w2-|\nC:        |-r2-| |-r1-|\ndb:   2 1",
        1,
    ),
    "an ambiguous write takes effect late": (
        "monotonic-reads",
        "A: |-w1-? |-w2-|\nB:                |-r2-| |-r1-|",
        1,
    ),
    "coalesced": ("monotonic-writes", "A:  |-w1-| |-w2-| |-w3-|\ndb:   1               3", 1),
    "no database": ("monotonic-writes", "A: |-w1-| |-w2-|", 0),
    "somebody else's writes": (
        "monotonic-writes",
        "A:  |-w1-|\nB:         |-w2-|\ndb:                 2 1",
        0,
    ),
    "an ambiguous write comes late": ("monotonic-writes", "A:  |-w1-? |-w2-|\ndb:           2  1", 0),
    "as it was read": (
        "writes-follow-reads",
        "A:  |---w1-----|\nB:    |-r1-| |-w2-|\ndb:   1            2",
        1,
    ),
    "committed out of order, but not read": (
        "writes-follow-reads",
        "A:  |----w1-----|\nB:    |-r0-| |-w2-|\ndb:             2  1",
        0,
    ),
    "read after the write": (
        "writes-follow-reads",
        "A:  |-------w1------|\nB:  |-w2-| |-r1-|\ndb:     2          1",
        0,
    ),
    "other keys": ("monotonic-reads", "A: |-w1@a-| |-w2@b-|\nB:                     |-r2@b-| |-r@a-|", 0),
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """What some order of the versions explains is fine; and judged is what could have been otherwise."""
    name, drawing, judged = NEAR_MISSES[title]
    judgement = ALL[name].check(draw(drawing))
    assert judgement.findings == () and judgement.unknown is None
    assert judgement.judged == judged
    assert judgement.verdict is (Verdict.UPHELD if judged else Verdict.NOT_EXERCISED)


DOUBTS = {
    "which deletion was seen": ("monotonic-reads", "A: |-d-| |-w1-| |-d-|\nB: |-r-| |-r1-|", "None"),
    "which of two writes": ("read-your-writes", "A: |-w1-|\nB: |-w1-|  |-w2-| |-r1-|", "'v1'"),
    "the database came back to it": (
        "monotonic-reads",
        "A:  |-w1-| |-w2-| |-r1-| |-r2-|\ndb:   1       2  1",
        "'v1'",
    ),
    "two deletions among the writes": (
        "monotonic-writes",
        "A:  |-d-| |-w1-| |-d-|\ndb:   x     1       x",
        "None",
    ),
}


@pytest.mark.parametrize("title", DOUBTS)
def test_values_of_several_versions_leave_a_doubt(title: str, draw: Draw) -> None:
    """What was set aside might have been out of order."""
    name, drawing, value = DOUBTS[title]
    judgement = ALL[name].check(draw(drawing))
    assert judgement.verdict is Verdict.UNKNOWN
    assert judgement.unknown == f"{value} may be more than one version"


def test_the_same_again_leaves_no_doubt(draw: Draw) -> None:
    """A client that sees nothing but its own deletion, again and again, is content, whoever else deletes."""
    judgement = ReadYourWrites().check(draw("A: |-d-|     |-r-|   |-r-|\nB:     |-d-|"))
    assert judgement.verdict is Verdict.UPHELD and judgement.judged == 2


@pytest.mark.parametrize("fault", ["crash", "restart"])
def test_a_new_life_is_a_new_session(fault: str, draw: Draw) -> None:
    """A client that was started anew does not remember; another client's fault is none of its business."""
    history = draw("A: |-w1-|   |-r0-|\nB:         |-w2-|")
    assert ReadYourWrites().check(history).verdict is Verdict.REFUTED
    for process, verdict in ((0, Verdict.NOT_EXERCISED), (1, Verdict.REFUTED)):
        halves = (history.events[:2], (Faulted(0, 0.0, fault, process),), history.events[2:])
        events = [event for half in halves for event in half]
        moved = tuple(replace(event, index=index) for index, event in enumerate(events))
        assert ReadYourWrites().check(History(history.initial, moved)).verdict is verdict


def test_faults_that_concern_no_client_end_no_session(draw: Draw) -> None:
    """A killed cache is no excuse."""
    events = (Faulted(0, 0.0, "kill"), Faulted(1, 0.0, "crash", 2), Faulted(2, 0.0, "advance", 1))
    assert restarts(History({}, events)) == {2: [1]}


def test_how_stale_a_read_was_comes_with_it(draw: Draw) -> None:
    """The culprit of a guarantee on reads carries for how long its value had been superseded."""
    history = draw("""
        A:  |--w1--|  |--w2--|  |-r1-|
        db:     1         2
        s:  0             3     7
    """)
    (finding,) = ReadYourWrites().check(history).findings
    assert finding.stale_s == 4.0
    (finding,) = MonotonicWrites().check(draw("A:  |-w1-| |-w2-|\ndb:              2 1")).findings
    assert finding.stale_s is None


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """An increment may have written anything."""
    judgement = MonotonicReads().check(draw("A: |-<increment>1-|  |-r0-| |-r0-|"))
    assert judgement.verdict is Verdict.UNKNOWN and "increment" in (judgement.unknown or "")


def test_names_and_probes() -> None:
    """Guarantees on reads ask for a last look, those on writes for none; unknown names are refused."""
    assert {name: item.name for name, item in ALL.items()} == {name: name for name in ALL}
    assert [item.probes_s for item in ALL.values()] == [(0.0,), (0.0,), (), ()]
    with pytest.raises(KeyError):
        check_sessions(Register("k", None, ()), "happy-reads")


@pytest.mark.parametrize("name", EARLIER_AND_LATER)
def test_ten_thousand_operations_take_moments(name: str) -> None:
    """Linear but for sorting: 10 clients that read each other's writes, upheld, and refuted at the very end."""
    operations, commits = [], []
    for number in range(5_000):
        at = number * 20
        process, other = number % 10, (number * 7 + 1) % 10
        operations.append(Operation(process, "write", "k", f"v{number}", at, at + 9, OK))
        operations.append(Operation(other, "read", "k", f"v{number}", at + 12, at + 15, OK))
        commits.append(Committed(at + 5, 0.0, "k", f"v{number}", number + 1))
    begun = time.process_time()
    result = check_sessions(Register("k", None, tuple(operations), tuple(commits)), name)
    assert result.circle is None and result.judged > 4_000
    last = Operation(9, "read", "k", "v3", 10**6, 10**6 + 1, OK)
    broken = check_sessions(Register("k", None, (*operations, last), tuple(commits)), name)
    assert (broken.circle is not None) == (EARLIER_AND_LATER[name][1] == "read")
    assert time.process_time() - begun < 3
