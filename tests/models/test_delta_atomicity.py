"""Δ-atomicity agrees with exhaustive search on reads moved back, and the least Δ is the least."""

import math
import random
import time
from collections.abc import Callable, Sequence

import pytest

from cacheproof.models.delta_atomicity import DeltaAtomicity, LeastDelta, least_delta
from cacheproof.models.errors import UsageError
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Verdict
from cacheproof.models.zones import Linearizable

Draw = Callable[..., History]
OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO

RANDOM_HISTORIES = 10_000
UNWRITTEN = {"fabricated", "aborted", "premature"}


def precedes(one: Operation, other: Operation, delta_s: float) -> bool:
    """From the definition: one had returned before the other began, a read beginning `delta_s` earlier."""
    if one.returned is None or one.returned_s is None:
        return False
    if other.f == "read" and delta_s > 0:
        return one.returned_s < other.invoked_s - delta_s
    return one.returned < other.invoked


def atomic(operations: Sequence[Operation], state: Value, delta_s: float) -> bool:
    """Exhaustive search: every order that respects `precedes`, with every subset of the ambiguous writes."""
    must = [op for op in operations if op.outcome is OK]
    if not must:
        return True
    maybe = [op for op in operations if op.outcome is INFO and op.f != "read"]
    for chosen in (*must, *maybe):
        if any(precedes(other, chosen, delta_s) for other in must if other is not chosen):
            continue
        if chosen.f == "read" and chosen.value != state:
            continue
        rest = [op for op in (*must, *maybe) if op is not chosen]
        after = None if chosen.f == "delete" else chosen.value
        if atomic(rest, state if chosen.f == "read" else after, delta_s):
            return True
    return False


def random_operations(chance: random.Random, *, unique: bool = True) -> list[Operation]:
    """Up to 8 operations; several events share a second, and most values that are read were written."""
    seconds = [0.0]
    while len(seconds) < 16:
        seconds.append(seconds[-1] + chance.choice((0, 0, 1, 1, 3)))
    operations, wrote = [], 0
    for process in range(chance.randint(2, 8)):
        invoked = chance.randrange(15)
        returned = min(15, invoked + chance.randint(1, 5))
        outcome = chance.choice((OK, OK, OK, OK, OK, OK, OK, INFO, FAIL))
        f = chance.choice(("read", "write")) if unique else chance.choice(("read", "write", "delete"))
        value: Value = None
        if f == "write":
            wrote += 1
            value = f"v{wrote if unique else chance.randint(1, 2)}"
        elif f == "read":
            value = f"v{chance.randint(0, wrote + (chance.random() < 0.1))}"
            value = value if unique or chance.random() < 0.7 else None
        end = None if outcome is INFO else returned
        end_s = None if outcome is INFO else seconds[returned]
        operations.append(Operation(process, f, "k", value, invoked, end, outcome, seconds[invoked], end_s))
    return operations


def test_it_agrees_with_exhaustive_search() -> None:
    """On 10,000 random histories with unique values the verdict is exact for some Δ, and never unknown."""
    chance, refuted = random.Random(2011), 0
    for _ in range(RANDOM_HISTORIES):
        operations, delta_s = random_operations(chance), chance.choice((0, 0.5, 1, 2, 3, 4, 5))
        least = least_delta(operations, "v0")
        assert least.unknown is None
        assert least.exceeds(delta_s) != atomic(operations, "v0", delta_s), (delta_s, operations)
        refuted += least.exceeds(delta_s)
    assert 0.2 < refuted / RANDOM_HISTORIES < 0.8


def test_the_least_delta_is_the_least() -> None:
    """It will do, a little less will not; at 0 nothing or any Δ > 0 will do, and at infinity nothing will."""
    chance = random.Random(14)
    seen = {"nothing is needed": 0, "any": 0, "some": 0, "none will do": 0}
    for _ in range(4_000):
        operations = random_operations(chance)
        least = least_delta(operations, "v0")
        if least.clash is None:
            assert least == LeastDelta() and atomic(operations, "v0", 0)
            seen["nothing is needed"] += 1
        elif least.seconds == 0:
            assert not atomic(operations, "v0", 0) and atomic(operations, "v0", 0.001)
            seen["any"] += 1
        elif least.seconds < math.inf:
            assert atomic(operations, "v0", least.seconds)
            assert not atomic(operations, "v0", least.seconds - 0.25), operations
            seen["some"] += 1
        else:
            assert not atomic(operations, "v0", 1000) and least.clash.kind in UNWRITTEN
            seen["none will do"] += 1
    assert min(seen.values()) > 50, seen


