"""Words for operations that failed, took too long or never returned."""

from dataclasses import replace
from types import ModuleType

import pytest

from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding
from cacheproof.reports.findings import culprit_mark, finding_sentences, finding_words
from cacheproof.reports.findings.scene import Scene
from cacheproof.reports.findings.waits import WAITS
from cacheproof.reports.words import Names

FAILED = Operation(1, "read", "k", None, 4, 6, Outcome.FAIL, error="ConnectionError('refused')")
DOWN = Finding("availability", "unavailable", "k", FAILED, at=(2,))
SLOW = Finding("availability", "slow", "k", FAILED, at=(2,), found=4.5, allowed=(0.0, 0.5))
HANGS = Finding("liveness", "hangs", "k", replace(FAILED, f="write", value="v2"), found=40, allowed=(0.0, 30))


@pytest.mark.parametrize(
    ("finding", "words", "mark"),
    [
        (
            DOWN,
            "B's read on k failed while the cache was down (since event 2): ConnectionError('refused').",
            "the cache was down",
        ),
        (
            replace(DOWN, culprit=replace(FAILED, outcome=Outcome.INFO, error=None), at=()),
            "B's read on k ended in doubt while the cache was down.",
            "the cache was down",
        ),
        (
            replace(DOWN, culprit=None),
            "An operation on k failed while the cache was down (since event 2).",
            "the cache was down",
        ),
        (
            SLOW,
            "B's read on k took 4.5 s while the cache was down (since event 2); the bound is 0.5 s.",
            "took 4.5 s",
        ),
        (
            replace(SLOW, property="liveness", at=()),
            "B's read on k took 4.5 s after everything was healed; the bound is 0.5 s.",
            "took 4.5 s",
        ),
        (
            replace(SLOW, property="liveness", found=None, allowed=None),
            "B's read on k took too long after everything was healed.",
            "took too long",
        ),
        (
            HANGS,
            (
                "B's write on k never returned: it was still open when the run had come to rest "
                "(40 s after everything was healed)."
            ),
            "never returned",
        ),
        (
            replace(HANGS, found=None),
            "B's write on k never returned: it was still open when the run had come to rest.",
            "never returned",
        ),
    ],
)
def test_the_words_say_how_long(finding: Finding, words: str, mark: str) -> None:
    """With units, and with the bound where there is one."""
    assert finding_words(finding, Names()) == words
    assert WAITS[finding.kind].mark(Scene(finding, Names())) == mark


def test_steps_are_named_where_they_are_drawn(stories: ModuleType) -> None:
    """The fault has a number in the picture."""
    found = stories.crash_before_invalidation()
    fault = next(item for item in found.history.faults)
    finding = replace(DOWN, at=(fault.index,), culprit=replace(FAILED, error="no\nline"))
    words, *_ = finding_sentences(replace(found, finding=finding))
    assert words.startswith("B's read failed while the cache was down (since ") and words.endswith(
        "no\\nline."
    )
    assert culprit_mark(replace(found, finding=finding)) == "the cache was down"
