"""Staleness in versions counts the newer versions that were complete, exactly or as far as is certain."""

import random
import time
from collections.abc import Callable
from itertools import permutations

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.register import Register, registers
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.verdict import Verdict
from cacheproof.models.version_staleness import StalenessInVersions, lags, most_versions_behind

Draw = Callable[..., History]
OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO

RANDOM_HISTORIES = 10_000


def value_of(op: Operation) -> Value:
    return None if op.f == "delete" else op.value


def sources(history: History, read: Operation) -> list[Operation]:
    """The writes of what was read that did not fail and had begun when the read returned."""
    return [
        op
        for op in history.operations
        if op.f != "read" and op.outcome is not FAIL and value_of(op) == read.value and not read.precedes(op)
    ]


def behind_the_database(history: History, read: Operation) -> int | None:
    """Plays the commits: how many changes came after the value was last there, and before the read began."""
    assert read.returned is not None
    begun = len(sources(history, read))
    current, newer, found = "v0", 0, read.value == "v0"
    for commit in history.commits["k"]:
        if commit.index > read.returned:
            break
        begun -= commit.value == read.value
        if commit.value == current:
            continue
        current = commit.value  # type: ignore[assignment]
        newer += commit.index < read.invoked
        if current == read.value:
            found, newer = True, 0
    if begun > 0:
        return 0
    return newer if found else None


def behind_the_writes(history: History, read: Operation) -> int | None:
    """The acknowledged writes after every source, and before the read: each compared with each."""
    made = sources(history, read)
    if not made and read.value != "v0":
        return None
    acknowledged = [op for op in history.operations if op.f != "read" and op.outcome is OK]
    return sum(op.precedes(read) and all(one.precedes(op) for one in made) for op in acknowledged)


