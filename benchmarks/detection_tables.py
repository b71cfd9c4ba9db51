"""What detection.py has measured, as a table for a terminal and as a page of the docs.

Rule 1. What was not caught counts as infinitely many schedules, in medians and percentiles too.
Rule 2. Every figure says over how many seeds.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

__all__ = ["Measured", "Tried", "as_markdown", "percentile", "show"]


@dataclass(frozen=True, slots=True)
class Tried:
    """One search for one bug from one seed: schedules (or rounds) and seconds until caught, or given up.

    `by_default` says whether `verify` with its default profile would have come as far; `anomaly` is the name that
    the finding was given.
    """

    schedules: int
    seconds: float
    caught: bool
    by_default: bool = False
    anomaly: str = ""

    @property
    def needed(self) -> float:
        return self.schedules if self.caught else math.inf


@dataclass(frozen=True, slots=True)
class Measured:
    """One bug: a `Tried` for each seed, in three ways; `alone` and `stressed` are empty where not measured."""

    name: str
    page: str
    condition: str
    breaks: str
    searched: tuple[Tried, ...]
    alone: tuple[Tried, ...] = ()
    stressed: tuple[Tried, ...] = ()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed (nearest rank); inf for none."""
    if not values:
        return math.inf
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def _figures(tried: Iterable[Tried]) -> tuple[float, float, int, int]:
    """(median, 95th percentile, caught, of how many)."""
    all_of_them = list(tried)
    needed = [item.needed for item in all_of_them]
    if not needed:
        return math.nan, math.nan, 0, 0
    return (
        statistics.median_high(needed),
        percentile(needed, 0.95),
        sum(item.caught for item in all_of_them),
        len(needed),
    )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else "not caught" if math.isinf(value) else f"{value:g}"


def _row(name: str, where: str, measured: Sequence[Measured]) -> tuple[str, ...]:
    searched = [item for bug in measured for item in bug.searched]
    median, most, caught, count = _figures(searched)
    alone_median, alone_most, _, _ = _figures(item for bug in measured for item in bug.alone)
    stressed = [item for bug in measured for item in bug.stressed]
    return (
        name,
        where,
        f"{caught} of {count}",
        _number(median),
        _number(most),
        f"{statistics.median(item.seconds for item in searched):.2f}",
        _number(alone_median),
        _number(alone_most),
        f"{sum(item.caught for item in stressed)} of {len(stressed)}" if stressed else "–",
    )


_HEAD = (
    ("bug", "left"),
    ("condition", "left"),
    ("caught", "right"),
    ("median", "right"),
    ("95 %", "right"),
    ("seconds", "right"),
    ("random: median", "right"),
    ("random: 95 %", "right"),
    ("stress: caught", "right"),
)


def _rows(measured: Sequence[Measured]) -> list[tuple[str, ...]]:
    return [_row(item.name, item.condition, [item]) for item in measured]


def _sum(measured: Sequence[Measured]) -> tuple[str, ...]:
    return _row(f"all {len(measured)} bugs", "", measured)


def show(console: Console, measured: Sequence[Measured], *, seeds: int) -> None:
    """Print the table."""
    table = Table(title=f"Schedules until caught, {seeds} seeds", title_justify="left")
    for name, justify in _HEAD:
        table.add_column(name, justify="right" if justify == "right" else "left")
    for row in _rows(measured):
        table.add_row(*row)
    table.add_section()
    table.add_row(*_sum(measured))
    console.print(table)
    for line in findings(measured):
        console.print(line)


def findings(measured: Sequence[Measured]) -> list[str]:
    """What the table adds up to, in sentences."""
    searched = [item for bug in measured for item in bug.searched]
    stressed = [item for bug in measured for item in bug.stressed]
    median, most, caught, count = _figures(searched)
    missed = sorted({bug.name for bug in measured if not all(item.caught for item in bug.searched)})
    late = sorted({bug.name for bug in measured if not all(item.by_default for item in bug.searched)})
    told = [
        (
            f"The search caught {caught} of {count} (each bug from each seed counts as one): after "
            f"{_number(median)} schedules in the median, {_number(most)} at the 95th percentile."
        ),
        _listed("Not caught from every seed", missed),
        _listed(
            "Caught, but from some seed not within the schedules of the default profile",
            [name for name in late if name not in missed],
        ),
    ]
    if stressed:
        never = sum(not any(item.caught for item in bug.stressed) for bug in measured)
        told.append(
            f"The stress test caught {sum(item.caught for item in stressed)} of {len(stressed)}; "
            f"{never} of {len(measured)} bugs it never saw."
        )
    return told


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names) or 'none'}."


def as_markdown(measured: Sequence[Measured], *, seeds: int, most: int, stress_s: float) -> str:
    """The page of the docs."""
    table = [
        _line([name for name, _ in _HEAD]),
        _line(["--:" if justify == "right" else "---" for _, justify in _HEAD]),
        *map(_line, _rows(measured)),
        _line([f"**{cell}**" if cell else "" for cell in _sum(measured)]),
    ]
    summary = "\n".join(f"- {item}" for item in findings(measured))
    return _PAGE.format(
        bugs=len(measured), seeds=seeds, most=most, stress_s=stress_s, summary=summary, table="\n".join(table)
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_PAGE = """# How soon bugs are caught

Generated by `python benchmarks/detection.py --write`; do not edit.  Measured with {seeds} seeds.

The zoo (`benchmarks/zoo.py`) holds {bugs} bugs, each a small change to a page of `patterns/` that keeps its word: a
lease that is not voided, an acknowledgement before the commit, a tombstone that is missing.  For each bug and seed
the schedules are counted until the guarantee that it breaks is seen to be broken, under the condition that brings
it to light.  Beside that stands what random schedules alone need, without the small scopes that are tried first,
and whether a stress test with threads and no scheduler sees the same bug.

{summary}

*search*: the small scopes of the default profile, then random schedules, {most} in all at most.  *random*: random
schedules alone, as many at most.  *stress*: four clients in threads on the same servers, {stress_s:g} seconds for each
seed, judged by the same property where it can see enough; it makes no faults, and bugs that need one it cannot see
at all.  *seconds*: the median, of search.  Where the median is "not caught", half of the seeds or more ended without.

{table}
"""
