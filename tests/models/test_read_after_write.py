"""Reads that begin after an acknowledged write see it, or something newer."""

from collections.abc import Callable

import pytest

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.read_after_write import ReadAfterWrite

Draw = Callable[..., History]

CASES = 10_000


def value_of(operation: Operation) -> Value:
    return None if operation.f == "delete" else operation.value


def older_by_time(history: History, read: Operation, write: Operation) -> bool:
    """No write that may have produced what was read could still have been under way when `write` began."""
    writes = [op for op in history.operations if op.f != "read" and op.outcome is not Outcome.FAIL]
    sources = [op for op in writes if value_of(op) == read.value]
    return all(op.returned is not None and op.returned < write.invoked for op in sources)


def older_by_commit(history: History, read: Operation, write: Operation) -> bool:
    """Concurrent writes of unique values: the database had overwritten the one by the other before the read."""
    writes = [op for op in history.operations if op.f != "read" and op.outcome is not Outcome.FAIL]
    sources = [op for op in writes if value_of(op) == read.value]
    rivals = [op for op in writes if value_of(op) == value_of(write)]
    commits = history.commits["k"]
    last = [commit.index for commit in commits if commit.value == read.value]
    over = [
        commit.index for commit in commits if commit.value == value_of(write) and commit.index < read.invoked
    ]
    if len(sources) != 1 or len(rivals) != 1 or "v0" in (read.value, value_of(write)) or not last or not over:
        return False
    return last[-1] < over[-1] and not write.precedes(sources[0])


def test_it_is_the_definition(happenings: Callable[..., History]) -> None:
    """Exactly the reads are flagged for which some acknowledged write is newer, checked pair by pair."""
    for seed in range(CASES):
        history = happenings(seed)
        reads = [op for op in history.operations if op.f == "read" and op.outcome is Outcome.OK]
        written = {
            value_of(op) for op in history.operations if op.f != "read" and op.outcome is not Outcome.FAIL
        }
        stale, judged = set(), 0
        for read in reads:
            acked = [op for op in history.operations if op.f != "read" and op.outcome is Outcome.OK]
            acked = [op for op in acked if op.returned is not None and op.returned < read.invoked]
            if acked and read.value in written | {"v0"}:
                judged += 1
                if any(older_by_time(history, read, w) or older_by_commit(history, read, w) for w in acked):
                    stale.add(read.invoked)
        judgement = ReadAfterWrite().check(history)
        assert {finding.culprit.invoked for finding in judgement.findings if finding.culprit} == stale
        assert judgement.judged == judged and judgement.unknown is None
        for finding in judgement.findings:
            (write,) = finding.because
            assert finding.culprit is not None and write.precedes(finding.culprit)


STALE = {
    "the initial record": ("A: |-w1-|  |-r0-|", "v1"),
    "an overwritten value": ("A: |-w1-| |-w2-| |-r1-|", "v2"),
    "the newest acknowledged write is named": ("A: |-w1-| |-w2-| |-w3-| |-r1-|", "v3"),
    "a record that was deleted": ("A: |-w1-| |-d-| |-r1-|", None),
    "a deletion that was undone": ("A: |-d-| |-w1-| |-r-|", "v1"),
    "a concurrent write that the database had overwritten": (
        """
        A:  |--w1--|
        B:  |----w2----|
        C:                |-r1-|
        db:     1   2
        """,
        "v2",
    ),
    "an ambiguous write that the database had overwritten": (
        """
        A:  |--w1--?
        B:  |----w2----|
        C:                |-r1-|
        db:     1   2
        """,
        "v2",
    ),
}


@pytest.mark.parametrize("title", STALE)
def test_a_stale_read_is_found(title: str, draw: Draw) -> None:
    """The read is the culprit, the newest acknowledged write the reason."""
    drawing, newer = STALE[title]
    (finding,) = ReadAfterWrite().check(draw(drawing)).findings
    assert (finding.property, finding.kind) == ("read-after-write", "stale-read")
    assert finding.culprit is not None and finding.culprit.f == "read"
    assert [value_of(op) for op in finding.because] == [newer]


NEAR_MISSES = {
    "the value itself": ("A: |-w1-|  |-r1-|", 1),
    "the write had not returned": (
        """
        A: |---w1---|
        B:       |-r0-|
        """,
        0,
    ),
    "concurrent writes, the database has not decided": (
        """
        A: |--w1--|
        B: |----w2----|
        C:               |-r1-| |-r2-| |-r1-|
        """,
        3,
    ),
    "the database decided after the read began": (
        """
        A:  |--w1--|
        B:  |----w2----|
        C:                |-r1-|
        db:     1           2
        """,
        1,
    ),
    "the database flushes in the wrong order, the cache is right": (
        """
        A:  |-w1-| |-w2-|
        B:                     |-r2-|
        db:              2  1
        """,
        1,
    ),
    "the older value was committed again": (
        """
        A:  |--w1--|
        B:  |----w2----|
        C:                  |-r1-|
        db:     1   2  1
        """,
        1,
    ),
    "an ambiguous write may come late": ("A: |-w1-?  |-w2-|  |-r1-|", 1),
    "an ambiguous or failed write was not acknowledged": ("A: |-w1-?  |-w2-!  |-r0-|", 0),
    "a value that was written twice": (
        """
        A: |-d-|  |-w1-|
        B:          |---d---|
        C:                     |-r-|
        """,
        1,
    ),
    "a value that nobody wrote is for integrity": ("A: |-w1-| |-w3-!  |-r2-| |-r3-|", 0),
    "ambiguous and failed reads": ("A: |-w1-|  |-r?  |-r!", 0),
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """What is not certainly older is not stale; what cannot be judged is not counted."""
    drawing, judged = NEAR_MISSES[title]
    judgement = ReadAfterWrite().check(draw(drawing))
    assert judgement.findings == () and judgement.judged == judged and judgement.unknown is None


def test_versions_and_staleness_are_told_if_known(draw: Draw) -> None:
    """Both versions, oldest first, and the virtual seconds since the older one was superseded."""
    history = draw("""
        A:  |-w1-| |-w2-|
        B:                  |-r1-|
        db:    1      2
        s:  0         3     10
    """)
    (finding,) = ReadAfterWrite().check(history).findings
    assert [commit.version for commit in finding.versions] == [1, 2]
    assert finding.stale_s == 7.0
    (finding,) = ReadAfterWrite().check(draw("A: |-w1-|  |-r0-|")).findings
    assert finding.versions == () and finding.stale_s is None


def test_other_methods_leave_a_doubt(draw: Draw) -> None:
    """With an increment on the key nothing certain can be said."""
    assert "increment" in (ReadAfterWrite().check(draw("A: |-<increment>1-|  |-r0-|")).unknown or "")


def test_it_asks_for_a_read_at_once() -> None:
    """The property needs no time to pass."""
    assert ReadAfterWrite().probes_s == (0.0,)
