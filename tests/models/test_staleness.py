"""Bounded staleness is exact: a version counts while it was current, by event index and by virtual second."""

from collections.abc import Callable

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.models.staleness import BoundedStaleness

Draw = Callable[..., History]

CASES = 10_000


def current_values(history: History, read: Operation, seconds: float) -> list[Value]:
    """Every value that was current at some instant of the window, found by playing the history event by event."""
    value, found = history.initial["k"], []
    assert read.returned is not None
    for position, event in enumerate(history.events):
        if event.index > read.returned:
            break
        by_time = event.at_s >= read.invoked_s - seconds
        inside = by_time if seconds else event.index >= read.invoked
        if inside:
            found.append(value)  # what was current when this event came
        if isinstance(event, Committed):
            value = event.value
        following = history.events[position + 1] if position + 1 < len(history.events) else None
        until = following.at_s if following else float("inf")
        if inside or (seconds and until >= read.invoked_s - seconds):
            found.append(value)
    return found


def may_be_pending(history: History, read: Operation) -> bool:
    """More writes of the value had begun than versions of it had been committed, when the read returned."""
    assert read.returned is not None
    begun = committed = 0
    for op in history.operations:
        writes = op.f == "delete" if read.value is None else op.f == "write" and op.value == read.value
        begun += writes and op.outcome is not Outcome.FAIL and op.invoked < read.returned
    for commit in history.commits["k"]:
        committed += commit.value == read.value and commit.index < read.returned
    return begun > committed


def test_it_is_the_definition(happenings: Callable[..., History]) -> None:
    """Exactly the reads are flagged whose value was committed once and was not current in their window."""
    for seed in range(CASES):
        seconds = (0.0, 1.0, 4.0, 5.0)[seed % 4]
        history = happenings(seed)
        stale = set()
        for read in history.operations:
            if read.f != "read" or read.outcome is not Outcome.OK or may_be_pending(history, read):
                continue
            assert read.returned is not None
            known = [c.value for c in history.commits["k"] if c.index < read.returned] + ["v0"]
            if read.value in known and read.value not in current_values(history, read, seconds):
                stale.add(read.invoked)
        judgement = BoundedStaleness(seconds).check(history)
        assert {finding.culprit.invoked for finding in judgement.findings if finding.culprit} == stale


def late(seconds: float) -> str:
    return f"""
        A:  |-w1-|         |-w2-|
        B:                            |-r1-|
        db:    1              2
        s:  0                 10      {seconds}
    """


def test_beyond_the_bound_it_is_found(draw: Draw) -> None:
    """Superseded at 10 s and read at 20.5 s: too stale for 10 s, by the version that superseded it."""
    (finding,) = BoundedStaleness(10).check(draw(late(20.5))).findings
    assert (finding.property, finding.kind) == ("bounded-staleness", "staleness-beyond-bound")
    assert finding.culprit is not None and finding.culprit.value == "v1"
    assert [op.value for op in finding.because] == ["v2"]
    assert [commit.value for commit in finding.versions] == ["v1", "v2"]
    assert finding.stale_s == 10.5


@pytest.mark.parametrize("seconds", [10, 19.9, 20.0])
def test_up_to_the_bound_it_is_not(seconds: float, draw: Draw) -> None:
    """The bound itself is still within the bound."""
    judgement = BoundedStaleness(10).check(draw(late(seconds)))
    assert judgement.findings == () and judgement.judged == 1


def test_rounding_does_not_break_a_bound(draw: Draw) -> None:
    """0.1 + 0.2 > 0.3 in floats; a bound of 0.2 s is kept all the same."""
    history = draw("""
        A:  |-w1-|
        B:                 |-r0-|
        db:    1
        s:  0.1            0.30000000000000004
    """)
    assert not BoundedStaleness(0.2).check(history).findings


NEAR_MISSES = {
    "superseded while the read was under way": """
        A: |----w1----|
        B:    |---r0---|
        db:      1
        """,
    "not committed yet: the cache is ahead": """
        A:  |-w1-| |-w2-|
        B:                 |-r2-|
        db:    1                   2
        """,
    "the database went back to it": """
        A:  |-w1-| |-w2-|
        B:                  |-r1-|
        db:    1    2   1
        """,
    "another deletion may not be committed yet": """
        A:  |-d-| |-w1-| |-d-|
        B:                     |-r-|
        db:   x       1
        """,
    "an ambiguous and a failed read": """
        A:  |-w1-| |-r?
        B:         |-r!
        db:    1
        """,
}


@pytest.mark.parametrize("title", NEAR_MISSES)
def test_near_misses_are_not_flagged(title: str, draw: Draw) -> None:
    """A bound of 0 allows what was current at some instant between invocation and return."""
    judgement = BoundedStaleness(0).check(draw(NEAR_MISSES[title]))
    assert judgement.findings == () and judgement.unknown is None


def test_with_a_bound_of_zero_the_event_index_decides(draw: Draw) -> None:
    """At one virtual instant: superseded just before the invocation is stale, for 0 s only."""
    history = draw("""
        A:  |-w1-|
        B:         |-r0-|
        db:    1
    """)
    assert len(BoundedStaleness(0).check(history).findings) == 1
    assert not BoundedStaleness(1).check(history).findings


def test_reads_before_any_change_prove_nothing(draw: Draw) -> None:
    """Nothing was superseded, so nothing was put to the test."""
    assert BoundedStaleness(0).check(draw("A: |-r0-|")).judged == 0
    assert BoundedStaleness(0).check(draw("A:  |-r0-|  |-w1-|\ndb:             1")).judged == 0


def test_it_asks_for_a_read_just_before_the_bound() -> None:
    """An entry filled two seconds late is still there one second before the bound, and beyond it."""
    assert BoundedStaleness(300).probes_s == (299.0,)
    assert BoundedStaleness(0.5).probes_s == (0.0,)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_bound_is_not_negative(seconds: float) -> None:
    """A mistake in a contract is named where it is made."""
    with pytest.raises(UsageError, match="write 0 or more"):
        BoundedStaleness(seconds)
