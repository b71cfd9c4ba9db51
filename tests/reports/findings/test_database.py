"""Words for what the database was left with: what is lost, late, counted wrong or was not asked for."""

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest

from cacheproof.models.event import Committed
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding, Property
from cacheproof.reports.findings import culprit_mark, finding_sentences, finding_words
from cacheproof.reports.findings.database import DATABASE
from cacheproof.reports.findings.scene import Scene
from cacheproof.reports.words import Names

Draw = Callable[..., History]
Told = Callable[[Property, History], str]

WRITE = Operation(0, "write", "user:1", "v2", 3, 7, Outcome.OK)
COMMIT = Committed(5, 0.0, "user:1", "v2", 1, 0)
SUM = Finding("exactly-once", "double-applied", "hits", at=(6,), found=30, allowed=(20, 20))
WARM_UP = Operation(0, "warm_up", None, None, 1, 4, Outcome.OK)


def test_a_lost_write_names_the_step_of_its_acknowledgement(stories: ModuleType) -> None:
    """The sentence refers to the step of the diagram, and says what the database holds instead."""
    assert finding_sentences(stories.lost_write()) == (
        "A's write of v2 was acknowledged at 3, but the database never received it: it still holds v1.",
    )


def test_a_write_that_was_committed_and_lost(stories: ModuleType) -> None:
    """Somebody put the older value back."""
    found = replace(stories.stale_set(), finding=Finding("durability", "lost-write", "user:1", WRITE))
    assert finding_sentences(found)[0] == (
        "A's write of v2 was acknowledged at 7 and committed, but it is gone: the database holds v2."
    )
    assert culprit_mark(found) == "lost: the database does not have it"


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        (
            Finding("durability", "lost-write", "k", WRITE),
            (
                "A's write of v2 of k was acknowledged at event 7, but the database never received it: "
                "it does not hold it."
            ),
        ),
        (
            Finding("durability", "lost-write", "k", versions=(COMMIT,)),
            "An acknowledged write of k was lost: the database holds v2.",
        ),
        (
            Finding("durability", "lost-write", "k", replace(WRITE, value="v7"), versions=(COMMIT,)),
            "A's write of v7 of k was acknowledged at event 7, but the database never received it: it holds v2.",
        ),
        (
            SUM,
            (
                "The database added 30 to hits at event 6, but the increments can make 20: "
                "one of them was applied more than once."
            ),
        ),
        (
            replace(SUM, kind="lost-increment", found=1, allowed=(2, 4), at=()),
            (
                "The database added 1 to hits, but the increments can make between 2 and 4: "
                "one that was acknowledged is missing."
            ),
        ),
        (
            replace(SUM, kind="impossible-sum", key=None, found=4, allowed=(1, 6), at=()),
            (
                "The database added 4 to a counter, but the increments can make between 1 and 6: "
                "no choice of the ambiguous ones explains the difference."
            ),
        ),
        (
            Finding("quiet-warm-up", "warm-up-writes", "k", WARM_UP, versions=(COMMIT,), at=(2, 3)),
            "A's warm_up wrote to the database at events 2 and 3, and made v2 of user:1 visible.",
        ),
        (Finding("quiet-warm-up", "warm-up-writes", None), "A warm-up wrote to the database."),
        (
            Finding("flush-order", "flush-reorder", "k", WRITE),
            (
                "The database committed v2 of k after a newer version, which no order of the writes explains: "
                "see A's write of v2."
            ),
        ),
        (
            Finding("flush-order", "flush-reorder", "k"),
            (
                "The database went back to an older version, the record of k before the run, "
                "after it had committed a newer version."
            ),
        ),
    ],
)
def test_the_words_say_what_was_found(finding: Finding, words: str) -> None:
    """With the figures, and with what is known where something is not."""
    assert finding_words(finding, Names()) == words


@pytest.mark.parametrize(
    ("drawing", "words", "mark"),
    [
        (
            """
            A: |-w1-|  |-w2-|
            db:              2 1
            """,
            (
                "The database committed v1 after v2, although A's write of v1 had returned before "
                "A's write of v2 began."
            ),
            "committed after v2",
        ),
        (
            """
            A: |----w1----|
            B: |----w2----|
            db:  1   2   1
            """,
            (
                "The database committed v1 after v2, which no order of the writes explains: "
                "see A's write of v1 and B's write of v2."
            ),
            "committed after v2",
        ),
        (
            """
            A: |----w1----|
            db:   1    0
            """,
            (
                "The database went back to v0, the record before the run, after it had committed v1 "
                "(A's write of v1)."
            ),
            "committed after v1",
        ),
    ],
)
def test_a_late_flush(draw: Draw, told: Told, drawing: str, words: str, mark: str) -> None:
    """What was committed after what, and why that is wrong."""
    history = draw(drawing)
    assert told(FlushOrder(), history) == words
    finding = FlushOrder().check(history).findings[0]
    assert DATABASE["flush-reorder"].mark(Scene(finding, Names(), history)) == mark


def test_a_mark_without_evidence() -> None:
    """Says what kind of thing it is."""
    scene = Scene(Finding("flush-order", "flush-reorder", "k"), Names())
    assert DATABASE["flush-reorder"].mark(scene) == "committed too late"
