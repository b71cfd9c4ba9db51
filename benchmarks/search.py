"""How soon Hypothesis alone finds the stale set of cache-aside, and what the minimiser makes of it.

    python benchmarks/search.py [--seeds 20] [--json]

For each seed: the random schedules that `verify` would run under `concurrent` with its default arguments, but
without the exhaustive scopes before them, up to the first stale set.  That run is then minimised and replayed
in new processes.  The smallest stale set is one read that one write interrupts: five exchanges, one preemption.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.evidence import Candidate
from cacheproof.harness.pinning import one_core
from cacheproof.harness.proof import Unproven, prove, shows
from cacheproof.harness.rank import count_preemptions
from cacheproof.harness.reading import operations_of
from cacheproof.harness.runner import Run, Runner
from cacheproof.harness.strategies.machine import search
from cacheproof.harness.world import World
from cacheproof.models.contract import Condition
from cacheproof.models.decision import Decision, Deliver, Invoke
from cacheproof.models.schedule import Scenario
from cacheproof.patterns.cache_aside import CACHE_ASIDE, CacheAside

CONTRACT = CACHE_ASIDE()
GUARANTEE = next(item for item in CONTRACT.guarantees if item.id == "CA4")
STALE_SET = "stale-set"
MOST_SCHEDULES = 300
_BUDGET = 300


class Found(Exception):
    """Ends a search; raised by the callback that sees each run."""

    def __init__(self, candidate: Candidate) -> None:
        super().__init__(candidate.slug)
        self.candidate = candidate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed gave.  `schedules` is None if nothing was found, `replays` None if nothing was proven.

    `textbook` says whether the result is one read and one write, five exchanges, one preemption, and minimal.
    """

    seed: int
    schedules: int | None = None
    replays: int | None = None
    textbook: bool = False


def scenarios(seed: int) -> list[Scenario]:
    """Those of `verify` with two clients and one key."""
    probes = CONTRACT.probes_s
    return [
        Scenario(clients=2, probes_s=probes, seed=seed),
        Scenario(clients=3, probes_s=probes, seed=seed),
        Scenario(clients=2, keys=("user:1", "user:2"), probes_s=probes, seed=seed),
    ]


def find(runner: Runner, seed: int) -> Candidate | None:
    """The first stale set that the search comes to from this seed, within MOST_SCHEDULES."""
    seen = 0

    def look(run: Run) -> None:
        nonlocal seen
        seen += 1
        finding = None if run.problem else shows(GUARANTEE, run.history, STALE_SET)
        if finding is not None:
            raise Found(Candidate(run, finding, STALE_SET, "Hypothesis", seen))

    number = seed * 31 + CONTRACT.conditions.index(Condition.CONCURRENT)
    try:
        search(runner, Condition.CONCURRENT, scenarios(seed), look, examples=MOST_SCHEDULES, number=number)
    except Found as found:
        return found.candidate
    return None


def is_textbook(decisions: Sequence[Decision]) -> bool:
    operations = sorted(item.f for item in decisions if isinstance(item, Invoke))
    exchanges = sum(isinstance(item, Deliver) for item in decisions)
    preemptions = count_preemptions(tuple(decisions), operations_of(tuple(decisions)))
    return (operations, exchanges, preemptions) == (["read", "write"], 5, 1)


def try_seed(runner: Runner, seed: int) -> Outcome:
    candidate = find(runner, seed)
    if candidate is None:
        return Outcome(seed)
    proof = prove(runner, GUARANTEE, candidate, confirmations=2, budget=_BUDGET)
    if isinstance(proof, Unproven):
        return Outcome(seed, candidate.found_after)
    textbook = proof.minimal and is_textbook(proof.schedule.decisions)
    return Outcome(seed, candidate.found_after, proof.shrink_replays, textbook)


# -- telling ---------------------------------------------------------------------------------------------------


def summary(outcomes: Sequence[Outcome]) -> list[tuple[str, float, str, bool]]:
    """(what, measured, target, whether it is met)"""
    found = [item.schedules for item in outcomes if item.schedules is not None]
    replays = [item.replays for item in outcomes if item.replays is not None]
    exact = sum(item.textbook for item in outcomes)
    count = len(outcomes)
    if not found or not replays:
        return [("found", 0, f"{count}", False)]
    middle, most, longest = statistics.median(found), max(found), max(replays)
    return [
        ("seeds that found it", len(found), f"{count} of {count}", len(found) == count),
        ("schedules to find it, median", middle, "at most 40", middle <= 40),
        ("schedules to find it, maximum", most, f"at most {MOST_SCHEDULES}", most <= MOST_SCHEDULES),
        ("replays to minimise it, median", statistics.median(replays), "", True),
        ("replays to minimise it, maximum", longest, "at most 60", longest <= 60),
        ("minimised to the textbook form", exact, f"{count} of {count}", exact == count),
    ]


def show(outcomes: Sequence[Outcome]) -> None:
    table = Table(title=f"The stale set of cache-aside, {len(outcomes)} seeds", title_justify="left")
    table.add_column("")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    for what, measured, target, met in summary(outcomes):
        told = f"{target}: {'met' if met else 'MISSED'}" if target else ""
        table.add_row(what, f"{measured:g}", told)
    Console().print(table)


def as_json(outcomes: Sequence[Outcome]) -> str:
    data: dict[str, Any] = {what: measured for what, measured, _, _ in summary(outcomes)}
    return json.dumps(data | {"seeds": [asdict(item) for item in outcomes]}, indent=2)


@click.command()
@click.option("--seeds", default=20, show_default=True, help="How many seeds, from 0 on.")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")
def main(seeds: int, json_: bool) -> None:
    """Measure how soon the stale set is found and how well it is minimised."""
    with EmbeddedServers() as servers, one_core(servers), World(CacheAside, servers) as world:
        runner = Runner(world)
        outcomes = [try_seed(runner, seed) for seed in range(seeds)]
    if json_:
        click.echo(as_json(outcomes))
    else:
        show(outcomes)


if __name__ == "__main__":
    main()
