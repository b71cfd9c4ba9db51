"""The database takes the writes of a key in their order."""

from collections import Counter
from collections.abc import Callable

import pytest

from cacheproof.models import flush_order
from cacheproof.models.event import Committed
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.verdict import Verdict

Draw = Callable[..., History]


def value_of(write: Operation) -> Value:
    return None if write.f == "delete" else write.value


def precedes(one: Operation, other: Operation) -> bool:
    """Certainly older: acknowledged before the other began."""
    return one.outcome is Outcome.OK and one.precedes(other)


def explained(commits: list[Committed], writes: list[Operation], now: Value = "v0") -> bool:
    """Exhaustive: some order of the writes in real time, on the way through which the versions are met in turn."""
    place = 0
    while place < len(commits) and commits[place].value == now:
        place += 1
    return _goes_on(commits[place:], writes)


def _goes_on(commits: list[Committed], writes: list[Operation]) -> bool:
    if not commits:
        return True
    for first in writes:
        others = [write for write in writes if write is not first]
        if not any(precedes(write, first) for write in others):
            place = 0
            while place < len(commits) and commits[place].value == value_of(first):
                if first.invoked > commits[place].index:
                    break
                place += 1
            if _goes_on(commits[place:], others):
                return True
    return False


def test_it_agrees_with_exhaustive_search(happenings: Callable[..., History]) -> None:
    """10,000 histories: late is what no order of the writes explains together with what was in order before."""
    seen: Counter[Verdict] = Counter()
    for seed in range(10_000):
        history = happenings(seed)
        writes = [op for op in history.operations if op.f != "read"]
        if len(writes) > 6:
            continue
        known: list[Committed] = []
        late: list[Committed] = []
        strange = 0
        previous: Value = "v0"
        for commit in history.commits["k"]:
            begun = any(value_of(op) == commit.value and op.invoked < commit.index for op in writes)
            if not begun and commit.value != "v0":
                strange += 1
                continue
            if explained([*known, commit], writes):
                known.append(commit)
            elif commit.value != previous:
                late.append(commit)
            previous = commit.value
        judgement = FlushOrder().check(history)
        assert [finding.versions[1] for finding in judgement.findings] == late, seed
        assert (judgement.unknown is not None) == bool(strange)
        for finding in judgement.findings:
            assert finding.versions[0].index < finding.versions[1].index
            assert finding.culprit is None or value_of(finding.culprit) == finding.versions[1].value
            assert value_of(finding.because[0]) == finding.versions[0].value
        seen[judgement.verdict] += 1
    assert min(seen[verdict] for verdict in Verdict) > 300


LATE = {
    "two workers, or a redelivery": ("A:  |-w1-| |-w2-|\ndb:               2 1", ["v1"], ["v2"], ["v2", "v1"]),
    "the newest of those that are newer": (
        "A:  |-w1-| |-w2-| |-w3-|\ndb:          2    3   1", ["v1"], ["v3"], ["v3", "v1"]),
    "what came between is not newer": (
        "A:  |-w1-| |-w2-| \nB:  |-------w3------|\ndb:            2  3  1", ["v1"], ["v2"], ["v2", "v1"]),
    "each late version": (
        "A:  |-w1-| |-w2-| |-w3-|\ndb:                   3 1 2", ["v1", "v2"], ["v3", "v3"], ["v3", "v1", "v3", "v2"]),
    "what was brought back is in order again": (
        "A:  |-w1-| |-w2-|\ndb:               2 1 2", ["v1"], ["v2"], ["v2", "v1"]),
    "a version that is touched is late once": (
        "A:  |-w1-| |-w2-|\ndb:               2 1 1", ["v1"], ["v2"], ["v2", "v1"]),
    "the same write again": ("A:  |-w1-| |-w2-|\ndb:    1        2 1", ["v1"], ["v2"], ["v2", "v1"]),
    "the same of two concurrent writes again": (
        "A:  |---w1---|\nB:  |---w2---|\ndb:    1  2  1", ["v1"], ["v2"], ["v2", "v1"]),
    "the initial record again": ("A:  |-w1-|\ndb:    1   0", [None], ["v1"], ["v1", "v0"]),
    "a deletion": ("A:  |-d-| |-w2-|\ndb:              2 x", [None], ["v2"], ["v2", None]),
    "an ambiguous write is newer than what had returned": (
        "A:  |-w1-|\nB:        |-w2-?\ndb:            2 1", ["v1"], ["v2"], ["v2", "v1"]),
    "so is one that was said to have failed": (
        "A:  |-w1-|\nB:        |-w2-!\ndb:            2 1", ["v1"], ["v2"], ["v2", "v1"]),
    "a value that was written twice, both times before": (
        "A:  |-w1-| |-w1-| |-w2-|\ndb:                   2 1", ["v1"], ["v2"], ["v2", "v1"]),
    "once more than it was written": (
        "A:  |-w1--| |-w3-|\nB:  |-w1--|\ndb:     1      3 1", ["v1"], ["v3"], ["v3", "v1"]),
}  # fmt: skip


