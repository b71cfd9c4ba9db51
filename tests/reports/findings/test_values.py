"""Words for values that should not be seen: what was read, what there was instead, and by how much."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest

from cacheproof.models.delta_atomicity import DeltaAtomicity
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.integrity import Integrity
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding, Property
from cacheproof.models.version_staleness import StalenessInVersions
from cacheproof.reports.findings import culprit_mark, finding_sentences, finding_words
from cacheproof.reports.findings.values import VALUES
from cacheproof.reports.words import Names

Draw = Callable[..., History]
Told = Callable[[Property, History], str]

WRITE = Operation(0, "write", "user:1", "v2", 3, 7, Outcome.OK)
READ = Operation(1, "read", "user:1", "v1", 14, 16, Outcome.OK, final=True)
COMMIT = Committed(5, 0.0, "user:1", "v2", 1, 0)
OLDER = Committed(1, 0.0, "user:1", "v1", 1, 0)
DELETE = Operation(0, "delete", "user:1", None, 3, 7, Outcome.OK)
PAIRS = (("a", "v2"), ("b", "v2"))
WRITE_MANY = Operation(0, "write_many", None, PAIRS, 1, 2, Outcome.OK)
READ_MANY = Operation(1, "read_many", None, ("a", "b"), 3, 4, Outcome.OK, result=(("a", "v2"), ("b", None)))
BEHIND = Finding("staleness-in-versions", "versions-behind", "user:1", READ, found=3, allowed=(0, 1))
LATE = Finding(
    "invalidation", "late-invalidation", "user:1", READ, (WRITE,), (COMMIT,), 12.0, (15,), 12.0, (0, 10)
)
RESURRECTED = Finding("integrity", "resurrected", "user:1", READ, (DELETE,))


UNHEARD = Finding("reaches-cache", "unheard-write", "user:1", READ, (WRITE,))


CASES = {
    "a write that told nobody": (
        UNHEARD,
        (
            "A's write of v2 never reached the cache: it returned, and had neither set nor deleted the entry; "
            "B's read still returned v1."
        ),
        "nobody in the cache has heard",
    ),
    "a write that told nobody, and nobody read": (
        replace(UNHEARD, culprit=WRITE, because=()),
        "A's write of v2 never reached the cache: it returned, and had neither set nor deleted the entry.",
        "nobody in the cache has heard",
    ),
    "an event that nobody followed": (
        replace(UNHEARD, kind="unheard-event", culprit=None, because=()),
        "An event never reached the cache: a worker was told, and nobody set or deleted the entry after that.",
        "nobody in the cache has heard",
    ),
    "a value that nobody wrote": (
        Finding("integrity", "fabricated", "user:1", READ),
        "B's read returned v1, a value that nobody ever wrote.",
        "nobody wrote this",
    ),
    "a value of another key": (
        Finding("integrity", "foreign", "user:9", READ),
        "B's read returned v1, which is a value of user:1.",
        "a value of user:1",
    ),
    "a value of nobody knows which key": (
        Finding("integrity", "foreign", "user:1", READ),
        "B's read returned v1, which is a value of another key.",
        "a value of another key",
    ),
    "a write that failed": (
        Finding("integrity", "aborted", "user:1", READ, (WRITE,)),
        "B's read returned v1, but A's write of v2 failed: that value never took effect.",
        "that write had failed",
    ),
    "a write that came later": (
        Finding("integrity", "premature", "user:1", READ, (replace(WRITE, invoked=20),)),
        "B's read returned v1 before A's write of v2 had begun.",
        "not written yet",
    ),
    "a commit that came later": (
        Finding("integrity", "premature", "user:1", READ, (WRITE,)),
        "B's read returned v1 before it was committed.",
        "not written yet",
    ),
    "not committed in time": (
        Finding("integrity", "uncommitted", "user:1", replace(READ, value="v2")),
        "B's read returned v2 before the database had committed it.",
        "not committed",
    ),
    "never committed": (
        Finding("integrity", "uncommitted", "user:1", replace(READ, value="v7")),
        "B's read returned v7, but the database never committed it: it holds v2.",
        "not committed",
    ),
    "resurrected": (
        RESURRECTED,
        (
            "B's read returned v1, although A's delete had returned before that read began, "
            "and nobody wrote that value again."
        ),
        "deleted at 7",
    ),
    "stale for too long": (
        Finding("bounded-staleness", "staleness-beyond-bound", "user:1", READ, (), (COMMIT,), 400.0),
        "B's read returned v1, which v2 had replaced 400 s before: longer than the bound allows.",
        "stale for 400 s",
    ),
    "stale at all": (
        Finding("bounded-staleness", "staleness-beyond-bound", "user:1", READ, (), (COMMIT,), 0.0),
        "B's read returned v1, but v2 had replaced it before that read began.",
        "already replaced",
    ),
    "too many versions behind": (
        replace(BEHIND, because=(WRITE, replace(WRITE, value="v3"))),
        (
            "B's read returned v1, which was 3 versions behind when that read began: "
            "A's write of v2 and A's write of v3 were complete before; at most 1 may be."
        ),
        "3 versions behind",
    ),
    "a version behind": (
        replace(BEHIND, because=(WRITE,), found=1, allowed=(0, 0)),
        (
            "B's read returned v1, which was 1 version behind when that read began: "
            "A's write of v2 was complete before; none may be."
        ),
        "1 version behind",
    ),
    "a stale read that was acknowledged by a read": (
        Finding("linearizable", "stale-read", "user:1", READ, (replace(READ, value="v2"),)),
        "B's read returned v1, although B's read of v2 had returned before that read began.",
        "v2 was read at 12",
    ),
    "a deletion that was missed": (
        Finding("linearizable", "stale-read", "user:1", READ, (DELETE,)),
        "B's read returned v1, although A's delete had returned before that read began.",
        "the delete was acknowledged at 7",
    ),
    "stale by the commits alone": (
        Finding("read-after-write", "stale-read", "user:1", READ, (), (COMMIT,)),
        "B's read returned v1, although v2 had been committed before that read began.",
        "a newer value was written before",
    ),
    "a copy at the server": (
        LATE,
        "The copy at the cache server still held v1 at 11, 12 s after v2 was committed: 10 s are allowed.",
        "invalid for 12 s",
    ),
    "a copy inside a client": (
        replace(LATE, at=(), found=0.0, allowed=(0.0, 0.0)),
        "The copy inside client B still held v1, after v2 was committed.",
        "already invalid",
    ),
    "a copy of a version that was committed": (
        replace(LATE, versions=(OLDER, COMMIT), culprit=None),
        "The copy at the cache server still held v1 at 11, 12 s after v2 was committed: 10 s are allowed.",
        "invalid for 12 s",
    ),
    "a part of a transaction": (
        Finding("atomic-reads", "fractured-read", "b", READ_MANY, (WRITE_MANY,)),
        "B's read_many saw one part of A's write_many and not the other: b was no record, not v2.",
        "b lags behind",
    ),
    "a part of what is hard to read": (
        Finding("atomic-reads", "fractured-read", "c", READ_MANY, (WRITE,)),
        "B's read_many saw one part of A's write and not the other: c was older.",
        "c lags behind",
    ),
}


@pytest.mark.parametrize("title", CASES)
def test_the_words_say_what_was_found(stories: ModuleType, title: str) -> None:
    """Who read what, and what there was instead."""
    finding, sentence, mark = CASES[title]
    found = replace(stories.stale_set(), finding=finding)
    assert finding_sentences(found)[0] == sentence
    assert culprit_mark(found) == mark


def test_every_kind_is_tried() -> None:
    """Those of the table; divergence has a story of its own."""
    assert {finding.kind for finding, _, _ in CASES.values()} | {"divergence"} == set(VALUES)


def test_divergence_says_how_long_everything_was_quiet(stories: ModuleType) -> None:
    """The seconds since everything had ended come first."""
    found = stories.crash_before_invalidation()
    words = "299 s after everything had ended B's read still returned v1; the database holds v2."
    assert finding_sentences(found)[0] == words
    assert culprit_mark(found) == "the database holds v2"
    at_once = Finding("convergence", "divergence", "user:1", READ, (), (COMMIT,))
    words = "After everything had ended B's read of user:1 still returned v1; the database holds v2."
    assert finding_words(at_once, Names()) == words
    words = "After everything had ended B's read of user:1 still returned v1, unlike the database."
    assert finding_words(replace(at_once, versions=()), Names()) == words


def test_keys_are_named_where_there_are_several(stories: ModuleType) -> None:
    """With two keys the sentence says which one was read."""
    assert finding_sentences(stories.two_keys())[0].startswith("A's read of user:2 returned v3")


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (
            Finding("integrity", "uncommitted", "k", READ),
            "B's read of k returned v1, but the database never committed it.",
        ),
        (
            Finding("integrity", "foreign", "k", READ),
            "B's read of k returned v1, which is a value of another key.",
        ),
        (replace(LATE, versions=()), "The copy of user:1 at the cache server still held an older version"),
        (
            replace(LATE, at=()),
            "The copy of user:1 inside client B still held v1, 12 s after v2 was committed",
        ),
        (
            replace(BEHIND, found=None, allowed=None),
            "which was too many versions behind when that read began.",
        ),
        (Finding("p", "stale-read", "k", READ), "although a newer value had been written before that read"),
        (replace(RESURRECTED, because=()), "although it had been deleted before that read began"),
    ],
)
def test_what_is_not_known_is_not_told(finding: Finding, words: str) -> None:
    """Without a history, or without evidence, the sentence is shorter, and still true."""
    assert words in finding_words(finding, Names())


def test_a_read_that_would_have_to_lag_too_far_behind(draw: Draw, told: Told) -> None:
    """Δ-atomicity says how far, and how far is allowed; of 0 seconds there is nothing to say."""
    history = draw("A: |-w1-|\nB:         |-r0-|\ns: 0      12")
    words = "B's read returned v0, although A's write of v1 had returned before that read began"
    lag = "; to explain it, reads would have to lag 12 s behind, and 5 s are allowed."
    assert told(DeltaAtomicity(5), history) == words + lag
    assert told(DeltaAtomicity(0), history) == f"{words}."


def test_what_properties_find_can_be_told(draw: Draw, told: Told) -> None:
    """The evidence is where the words look for it."""
    history = draw(
        """
        A: |-w1-| |-w2-| |-d-|
        B:                     |-r1-|
        """
    )
    assert told(StalenessInVersions(1), history) == (
        "B's read returned v1, which was 2 versions behind when that read began: "
        "A's write of v2 and A's delete were complete before; at most 1 may be."
    )
    assert told(Integrity(resurrected=True), history) == (
        "B's read returned v1, although A's delete had returned before that read began, "
        "and nobody wrote that value again."
    )
