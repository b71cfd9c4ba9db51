"""`verify`: does a cache keep the promises of its contract?

For each condition: failures stored earlier are tried first, then every schedule of small scopes, then what
Hypothesis chooses.  Every run is judged against all guarantees of the condition, and the search goes on after
a finding.  Then each refuted guarantee gets one counterexample: minimised, replayed, drawn.
"""

import inspect
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis.errors import Flaky

from cacheproof.chaos.servers.backends import make_servers
from cacheproof.chaos.servers.servers import Servers
from cacheproof.harness.evidence import Candidate, Evidence, Tally, verdict_of
from cacheproof.harness.naming import name_cache, short_name
from cacheproof.harness.parallel import can_halve, halves, side_by_side
from cacheproof.harness.pinning import one_core
from cacheproof.harness.profiles import Profile, profile_named
from cacheproof.harness.proof import Unproven, prove
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.steadiness import Doubt, first_doubt
from cacheproof.harness.store import FailureStore, StoredFailure
from cacheproof.harness.strategies.exhaustive import Explorer, SmallScope, scopes_for, steer
from cacheproof.harness.strategies.machine import search
from cacheproof.harness.strategies.moves import KEEPS, KILLING
from cacheproof.harness.world import PATIENCE_S, World
from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.errors import CacheError, EnvironmentFault, UsageError
from cacheproof.models.history import History
from cacheproof.models.properties import property_to_dict
from cacheproof.models.report import Cell, Counterexample, Report, Scope
from cacheproof.models.schedule import Keeps, Scenario
from cacheproof.models.verdict import Verdict

__all__ = ["Progress", "Witness", "verify"]

Progress = Callable[[str, int], None]
"""Is told what is being done, in words, and how many schedules have been run."""

Witness = Callable[[Condition, History], None]
"""Is shown each history that is judged, with the condition it belongs to."""

_GIVE_UP_AFTER = 5
"""Runs in a row with a problem, from the first on, after which a condition is given up."""

_MOST_HANGS = 2
_SHORT_PATIENCE_S = 1.0
"""Runs that had to be waited for, after which a condition is given up; and the patience when minimising then."""

_EARLY = 4

_KEEPS_STATE = (
    "the cache keeps state outside its instance (in a module, a class, an lru_cache); every run now gets new "
    "processes, which is slower"
)

_NEVER_KILLED = (
    "these servers are not cacheproof's own, and it never kills them; the backends embedded and docker have some "
    "that it does"
)

_NUMBERED = (*CORE_CONDITIONS, *(item for item in Condition if item not in CORE_CONDITIONS))
"""Conditions in an order that new ones do not change: a seed gives the same schedules for ever."""

_MINIMISE_BUDGET = 300

_ENOUGH_TO_HALVE = 3
"""Conditions from which on it pays to start a second pair of servers."""

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
    servers: Servers | None = None,
    backend: str | None = None,
    progress: Progress | None = None,
    patience_s: float = PATIENCE_S,
    jobs: int | None = None,
    witness: Witness | None = None,
) -> Report:
    """Judge `cache` against every guarantee of `contract`, under each of its conditions.

    `cache` is called with an `Environment` in every client and has `read(key)` and `write(key, value)`, or
    whatever operations its contract lists, sync or async, and `work()` if the contract has workers.  `under` narrows the conditions.  `clients` and `keys`
    are those of the random schedules; small scopes have their own.  `profile` sets the budgets, `budget`
    overrides the number of random schedules for each condition.  `seed` fixes the search.  Failures are kept
    in `store` and tried first next time; without one, nothing is kept.  `servers` are used if given, else those
    of `backend` ("embedded" unless named, "docker", "external") are started for this call.  A client that
    computes for `patience_s` real seconds between two exchanges counts as hanging.  With `jobs=2` half of the
    conditions are searched on a second core, with servers of their own; None does so where that is possible and
    pays.  `witness` is shown every history that the verdicts rest on; with one, nothing is searched elsewhere.

    Returns a report; a broken promise is never an exception.  Raises UsageError for arguments that make no
    sense and EnvironmentFault if a server cannot be had; one that fails later makes verdicts unknown.
    """
    chosen = profile_named(profile) if isinstance(profile, str) else profile
    if budget is not None:
        chosen = replace(chosen, random=budget)
    _check_arguments(contract, clients, keys)
    _check_cache(cache)
    conditions = tuple(under) if under is not None else contract.conditions
    began = time.monotonic()
    with _servers(servers, backend) as running:
        running.mend()
        search_ = _Verification(
            cache, contract, conditions, clients, keys, chosen, seed, store, progress, patience_s, witness
        )
        in_two = witness is None and _halves(jobs, conditions) and running.features.again
        report = search_.run_halves(running) if in_two else search_.run(running)
    return replace(report, seconds=round(time.monotonic() - began, 3))


def _servers(given: Servers | None, backend: str | None) -> AbstractContextManager[Servers]:
    """The servers to use; those that were given are left running."""
    if given is None:
        return make_servers(backend)
    if backend is not None:
        raise UsageError(f"backend={backend!r} and servers are both given; write one of them")
    return nullcontext(given)


