"""The hunt for one planted bug: the schedules of `verify`, in its order, up to the first that breaks the guarantee.

    small scopes    every schedule, as far as the limit of the profile goes: the same for each seed
    random          what Hypothesis chooses from the seed, until `most` schedules have been run

`verify` would go on after the first finding, and minimise it; here nothing more is done, so what is counted is what
it takes to notice.  A run that ends in a problem counts, and proves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from planting import Bug, contract_of, guarantee_of

from cacheproof.harness.evidence import Candidate, judge
from cacheproof.harness.profiles import Profile
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.strategies.exhaustive import Explorer, SmallScope, scopes_for, steer
from cacheproof.harness.strategies.machine import search
from cacheproof.harness.strategies.moves import KEEPS
from cacheproof.models.anomalies import classify
from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.schedule import Keeps, Scenario

__all__ = ["Hunt"]

_NUMBERED = (*CORE_CONDITIONS, *(item for item in Condition if item not in CORE_CONDITIONS))
"""The order in which `verify` numbers conditions, for the seed of the random schedules."""


class _Caught(Exception):
    """Ends a random search."""


@dataclass
class Hunt:
    """One bug, one seed, at most `most` schedules.

    `seen` counts them, `scoped` those of small scopes; `caught` is the run that broke the guarantee.
    """

    runner: Runner
    bug: Bug
    seed: int
    most: int
    seen: int = 0
    scoped: int = 0
    caught: Candidate | None = None

    def __post_init__(self) -> None:
        self.guarantee: Guarantee = guarantee_of(self.bug)
        self.contract: Contract = contract_of(self.bug).only([self.bug.breaks])

    def run(self, profile: Profile) -> Candidate | None:
        """Small scopes as the profile says, then random schedules."""
        self.runner.world.end_idle()
        for scope in scopes_for(self.bug.condition, profile.scopes, self.contract.operations):
            self._exhaust(scope, profile.scope_limit)
        self.scoped = self.seen
        if self.caught is None and self.seen < self.most:
            self._search()
        return self.caught

    def _exhaust(self, scope: SmallScope, limit: int) -> None:
        explorer, scenario = Explorer(), self._scenario(scope.clients)
        for _ in range(min(limit, self.most - self.seen)):
            if self.caught is not None or explorer.unsteady:
                return
            self._look(
                self.runner.drive(scenario, lambda run: steer(run, scope, self.bug.condition, explorer)),
                f"the exhaustive {scope.name}",
            )
            if not explorer.advance():
                return

    def _search(self) -> None:
        def look(run: Run) -> None:
            if self.caught is None:
                self._look(run, "Hypothesis")
            if self.caught is not None:
                raise _Caught

        try:
            search(
                self.runner,
                self.bug.condition,
                [self._scenario(2), self._scenario(3), self._scenario(2, 2)],
                look,
                examples=self.most - self.seen,
                number=self.seed * 31 + _NUMBERED.index(self.bug.condition),
            )
        except _Caught:
            return

    def _look(self, run: Run, found_by: str) -> None:
        self.seen += 1
        findings = () if run.problem else judge(self.guarantee, run.history).findings
        for finding in findings:
            slug = classify(finding, run.history).slug
            self.caught = self.caught or Candidate(run, finding, slug, found_by, self.seen)

    def _scenario(self, clients: int, keys: int = 1) -> Scenario:
        return Scenario(
            clients=clients,
            workers=self.contract.workers,
            keys=_names(range(1, max(keys, self.contract.keys) + 1)),
            probes_s=self.contract.probes_s,
            seed=self.seed,
            keeps=KEEPS.get(self.bug.condition, Keeps.NOTHING),
            operations=self.contract.operations,
            numbers=self.contract.numbers,
        )


def _names(numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(f"user:{number}" for number in numbers)