@pytest.mark.parametrize("database", [True, False])
def test_it_is_the_definition(database: bool, happenings: Callable[..., History]) -> None:
    """On 10,000 random histories, with commits and without, each read is behind by what the definition says.

    At a bound of 0 it is the bound of 0 seconds.
    """
    seen: dict[int | None, int] = {}
    for seed in range(RANDOM_HISTORIES // 2):
        history = happenings(seed)
        if not database:
            history = without_commits(history)
        (register,) = registers(history)
        define = behind_the_database if history.commits["k"] else behind_the_writes
        reads = [op for op in history.operations if op.f == "read" and op.outcome is OK]
        expected = {op.invoked: behind for op in reads if (behind := define(history, op)) is not None}
        assert {lag.read.invoked: lag.behind for lag in lags(register)} == expected, seed
        for behind in expected.values():
            seen[behind] = seen.get(behind, 0) + 1
        for bound in (0, 1):
            found = {
                f.culprit.invoked for f in StalenessInVersions(bound).check(history).findings if f.culprit
            }
            assert found == {invoked for invoked, behind in expected.items() if behind > bound}
        if history.commits["k"]:
            assert len(BoundedStaleness(0).check(history).findings) == sum(map(bool, expected.values())), seed
    assert min(seen[0], seen[1], seen[2] * 10) > 300


def without_commits(history: History) -> History:
    return History(history.initial, tuple(e for e in history.events if not isinstance(e, Committed)))


def atomic(operations: list[Operation], k: int) -> bool:
    """Exhaustive k-atomicity: some order in real time in which each read returns one of the last k values."""

    def legal(order: tuple[Operation, ...]) -> bool:
        last: list[Value] = ["v0"]
        for op in order:
            if op.f == "read" and op.value not in last[-k:]:
                return False
            last += [op.value] if op.f == "write" else []
        return True

    def in_time(order: tuple[Operation, ...]) -> bool:
        return not any(b.precedes(a) for n, a in enumerate(order) for b in order[n + 1 :])

    return any(in_time(order) and legal(order) for order in permutations(operations))


def test_it_is_a_lower_bound_of_k_atomicity() -> None:
    """On 600 small histories: whoever is n versions behind is not n-atomic, in any order of all operations."""
    chance, behind = random.Random(2005), 0
    for _ in range(600):
        operations, number = [], 0
        for process in range(chance.randint(2, 5)):
            invoked = chance.randrange(9)
            f = chance.choice(("read", "write", "write"))
            number += f == "write"
            value = f"v{number}" if f == "write" else f"v{chance.randint(0, number)}"
            operations.append(Operation(process, f, "k", value, invoked, invoked + chance.randrange(4), OK))
        operations.sort(key=lambda op: op.invoked)
        most = max((lag.behind for lag in lags(Register("k", "v0", tuple(operations)))), default=0)
        if most:
            behind += 1
            assert not atomic(operations, most), operations
    assert behind > 100


LATE = """
    A:  |-w1-| |-w2-| |-w3-|
    B:                        |-r1-|
    db:    1      2      3
    s:  0         2           7
"""


def test_beyond_the_bound_it_is_found(draw: Draw) -> None:
    """Two newer versions were committed before the read began: too many for 1, and found is the number."""
    (finding,) = StalenessInVersions(1).check(draw(LATE)).findings
    assert (finding.property, finding.kind, finding.key) == ("staleness-in-versions", "versions-behind", "k")
    assert finding.culprit is not None and finding.culprit.value == "v1"
    assert (finding.found, finding.allowed) == (2, (0, 1))
    assert [op.value for op in finding.because] == ["v2", "v3"]
    assert [commit.value for commit in finding.versions] == ["v1", "v2", "v3"]
    assert finding.stale_s == 5.0


def test_as_many_newer_versions_are_shown_as_break_the_bound(draw: Draw) -> None:
    """With a bound of 0 the first newer one is enough; the number is that of all."""
    (finding,) = StalenessInVersions(0).check(draw(LATE)).findings
    assert finding.found == 2 and [commit.value for commit in finding.versions] == ["v1", "v2"]
    (initial,) = StalenessInVersions(0).check(draw("A:  |-w1-| |-r0-|\ndb:    1")).findings
    assert [commit.value for commit in initial.versions] == ["v1"]


def test_without_a_database_acknowledged_writes_count(draw: Draw) -> None:
    """Two writes came after the write of what was read, and had returned: they are the evidence."""
    history = draw("""
        A: |-w1-|  |-w2-|  |-w3-| |---w4---|
        B:                           |-r1-|
    """)
    (finding,) = StalenessInVersions(1).check(history).findings
    assert (finding.found, finding.allowed, finding.stale_s) == (2, (0, 1), None)
    assert [op.value for op in finding.because] == ["v2", "v3"] and finding.versions == ()


NEAR_MISSES = {
    "as many as allowed": (1, "A:  |-w1-| |-w2-| |-r1-|\ndb:    1      2", 1),
    "superseded while the read was under way": (
        0,
        "A:  |-w1-| |-w2-|\nB:          |-r1-|\ndb:   1        2",
        1,
    ),
    "the newest": (0, "A:  |-w1-| |-r1-|\ndb:    1", 1),
    "not committed yet": (0, "A:  |-w1-| |-w2-| |-r2-|\ndb:   1                   2", 1),
    "the database went back to it": (0, "A:  |-w1-| |-w2-|       |-r1-|\ndb:   1     2   1", 1),
    "delivered twice": (1, "A:  |-w1-| |-w2-|       |-r1-|\ndb:   1     2   2", 1),
    "another deletion may not be committed yet": (
        0,
        "A:  |-d-| |-w1-| |-d-| |-r-|\ndb:   x      1",
        1,
    ),
    "nobody wrote it": (0, "A:  |-w1-| |-r7-|\ndb:    1", 0),
    "before anything was committed": (0, "A:  |-w1-|\nB: |-r0-|\ndb:      1", 0),
    "concurrent writes": (0, "A: |--w1--|  |-r1-|\nB: |--w2--|", 1),
    "an open write": (0, "A: |-w1-| |-------w2---|\nB:            |-r1-|", 1),
    "an ambiguous write": (0, "A: |-w1-| |-w2-? |-r1-|", 1),
    "a failed write": (0, "A: |-w1-| |-w2-! |-r1-|", 1),
    "an ambiguous source may come late": (0, "A: |-w1-? |-w2-| |-r1-|", 1),
    "another write of it came later": (0, "A: |-w1-| |-w2-| |-w1-| |-r1-|", 1),
    "nobody wrote it, without a database": (0, "A: |-w1-| |-r7-|", 0),
    "an ambiguous read": (0, "A: |-w1-| |-w2-| |-r?", 0),
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """What may have been the newest, or new enough, is fine; what could not be too old is not judged."""
    bound, drawing, judged = NEAR_MISSES[title]
    judgement = StalenessInVersions(bound).check(draw(drawing))
    assert judgement.findings == () and judgement.unknown is None and judgement.judged == judged


def test_reads_that_cannot_be_too_far_behind_prove_nothing(draw: Draw) -> None:
    """Three versions cannot break a bound of three."""
    assert StalenessInVersions(3).check(draw(LATE)).verdict is Verdict.NOT_EXERCISED
    assert StalenessInVersions(2).check(draw(LATE)).verdict is Verdict.UPHELD


def test_the_most_that_was_seen(draw: Draw) -> None:
    """Over all reads of all keys that are registers; None if there was nothing to be behind."""
    assert most_versions_behind(draw(LATE)) == 2
    assert most_versions_behind(draw(LATE + "C:  |-<increment>1@b-|")) == 2
    assert most_versions_behind(draw("A: |-w1@a-| |-w2@b-| |-w3@b-| |-w4@b-| |-r2@b-|")) == 2
    assert most_versions_behind(draw("A: |-w1-| |-r1-|")) == 0
    assert most_versions_behind(draw("A: |-r0-| |-w1-|")) is None


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """An increment may have written anything."""
    judgement = StalenessInVersions(0).check(draw("A: |-<increment>1-|  |-r0-|"))
    assert judgement.verdict is Verdict.UNKNOWN and "increment" in (judgement.unknown or "")


@pytest.mark.parametrize("versions", [-1, 1.0, True, "1", None])
def test_a_bound_is_a_whole_number(versions: int) -> None:
    """Anything else is refused, and said what to write."""
    with pytest.raises(UsageError, match="a bound on staleness is .* versions; write 0, 1, 2"):
        StalenessInVersions(versions)


def test_it_asks_for_a_last_read() -> None:
    """The property needs no time to pass."""
    assert StalenessInVersions(0).probes_s == (0.0,)
    assert StalenessInVersions(0).name == "staleness-in-versions"


@pytest.mark.parametrize("database", [True, False])
def test_thousands_of_stale_reads_take_moments(database: bool) -> None:
    """O(n log n): 10,000 operations, half of them reads that fall ever further behind."""
    operations, commits = [], []
    for number in range(5_000):
        at = number * 10
        operations.append(Operation(0, "write", "k", f"v{number}", at, at + 4, OK))
        operations.append(Operation(1, "read", "k", f"v{number // 2}", at + 5, at + 9, OK))
        commits.append(Committed(at + 2, 0.0, "k", f"v{number}", number + 1))
    register = Register("k", None, tuple(operations), tuple(commits) if database else ())
    begun = time.process_time()
    assert [lag.behind for lag in lags(register)] == [number - number // 2 for number in range(5_000)]
    assert time.process_time() - begun < 2
