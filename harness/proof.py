"""From a run that broke a guarantee to a counterexample: minimised, repeated, looked at.

Rule 1  What is reported was replayed in new processes, and gave the same history byte for byte each time;
        what was not is no counterexample, and the verdict is unknown.
Rule 2  Minimising keeps the anomaly: a schedule that breaks the same guarantee in another way is another
        counterexample.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from cacheproof.harness.evidence import Candidate, judge
from cacheproof.harness.minimise import minimise
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.snapshots import Observer
from cacheproof.models.anomalies import classify
from cacheproof.models.contract import Guarantee
from cacheproof.models.decision import Decision
from cacheproof.models.encyclopaedia import SECTIONS
from cacheproof.models.history import History
from cacheproof.models.report import Counterexample
from cacheproof.models.schedule import Schedule
from cacheproof.models.verdict import Finding

__all__ = ["Unproven", "confirm", "difference", "prove", "shows"]

_GENERIC = frozenset(entry.slug for entry in SECTIONS["General names"]) - {"no-invalidation"}
"""Names of what a property saw where no rule told how it came about."""


@dataclass(frozen=True, slots=True)
class Unproven:
    """Why a candidate is not a counterexample."""

    reason: str


def shows(guarantee: Guarantee, history: History, slug: str) -> Finding | None:
    """The first finding of this anomaly, or of any more telling one if the slug is a generic one."""
    for finding in judge(guarantee, history).findings:
        found = classify(finding, history).slug
        if found == slug or slug in _GENERIC:
            return finding
    return None


def prove(
    runner: Runner,
    guarantee: Guarantee,
    candidate: Candidate,
    *,
    confirmations: int,
    budget: int,
    progress: Callable[[int], None] | None = None,
) -> Counterexample | Unproven:
    """Minimise a candidate, replay the result, and look at the servers while it runs once more."""
    scenario = candidate.run.schedule.scenario
    original = candidate.run.schedule.decisions

    def attempt(decisions: tuple[Decision, ...]) -> tuple[Decision, ...] | None:
        run = runner.attempt(scenario, decisions)
        if run.problem is not None or shows(guarantee, run.history, candidate.slug) is None:
            return None
        return run.schedule.decisions

    smallest = minimise(original, attempt, budget=budget, progress=progress, operations=scenario.operations)
    schedule = candidate.run.schedule.with_decisions(smallest.decisions)
    outcome = confirm(runner, guarantee, candidate, schedule, confirmations=confirmations)
    if isinstance(outcome, Unproven):
        return outcome
    return replace(
        outcome, shrunk_from=len(original), shrink_replays=smallest.replays, minimal=smallest.minimal
    )


def confirm(
    runner: Runner, guarantee: Guarantee, candidate: Candidate, schedule: Schedule, *, confirmations: int
) -> Counterexample | Unproven:
    """Replay a schedule, compare the histories, and look at the servers in one of the runs.

    The first two replays have new processes; the others show that it makes no difference.
    """
    repeated = [runner.replay(schedule, anew=number < 2) for number in range(confirmations)]
    first = repeated[0]
    finding = None if first.problem else shows(guarantee, first.history, candidate.slug)
    if finding is None:
        return Unproven(
            "a schedule that broke it did not do so again in new processes: the cache keeps something outside "
            "its instance, or depends on chance or time that the run does not control"
        )
    observer = Observer(runner.world, schedule.scenario.initial_values())
    observed = runner.replay(schedule, observer, anew=False)
    same = sum(run.history.to_jsonl() == first.history.to_jsonl() for run in repeated)
    if same < confirmations or observed.history.to_jsonl() != first.history.to_jsonl():
        return Unproven(
            f"only {same} of {confirmations} replays gave the same history; {difference(repeated)}"
        )
    return Counterexample(
        anomaly=classify(finding, first.history).slug,
        finding=finding,
        schedule=schedule,
        history=first.history,
        snapshots=tuple(observer.snapshots),
        found_by=candidate.found_by,
        found_after=candidate.found_after,
        shrunk_from=len(schedule.decisions),
        shrink_replays=0,
        minimal=False,
        replayed=same,
        replays=confirmations,
    )


def difference(runs: list[Run]) -> str:
    """The first point at which two histories of one schedule differ, in words."""
    first = runs[0].history.to_jsonl().splitlines()
    for other in runs[1:]:
        for number, (one, two) in enumerate(zip(first, other.history.to_jsonl().splitlines(), strict=False)):
            if one != two:
                return f"the first difference is in event {number - 1}: {one[:200]} against {two[:200]}"
    return "one history goes on where the other ends"
