"""Words for what a client may expect of itself, tried on what the session guarantees find."""

from collections.abc import Callable

import pytest

from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.sessions import MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads
from cacheproof.models.verdict import Finding, Property
from cacheproof.reports.findings import finding_words
from cacheproof.reports.findings.scene import Scene
from cacheproof.reports.findings.sessions import SESSIONS
from cacheproof.reports.words import Names

Draw = Callable[..., History]
Told = Callable[[Property, History], str]

FOUND: dict[str, tuple[Property, str, str, str]] = {
    "the own write is not seen": (
        ReadYourWrites(),
        "A: |-w1-| |-w2-| |-r1-|",
        "A's read returned an older version, v1, although A had already written v2.",
        "A had written v2 at event 3",
    ),
    "the own deletion is not seen": (
        ReadYourWrites(),
        "A: |-w1-| |-d-| |-r1-|",
        "A's read returned an older version, v1, although A had already deleted it.",
        "A had deleted it at event 3",
    ),
    "two clients that each saw the other's write last": (
        ReadYourWrites(),
        """
        A: |--w1--|  |-r2-|
        B: |--w2--|  |-r1-|
        """,
        (
            "B's read returned v1 after B had written v2; "
            "no order of the versions explains this together with A's write of v1 and A's read of v2."
        ),
        "B had written v2 at event 3",
    ),
    "newer, then older": (
        MonotonicReads(),
        """
        A: |-w1-| |-w2-|
        B:                |-r2-| |-r1-|
        """,
        "B's read returned an older version, v1, although B had already read v2.",
        "B had read v2 at event 5",
    ),
    "committed the other way round": (
        MonotonicWrites(),
        """
        A: |-w1-| |-w2-|
        db:              2 1
        """,
        "The database took A's write of v2 before v1, which A had written earlier.",
        "A had written v1 at event 1",
    ),
    "committed before what had been read": (
        WritesFollowReads(),
        """
        A:  |---------w1------------|
        B:     |-r1-| |-w2-|
        db:               2   1
        """,
        "The database took B's write of v2 before v1, which B had read earlier.",
        "B had read v1 at event 2",
    ),
    "over a write that was never committed": (
        WritesFollowReads(),
        """
        A:  |---------w1--------------------------|
        B:     |-r1-| |-----------w2-------|
        C:               |-r2-| |-w3-|
        db:                        3  1
        """,
        (
            "C's write of v3 came after C had read v2; "
            "no order of the versions explains this together with B's read of v1 and B's write of v2."
        ),
        "C had read v2 at event 5",
    ),
}


@pytest.mark.parametrize("title", FOUND)
def test_what_properties_find_can_be_told(title: str, draw: Draw, told: Told) -> None:
    """The two operations of one client that contradict each other, and others only where they are needed."""
    judge, drawing, words, mark = FOUND[title]
    history = draw(drawing)
    assert told(judge, history) == words
    finding = judge.check(history).findings[0]
    assert SESSIONS[finding.kind].mark(Scene(finding, Names(), history)) == mark


READ = Operation(1, "read", "k", "v1", 8, 9, Outcome.OK)
WRITE = Operation(1, "write", "k", "v2", 8, 9, Outcome.OK)
DELETE = Operation(1, "delete", "k", None, 1, 2, Outcome.OK)


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (
            Finding("read-your-writes", "read-your-writes", "k", READ),
            "B's read of k returned v1, older than what the same client had written before.",
        ),
        (
            Finding("monotonic-reads", "non-monotonic-read", None),
            "A read returned a value, older than what the same client had read before.",
        ),
        (
            Finding("monotonic-writes", "non-monotonic-write", "k"),
            "The database took a write of k before a version that the same client had written earlier.",
        ),
        (
            Finding("writes-follow-reads", "write-before-read", "k", WRITE),
            "The database took B's write of v2 on k before a version that the same client had read earlier.",
        ),
        (
            Finding("monotonic-writes", "non-monotonic-write", "k", WRITE, (DELETE,)),
            "The database took B's write of v2 on k before its own deletion, which B had made earlier.",
        ),
    ],
)
def test_what_is_not_known_is_not_told(finding: Finding, words: str) -> None:
    """Without evidence the sentence is shorter, and still true."""
    assert finding_words(finding, Names()) == words


def test_a_mark_without_evidence() -> None:
    """Says that there was something."""
    scene = Scene(Finding("read-your-writes", "read-your-writes", "k", READ), Names())
    assert SESSIONS["read-your-writes"].mark(scene) == "older than what came before"
