"""Findings in words: every kind has its own, made from the data, and never an exception."""

from dataclasses import replace
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.models.anomaly_rules.kinds import KINDS
from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding
from cacheproof.reports.findings.sentences import (
    TEMPLATES,
    culprit_mark,
    finding_sentences,
    finding_words,
)
from cacheproof.reports.words import Names

READ = Operation(1, "read", "user:1", "v1", 14, 16, Outcome.OK, final=True)
COMMIT = Committed(5, 0.0, "user:1", "v2", 1, 0)


def test_a_stale_read_names_read_and_write(stories: ModuleType) -> None:
    """The sentence says who read what although who had written what, and how long that goes on."""
    assert finding_sentences(stories.stale_set()) == (
        "B's read returned v1, although A's write of v2 had returned before that read began.",
        "The cache goes on serving v1 for up to 300 s; the database holds v2.",
    )
    assert culprit_mark(stories.stale_set()) == "v2 was acknowledged at 7"


def test_what_the_sentence_told_is_not_told_again(stories: ModuleType) -> None:
    """The database is mentioned once; what the cache holds is of interest where it is older than that."""
    assert finding_sentences(stories.crash_before_invalidation()) == (
        "299 s after everything had ended B's read still returned v1; the database holds v2.",
        "The cache goes on serving v1 for up to 1 s.",
    )
    stale = stories.stale_set()
    fresh = replace(stale, snapshots=tuple(replace(item, cache={}) for item in stale.snapshots))
    assert len(finding_sentences(fresh)) == 1
    nowhere = replace(stale, finding=replace(stale.finding, key=None))
    assert len(finding_sentences(nowhere)) == 1


def test_an_entry_without_a_ttl_is_served_until_a_write_replaces_it(stories: ModuleType) -> None:
    """Nothing else will."""
    stale = stories.stale_set()
    forever = tuple(
        replace(item, cache={key: (value, None) for key, (value, _) in item.cache.items()})
        for item in stale.snapshots
    )
    assert finding_sentences(replace(stale, snapshots=forever))[1] == (
        "The cache goes on serving v1 until a write replaces it; the database holds v2."
    )


def test_a_finding_without_a_drawing_names_events(stories: ModuleType) -> None:
    """There are no steps, so the index of the event has to do; and the key is named, for nobody shows it."""
    finding = stories.lost_write().finding
    words = finding_words(finding, Names())
    assert words.startswith("A's write of v2 of user:1 was acknowledged at event ")


@pytest.mark.parametrize("kind", sorted(TEMPLATES))
def test_every_kind_has_its_own_words(stories: ModuleType, kind: str) -> None:
    """Not the generic ones, and not those of another kind, even where the finding says next to nothing."""
    stale = stories.stale_set()
    bare = Finding("p", kind, None)
    sentence, mark = finding_words(bare, Names()), culprit_mark(replace(stale, finding=bare))
    others = [finding_words(replace(bare, kind=other), Names()) for other in TEMPLATES if other != kind]
    assert not sentence.startswith("The property") and sentence not in others
    assert sentence.endswith(".") and not mark.endswith(".") and len(mark) <= 60


def test_every_kind_that_there_is_has_words() -> None:
    """Those that the properties of cacheproof make, no more and no less."""
    assert set(TEMPLATES) == set(KINDS)


def test_a_kind_of_somebody_elses_making_has_generic_words(stories: ModuleType) -> None:
    """What is known is said; the kind itself is the mark."""
    finding = Finding("sunshine", "too-much-rain", "user:1", READ, (replace(READ, process=0),))
    found = replace(stories.stale_set(), finding=finding)
    assert finding_sentences(found) == (
        (
            "The property sunshine is broken for user:1 (too much rain), "
            "shown by B's read of v1 at 10, because of A's read of v1."
        ),
    )
    assert culprit_mark(found) == "too much rain"
    assert finding_words(Finding("sunshine", "rain", None), Names()) == (
        "The property sunshine is broken (rain)."
    )


OPERATIONS = st.none() | st.builds(
    Operation,
    process=st.integers(0, 30),
    f=st.sampled_from(
        ["read", "write", "delete", "increment", "cas", "acquire", "read_many", "write_many", "warm_up"]
    ),
    key=st.none() | st.text(max_size=4),
    value=st.none()
    | st.text(max_size=6)
    | st.integers()
    | st.just((("user:1", "v2"), ("other", None)))
    | st.just((1, 2)),
    invoked=st.integers(0, 40),
    returned=st.none() | st.integers(0, 40),
    outcome=st.sampled_from(Outcome),
    error=st.none() | st.text(max_size=5),
    result=st.none() | st.booleans() | st.integers() | st.just((("user:1", "v1"),)),
)
NUMBERS = st.none() | st.floats() | st.integers(-5, 10_000)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(TEMPLATES)) | st.text(max_size=8),
    key=st.none() | st.sampled_from(["user:1", "other"]),
    culprit=OPERATIONS,
    because=st.lists(OPERATIONS.filter(lambda item: item is not None), max_size=9),
    versions=st.lists(st.just(COMMIT), max_size=2),
    stale_s=st.none() | st.floats(),
    at=st.lists(st.integers(0, 30), max_size=9),
    found_=NUMBERS,
    allowed=st.none() | st.tuples(NUMBERS, NUMBERS),
    name=st.sampled_from(["p", "availability", "linearizable-as"]),
)
def test_any_finding_has_words(
    stories: ModuleType,
    kind: str,
    key: str | None,
    culprit: Operation | None,
    because: list[Operation],
    versions: list[Committed],
    stale_s: float | None,
    at: list[int],
    found_: float | None,
    allowed: tuple[float | None, float | None] | None,
    name: str,
) -> None:
    """Whatever a property returns, there is a sentence that ends in a full stop, on one line."""
    finding = Finding(
        name, kind, key, culprit, tuple(because), tuple(versions), stale_s, tuple(at), found_, allowed
    )
    found = replace(stories.stale_set(), finding=finding)
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in finding_sentences(found))
    assert "\n" not in culprit_mark(found)
    for history in (None, History({})):
        words = finding_words(finding, Names(), history)
        assert words.endswith(".") and "\n" not in words