def test_the_least_delta_of_writes_that_stay_open() -> None:
    """Where only reads order four open writes, any two of them may need the most, not just neighbours."""
    chance, needed = random.Random(21), 0
    for _ in range(200):
        writes = [Operation(n, "write", "k", f"v{n}", n, 99, OK, 0.0, 50.0) for n in range(4)]
        at_s, reads = 1.0, []
        for at in range(4, 16, 2):
            at_s += chance.choice((0, 1, 2, 4))
            read = Operation(9, "read", "k", f"v{chance.randrange(4)}", at, at + 1, OK, at_s, at_s)
            reads.append(read)
        least = least_delta([*writes, *reads])
        assert atomic([*writes, *reads], None, least.seconds or 0.001)
        if least.seconds:
            needed += 1
            assert not atomic([*writes, *reads], None, least.seconds - 0.25)
    assert needed > 80


def test_the_evidence_needs_the_same_delta() -> None:
    """Culprit, evidence and the writes of their values, without all others, have the same least Δ."""
    chance, clashes = random.Random(5), 0
    for _ in range(6_000):
        operations = random_operations(chance)
        least = least_delta(operations, "v0")
        if least.clash is None or least.clash.kind in UNWRITTEN:
            continue
        clashes += 1
        named = (least.clash.culprit, *least.clash.because)
        assert all(any(op is known for known in operations) for op in named)
        values = {op.value for op in named}
        proof = [op for op in operations if op in named or (op.f == "write" and op.value in values)]
        assert least_delta(proof, "v0").seconds == pytest.approx(least.seconds), operations
        assert not atomic(proof, "v0", max(least.seconds - 0.25, 0))
    assert clashes > 600


def test_repeated_values_are_never_judged_wrongly() -> None:
    """With values written more than once the least Δ is a lower bound, and said to be doubtful."""
    chance, doubtful, refuted = random.Random(3), 0, 0
    for _ in range(3_000):
        operations = random_operations(chance, unique=False)
        delta_s = chance.choice((0, 1, 2))
        least = least_delta(operations, "v0")
        if least.exceeds(delta_s):
            assert not atomic(operations, "v0", delta_s), operations
            refuted += 1
        elif least.unknown is None:
            assert atomic(operations, "v0", delta_s), operations
        doubtful += least.unknown is not None
    assert doubtful > 300 and refuted > 300


def test_zero_seconds_are_linearizability(happenings: Callable[..., History]) -> None:
    """With Δ = 0 the verdict on a history is that of `Linearizable`, key by key, unless values repeat."""
    seen = dict.fromkeys(Verdict, 0)
    for seed in range(2_000):
        history = happenings(seed, keys=2)
        expected, found = Linearizable().check(history), DeltaAtomicity(0).check(history)
        keys = [item.key for item in found.findings]
        seen[found.verdict] += 1
        if found.unknown is not None:  # a doubt that `Linearizable` may resolve
            assert set(keys) <= {item.key for item in expected.findings}
            continue
        assert (found.verdict, found.judged) == (expected.verdict, expected.judged)
        assert keys == [item.key for item in expected.findings]
    assert min(seen.values()) > 10, seen


STALE = """
    A:  |-w1-|  |-w2-|
    B:                   |-r1-|
    db:    1       2
    s:  0     1      2   7
"""


def test_a_stale_read_is_found(draw: Draw) -> None:
    """Too old by more than Δ: with the write that had returned, the versions, what was found and allowed."""
    history = draw(STALE)
    (finding,) = DeltaAtomicity(4.9).check(history).findings
    first, second, read = history.operations
    assert (finding.property, finding.kind, finding.key) == ("delta-atomicity", "stale-read", "k")
    assert (finding.culprit, finding.because) == (read, (second,))
    assert (finding.found, finding.allowed) == (5.0, (None, 4.9))
    assert [commit.value for commit in finding.versions] == ["v1", "v2"]
    assert finding.stale_s == 6.0
    assert DeltaAtomicity(5).check(history).verdict is Verdict.UPHELD
    assert first not in finding.because


VIOLATIONS = {
    "an inversion: new, then old, while the write is open": (
        """
        A: |-----------w1------------|
        B:   |-r1-|
        C:              |-r0-|
        s: 0      1     5
        """,
        3,
        ("non-linearizable", "r0", ["w1", "r1"], 4.0),
    ),
    "of several stale reads the one that needs most": (
        """
        A: |-w1-|  |-w2-|
        B:               |-r1-| |-r1-| |-r1-|
        s: 0           1 4      6      9
        """,
        2,
        ("stale-read", "r1", ["w2"], 8.0),
    ),
    "concurrent writes seen in both orders": (
        """
        A: |-w1-|
        B: |-w2-|
        C:        |-r1-| |-r2-| |-r1-|
        s: 0      1      3      6
        """,
        1,
        ("non-linearizable", "r1", ["w1", "w2", "r2"], 3.0),
    ),
    "a value before its write": ("A: |-r1-|  |-w1-|", 1000, ("premature", "r1", ["w1"], None)),
    "a value that nobody wrote": ("A: |-w1-|  |-r7-|", 1000, ("fabricated", "r7", [], None)),
    "the value of a failed write": ("A: |-w1-!  |-r1-|", 1000, ("aborted", "r1", ["w1"], None)),
    "a deleted record that comes back": (
        """
        A: |-w1-| |-d-|       |-r1-|
        s: 0          1       9
        """,
        7.9,
        ("stale-read", "r1", ["d"], 8.0),
    ),
    "within one instant, if there is no slack": (
        "A: |-w1-|  |-w2-|  |-r1-|",
        0,
        ("stale-read", "r1", ["w2"], 0.0),
    ),
}


