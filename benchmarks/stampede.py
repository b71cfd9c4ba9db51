"""What protects a database, in numbers: loads of an expiry, load after a cold start, round trips of a pattern.

    python benchmarks/stampede.py [--json] [--plots docs/plots] [--windows 400] [--seed 0]

The first two are simulations with the rules of the pages (herd.py, cold_start.py), the third is counted on real
servers (page_costs.py).  With --plots, each is drawn: loads-per-expiry.svg, cold-start.svg, round-trips.svg.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from cold_start import WARM_UPS, ColdStart, database_load
from herd import RULES, Situation, loads_of_one_expiry
from page_costs import Costs, round_trips_of
from rich.console import Console
from rich.table import Table

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.patterns.catalogue import PAGES
from cacheproof.reports.plots import Axis, Frame, Row, Series, line_chart, strip_chart, unit_chart

RATES = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)
_LOCKS = ("mutex recipe", "corrected lock")
_FEWER = 10
"""Windows with locks are so many times fewer: every waiter is an event, and they vary little."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How many loads expiries led to: the mean, the 99th percentile and the most of `windows` of them."""

    windows: int
    mean: float
    p99: int
    most: int


def herds(windows: int, seed: int, rates: Sequence[int] = RATES) -> dict[str, dict[int, Spread]]:
    """For each rule and each rate the loads of an expiry."""
    return {rule: {rate: herd(rule, rate, windows, seed) for rate in rates} for rule in RULES}


def herd(rule: str, rate: int, windows: int, seed: int) -> Spread:
    count = max(windows // _FEWER, 1) if rule in _LOCKS else windows
    loads = sorted(loads_of_one_expiry(rule, Situation(rate), seed * windows + n) for n in range(count))
    return Spread(count, round(statistics.mean(loads), 3), loads[int(0.99 * (count - 1))], loads[-1])


def cold_starts(seed: int, start: ColdStart | None = None) -> dict[str, tuple[int, ...]]:
    """For each warm-up the loads in each second."""
    return {name: database_load(name, start or ColdStart(), seed) for name in WARM_UPS}


def page_costs() -> dict[str, Costs]:
    """For each page of the catalogue whose clients read and write, the round trips of their operations."""
    with EmbeddedServers() as servers:
        found = {page.name: round_trips_of(page, servers) for page in PAGES}
    return {name: costs for name, costs in found.items() if costs is not None}


# -- pictures -------------------------------------------------------------------------------------------------

_RULE_NAMES = {"none": "no protection"}
_NOTES = {
    "none": "everybody who misses loads",
    "mutex recipe": "SET NX, load, DEL",
    "corrected lock": "owner, second look, fence",
    "simple early expiry": "threshold of 10 s",
    "XFetch": "beta = 1",
}
_WARM_UP_NAMES = {
    "none": "no warm-up",
    "eager": "eager: every key first, then traffic",
    "limited": "eager, at most 100 loads a second, ttl with jitter",
    "gradual": "gradual: 5, 25, 50, 100 % of the traffic",
}


def plot_herds(found: Mapping[str, Mapping[int, Spread]]) -> str:
    series = [
        Series(
            _RULE_NAMES.get(rule, rule),
            tuple((rate, spread.mean) for rate, spread in at.items()),
            _NOTES[rule],
        )
        for rule, at in found.items()
    ]
    frame = Frame(
        "Loads per expiry, by request rate",
        "One key, a load takes 0.5 s. Mean number of loads when its entry expires; both axes are logarithmic.",
    )
    return line_chart(
        frame, Axis("reads per second", log=True), Axis("loads of one expiry", log=True), series
    )


def plot_cold_starts(found: Mapping[str, Sequence[int]]) -> str:
    series = [
        Series(
            _WARM_UP_NAMES[name],
            tuple((float(second), float(count)) for second, count in enumerate(counts)),
            f"{sum(counts):,} loads in all",
        )
        for name, counts in found.items()
    ]
    frame = Frame(
        "The database after a cold start",
        "2,000 keys, 2,000 reads a second (Zipf), ttl 60 s. Loads that reach the database, second by second.",
    )
    return strip_chart(frame, Axis("seconds since the start"), Axis("loads per second"), series)


def plot_costs(found: Mapping[str, Costs]) -> str:
    frame = Frame(
        "Round trips of an operation",
        "Counted on real servers in a quiet run: what a caller waits for, one after the other.",
    )
    return unit_chart(frame, [Row(name, costs) for name, costs in found.items()], ("cache", "database"))


# -- words ----------------------------------------------------------------------------------------------------


def _show(console: Console, found: Mapping[str, Mapping[int, Spread]]) -> None:
    table = Table(
        "rule", *(f"{rate:,}/s" for rate in RATES), title="loads of one expiry: mean (99th percentile)"
    )
    for rule, at in found.items():
        table.add_row(rule, *(f"{spread.mean:,.1f} ({spread.p99:,})" for spread in at.values()))
    console.print(table)


def _show_cold(console: Console, found: Mapping[str, Sequence[int]]) -> None:
    table = Table("warm-up", "most in a second", "in all", title="loads after a cold start")
    for name, counts in found.items():
        table.add_row(_WARM_UP_NAMES[name], f"{max(counts):,}", f"{sum(counts):,}")
    console.print(table)


def _show_costs(console: Console, found: Mapping[str, Costs]) -> None:
    names = list(next(iter(found.values())))
    table = Table("pattern", *names, title="round trips: with the cache + with the database")
    for name, costs in found.items():
        table.add_row(name, *(f"{at['cache']} + {at['database']}" for at in costs.values()))
    console.print(table)


def _data(
    herds_: Mapping[str, Mapping[int, Spread]],
    colds: Mapping[str, Sequence[int]],
    costs: Mapping[str, Costs],
    seed: int,
) -> dict[str, Any]:
    return {
        "seed": seed,
        "loads_per_expiry": {
            "situation": asdict(Situation(0)) | {"rate": list(RATES)},
            "rules": {rule: {str(r): asdict(s) for r, s in at.items()} for rule, at in herds_.items()},
        },
        "cold_start": {"situation": asdict(ColdStart()), "loads_per_second": colds},
        "round_trips": costs,
    }


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option(
    "--plots", type=click.Path(file_okay=False, path_type=Path), help="Draw SVG plots in this folder."
)
@click.option("--windows", default=400, show_default=True, help="Expiries for each rule and rate.")
@click.option("--seed", default=0, show_default=True)
def main(as_json: bool, plots: Path | None, windows: int, seed: int) -> None:
    """Loads of an expiry, load after a cold start, and round trips of each pattern."""
    found, colds, costs = herds(windows, seed), cold_starts(seed), page_costs()
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        (plots / "loads-per-expiry.svg").write_text(plot_herds(found), encoding="utf-8")
        (plots / "cold-start.svg").write_text(plot_cold_starts(colds), encoding="utf-8")
        (plots / "round-trips.svg").write_text(plot_costs(costs), encoding="utf-8")
    if as_json:
        print(json.dumps(_data(found, colds, costs, seed), indent=2))
        return
    console = Console()
    _show(console, found)
    _show_cold(console, colds)
    _show_costs(console, costs)


if __name__ == "__main__":
    main()
