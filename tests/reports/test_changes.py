"""What cache and database hold: changes belong to the step that caused them, and stale copies are seen."""

from dataclasses import replace
from types import ModuleType

import pytest

from cacheproof.models.decision import ServerName
from cacheproof.reports.changes import Change, cached_record, changes_of, final_cache, older_in_cache

CACHE, DATABASE = ServerName.CACHE, ServerName.DATABASE


def test_commits_belong_to_their_exchange_and_stale_fills_are_marked(stories: ModuleType) -> None:
    """In the stale set two events change anything: the UPDATE, and the SET of an older value."""
    found = stories.stale_set()
    assert changes_of(found) == {
        4: (Change(DATABASE, "user:1", "v2"),),
        8: (Change(CACHE, "user:1", "v1", older=True),),
    }


def test_a_commit_says_what_the_cache_still_serves(stories: ModuleType) -> None:
    """A commit that makes the cached value old names that value."""
    update = changes_of(stories.crash_before_invalidation())[6]
    assert update == (Change(DATABASE, "user:1", "v2", cached="v1"),)


@pytest.mark.parametrize(
    ("cache_key", "record"),
    [
        ("user:1", "user:1"),
        ("cache:user:1", "user:1"),
        ("user:12", "user:12"),
        ("user:123", None),
        ("v1:user:12:json", "user:12"),
        ("queue", None),
    ],
)
def test_cached_copies_are_recognised_by_whole_words(cache_key: str, record: str | None) -> None:
    """A cache key is the copy of the longest record key in it, never of a mere prefix."""
    assert cached_record(cache_key, {"user:1": 0, "user:12": 0}) == record


@pytest.mark.parametrize(
    ("words", "older"),
    [
        ("v1", True),
        ("v2", False),
        ("hash {val: v1, ver: 0}", True),
        ("list [v1]", False),
        ("v10", False),
        ("garbage", False),
        ("v1 and v2", False),
    ],
)
def test_only_an_older_committed_version_is_older(words: str, older: bool) -> None:
    """Unknown values, queues, and values that name the current version are not called older."""
    versions = {"user:1": ["v1", "v2"]}
    assert (older_in_cache("user:1", {"user:1": (words, None)}, versions) is not None) is older


def test_final_cache_is_that_of_the_moment(stories: ModuleType) -> None:
    """The entry is read from the last snapshot up to the moment asked for."""
    found = stories.stale_set()
    assert final_cache("user:1", found.history, found.snapshots, until=7) is None
    assert final_cache("user:1", found.history, found.snapshots) == ("v1", 300.0)


@pytest.mark.parametrize(
    ("fault", "gone"),
    [
        ("cache: kill", True),
        ("*: expire user:1", True),
        ("*: advance 300", True),
        ("*: advance 299", False),
        ("database: kill", False),
    ],
)
def test_a_fault_takes_effect_in_its_own_step(stories: ModuleType, fault: str, gone: bool) -> None:
    """Also if the snapshot was taken as the fault was announced, before it did its work."""
    history, snapshots = stories.story.tell(f"    A: SET user:1 v1 EX 300\n    {fault}\n")
    early = (snapshots[0], replace(snapshots[0], index=1))
    for taken in (snapshots, early):
        found = stories.story.counterexample(history, taken, stories.stale_set().finding)
        change = (Change(CACHE, "user:1", None),)
        assert changes_of(found).get(1, ()) == (change if gone else ())