def short(operation: Operation | None) -> str:
    assert operation is not None
    return f"{operation.f[0]}{(str(operation.value or ''))[1:]}"


@pytest.mark.parametrize("title", VIOLATIONS)
def test_violations_are_explained(title: str, draw: Draw) -> None:
    """Each kind, with the most telling read, what contradicts it, and the Δ that would be needed."""
    drawing, seconds, expected = VIOLATIONS[title]
    (finding,) = DeltaAtomicity(seconds).check(draw(drawing)).findings
    because = [short(op) for op in finding.because]
    assert (finding.kind, short(finding.culprit), because, finding.found) == expected
    assert finding.allowed == (None, seconds)


NEAR_MISSES = {
    "stale by exactly Δ": (STALE, 5),
    "stale by exactly Δ, but for rounding": (
        "A: |-w1-| |-w2-|\nB:            |-r1-|\ns: 0       0.1 0.4",
        0.3,
    ),
    "within one instant, with the least slack": ("A: |-w1-|  |-w2-|  |-r1-|", 1e-9),
    "the write is still open": ("A: |-w1-| |-----w2-----|\nB:           |-r1-|\ns: 0         9", 0),
    "an ambiguous write may come as late as you like": ("A: |-w1-|  |-w2-?  |-r1-|  |-r2-|\ns: 0     3", 0),
    "ambiguous and failed reads say nothing": ("A: |-w1-| |-w2-| |-r1? |-r1-!\ns: 0            9", 0),
    "old, then new, both late": (
        "A: |-w1-| |-w2-|\nB:                |-r1-| |-r2-|\ns: 0              3",
        3,
    ),
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """What lags behind by no more than Δ is allowed."""
    drawing, seconds = NEAR_MISSES[title]
    judgement = DeltaAtomicity(seconds).check(draw(drawing))
    assert judgement.findings == () and judgement.unknown is None


def test_other_methods_and_repeated_values_leave_a_doubt(draw: Draw) -> None:
    """An increment may have written anything, and either of two deletes what is read."""
    increment = DeltaAtomicity(1).check(draw("A: |-<increment>1-|  |-r0-|"))
    assert increment.verdict is Verdict.UNKNOWN and "increment" in (increment.unknown or "")
    assert "increment" in (least_delta([Operation(0, "increment", "k", 1, 0, 1, OK)]).unknown or "")
    twice = DeltaAtomicity(1).check(draw("A: |-d-| |-w1-| |-d-| |-r-|"))
    assert twice.verdict is Verdict.UNKNOWN and "None was read" in (twice.unknown or "")
    stale = draw("A: |-d-| |-w1-| |-w2-| |-d-| |-r-| |-r1-|\ns: 0                            9")
    assert DeltaAtomicity(1).check(stale).verdict is Verdict.REFUTED
    assert DeltaAtomicity(9).check(stale).verdict is Verdict.UNKNOWN


def test_where_the_time_of_a_return_is_not_known_nothing_is_claimed() -> None:
    """An order of events alone refutes Δ = 0, and no other."""
    operations = [
        Operation(0, "write", "k", "v1", 0, 1, OK),
        Operation(0, "write", "k", "v2", 2, 3, OK),
        Operation(0, "read", "k", "v1", 4, 5, OK, invoked_s=9.0),
    ]
    least = least_delta(operations)
    assert least.exceeds(0) and not least.exceeds(1e-9)


def test_thousands_of_operations_take_moments() -> None:
    """O(n log n): 20,000 operations with 5,000 stale reads, well under what all pairs would take."""
    operations = []
    for number in range(10_000):
        at, at_s = number * 10, float(number)
        operations.append(Operation(0, "write", "k", f"v{number}", at, at + 4, OK, at_s, at_s + 0.4))
        seen = f"v{number - number % 2}"
        operations.append(Operation(1, "read", "k", seen, at + 6, at + 9, OK, at_s + 0.6, at_s + 0.9))
    begun = time.process_time()
    least = least_delta(operations)
    assert least.seconds == pytest.approx(0.2) and time.process_time() - begun < 3


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_a_bound_is_a_number_of_seconds(seconds: float) -> None:
    """Anything else is refused."""
    with pytest.raises(UsageError, match="the Δ of Δ-atomicity is"):
        DeltaAtomicity(seconds)


def test_it_looks_around_the_bound() -> None:
    """Just before it, when what was cached in time is still there, and just after it."""
    assert DeltaAtomicity(60).probes_s == (59.0, 61.0)
    assert DeltaAtomicity(0).probes_s == (0.0, 1.0)
    assert DeltaAtomicity(60).name == "delta-atomicity"
