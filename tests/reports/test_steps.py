"""Steps: what explains nothing is dropped, what is too much is elided, and numbers stay what they are."""

from dataclasses import replace
from types import ModuleType

from cacheproof.models.event import Exchanged, Faulted, Invoked, Returned
from cacheproof.reports.steps import Elided, Step, steps_of


def test_steps_are_numbered_from_one_without_commits(stories: ModuleType) -> None:
    """The stale set has twelve steps: commits and phases have no number."""
    steps = steps_of(stories.stale_set())
    assert [step.number for step in steps.items] == list(range(1, 13))
    assert [steps.number(index) for index in (0, 4, 6, 16)] == [1, 5, 6, 12]
    assert steps.number(5) is None and steps.number(None) is None


def test_the_start_and_idle_polls_of_workers_are_dropped(stories: ModuleType) -> None:
    """Of the worker of the lost write only the pop that took something and its crash are left."""
    steps = steps_of(stories.lost_write())
    worker = [step.event for step in steps.items if getattr(step.event, "process", None) == 1]
    assert [type(event) for event in worker] == [Exchanged, Faulted]


def test_a_crash_says_that_its_operation_ended(stories: ModuleType) -> None:
    """The return that a crash causes is no step."""
    steps = steps_of(stories.crash_before_invalidation())
    crash = next(step for step in steps.items if isinstance(step.event, Faulted))
    following = steps.items[crash.number]
    assert not isinstance(following.event, Returned)


def test_final_reads_of_other_keys_are_dropped(stories: ModuleType) -> None:
    """Of the epilogue of two keys only the read that shows the finding is left."""
    steps = steps_of(stories.two_keys())
    final = [step.event for step in steps.items if isinstance(step.event, Invoked) and step.event.final]
    assert [event.key for event in final] == ["user:2"]


def test_final_reads_that_fill_the_cache_are_kept(stories: ModuleType) -> None:
    """A read of the epilogue before the culprit stays if it changed what the cache holds for the key."""
    found = stories.told(
        """
    A: write user:1 v2
    A: update user:1 v2
    A: ok
    --: quiesce
    --: final-reads
    A: read! user:1
    A: GET user:1
    A: SET user:1 v1 EX 300
    A: ok v2
    A: read! user:1
    A: GET user:1
    A: ok v1
""",
        stories.ReadAfterWrite(),
        "stale-read",
    )
    assert len([step for step in steps_of(found).items if step.phase is not None]) == 7


def test_uneventful_stretches_are_elided(stories: ModuleType) -> None:
    """A long story fits, says how many steps are missing, and keeps the numbers of the others."""
    steps = steps_of(stories.long_story())
    elided = [item for item in steps.shown if isinstance(item, Elided)]
    assert len(steps.items) > 100 and len(steps.shown) <= 40
    assert sum(len(item.steps) for item in elided) + len(steps.shown) - len(elided) == len(steps.items)
    culprit = steps.items[-1]
    assert isinstance(steps.shown[-1], Step) and steps.shown[-1].number == culprit.number


def test_time_that_passes_in_several_goes_passes_once(stories: ModuleType) -> None:
    """Consecutive sleeps with nothing to see in between are one step."""
    found = stories.told(
        """
    A: write user:1 v2
    A: update user:1 v2
    A: ok
    *: advance 10
    *: advance 20
    B: read user:1
    B: GET user:1 -> "v1"
    B: ok v1
""",
        stories.ReadAfterWrite(),
        "stale-read",
    )
    waits = [step.event for step in steps_of(found).items if isinstance(step.event, Faulted)]
    assert [event.detail for event in waits] == [30.0]


def test_what_a_dropped_event_changed_is_not_lost(stories: ModuleType) -> None:
    """A statement that goes on after the crash of its client changes the database in the step of the crash."""
    found = stories.told(
        """
    A: write user:1 v2
    A: crash
    A: update user:1 v2
    A: info the client crashed
    B: read user:1
    B: GET user:1 -> "v9"
    B: ok v9
""",
        stories.Integrity(),
        "fabricated-value",
    )
    changed = [step for step in steps_of(found).items if step.changes]
    assert [change.value for step in changed for change in step.changes] == ["v2"]


def test_what_the_epilogue_changes_after_the_finding_is_not_shown(stories: ModuleType) -> None:
    """An entry that expires after the culprit has returned leaves no trace at the last step."""
    history, snapshots = stories.story.tell(
        """
    A: SET user:1 v1 EX 300
    --: quiesce
    --: final-reads
    A: read! user:1
    A: GET user:1
    A: ok v1
    *: advance 300
"""
    )
    finding = replace(stories.stale_set().finding, culprit=history.operations[0])
    steps = steps_of(stories.story.counterexample(history, snapshots, finding))
    assert [len(step.changes) for step in steps.items] == [1, 0, 0, 0]


def test_a_worker_that_fails_again_and_again_is_started_once(stories: ModuleType) -> None:
    """In the epilogue neither its failed polls nor its second start are steps."""
    history, snapshots = stories.story.tell(
        """
    W1: work
    cache: kill
    W1: fail connection lost
    --: heal
    cache: start
    --: quiesce
    W1: restart
    W1: work
    W1: BRPOP queue 0 -> {"error": "broken pipe"}
    W1: fail broken pipe
    W1: restart
    W1: work
    W1: BRPOP queue 0 !waits
    --: final-reads
    A: read! user:1
    A: ok v1
""",
        clients=1,
        workers=1,
    )
    finding = replace(stories.stale_set().finding, culprit=history.operations[-1])
    steps = steps_of(stories.story.counterexample(history, snapshots, finding))
    worker = [step.event for step in steps.items if getattr(step.event, "process", None) == 1]
    assert [type(event) for event in worker] == [Returned, Faulted]