@pytest.mark.parametrize("title", LATE)
def test_a_late_version_is_found(title: str, draw: Draw) -> None:
    """The older write, the newer one, and the commits of the two."""
    drawing, culprits, because, versions = LATE[title]
    findings = FlushOrder().check(draw(drawing)).findings
    assert [finding.culprit and value_of(finding.culprit) for finding in findings] == culprits
    assert [value_of(finding.because[0]) for finding in findings] == because
    assert [commit.value for finding in findings for commit in finding.versions] == versions
    for finding in findings:
        assert (finding.property, finding.kind, finding.key) == ("flush-order", "flush-reorder", "k")
        assert len(finding.because) == 1
    if title == "the initial record again":
        assert findings[0].culprit is None


NEAR_MISSES = {
    "in order": "A:  |-w1-| |-w2-|\ndb:               1 2",
    "coalesced": "A:  |-w1-| |-w2-|\ndb:               2",
    "concurrent, the other way round": "A:  |---w1---|\nB:  |---w2---|\ndb:           2 1",
    "touched": "A:  |-w1-|\ndb:    0   1 1 1",
    "an ambiguous write came late": "A:  |-w1-?  |-w2-|\ndb:            2  1",
    "one that was said to have failed came late": "A:  |-w1-!  |-w2-|\ndb:            2  1",
    "written again": "A:  |-w1-| |-w2-| |-w1-|\ndb:    1       2     1",
    "deleted twice": "A:  |-d-| |-w2-| |-d-|\ndb:   x       2     x",
    "the initial value is written": "A:  |-w1-| |-w0-|\ndb:    1       0",
    "three that overlap in a row": "A:  |--w1--|  |--w3--|\nB:      |--w2--|\ndb:                   2 1 3",
    "the longer of two writes of one value comes last":
        "A:  |-------w1---------|\nB:  |-w1-| |-w2-|\ndb:    1     2     1",
}  # fmt: skip


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """Concurrent, ambiguous, left out or written again: some order explains it."""
    judgement = FlushOrder().check(draw(NEAR_MISSES[title]))
    assert judgement.findings == () and judgement.unknown is None


def test_a_version_that_nobody_wrote_is_set_aside(draw: Draw) -> None:
    """The rest is judged, but not upheld."""
    judgement = FlushOrder().check(draw("A:  |-w1-| |-w2-|\ndb:    1   7   2"))
    assert judgement.verdict is Verdict.UNKNOWN and "'v7'" in (judgement.unknown or "")
    assert FlushOrder().check(draw("A:  |-w1-| |-w2-|\ndb:          2 7 1")).verdict is Verdict.REFUTED
    assert FlushOrder().check(draw("A:        |-w1-|\ndb:    1")).verdict is Verdict.UNKNOWN


def test_too_many_explanations_are_a_doubt(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes of one value, each within the other: which of them it was is tried up to a limit."""
    drawing = "A:  |----------w1---------|\nB:    |-----w1-----|\nC:      |-w1-|\nD:  |--w2--|\ndb:             1 2 1"
    assert FlushOrder().check(draw(drawing)).verdict is Verdict.UPHELD
    monkeypatch.setattr(flush_order, "MOST_WAYS", 2)
    judgement = FlushOrder().check(draw(drawing))
    assert judgement.verdict is Verdict.UNKNOWN and "too many orders" in (judgement.unknown or "")


def test_versions_that_follow_another_are_judged(draw: Draw) -> None:
    """One version alone has no order; no time has to pass, but the epilogue has to drain."""
    assert FlushOrder().check(draw("A:  |-w1-| |-w2-| |-w3-|\ndb:    1      2   3")).judged == 2
    assert FlushOrder().check(draw("A:  |-w1-|\ndb:    1")).verdict is Verdict.NOT_EXERCISED
    assert FlushOrder().check(draw("A:  |-<increment>-|")).verdict is Verdict.UNKNOWN
    assert FlushOrder().probes_s == (0.0,)
