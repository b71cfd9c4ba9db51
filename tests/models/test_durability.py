"""Acknowledged writes are in the database at the end, or superseded by what is not older."""

from collections.abc import Callable
from itertools import combinations, permutations

import pytest

from cacheproof.models.durability import Durability
from cacheproof.models.event import Phase
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Verdict

Draw = Callable[..., History]

CASES = 10_000


def value_of(operation: Operation) -> Value:
    return None if operation.f == "delete" else operation.value


def explained(writes: list[Operation], final: Value) -> bool:
    """Exhaustive: some order of the acknowledged writes, with some of the others, ends in the final value."""
    acked = [op for op in writes if op.outcome is Outcome.OK]
    others = [op for op in writes if op.outcome is not Outcome.OK and value_of(op) == final]
    for extra in (chosen for count in range(len(others) + 1) for chosen in combinations(others, count)):
        for order in permutations([*acked, *extra]):
            real_time = not any(b.precedes(a) for a, b in combinations(order, 2))
            if real_time and (value_of(order[-1]) if order else "v0") == final:
                return True
    return False


def test_it_agrees_with_exhaustive_search(happenings: Callable[..., History]) -> None:
    """Writes are lost exactly if no order in real time explains what the database holds in the end."""
    for seed in range(CASES):
        history = happenings(seed)
        writes = [op for op in history.operations if op.f != "read"]
        commits = history.commits["k"]
        final = commits[-1].value if commits else "v0"
        if not (len(writes) <= 6):
            continue
        judgement = Durability().check(history)
        if final != "v0" and final not in {value_of(op) for op in writes}:
            assert judgement.verdict is Verdict.UNKNOWN
            continue
        lost = any(op.outcome is Outcome.OK for op in writes) and not explained(writes, final)
        quiet = history.phase_start(Phase.QUIESCE) is not None
        assert bool(judgement.findings) == (lost and quiet)
        assert (judgement.unknown is not None) == (lost and not quiet)


LOST = {
    "never committed": ("A: |-w1-|\n", ["v1"]),
    "only an older one was committed": ("A:  |-w1-| |-w2-|\ndb:    1", ["v2"]),
    "overwritten by a late flush": ("A:  |-w1-| |-w2-|\ndb:            2  1", ["v2"]),
    "all of them": ("A:  |-w1-| |-w2-|", ["v1", "v2"]),
    "a deletion": ("A:  |-w1-| |-d-|\ndb:    1", [None]),
    "by a write that was said to have failed": ("A:  |-w1-! |-w2-|\ndb:            2  1", ["v2"]),
    "one key of two": ("A: |-w1@a-| |-w2@b-|\ndb@a:  1", ["v2"]),
}


@pytest.mark.parametrize("title", LOST)
def test_a_lost_write_is_found(title: str, draw: Draw) -> None:
    """Every acknowledged write that the final value is older than."""
    drawing, values = LOST[title]
    history = draw(drawing + "\nquiet:                        *")
    findings = Durability().check(history).findings
    assert [finding.culprit and finding.culprit.value for finding in findings] == values
    for finding in findings:
        assert (finding.property, finding.kind, finding.because) == ("durability", "lost-write", ())
        assert finding.versions == history.commits.get(finding.key or "", ())


NEAR_MISSES = {
    "committed": "A:  |-w1-|\ndb:    1",
    "superseded": "A:  |-w1-| |-w2-|\ndb:    1     2",
    "superseded without being flushed": "A:  |-w1-| |-w2-|\ndb:            2",
    "concurrent: either may win": "A:  |--w1--|\nB:    |---w2---|\ndb:      2  1",
    "concurrent: one is enough": "A:  |--w1--|\nB:    |---w2---|\ndb:      1",
    "an ambiguous write came late": "A:  |-w1-?  |-w2-|\ndb:            2  1",
    "ambiguous and failed writes were not promised": "A:  |-w1-?  |-w2-!",
    "deleted": "A:  |-w1-| |-d-|\ndb:    1     x",
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """Coalesced, concurrent, ambiguous: not lost."""
    judgement = Durability().check(draw(NEAR_MISSES[title] + "\nquiet:                        *"))
    assert judgement.findings == () and judgement.unknown is None


def test_before_everything_is_quiet_nothing_is_lost(draw: Draw) -> None:
    """What is missing may still be on its way to the database; what is there is there."""
    assert Durability().check(draw("A: |-w1-|")).verdict is Verdict.UNKNOWN
    assert Durability().check(draw("A:  |-w1-|\ndb:     1")).verdict is Verdict.UPHELD


def test_a_database_that_holds_something_else_leaves_a_doubt(draw: Draw) -> None:
    """A value that no operation wrote cannot be placed before or after any write."""
    judgement = Durability().check(draw("A:  |-w1-|\ndb:    7\nquiet:     *"))
    assert judgement.verdict is Verdict.UNKNOWN and "'v7'" in (judgement.unknown or "")


def test_without_acknowledged_writes_it_is_not_exercised(draw: Draw) -> None:
    """Reads alone prove nothing, and the property needs no time to pass."""
    assert Durability().check(draw("A: |-r0-|")).verdict is Verdict.NOT_EXERCISED
    assert Durability().probes_s == (0.0,)
