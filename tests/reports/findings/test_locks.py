"""Words for locks: who got it, who held it, until when, and why that need not have been known to them."""

from dataclasses import replace

import pytest

from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding
from cacheproof.reports.findings import finding_words
from cacheproof.reports.findings.locks import LOCKS
from cacheproof.reports.findings.scene import Scene
from cacheproof.reports.words import Names

HOLDER = Operation(0, "acquire", "k", 4, 1, 2, Outcome.OK, result=4)
RELEASE = Operation(0, "release", "k", None, 8, 9, Outcome.OK)
LATER = Operation(1, "acquire", "k", True, 4, 6, Outcome.OK, result=True)
TWO = Finding("mutual-exclusion", "two-holders", "k", LATER, (HOLDER,))
FENCE = Finding("mutual-exclusion", "fence-not-increasing", "k", LATER, (HOLDER,), found=3, allowed=(5, None))
ORPHAN = Finding("liveness", "orphan-lock", "k", replace(LATER, result=False), (HOLDER,))
HUNG = replace(ORPHAN, culprit=replace(LATER, outcome=Outcome.INFO, returned=None), found=40.0)


@pytest.mark.parametrize(
    ("finding", "words", "mark"),
    [
        (
            replace(TWO, because=(HOLDER, RELEASE), at=(3,)),
            (
                "B's acquire of k succeeded at event 6 while A held the lock: A, who had acquired it at event 2, "
                "called release only later at event 8; A may have lost it at event 3, unawares."
            ),
            "A still held the lock",
        ),
        (
            TWO,
            (
                "B's acquire of k succeeded at event 6 while A held the lock: A, who had acquired it at event 2, "
                "never released it."
            ),
            "A still held the lock",
        ),
        (
            replace(TWO, culprit=None, because=()),
            "An acquire of k succeeded while somebody else held the lock.",
            "somebody else held the lock",
        ),
        (
            FENCE,
            "B's acquire of k got the token 3, although A had got 4 before: a token must be greater.",
            "the token must be 5 or more",
        ),
        (
            replace(FENCE, because=(replace(HOLDER, result=None),)),
            "B's acquire of k got the token 3, although A had got 4 before: a token must be greater.",
            "the token must be 5 or more",
        ),
        (
            replace(FENCE, because=(), allowed=None),
            "B's acquire of k got the token 3, which is no greater than one that was given before.",
            "no greater token",
        ),
        (
            ORPHAN,
            "B's acquire of k was refused, although nobody alive holds the lock: A died holding it.",
            "held by A, who is dead",
        ),
        (
            replace(ORPHAN, because=()),
            "B's acquire of k was refused, although nobody alive holds the lock.",
            "nobody alive holds it",
        ),
        (
            HUNG,
            "B's acquire of k hung for 40 s, although nobody alive holds the lock: A died holding it.",
            "held by A, who is dead",
        ),
        (
            replace(HUNG, found=0.0, because=(HOLDER, HOLDER)),
            "B's acquire of k hung, although nobody alive holds the lock: A died holding it.",
            "held by A, who is dead",
        ),
    ],
)
def test_the_words_say_who_held_what(finding: Finding, words: str, mark: str) -> None:
    """And since when, and until when, as far as it is known."""
    assert finding_words(finding, Names()) == words
    assert LOCKS[finding.kind].mark(Scene(finding, Names())) == mark
