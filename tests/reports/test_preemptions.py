"""Preemptions: who was interrupted after which step, and until when."""

from types import ModuleType

import pytest

from cacheproof.reports.preemptions import preemption_words, preemptions_of
from cacheproof.reports.steps import steps_of

NOBODY = "no preemption: no operation interrupts another"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stale_set", "one preemption: B waits after 3 until A has returned"),
        ("crash_before_invalidation", NOBODY),
        ("lost_invalidation", NOBODY),
        ("lost_write", NOBODY),
    ],
)
def test_stories_have_their_preemptions(stories: ModuleType, name: str, words: str) -> None:
    """A client with an open operation is interrupted by the step of another; a crash interrupts nobody."""
    found = getattr(stories, name)()
    assert preemption_words(steps_of(found), found.history) == words


def words_of(stories: ModuleType, text: str, **more: int) -> str:
    history, _ = stories.story.tell(text, **more)
    found = stories.story.counterexample(history, (), stories.stale_set().finding)
    return preemption_words(steps_of(found), history)


def test_a_client_that_waits_for_a_lock_is_not_preempted(stories: ModuleType) -> None:
    """Blocked is not interrupted: A cannot go on before B has."""
    text = """
    A: write user:1 v2
    A: SET user:1 v2 !waits
    B: write user:1 v3
    B: ok
    A: SET user:1 v2 !waited
    A: ok
"""
    assert words_of(stories, text) == NOBODY


def test_a_worker_is_interrupted_only_inside_a_piece_of_work(stories: ModuleType) -> None:
    """Between two pops a worker can be overtaken; between a pop and its UPDATE it is preempted."""
    work = """
    W1: work
    A: write user:1 v2
    A: LPUSH queue v2
    A: ok
    W1: RPOP queue
"""
    idle = work + "    W1: update user:1 v2\n    A: read user:1\n    A: ok v2\n    W1: RPOP queue -> [1]\n"
    busy = work + "    A: read user:1\n    A: ok v2\n    W1: update user:1 v2\n"
    assert words_of(stories, idle, clients=1, workers=1) == NOBODY
    assert words_of(stories, busy, clients=1, workers=1) == (
        "one preemption: worker 1 waits after 4 until A has returned"
    )


def test_the_end_of_a_wait_is_told(stories: ModuleType) -> None:
    """A client may crash where it stood, never go on, or wait for somebody who got only so far."""
    start = "    B: read user:1\n    B: GET user:1\n    A: write user:1 v2\n    A: DEL user:1\n"
    assert words_of(stories, start + "    B: crash\n").startswith(
        "two preemptions: B waits after 2 until A has done 4, and then crashes"
    )
    assert words_of(stories, start) == "one preemption: B waits after 2 until A has done 4, and never goes on"
    assert words_of(stories, start + "    A: crash\n    B: ok v1\n") == (
        "one preemption: B waits after 2 until A has crashed"
    )


def test_many_preemptions_are_counted_and_the_first_told(stories: ModuleType) -> None:
    """The number is exact, the list is short."""
    found = stories.three_clients()
    steps = steps_of(found)
    assert len(preemptions_of(steps, found.history)) == 7
    words = preemption_words(steps, found.history)
    assert words.startswith("seven preemptions: ") and words.endswith("; and 3 more")