def _halves(jobs: int | None, conditions: Sequence[Condition]) -> bool:
    """Whether to search two halves of the conditions side by side."""
    if jobs is not None and jobs not in (1, 2):
        raise UsageError(f"jobs={jobs!r}; write 1 or 2, or None")
    return jobs != 1 and len(conditions) >= _ENOUGH_TO_HALVE and can_halve()


def _check_arguments(contract: Contract, clients: int, keys: int) -> None:
    if clients < 1 or keys < 1:
        raise UsageError(f"clients={clients!r}, keys={keys!r}: a run needs at least one of each")
    if not contract.guarantees:
        raise UsageError(f"contract {contract.name!r} has no guarantees: there is nothing to verify")


def _check_cache(cache: object) -> None:
    """Raises UsageError if it surely cannot be called with an environment."""
    if not callable(cache):
        raise UsageError(
            f"{cache!r} cannot be called; pass the class of the cache, which is called with one argument, env"
        )
    try:
        inspect.signature(cache).bind(None)
    except TypeError as error:
        raise UsageError(
            f"{short_name(cache)} cannot be called with one argument ({error}); let it take the environment: "
            "def __init__(self, env), which has redis_url, database_url, client and clock"
        ) from None
    except ValueError:  # what is written in C need not tell
        return


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
    patience_s: float = PATIENCE_S
    witness: Witness | None = None
    hung: bool = False
    turn: int = field(default_factory=os.getpid)
    reference: bool = False
    scopes: list[Scope] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stored: list[StoredFailure] = field(default_factory=list)
    proven: dict[tuple[str, str], Counterexample] = field(default_factory=dict)

    def run_halves(self, servers: Servers) -> Report:
        """Search half of the conditions here, and the other half in another process."""
        here, there = halves(self.conditions)
        known = tuple(item for item in here if item is Condition.CONCURRENT)
        first = replace(self, conditions=here)
        second = replace(
            self, conditions=known + there, progress=None, turn=self.turn + 1, reference=bool(known)
        )

        def elsewhere() -> Report:
            servers.stop()  # in a forked process this only lets go of them
            with servers.another() as own:
                return second.run(own)

        one, two = side_by_side(lambda: first.run(servers), elsewhere)
        cells = [*one.cells, *(cell for cell in two.cells if cell.condition in there)]
        scopes = [*one.scopes, *(scope for scope in two.scopes if scope.condition in there)]
        order = self.conditions.index
        return replace(
            one,
            cells=tuple(sorted(cells, key=lambda cell: order(cell.condition))),
            scopes=tuple(sorted(scopes, key=lambda scope: order(scope.condition))),
            warnings=tuple(dict.fromkeys(one.warnings + two.warnings)),
            schedules=one.schedules + two.schedules,
        )

    def run(self, servers: Servers) -> Report:
        cells: list[Cell] = []
        described = {server.name.value: server.describe() for server in (servers.cache, servers.database)}
        if self.store is not None:
            self.stored = list(self.store.matching(name_cache(self.cache), self.contract.name))
            self.warnings += self.store.warnings
        runs = 0
        try:
            with (
                one_core(servers, self.turn),
                World(self.cache, servers, patience_s=self.patience_s) as world,
            ):
                runner = Runner(world)
                cells = self.judge_all(runner)
                runs = runner.runs
        except (CacheError, EnvironmentFault) as error:
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
            gathered.append(self.gather(runner, condition))
        if self.hung:
            runner.world.patience_s = min(runner.world.patience_s, _SHORT_PATIENCE_S)
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

    def scenario(self, condition: Condition, clients: int, keys: int = 1) -> Scenario:
        names = tuple(f"user:{number}" for number in range(1, max(keys, self.contract.keys) + 1))
        return Scenario(
            clients=clients,
            workers=self.contract.workers,
            keys=names,
            probes_s=self.contract.probes_s,
            seed=self.seed,
            keeps=KEEPS.get(condition, Keeps.NOTHING),
            operations=self.contract.operations,
            numbers=self.contract.numbers,
        )

    def gather(self, runner: Runner, condition: Condition) -> Evidence:
        """Search one condition; again with new processes for every run, if the cache keeps something in one."""
        evidence, known = Evidence(self.contract, condition), len(self.scopes)
        doubt = self.check_repeatable(runner, evidence, self.search(runner, evidence))
        if doubt is not None and doubt.mendable:
            runner.world.reuse_processes = False
            del self.scopes[known:]
            evidence = Evidence(self.contract, condition)
            doubt = self.check_repeatable(runner, evidence, self.search(runner, evidence))
            if doubt is None:
                self.warnings.append(_KEEPS_STATE)
        if condition in KILLING and not runner.world.servers.features.control:
            evidence.impossible = _NEVER_KILLED
        self.hung = self.hung or runner.world.hangs > 0
        evidence.bypassed = runner.world.bypassed is not None
        evidence.doubt = None if doubt is None else doubt.reason
        if (bypassed := runner.world.bypassed) is not None:
            evidence.doubt = next((item for item in evidence.problems if item.startswith(bypassed)), bypassed)
        self.warnings += evidence.warnings()
        return evidence

    def search(self, runner: Runner, evidence: Evidence) -> list[Run]:
        """Search one condition; returns a sample of the runs, the first of which had new processes."""
        condition = evidence.condition
        runner.world.hangs, runner.world.bypassed = 0, None
        for failure in self.stored:
            if failure.condition == condition.value:
                self.try_again(runner, evidence, failure)
        runner.world.end_idle()
        sample: list[Run] = []
        for scope in scopes_for(condition, self.profile.scopes, self.contract.operations):
            self.search_scope(runner, evidence, scope, sample)
        if self.profile.random and not (self.reference and condition is Condition.CONCURRENT):
            self.search_randomly(runner, evidence, sample)
        return sample

    def try_again(self, runner: Runner, evidence: Evidence, failure: StoredFailure) -> None:
        """Run a failure of an earlier search first; forget it if it does not break its guarantee any more."""
        runner.world.end_idle()
        run = runner.attempt(failure.schedule.scenario, failure.schedule.decisions)
        self.add(evidence, run, "a stored failure")
        broken = evidence.tallies.get(failure.guarantee, Tally()).candidates
        if not broken and run.problem is None and self.store is not None:
            try:
                self.store.discard(self.store.anomalies / failure.file_name)
            except EnvironmentFault as error:
                self.warnings.append(str(error))

    def add(self, evidence: Evidence, run: Run, found_by: str) -> None:
        evidence.add(run, found_by)
        if self.witness is not None and run.problem is None:
            self.witness(evidence.condition, run.history)

    def hopeless(self, runner: Runner, evidence: Evidence) -> bool:
        """Whether to give a condition up: every run has a problem, or too many had to be waited for."""
        nothing_works = evidence.runs >= _GIVE_UP_AFTER and len(evidence.problems) == evidence.runs
        waited = runner.world.hangs >= _MOST_HANGS
        return nothing_works or waited or evidence.unsteady or runner.world.bypassed is not None

    def search_scope(self, runner: Runner, evidence: Evidence, scope: SmallScope, sample: list[Run]) -> None:
        explorer = Explorer()
        scenario = self.scenario(evidence.condition, scope.clients)
        count, complete = 0, False
        while count < self.profile.scope_limit and not complete and not self.hopeless(runner, evidence):
            run = runner.drive(
                scenario, lambda execution: steer(execution, scope, evidence.condition, explorer)
            )
            self.add(evidence, run, f"the exhaustive {scope.name}")
            evidence.unsteady = evidence.unsteady or explorer.unsteady
            count += 1
            if not sample or count == _EARLY:
                sample.append(run)
            self.tell(f"{self.contract.name}, {evidence.condition.value}: {scope.name}", runner.runs)
            complete = not explorer.advance()
        if count > _EARLY:
            sample.append(run)
        if count:
            self.scopes.append(Scope(evidence.condition, scope.name, count, complete))

    def search_randomly(self, runner: Runner, evidence: Evidence, sample: list[Run]) -> None:
        scenarios = [self.scenario(evidence.condition, self.clients, self.keys)]
        if self.clients == 2 and self.keys == 1:
            scenarios += [self.scenario(evidence.condition, 3), self.scenario(evidence.condition, 2, 2)]

        seen: list[Run] = []

        def see(run: Run) -> None:
            self.add(evidence, run, "Hypothesis")
            seen[1:] = [run]
            self.tell(f"{self.contract.name}, {evidence.condition.value}: random schedules", runner.runs)

        number = self.seed * 31 + _NUMBERED.index(evidence.condition)
        try:
            search(
                runner,
                evidence.condition,
                scenarios,
                see,
                examples=self.profile.random,
                number=number,
                give_up=lambda: self.hopeless(runner, evidence),
            )
        except Flaky as error:
            words = str(error).splitlines()[0]
            evidence.problems.append(f"the same choices did not lead to the same run: {words}")
            evidence.unsteady = True
        sample += seen

    def check_repeatable(self, runner: Runner, evidence: Evidence, sample: list[Run]) -> Doubt | None:
        """Replay a few runs in new processes: their histories must be the same, byte for byte."""
        doubt = first_doubt(runner, sample) if self.profile.repeats else None
        if doubt is None and evidence.unsteady:
            return Doubt(evidence.problems[-1], mendable=runner.world.reuse_processes)
        return doubt

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
        candidates = [] if evidence.bypassed else self.in_order(guarantee, tally, ordinary)
        for candidate in candidates[:_MOST_ANOMALIES]:
            outcome = self.prove(runner, evidence, guarantee, candidate)
            if isinstance(outcome, Counterexample):
                if outcome.anomaly not in {item.anomaly for item in found}:
                    found.append(outcome)
                verdict, reason = Verdict.REFUTED, None
            elif not found and verdict is not Verdict.UNKNOWN:
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
            possible=evidence.impossible is None,
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
