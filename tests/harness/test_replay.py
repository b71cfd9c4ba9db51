"""A stored failure replays by itself: refuted, mended, or unknown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.naming import name_cache
from cacheproof.harness.replay import replay
from cacheproof.harness.store import FailureStore, StoredFailure
from cacheproof.models.errors import UsageError
from cacheproof.models.schedule import Scenario, Schedule
from cacheproof.models.verdict import Verdict
from cacheproof.patterns.cache_aside import CacheAside


@pytest.fixture
def failure(decisions: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> StoredFailure:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    return StoredFailure(
        cache=name_cache(CacheAside),
        contract="cache-aside",
        guarantee="CA4",
        claim="reads are fresh",
        judged_by={"name": "read-after-write"},
        condition="concurrent",
        anomaly="stale-set",
        schedule=Schedule(Scenario(), decisions("A read, A .., B write, B .., A .")),
        seed=5,
    )


@pytest.fixture
def replayed(chaos_servers: EmbeddedServers, tmp_path: Path) -> Callable[..., Any]:
    """Saves a failure and replays the file."""

    def call(failure: StoredFailure, **options: Any) -> Any:
        path = FailureStore(tmp_path).save(failure)
        return path, *replay(path, servers=chaos_servers, **options)

    return call


def test_a_failure_that_is_still_there(failure: StoredFailure, replayed: Any) -> None:
    """A report of one refuted cell with the counterexample and its command, and the first run."""
    path, report, run = replayed(failure, times=3)
    (cell,) = report.cells
    assert (cell.verdict, cell.guarantee, report.cache, report.seed) == (
        Verdict.REFUTED,
        "CA4",
        "CacheAside",
        5,
    )
    found = cell.counterexample
    assert (found.anomaly, found.replayed, found.replays) == ("stale-set", 3, 3)
    assert found.replay_command == f"cacheproof replay {path}"
    assert found.history == run.history and report.warnings == ()


def test_a_failure_that_was_mended(
    failure: StoredFailure, replayed: Any, decisions: Callable[..., Any]
) -> None:
    """Upheld: the schedule does not break the guarantee."""
    harmless = replace(failure, schedule=Schedule(Scenario(), decisions("A read, A ...")))
    _, report, _ = replayed(harmless)
    assert report.verdict is Verdict.UPHELD and report.counterexamples == ()


def test_a_schedule_that_does_not_fit_any_more(
    failure: StoredFailure, replayed: Any, decisions: Callable[..., Any]
) -> None:
    """Unknown, with the decision that is not possible: the cache does something else now."""
    longer = replace(failure, schedule=Schedule(Scenario(), decisions("A read, A ....")))
    _, report, _ = replayed(longer)
    assert report.verdict is Verdict.UNKNOWN
    assert report.cells[0].reason.startswith("decision 5")


def test_another_hash_seed_is_a_warning(failure: StoredFailure, replayed: Any) -> None:
    """Orders of sets may differ, and that may be all that is wrong."""
    _, report, _ = replayed(replace(failure, hash_seed="42"))
    (warning,) = report.warnings
    assert warning.startswith("found with PYTHONHASHSEED=42, replayed with None")


def test_a_property_of_somebody_elses_cannot_be_replayed(failure: StoredFailure, replayed: Any) -> None:
    """Nothing on disk says how to judge; its own test knows."""
    with pytest.raises(UsageError, match="was judged by a property of its own"):
        replayed(replace(failure, judged_by=None))


def test_a_cache_that_is_gone_is_named(failure: StoredFailure, replayed: Any) -> None:
    """UsageError, before any server is asked."""
    with pytest.raises(UsageError, match=r"cannot load the cache 'gone\.module:Cache'"):
        replayed(replace(failure, cache="gone.module:Cache"))
