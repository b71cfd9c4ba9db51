"""Words for what was asked too often: how often, by whom, where, and how often would have done."""

from dataclasses import replace

import pytest

from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding
from cacheproof.reports.findings import finding_words
from cacheproof.reports.findings.loads import LOADS
from cacheproof.reports.findings.scene import Scene
from cacheproof.reports.words import Names

LATER = Operation(1, "read", "k", "v1", 2, 9, Outcome.OK)
FIRST = Operation(0, "read", "k", "v1", 1, 8, Outcome.OK)
STAMPEDE = Finding("single-flight", "stampede", "k", LATER, (FIRST,), at=(3, 4), found=2, allowed=(0, 1))
TRIPS = Finding("round-trips", "too-many-round-trips", "k", FIRST, at=(3, 4, 5), found=3, allowed=(None, 1))


@pytest.mark.parametrize(
    ("finding", "words", "mark"),
    [
        (
            STAMPEDE,
            "2 loads of k ran at events 3 and 4, by A's read and B's read, where 1 would do.",
            "2 loads, where 1 would do",
        ),
        (
            replace(STAMPEDE, key=None, culprit=None, because=(), at=(), found=None, allowed=None),
            "Too many loads ran, where anything would do.",
            "too many loads, where anything would do",
        ),
        (
            TRIPS,
            "A's read on k took 3 round trips at events 3, 4 and 5; at most 1 may be needed.",
            "3 round trips, at most 1",
        ),
        (
            replace(TRIPS, key=None, culprit=None, at=(), found=1, allowed=(None, 0)),
            "An operation took 1 round trip; at most 0 may be needed.",
            "1 round trip, at most 0",
        ),
    ],
)
def test_the_words_say_how_often(finding: Finding, words: str, mark: str) -> None:
    """Whose first came first; in the singular where it is one."""
    assert finding_words(finding, Names()) == words
    assert LOADS[finding.kind].mark(Scene(finding, Names())) == mark
