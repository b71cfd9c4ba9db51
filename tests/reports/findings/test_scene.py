"""The small words of sentences: who did what, where it is to be seen, and how much of it there was."""

from math import inf
from types import ModuleType

import pytest

from cacheproof.models.event import Committed
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding
from cacheproof.reports.findings.scene import (
    Scene,
    Template,
    counted_words,
    number_words,
    range_words,
    says,
)
from cacheproof.reports.steps import steps_of
from cacheproof.reports.words import Names

WRITE = Operation(0, "write", "user:1", "v2", 3, 7, Outcome.OK)
READ = Operation(1, "read", "user:1", "v1", 8, 9, Outcome.OK)
ELSEWHERE = Operation(0, "write", "user:2", "v3", 3, 7, Outcome.OK)
COMMIT = Committed(5, 0.0, "user:1", "v2", 1, 0)
ONE = History({"user:1": "v1"})
TWO = History({"user:1": "v1", "user:2": "v1"})


def scene(finding: Finding | None = None, history: History | None = ONE) -> Scene:
    return Scene(finding or Finding("p", "kind", "user:1", READ, (WRITE,)), Names(), history)


@pytest.mark.parametrize(
    ("history", "of_key", "call"),
    [
        (ONE, "", "B's read"),
        (TWO, " of user:1", "B's read on user:1"),
        (None, " of user:1", "B's read on user:1"),
    ],
)
def test_a_key_is_named_where_there_are_several(history: History | None, of_key: str, call: str) -> None:
    """With one key it goes without saying; without a history nobody knows how many there are."""
    told = scene(history=history)
    assert (told.of_key, told.reader, told.call) == (of_key, f"B's read{of_key}", call)
    assert scene(Finding("p", "kind", None, READ), history).of_key == ""


def test_operations_say_their_key_where_they_are_on_different_ones() -> None:
    """If all are on one key, one mention of it is enough."""
    mixed = scene(Finding("p", "kind", "user:1", READ, (ELSEWHERE,)), TWO)
    assert mixed.acts((ELSEWHERE, READ), key=True) == "A's write of v3 on user:2 and B's read of v1 on user:1"
    assert (mixed.mixed, mixed.where) == (True, "")
    alike = scene(history=TWO)
    assert alike.acts((WRITE, READ), key=True) == "A's write of v2 and B's read of v1"
    assert (alike.mixed, alike.where) == (False, " of user:1")


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (WRITE, "A's write of v2"),
        (READ, "B's read of v1"),
        (Operation(1, "read", "k", None, 1, 2, Outcome.OK), "B's read of no record"),
        (Operation(1, "read", "k", None, 1, None, Outcome.INFO), "B's read"),
        (Operation(0, "delete", "k", None, 1, 2, Outcome.OK), "A's delete"),
        (Operation(0, "cas", "k", (1, 2), 1, 2, Outcome.OK, result=True), "A's cas 1 → 2"),
        (
            Operation(0, "cas", "k", (1, 2), 1, 2, Outcome.OK, result=False),
            "A's cas 1 → 2, which was refused",
        ),
        (Operation(0, "acquire", "k", 7, 1, 2, Outcome.OK, result=7), "A's acquire"),
        (Operation(0, "increment", "k", 5, 1, 2, Outcome.OK), "A's increment"),
        (Operation(0, "append\n", "k", "x", 1, 2, Outcome.OK), "A's append\\n of x"),
    ],
)
def test_an_operation_in_words(operation: Operation, words: str) -> None:
    """Who, what, and of which value, if that says something."""
    assert scene().act(operation) == words


def test_many_operations_are_counted() -> None:
    """A sentence that names twenty operations is none."""
    assert scene().acts([WRITE] * 6).count("A's write of v2") == 6
    assert scene().acts([WRITE] * 8).endswith("A's write of v2 and 2 more operations")
    assert scene().called(WRITE, READ, WRITE) == "A's write and B's read"


def test_without_a_culprit_there_are_words_nevertheless() -> None:
    """They say less."""
    told = scene(Finding("p", "kind", "user:1"), TWO)
    assert (told.reader, told.call, told.got, told.because) == (
        "a read of user:1",
        "an operation on user:1",
        "a value",
        "",
    )


def test_what_the_database_holds() -> None:
    """By the history, or else by the versions of the finding, or else nobody knows."""
    committed = History({"user:1": "v1"}, (COMMIT,))
    assert (scene().held, scene(history=committed).held) == ("v1", "v2")
    shown = Finding("p", "kind", "user:1", READ, versions=(COMMIT,))
    assert (scene(shown, None).held, scene(shown, None).knows_held) == ("v2", True)
    assert (scene(history=None).held, scene(history=None).knows_held) == (None, False)
    assert scene(shown, None).was_committed("v2") and scene(history=committed).was_committed("v2")
    assert not scene(shown, None).was_committed("v9") and not scene().was_committed("v2")


def test_events_are_named_by_index_where_nothing_is_drawn() -> None:
    """With a word before it, and in the plural where there are several."""
    told = scene(history=None)
    assert (told.at(5), told.at(5, " since"), told.at(None)) == (" at event 5", " since event 5", "")
    assert (told.at_all([5]), told.at_all([5, 6]), told.at_all([])) == (
        " at event 5",
        " at events 5 and 6",
        "",
    )
    assert told.at_all(range(8)) == " at events 0, 1, 2, 3, 4, 5 and 2 more"


def test_events_are_named_by_step_where_they_are_drawn(stories: ModuleType) -> None:
    """What no step shows has no name."""
    stale = stories.stale_set()
    told = Scene(stale.finding, Names(), stale.history, steps_of(stale))
    index = stale.finding.because[0].returned
    assert told.at(index) == " at 7"
    commit = next(event.index for event in stale.history.events if isinstance(event, Committed))
    assert told.at(commit) == "" and told.at_all([index, commit, index]) == " at 7 and 7"


def test_numbers_in_words() -> None:
    """Whole ones without a point, large ones with commas, and units in the singular and the plural."""
    assert [number_words(item) for item in (3, 3.0, 1000, 2.5, inf, None)] == [
        "3",
        "3",
        "1,000",
        "2.5",
        "inf",
        "an unknown number",
    ]
    assert [counted_words(item, "load") for item in (1, 2, None)] == ["1 load", "2 loads", "too many loads"]
    assert [range_words(item) for item in ((1, 3), (2, 2), (1, None), (None, 3), (None, None), None)] == [
        "between 1 and 3",
        "2",
        "at least 1",
        "at most 3",
        "anything",
        "anything",
    ]


def test_a_template_lasts_only_if_it_says_so() -> None:
    """Most findings have no aftermath."""
    template = Template(says("here."), says("there"))
    assert (template.sentence(scene()), template.mark(scene()), template.lasting) == ("here.", "there", False)
