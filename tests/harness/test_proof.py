"""From a candidate to a counterexample: minimal, repeated, looked at; or a reason why not."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from cacheproof.harness.evidence import Candidate
from cacheproof.harness.proof import Unproven, confirm, difference, prove, shows
from cacheproof.models.contract import Guarantee
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.report import Counterexample
from cacheproof.patterns.cache_aside import CacheAside

StageFor = Callable[[Any], Any]
FRESH = Guarantee("CA4", "reads are fresh", ReadAfterWrite())
STALE_SET = "A read, A .., B write, B .., A ."
LONG_WAY = f"B read, B ..., B write, B .., C read, {STALE_SET}, C ., B read, B ."


def candidate(stage: Any, script: str, **scenario: Any) -> Candidate:
    """The first finding of a run of the script."""
    run = stage.play(script, **scenario)
    finding = FRESH.property.check(run.history).findings[0]
    return Candidate(run, finding, "stale-set", "a test", 4)


def test_a_long_way_is_made_short(stage_for: StageFor, decisions: Callable[..., Any]) -> None:
    """Three clients and six operations become the textbook form, in a few replays."""
    stage = stage_for(CacheAside)
    found = prove(stage.runner, FRESH, candidate(stage, LONG_WAY, clients=3), confirmations=2, budget=300)
    assert isinstance(found, Counterexample)
    assert found.schedule.decisions == decisions(STALE_SET)
    assert found.minimal and found.shrunk_from == len(decisions(LONG_WAY, 3)) and found.shrink_replays > 1
    assert (found.found_by, found.found_after, found.replayed, found.replays) == ("a test", 4, 2, 2)


def test_without_a_budget_it_stays_long(stage_for: StageFor) -> None:
    """It is a counterexample all the same, and does not say that it is minimal."""
    stage = stage_for(CacheAside)
    found = prove(stage.runner, FRESH, candidate(stage, LONG_WAY, clients=3), confirmations=1, budget=1)
    assert isinstance(found, Counterexample)
    assert not found.minimal


def test_progress_counts_the_replays(stage_for: StageFor) -> None:
    """Each one is told."""
    stage = stage_for(CacheAside)
    told: list[int] = []
    found = prove(
        stage.runner, FRESH, candidate(stage, STALE_SET), confirmations=1, budget=50, progress=told.append
    )
    assert isinstance(found, Counterexample)
    assert told == sorted(told) and told[-1] <= found.shrink_replays


def test_what_does_not_happen_again_is_no_counterexample(stage_for: StageFor) -> None:
    """A schedule that was harmless when it was replayed proves nothing."""
    stage = stage_for(CacheAside)
    harmless = stage.play("A read, A ...").schedule
    outcome = confirm(stage.runner, FRESH, candidate(stage, STALE_SET), harmless, confirmations=2)
    assert isinstance(outcome, Unproven)
    assert outcome.reason.startswith("a schedule that broke it did not do so again in new processes")


def test_what_differs_from_replay_to_replay_is_no_counterexample(
    stage_for: StageFor, caches: ModuleType
) -> None:
    """How many replays agreed, and where the first difference is."""

    class Wavering(caches.Counting):  # type: ignore[misc, name-defined]
        def read(self, key: str) -> str:
            super().read(key)
            return "nobody wrote this"

    stage = stage_for(Wavering)
    whole = Guarantee("X1", "no fabricated values", Integrity())
    run = stage.play("A read, A .")
    finding = whole.property.check(run.history).findings[0]
    suspect = Candidate(run, finding, "stale-read", "a test", 1)
    outcome = confirm(stage.runner, whole, suspect, run.schedule, confirmations=4)
    assert isinstance(outcome, Unproven)
    assert outcome.reason.startswith(
        "only 2 of 4 replays gave the same history; the first difference is in event 1"
    )


def test_a_finding_of_another_kind_does_not_count(stage_for: StageFor) -> None:
    """Minimising keeps the anomaly: only a generic name may become a more telling one."""
    history = stage_for(CacheAside).play(STALE_SET).history
    assert shows(FRESH, history, "stale-set") is not None
    assert shows(FRESH, history, "stale-read") is not None
    assert shows(FRESH, history, "lost-invalidation") is None


def test_difference_names_the_place(stage_for: StageFor) -> None:
    """The event, and what both histories say of it; or that one ends."""
    stage = stage_for(CacheAside)
    short, other = (stage.play(script, probes_s=()) for script in ("A read", "B read"))
    assert difference([short, short, other]).startswith("the first difference is in event 0: ")
    assert '"process":0' in difference([short, other]) and '"process":1' in difference([short, other])
    assert difference([short, short]) == "one history goes on where the other ends"
