"""`verify`: does a cache keep the promises of its contract?

For each condition: failures stored earlier are tried first, then every schedule of small scopes, then what
Hypothesis chooses.  Every run is judged against all guarantees of the condition, and the search goes on after
a finding.  Then each refuted guarantee gets one counterexample: minimised, replayed, drawn.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis.errors import Flaky

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.evidence import Candidate, Evidence, Tally, verdict_of
from cacheproof.harness.naming import name_cache, short_name
from cacheproof.harness.pinning import one_core
from cacheproof.harness.profiles import Profile, profile_named
from cacheproof.harness.proof import Unproven, difference, prove
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.store import FailureStore, StoredFailure
from cacheproof.harness.strategies.exhaustive import Explorer, SmallScope, scopes_for, steer
from cacheproof.harness.strategies.machine import search
from cacheproof.harness.world import World
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.errors import CacheError, EnvironmentFault, UsageError
from cacheproof.models.properties import property_to_dict
from cacheproof.models.report import Cell, Counterexample, Report, Scope
from cacheproof.models.schedule import Scenario
from cacheproof.models.verdict import Verdict

__all__ = ["Progress", "verify"]

Progress = Callable[[str, int], None]
"""Is told what is being done, in words, and how many schedules have been run."""

_GIVE_UP_AFTER = 5
"""Runs in a row with a problem, from the first on, after which a condition is given up."""

_MINIMISE_BUDGET = 300

_MOST_ANOMALIES = 3
"""Counterexamples for each guarantee and condition."""


def verify(
    cache: Callable[..., Any],
    contract: Contract,
    *,
    under: Sequence[Condition] | None = None,
    clients: int = 2,
    keys: int = 1,
    profile: str | Profile = "default",
    budget: int | None = None,
    seed: int = 0,
    store: FailureStore | None = None,
    servers: EmbeddedServers | None = None,
    progress: Progress | None = None,
) -> Report:
    """Judge `cache` against every guarantee of `contract`, under each of its conditions.

    `cache` is called with an `Environment` in every client and has `read(key)` and `write(key, value)`, sync
    or async, and `work()` if the contract has workers.  `under` narrows the conditions.  `clients` and `keys`
    are those of the random schedules; small scopes have their own.  `profile` sets the budgets, `budget`
    overrides the number of random schedules for each condition.  `seed` fixes the search.  Failures are kept
    in `store` and tried first next time; without one, nothing is kept.  `servers` are used if given, else
    started for this call.

    Returns a report; a broken promise is never an exception.  Raises UsageError for arguments that make no
    sense and EnvironmentFault if a server cannot be had.
    """
    chosen = profile_named(profile) if isinstance(profile, str) else profile
    if budget is not None:
        chosen = replace(chosen, random=budget)
    _check_arguments(contract, clients, keys)
    conditions = tuple(under) if under is not None else contract.conditions
    began = time.monotonic()
    with nullcontext(servers) if servers is not None else EmbeddedServers() as running:
        search_ = _Verification(cache, contract, conditions, clients, keys, chosen, seed, store, progress)
        report = search_.run(running)
    return replace(report, seconds=round(time.monotonic() - began, 3))


def _check_arguments(contract: Contract, clients: int, keys: int) -> None:
    if clients < 1 or keys < 1:
        raise UsageError(f"clients={clients!r}, keys={keys!r}: a run needs at least one of each")
    if not contract.guarantees:
        raise UsageError(f"contract {contract.name!r} has no guarantees: there is nothing to verify")


@dataclass
class _Verification:
    cache: Callable[..., Any]
    contract: Contract
    conditions: tuple[Condition, ...]
    clients: int
    keys: int
    profile: Profile
    seed: int
    store: FailureStore | None
    progress: Progress | None
    scopes: list[Scope] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stored: list[StoredFailure] = field(default_factory=list)
    proven: dict[tuple[str, str], Counterexample] = field(default_factory=dict)

    def run(self, servers: EmbeddedServers) -> Report:
        cells: list[Cell] = []
        described = {server.name.value: server.describe() for server in (servers.cache, servers.database)}
        if self.store is not None:
            self.stored = list(self.store.matching(name_cache(self.cache), self.contract.name))
            self.warnings += self.store.warnings
        runs = 0
        try:
            with one_core(servers), World(self.cache, servers) as world:
                runner = Runner(world)
                cells = self.judge_all(runner)
                runs = runner.runs
        except CacheError as error:
            self.warnings.append(str(error))
            cells = [
                self.unknown(item, at, str(error)) for at in self.conditions for item in self.claimed(at)
            ]
        return Report(
            cache=short_name(self.cache),
            contract=self.contract.name,
            profile=self.profile.name,
            seed=self.seed,
            cells=tuple(cells),
            scopes=tuple(self.scopes),
            servers=described,
            warnings=tuple(dict.fromkeys(self.warnings)),
            schedules=runs,
        )

    def claimed(self, condition: Condition) -> list[Guarantee]:
        return [item for item in self.contract.guarantees if condition in item.claimed]

    def judge_all(self, runner: Runner) -> list[Cell]:
        gathered = []
        for condition in self.conditions:
            if not self.claimed(condition):
                continue
            evidence = Evidence(self.contract, condition)
            self.search(runner, evidence)
            gathered.append(evidence)
        ordinary = {
            (name, slug)
            for evidence in gathered
            if evidence.condition is Condition.CONCURRENT
            for name, tally in evidence.tallies.items()
            for slug in tally.candidates
        }
        return [
            self.cell(runner, evidence, guarantee, ordinary)
            for evidence in gathered
            for guarantee in evidence.guarantees
        ]

    # -- searching -----------------------------------------------------------------------------------------

    def tell(self, what: str, runs: int) -> None:
        if self.progress is not None:
            self.progress(what, runs)

    def scenario(self, clients: int, keys: int = 1) -> Scenario:
        names = tuple(f"user:{number}" for number in range(1, keys + 1))
        return Scenario(
            clients=clients,
            workers=self.contract.workers,
            keys=names,
            probes_s=self.contract.probes_s,
            seed=self.seed,
        )

    def search(self, runner: Runner, evidence: Evidence) -> None:
        condition = evidence.condition
        for failure in self.stored:
            if failure.condition == condition.value:
                self.try_again(runner, evidence, failure)
        sample: list[Run] = []
        for scope in scopes_for(condition, self.profile.scopes):
            self.search_scope(runner, evidence, scope, sample)
            if self.hopeless(evidence):
                return
        if self.profile.random:
            self.search_randomly(runner, evidence, sample)
        self.check_repeatable(runner, evidence, sample)
        if evidence.printed:
            line = evidence.printed.strip().splitlines()[0][:200]
            self.warnings.append(f"the cache prints; its first words were {line!r}")

    def try_again(self, runner: Runner, evidence: Evidence, failure: StoredFailure) -> None:
        """Run a failure of an earlier search first; forget it if it does not break its guarantee any more."""
        run = runner.attempt(failure.schedule.scenario, failure.schedule.decisions)
        evidence.add(run, "a stored failure")
        broken = evidence.tallies.get(failure.guarantee, Tally()).candidates
        if not broken and run.problem is None and self.store is not None:
            self.store.discard(self.store.anomalies / failure.file_name)

    def hopeless(self, evidence: Evidence) -> bool:
        return evidence.runs >= _GIVE_UP_AFTER and len(evidence.problems) == evidence.runs

    def search_scope(self, runner: Runner, evidence: Evidence, scope: SmallScope, sample: list[Run]) -> None:
        explorer = Explorer()
        scenario = self.scenario(scope.clients)
        count, complete = 0, False
        while count < self.profile.scope_limit and not complete and not self.hopeless(evidence):
            run = runner.drive(
                scenario, lambda execution: steer(execution, scope, evidence.condition, explorer)
            )
            evidence.add(run, f"the exhaustive {scope.name}")
            count += 1
            if count == 4:
                sample.append(run)
            self.tell(f"{self.contract.name}, {evidence.condition.value}: {scope.name}", runner.runs)
            complete = not explorer.advance()
        self.scopes.append(Scope(evidence.condition, scope.name, count, complete))

    def search_randomly(self, runner: Runner, evidence: Evidence, sample: list[Run]) -> None:
        scenarios = [self.scenario(self.clients, self.keys)]
        if self.clients == 2 and self.keys == 1:
            scenarios += [self.scenario(3), self.scenario(2, 2)]

        def see(run: Run) -> None:
            evidence.add(run, "Hypothesis")
            if len(sample) < 4:
                sample.append(run)
            self.tell(f"{self.contract.name}, {evidence.condition.value}: random schedules", runner.runs)

        number = self.seed * 31 + self.conditions.index(evidence.condition)
        try:
            search(runner, evidence.condition, scenarios, see, examples=self.profile.random, number=number)
        except Flaky as error:
            evidence.problems.append(
                f"the same choices did not lead to the same run: {str(error).splitlines()[0]}"
            )

    def check_repeatable(self, runner: Runner, evidence: Evidence, sample: list[Run]) -> None:
        """Replay a few runs in new processes: their histories must be the same, byte for byte."""
        for run in sample:
            if run.problem is not None:
                continue
            again = runner.replay(run.schedule)
            if again.problem is None and again.history.to_jsonl() == run.history.to_jsonl():
                continue
            evidence.problems.append(
                again.problem
                or f"a schedule gave two histories: {difference([run, again])}; the cache uses chance or time that "
                "the run does not control, or keeps something outside its instance"
            )
            return

    # -- concluding ----------------------------------------------------------------------------------------

    def unknown(self, guarantee: Guarantee, condition: Condition, reason: str) -> Cell:
        return Cell(
            guarantee=guarantee.id,
            claim=guarantee.claim,
            condition=condition,
            verdict=Verdict.UNKNOWN,
            schedules=0,
            exercised=0,
            kept=condition in guarantee.kept,
            reason=reason,
        )

    def cell(
        self, runner: Runner, evidence: Evidence, guarantee: Guarantee, ordinary: set[tuple[str, str]]
    ) -> Cell:
        tally = evidence.tallies.get(guarantee.id, Tally())
        verdict, reason = verdict_of(tally, evidence)
        found: list[Counterexample] = []
        for candidate in self.in_order(guarantee, tally, ordinary)[:_MOST_ANOMALIES]:
            outcome = self.prove(runner, evidence, guarantee, candidate)
            if isinstance(outcome, Counterexample):
                found.append(outcome)
                verdict, reason = Verdict.REFUTED, None
            elif not found:
                verdict, reason = Verdict.UNKNOWN, outcome.reason
        return Cell(
            guarantee=guarantee.id,
            claim=guarantee.claim,
            condition=evidence.condition,
            verdict=verdict,
            schedules=tally.schedules,
            exercised=tally.exercised,
            kept=evidence.condition in guarantee.kept,
            counterexample=found[0] if found else None,
            reason=reason,
            others=tuple(found[1:]),
        )

    def in_order(self, guarantee: Guarantee, tally: Tally, ordinary: set[tuple[str, str]]) -> list[Candidate]:
        """The candidates, those first that interleaving alone does not already explain."""
        candidates = list(tally.candidates.values())
        return sorted(candidates, key=lambda item: ((guarantee.id, item.slug) in ordinary, item.found_after))

    def prove(
        self, runner: Runner, evidence: Evidence, guarantee: Guarantee, candidate: Candidate
    ) -> Counterexample | Unproven:
        """A counterexample made of the candidate, or the one that this anomaly already has.

        What interleaving alone refutes is refuted under every condition: its faults may happen, not must.
        """
        if (known := self.proven.get((guarantee.id, candidate.slug))) is not None:
            return known
        what = f"{self.contract.name}, {evidence.condition.value}: minimising {candidate.slug}"
        outcome = prove(
            runner,
            guarantee,
            candidate,
            confirmations=self.profile.confirmations,
            budget=_MINIMISE_BUDGET,
            progress=lambda _: self.tell(what, runner.runs),
        )
        if isinstance(outcome, Unproven):
            return outcome
        kept = self.keep(guarantee, evidence.condition, outcome)
        if evidence.condition is Condition.CONCURRENT:
            self.proven[guarantee.id, candidate.slug] = kept
        return kept

    def keep(self, guarantee: Guarantee, condition: Condition, found: Counterexample) -> Counterexample:
        """Store the failure, so that it is tried first next time and can be replayed by itself."""
        if self.store is None:
            return found
        failure = StoredFailure(
            cache=name_cache(self.cache),
            contract=self.contract.name,
            guarantee=guarantee.id,
            claim=guarantee.claim,
            judged_by=property_to_dict(guarantee.property),
            condition=condition.value,
            anomaly=found.anomaly,
            schedule=found.schedule,
            seed=self.seed,
            hash_seed=os.environ.get("PYTHONHASHSEED"),
        )
        try:
            path = self.store.save(failure)
        except EnvironmentFault as error:
            self.warnings.append(str(error))
            return found
        return replace(found, replay_command=f"cacheproof replay {path}")
