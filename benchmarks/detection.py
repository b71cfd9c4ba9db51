"""How soon every bug of the zoo is caught, and whether a stress test would have caught it.

    python benchmarks/detection.py [--seeds 20] [--only NAME …] [--jobs 2] [--write] [--json]

For each bug and seed, in one run and on the same servers:

    search    the schedules of `verify` with its default profile, then more random ones, up to --most
    random    random schedules alone, without the small scopes before them, up to --most
    stress    threads and luck (stress.py), for --stress seconds; 0: none

Counted are schedules, and seconds, until the guarantee that the bug breaks is seen to be broken; nothing is minimised.
A bug that is not caught counts as infinitely many schedules.
"""

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import click
from detection_tables import Measured, Tried, as_markdown, show
from hunt import Hunt
from planting import Bug, plant
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from stress import stress
from zoo import ZOO

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness.pinning import one_core
from cacheproof.harness.pool import Act, run_tasks
from cacheproof.harness.profiles import PROFILES, Profile
from cacheproof.harness.runner import Runner
from cacheproof.harness.world import World
from cacheproof.models.errors import HarnessError, UsageError

_PAGE = Path(__file__).parents[1] / "docs" / "detection.md"
_DEFAULT = PROFILES["default"]
_RANDOM_ALONE = Profile("random alone", (), 0, _DEFAULT.random, 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure: seeds from 0 on, schedules at most, seconds of stress (0: none), random alone as well."""

    seeds: int
    most: int
    stress_s: float
    random: bool


def measure(bug: Bug, plan: Plan, servers: EmbeddedServers) -> Measured:
    """One bug, all seeds."""
    with tempfile.TemporaryDirectory(prefix="cacheproof-zoo-") as folder:
        cache = plant(bug, Path(folder))
        with one_core(servers), World(cache, servers) as world:
            runner = Runner(world)
            seeds = range(plan.seeds)
            searched = [_hunt(runner, bug, seed, plan.most, _DEFAULT) for seed in seeds]
            alone = [_hunt(runner, bug, seed, plan.most, _RANDOM_ALONE) for seed in seeds if plan.random]
        stressed = [
            stress(bug, cache, servers, seed=seed, seconds=plan.stress_s) for seed in seeds if plan.stress_s
        ]
    return Measured(
        bug.name,
        bug.module,
        bug.condition.value,
        bug.breaks,
        tuple(searched),
        tuple(alone),
        tuple(Tried(item.rounds, item.caught_s or math.inf, item.caught_s is not None) for item in stressed),
    )


def _hunt(runner: Runner, bug: Bug, seed: int, most: int, profile: Profile) -> Tried:
    began = monotonic()
    hunt = Hunt(runner, bug, seed, most)
    caught = hunt.run(profile)
    in_default = caught is not None and hunt.seen - hunt.scoped <= profile.random
    return Tried(
        hunt.seen, monotonic() - began, caught is not None, in_default, "" if caught is None else caught.slug
    )


def measure_all(bugs: Sequence[Bug], plan: Plan, jobs: int) -> Iterator[Measured]:
    """All of these bugs, each as it is done."""

    @contextmanager
    def ready() -> Iterator[Act]:
        with EmbeddedServers() as servers:
            yield lambda task, _: measure(bugs[task], plan, servers)

    for done in run_tasks(range(len(bugs)), ready, jobs=jobs, tell=lambda _: None):
        if done.error is not None:
            raise HarnessError(f"{bugs[done.task].name}: {done.error}")
        yield done.result


def chosen(names: Sequence[str]) -> list[Bug]:
    """These bugs, or all.  Raises UsageError for a name that there is not."""
    known = [bug.name for bug in ZOO]
    if unknown := sorted(set(names) - set(known)):
        raise UsageError(f"no bug is called {unknown[0]!r}; the zoo has {', '.join(known)}")
    return [bug for bug in ZOO if not names or bug.name in names]


@click.command()
@click.option("--seeds", default=20, show_default=True, help="How many seeds, from 0 on.")
@click.option("--only", multiple=True, help="Only the bug of this name; may be given several times.")
@click.option(
    "--jobs", default=2, show_default=True, help="How many bugs at a time, each with servers of its own."
)
@click.option("--most", default=1000, show_default=True, help="Schedules after which a search is given up.")
@click.option(
    "--stress", "stress_s", default=3.0, show_default=True, help="Seconds of stress a seed; 0: none."
)
@click.option(
    "--random/--no-random", default=True, show_default=True, help="Measure random search alone as well."
)
@click.option("--write", is_flag=True, help="Write docs/detection.md.")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")
def main(
    seeds: int,
    only: tuple[str, ...],
    jobs: int,
    most: int,
    stress_s: float,
    random: bool,
    write: bool,
    json_: bool,
) -> None:
    """Measure how soon the bugs of the zoo are caught."""
    try:
        bugs = chosen(only)
    except UsageError as error:
        raise click.UsageError(str(error)) from None
    plan = Plan(seeds, most, stress_s, random)
    measured: dict[str, Measured] = {}
    with _bar() as bar:
        task = bar.add_task("", total=len(bugs))
        for result in measure_all(bugs, plan, jobs):
            measured[result.name] = result
            bar.update(task, advance=1, description=result.name, refresh=True)
    in_order = [measured[bug.name] for bug in bugs]
    if write:
        _PAGE.write_text(as_markdown(in_order, seeds=seeds, most=most, stress_s=stress_s))
    if json_:
        click.echo(json.dumps([_plain(item) for item in in_order], indent=2))
    else:
        show(Console(), in_order, seeds=seeds)


def _bar() -> Progress:
    """No thread redraws it: threads and forks do not mix."""
    return Progress(
        TextColumn("{task.description:>32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        auto_refresh=False,
        transient=True,
    )


def _plain(measured: Measured) -> dict[str, Any]:
    """As JSON, which has no infinity."""
    text = json.dumps(asdict(measured), default=str)
    plain: dict[str, Any] = json.loads(text.replace("Infinity", "null"))
    return plain


if __name__ == "__main__":
    main()
