"""Findings in words: one sentence a kind, made from the data, and never an exception."""

from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.models.event import Committed
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding
from cacheproof.reports.findings import culprit_mark, finding_sentences

WRITE = Operation(0, "write", "user:1", "v2", 3, 7, Outcome.OK)
READ = Operation(1, "read", "user:1", "v1", 14, 16, Outcome.OK, final=True)
COMMIT = Committed(5, 0.0, "user:1", "v2", 1, 0)


def test_a_stale_read_names_read_and_write(stories: ModuleType) -> None:
    """The sentence says who read what although who had written what, and how long that goes on."""
    assert finding_sentences(stories.stale_set()) == (
        "B's read returned v1, although A's write of v2 had returned before that read began.",
        "The cache goes on serving v1 for up to 300 s; the database holds v2.",
    )
    assert culprit_mark(stories.stale_set()) == "v2 was acknowledged at 7"


def test_divergence_says_how_long_everything_was_quiet(stories: ModuleType) -> None:
    """The seconds since everything had ended come first, and the database is not told twice."""
    assert finding_sentences(stories.crash_before_invalidation()) == (
        "299 s after everything had ended B's read still returned v1; the database holds v2.",
        "The cache goes on serving v1 for up to 1 s.",
    )


def test_a_lost_write_names_the_step_of_its_acknowledgement(stories: ModuleType) -> None:
    """The sentence refers to the step of the diagram, and says what the database holds instead."""
    assert finding_sentences(stories.lost_write()) == (
        "A's write of v2 was acknowledged at 3, but the database never received it: it still holds v1.",
    )


def test_keys_are_named_where_there_are_several(stories: ModuleType) -> None:
    """With two keys the sentence says which one was read."""
    assert finding_sentences(stories.two_keys())[0].startswith("A's read of user:2 returned v3")


@pytest.mark.parametrize(
    ("finding", "sentence", "mark"),
    [
        (
            Finding("integrity", "fabricated", "user:1", READ),
            "B's read returned v1, a value that nobody ever wrote.",
            "nobody wrote this",
        ),
        (
            Finding("integrity", "foreign", "user:9", READ),
            "B's read returned v1, which is a value of user:1.",
            "a value of user:1",
        ),
        (
            Finding("integrity", "aborted", "user:1", READ, (WRITE,)),
            "B's read returned v1, but A's write of v2 failed: that value never took effect.",
            "that write had failed",
        ),
        (
            Finding("integrity", "premature", "user:1", READ, (replace(WRITE, invoked=20),)),
            "B's read returned v1 before A's write of v2 had begun.",
            "not written yet",
        ),
        (
            Finding("integrity", "uncommitted", "user:1", replace(READ, value="v2")),
            "B's read returned v2 before the database had committed it.",
            "not committed",
        ),
        (
            Finding("integrity", "uncommitted", "user:1", replace(READ, value="v7")),
            "B's read returned v7, but the database never committed it: it holds v2.",
            "not committed",
        ),
        (
            Finding("bounded-staleness", "staleness-beyond-bound", "user:1", READ, (), (COMMIT,), 400.0),
            "B's read returned v1, which v2 had replaced 400 s before: longer than the bound allows.",
            "stale for 400 s",
        ),
        (
            Finding("bounded-staleness", "staleness-beyond-bound", "user:1", READ, (), (COMMIT,), 0.0),
            "B's read returned v1, but v2 had replaced it before that read began.",
            "already replaced",
        ),
        (
            Finding("durability", "lost-write", "user:1", WRITE),
            "A's write of v2 was acknowledged at 7 and committed, but it is gone: the database holds v2.",
            "lost: the database does not have it",
        ),
        (
            Finding("linearizable", "non-linearizable", "user:1", READ, (WRITE,)),
            "No single order of the operations explains these together: A's write of v2 and B's read of v1.",
            "no order explains this",
        ),
        (
            Finding("single-flight", "too-many-loads", "user:1", READ),
            "The property single-flight is broken for user:1 (too many loads), shown by B's read of v1 at 10.",
            "too many loads",
        ),
    ],
)
def test_every_kind_has_its_sentence(stories: ModuleType, finding: Finding, sentence: str, mark: str) -> None:
    """Each kind that a property of cacheproof can report has its own words, and so has an unknown one."""
    found = replace(stories.stale_set(), finding=finding)
    assert finding_sentences(found)[0] == sentence
    assert culprit_mark(found) == mark


def test_the_kinds_of_all_properties_are_known(stories: ModuleType) -> None:
    """No finding of the stories falls back to the generic sentence."""
    for tell in (stories.stale_set, stories.lost_write, stories.lost_reply, stories.three_clients):
        assert not finding_sentences(tell())[0].startswith("The property")


OPERATIONS = st.none() | st.builds(
    Operation,
    process=st.integers(0, 30),
    f=st.sampled_from(["read", "write", "delete", "increment"]),
    key=st.none() | st.text(max_size=4),
    value=st.none() | st.text(max_size=6) | st.integers(),
    invoked=st.integers(0, 40),
    returned=st.none() | st.integers(0, 40),
    outcome=st.sampled_from(Outcome),
)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(
        [
            "stale-read",
            "divergence",
            "staleness-beyond-bound",
            "lost-write",
            "fabricated",
            "foreign",
            "aborted",
            "premature",
            "uncommitted",
            "non-linearizable",
        ]
    )
    | st.text(max_size=8),
    key=st.none() | st.sampled_from(["user:1", "other"]),
    culprit=OPERATIONS,
    because=st.lists(OPERATIONS.filter(lambda item: item is not None), max_size=3),
    versions=st.lists(st.just(COMMIT), max_size=2),
    stale_s=st.none() | st.floats(),
)
def test_any_finding_has_words(
    stories: ModuleType,
    kind: str,
    key: str | None,
    culprit: Operation | None,
    because: list[Operation],
    versions: list[Committed],
    stale_s: float | None,
) -> None:
    """Whatever a property returns, there is a sentence that ends in a full stop, on one line."""
    finding = Finding("p", kind, key, culprit, tuple(because), tuple(versions), stale_s)
    found = replace(stories.stale_set(), finding=finding)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in finding_sentences(found))
    assert "\n" not in culprit_mark(found)
