"""Linearizability by zones agrees with exhaustive search, and names the read that shows a clash."""

import random
import time
from collections.abc import Callable, Sequence

import pytest

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register
from cacheproof.models.zones import Linearizable, check_register

Draw = Callable[..., History]
OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO

RANDOM_HISTORIES = 24_000
UNWRITTEN = {"fabricated", "aborted", "premature"}


def linearizable(operations: Sequence[Operation], state: Value) -> bool:
    """Exhaustive search: every order that respects real time, with every subset of the ambiguous writes."""
    must = [op for op in operations if op.outcome is OK]
    if not must:
        return True
    maybe = [op for op in operations if op.outcome is INFO and op.f != "read"]
    for chosen in (*must, *maybe):
        if any(other.precedes(chosen) for other in must):
            continue
        if chosen.f == "read" and chosen.value != state:
            continue
        rest = [op for op in (*must, *maybe) if op is not chosen]
        after = chosen.value if chosen.f == "read" else (None if chosen.f == "delete" else chosen.value)
        if linearizable(rest, after):
            return True
    return False


def random_operations(chance: random.Random, *, unique: bool) -> list[Operation]:
    """Up to 8 operations on a clock so short that many intervals touch or coincide."""
    clock, count = chance.randint(4, 14), chance.randint(1, 8)
    wrote = 0
    operations = []
    for process in range(count):
        invoked = chance.randrange(clock)
        returned = min(clock, invoked + chance.randrange(1 + clock // 2))
        f = chance.choice(("read", "write")) if unique else chance.choice(("read", "write", "delete"))
        outcome = chance.choice((OK, OK, OK, OK, OK, OK, INFO, FAIL))
        value: Value = None
        if f == "write":
            wrote += 1
            value = f"v{wrote}" if unique else f"v{chance.randint(1, 2)}"
        elif f == "read":  # a third of the values are those of the next write, to be written later or never
            value = f"v{chance.randint(0, wrote + 1) if wrote else 0}"
            value = value if unique or chance.random() < 0.7 else None
        end = None if outcome is INFO else returned
        operations.append(Operation(process, f, "k", value, invoked, end, outcome))
    return operations


def test_zones_agree_with_exhaustive_search() -> None:
    """On 24,000 random histories with unique values the verdict is the exact one, and never unknown."""
    chance, refuted = random.Random(1997), 0
    for _ in range(RANDOM_HISTORIES):
        operations = random_operations(chance, unique=True)
        result = check_register(operations, "v0")
        assert result.unknown is None
        assert (result.clash is None) == linearizable(operations, "v0"), operations
        refuted += result.clash is not None
    assert 0.25 < refuted / RANDOM_HISTORIES < 0.75


def test_repeated_values_are_never_judged_wrongly() -> None:
    """With values written more than once a verdict is still the exact one, where there is a verdict."""
    chance, seen = random.Random(2024), {True: 0, False: 0, None: 0}
    for _ in range(4_000):
        operations = random_operations(chance, unique=False)
        initial: Value = chance.choice(("v0", None))
        result = check_register(operations, initial)
        verdict = None if result.unknown else result.clash is None
        assert verdict is None or verdict == linearizable(operations, initial), operations
        seen[verdict] += 1
    assert min(seen.values()) > 300


def test_a_clash_is_a_proof_by_itself() -> None:
    """Culprit, evidence and the writes of their values are enough to refute: nothing else is needed."""
    chance, clashes = random.Random(7), 0
    for _ in range(8_000):
        operations = random_operations(chance, unique=True)
        clash = check_register(operations, "v0").clash
        if clash is None or clash.kind in UNWRITTEN:
            continue
        clashes += 1
        named = (clash.culprit, *clash.because)
        values = {op.value for op in named}
        proof = {*named, *(op for op in operations if op.f == "write" and op.value in values)}
        assert clash.culprit.f == "read" and clash.culprit not in clash.because
        assert not linearizable([op for op in operations if op in proof], "v0"), operations
        if clash.kind == "stale-read":
            (write,) = clash.because
            assert write.precedes(clash.culprit)
    assert clashes > 1_000


def test_thousands_of_operations_take_moments() -> None:
    """O(n log n): 20,000 operations in well under the seconds that a quadratic check would need."""
    operations = []
    for number in range(10_000):
        at = number * 10
        operations.append(Operation(0, "write", "k", f"v{number}", at, at + 12, OK))
        operations.append(Operation(1, "read", "k", f"v{number}", at + 5, at + 9, OK))
    begun = time.process_time()
    assert check_register(operations).clash is None
    assert time.process_time() - begun < 3


CLASHES = {
    "a newer write had returned": (
        """
        A: |-w1-|  |-w2-|
        B:                |-r1-|
        """,
        "stale-read",
        "r1",
        ["w2"],
    ),
    "the initial value after a write": (
        """
        A: |-w1-|
        B:        |-r0-|
        """,
        "stale-read",
        "r0",
        ["w1"],
    ),
    "new, then old, while the write is open": (
        """
        A:   |-------w1-------|
        B: |--r1--|
        C:          |-r0-|
        """,
        "non-linearizable",
        "r0",
        ["r1", "w1"],
    ),
    "the older value after an ambiguous write was seen": (
        """
        A: |--w1--?
        B:       |-r1-|
        C:              |-r0-|
        """,
        "non-linearizable",
        "r0",
        ["w1", "r1"],
    ),
    "two concurrent writes seen in both orders": (
        """
        A: |-w1-|
        B: |-w2-|
        C:        |-r1-| |-r2-| |-r1-|
        """,
        "non-linearizable",
        "r1",
        ["w1", "w2", "r2"],
    ),
    "two concurrent writes seen in both orders, one of them late": (
        """
        A: |-----------w1------------|
        B: |-----------w2------------|
        C:   |-r1-|  |-r2-|  |-r1-|
        """,
        "non-linearizable",
        "r1",
        ["r1", "r2"],
    ),
    "a value that nobody wrote": ("A: |-w1-|  |-r7-|", "fabricated", "r7", []),
    "the value of a failed write": ("A: |-w1-!  |-r1-|", "aborted", "r1", ["w1"]),
    "a value before its write": ("A: |-r1-|  |-w1-|", "premature", "r1", ["w1"]),
    "a deleted record that comes back": ("A: |-w1-| |-d-| |-r1-|", "stale-read", "r1", ["d"]),
}


def short(operation: Operation) -> str:
    return f"{operation.f[0]}{(str(operation.value or ''))[1:]}"


@pytest.mark.parametrize("title", CLASHES)
def test_the_most_telling_read_is_the_culprit(title: str, draw: Draw) -> None:
    """Each kind of clash is found and explained by the operations that make it one."""
    drawing, kind, culprit, because = CLASHES[title]
    judgement = Linearizable().check(draw(drawing))
    (finding,) = judgement.findings
    assert (finding.kind, finding.key, finding.property) == (kind, "k", "linearizable")
    assert finding.culprit is not None and short(finding.culprit) == culprit
    assert [short(op) for op in finding.because] == because
    assert finding.culprit not in finding.because


@pytest.mark.parametrize(
    "drawing",
    [
        "",
        "A: |-w1-| |-r1-|",
        # concurrent with the write: old or new, and the second read may see the old one if the first did
        """
        A:   |-------w1-------|
        B: |--r0--|  |-r1-|
        """,
        # touching intervals are concurrent
        """
        A: |-w1-|
        B:      |-r0-|
        """,
        # an ambiguous write takes effect late, or never
        """
        A: |-w1-?
        B:        |-r0-|  |-r1-|
        """,
        "A: |-w1-?  |-r0-|",
        # ambiguous and failed operations say nothing
        "A: |-w1-|  |-r?  |-w2-!  |-r!  |-r1-|",
        # keys are independent
        """
        A: |-w1@a-|  |-w2@b-|
        B:                     |-r1@a-|  |-r2@b-|
        """,
        "A: |-d-| |-r-| |-w1-| |-r1-|",
    ],
)
def test_near_misses_are_upheld(drawing: str, draw: Draw) -> None:
    """What an atomic register may do is not flagged."""
    judgement = Linearizable().check(draw(drawing))
    assert judgement.findings == () and judgement.unknown is None
    assert judgement.judged == drawing.count("r") - drawing.count("r?") - drawing.count("r!")


def test_versions_and_staleness_come_with_the_finding(draw: Draw) -> None:
    """The finding carries the committed versions of both values, and for how long the old one was superseded."""
    history = draw("""
        A:  |--w1--|   |--w2--|
        B:                           |-r1-|
        db:     1          2
        s:  0     5         7       9
    """)
    (finding,) = Linearizable().check(history).findings
    assert [commit.value for commit in finding.versions] == ["v1", "v2"]
    assert finding.stale_s == 4.0


def test_repeated_values_are_searched_for_an_order() -> None:
    """With values written more than once the property has the exact verdict all the same, and no doubt."""
    chance, refuted, searched = random.Random(1993), 0, 0
    for _ in range(10_000):
        operations = tuple(sorted(random_operations(chance, unique=False), key=lambda op: op.invoked))
        initial: Value = chance.choice(("v0", None))
        judgement = Linearizable().judge(Register("k", initial, operations))
        assert judgement.unknown is None
        assert (judgement.findings == ()) == linearizable(operations, initial), operations
        searched += check_register(operations, initial).unknown is not None
        refuted += bool(judgement.findings)
    assert 2_000 < refuted < 8_000 and searched > 1_000


def test_the_order_that_is_missing_is_shown(draw: Draw) -> None:
    """A record that was deleted twice, written, and is gone: the culprit is the read that no order explains."""
    history = draw("A: |-d-| |-d-| |-w1-| |-r-|")
    assert check_register(history.operations, "v0").unknown is not None
    (finding,) = Linearizable().check(history).findings
    assert (finding.kind, finding.culprit) == ("non-linearizable", history.operations[-1])
    assert finding.because == history.operations[:3]


def test_beyond_the_budget_repeated_values_leave_a_doubt(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two deletes: a read of no record fits either, so there is no verdict, unless something else is wrong."""
    monkeypatch.setattr("cacheproof.models.zones._BUDGET_STEPS", 1)
    monkeypatch.setattr("cacheproof.models.zones._BUDGET_PER_OPERATION", 0)
    doubtful = Linearizable().check(draw("A: |-d-| |-w1-| |-d-| |-r-|"))
    assert doubtful.findings == () and "None was read" in (doubtful.unknown or "")
    refuted = Linearizable().check(draw("A: |-d-| |-w1-| |-w2-| |-d-| |-r-| |-r1-|"))
    assert [finding.kind for finding in refuted.findings] == ["stale-read"]
    unread = Linearizable().check(draw("A: |-d-| |-d-| |-w1-| |-r1-|"))
    assert unread.findings == () and unread.unknown is None


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """An increment may have written anything."""
    judgement = Linearizable().check(draw("A: |-<increment>1-|  |-r0-|"))
    assert "increment" in (judgement.unknown or "") and judgement.findings == ()
    assert "increment" in (check_register([Operation(0, "increment", "k", 1, 0, 1, OK)]).unknown or "")


def test_types_are_part_of_a_value() -> None:
    """1, True and 1.0 are different values: a cache that confuses them makes values up."""
    for value in (True, 1.0, "1"):
        operations = [Operation(0, "write", "k", 1, 0, 1, OK), Operation(0, "read", "k", value, 2, 3, OK)]
        clash = check_register(operations).clash
        assert clash is not None and clash.kind == "fabricated"


def test_it_asks_for_a_read_at_once() -> None:
    """The property needs no time to pass."""
    assert Linearizable().probes_s == (0.0,) and Linearizable().name == "linearizable"
