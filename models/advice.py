"""Advice: which pattern to take, given what one needs and what the truth table measured.

    a need          what has to be upheld under every condition that matters
    eventual        convergence
    bounded         bounded-staleness
    latest          linearizable
    own writes      read-your-writes, or a stronger one
    all writes      read-after-write, or a stronger one
    no loss         durability; or durability while the cache lives
    one load        single-flight
    low latency     a write without a round trip to the database       (counted, not judged)
    little code     no worker; at most so many lines                    (counted, not judged)

Rule 1. A need is met by a cell that is upheld.  Where no cell of a pattern speaks of it, a rung of the ladder
        does: what no history broke; but not if the contract speaks of it under other conditions only, for then it
        does not claim it here, and knows why; and never for linearizability, which a third client may break
        that no search had.  What was not measured under a condition is not met under it.
Rule 2. No pattern is recommended that leaves a need refuted, unknown, not exercised or not measured.  If none is
        left, the nearest one is named, and what it lacks.
Rule 3. Rows about one class with one ttl, each held to a contract of its own, are one pattern.
Rule 4. Of those that fit, the simplest is best: fewer workers, then fewer round trips of a write, then less code.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from cacheproof.models.contract import CORE_CONDITIONS, Condition
from cacheproof.models.ladder import RUNGS
from cacheproof.models.truth_table import TruthCell, TruthRow, TruthTable
from cacheproof.models.verdict import Verdict

__all__ = [
    "FEW_LINES",
    "Advice",
    "Assessment",
    "Complexity",
    "Evidence",
    "Freshness",
    "Latency",
    "Loss",
    "Needs",
    "Protection",
    "Visibility",
    "advise",
]

FEW_LINES = 30
"""Lines of code, without comments, up to which a class counts as simple."""


class Freshness(StrEnum):
    """How old what is read may be, when nothing else is going on and when much is."""

    ANY = "any"
    EVENTUAL = "eventual"
    BOUNDED = "bounded"
    LATEST = "latest"


class Visibility(StrEnum):
    """Who has to see an acknowledged write at the next read."""

    NOBODY = "nobody"
    WRITER = "writer"
    EVERYBODY = "everybody"


class Loss(StrEnum):
    """When acknowledged writes may be lost."""

    NEVER = "never"
    CACHE_LOST = "cache-lost"
    ANY = "any"


class Latency(StrEnum):
    """Whether a write may wait for the database."""

    ANY = "any"
    LOW = "low"


class Protection(StrEnum):
    """Whether the database has to be spared concurrent loads of one key."""

    NONE = "none"
    ONE_LOAD = "one-load"


class Complexity(StrEnum):
    """What one is ready to run: a few lines, anything without a worker, or anything."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_CACHE_LOST = frozenset(
    {
        *(Condition.CACHE_CRASH, Condition.CACHE_RESTART, Condition.POWER_LOSS, Condition.FAILOVER),
        Condition.EVICTION,
    }
)
"""Conditions under which the cache loses what it holds."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What somebody needs of a cache, and the conditions under which."""

    freshness: Freshness = Freshness.EVENTUAL
    visibility: Visibility = Visibility.NOBODY
    loss: Loss = Loss.NEVER
    latency: Latency = Latency.ANY
    protection: Protection = Protection.NONE
    complexity: Complexity = Complexity.HIGH
    conditions: tuple[Condition, ...] = CORE_CONDITIONS


@dataclass(frozen=True, slots=True)
class _Need:
    """A property that has to be upheld under some conditions.

    `by` are the names of the properties that meet it, itself the first and stronger ones behind it.  With
    `one_will_do` one upheld parameter meets it, whatever became of stricter ones.
    """

    by: tuple[str, ...]
    conditions: tuple[Condition, ...]
    one_will_do: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the table holds for or against a need.

    `need` is the name of a property, or "latency" or "complexity", which know no condition.  `cell` is what
    decided, or else `rung` the model that no history broke; `schedules` stand behind it.  Neither: not measured.
    `found` is what was counted: round trips of a write to the database; lines.
    """

    need: str
    condition: Condition | None
    met: bool
    cell: TruthCell | None = None
    rung: str | None = None
    schedules: int = 0
    found: int | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """One pattern against all needs.

    `risks` are the cells that are refuted although they are needed by nobody here: under the conditions that
    matter, and `elsewhere` under others.
    """

    row: TruthRow
    evidence: tuple[Evidence, ...]
    risks: tuple[TruthCell, ...] = ()
    elsewhere: tuple[TruthCell, ...] = ()

    @property
    def unmet(self) -> tuple[Evidence, ...]:
        return tuple(item for item in self.evidence if not item.met)

    @property
    def fits(self) -> bool:
        return not self.unmet


@dataclass(frozen=True, slots=True)
class Advice:
    """What to take.  `best` is None if nothing fits; then `nearest` lacks least (None: the table is empty).

    `others` fit as well, the simplest first.
    """

    needs: Needs
    best: Assessment | None
    others: tuple[Assessment, ...] = ()
    nearest: Assessment | None = None


def advise(needs: Needs, table: TruthTable) -> Advice:
    """The simplest pattern that was measured to keep what is needed; see the rules above."""
    assessed = sorted((_assess(row, needs) for row in _patterns(table.rows)), key=_simplicity)
    fitting = tuple(item for item in assessed if item.fits)
    if fitting:
        return Advice(needs, fitting[0], fitting[1:])
    return Advice(needs, None, nearest=min(assessed, key=lambda item: len(item.unmet), default=None))


def _patterns(rows: Iterable[TruthRow]) -> Iterator[TruthRow]:
    """Rule 3: a row for each class and ttl, by the name of the first, with all that was measured of it."""
    same: dict[tuple[str, float | None], list[TruthRow]] = {}
    for row in rows:
        same.setdefault((row.cache, row.ttl_s), []).append(row)
    for group in same.values():
        yield replace(
            group[0],
            cells=tuple(cell for row in group for cell in row.cells),
            ladders=tuple(item for row in group for item in row.ladders),
            costs=tuple(cost for row in group for cost in row.costs),
            workers=max(row.workers for row in group),
        )


def _simplicity(item: Assessment) -> tuple[int, int, int, str]:
    row = item.row
    trips = sum(_write_trips(row, server) or 0 for server in ("cache", "database"))
    return row.workers, trips, row.lines, row.name


def _write_trips(row: TruthRow, server: str) -> int | None:
    """The most round trips of a write to a server; None if nobody counted."""
    return max((cost.most for cost in row.costs if (cost.f, cost.server) == ("write", server)), default=None)


def _assess(row: TruthRow, needs: Needs) -> Assessment:
    evidence = tuple(item for need in _required(needs) for item in _look(row, need))
    refuted = [cell for cell in row.cells if cell.verdict is Verdict.REFUTED]
    matters = set(needs.conditions)
    return Assessment(
        row,
        evidence + tuple(_counted(row, needs)),
        risks=tuple(cell for cell in refuted if cell.condition in matters),
        elsewhere=tuple(cell for cell in refuted if cell.condition not in matters),
    )


def _required(needs: Needs) -> Iterator[_Need]:
    everywhere = needs.conditions
    match needs.freshness:
        case Freshness.EVENTUAL:
            yield _Need(("convergence", "linearizable"), everywhere, one_will_do=True)
        case Freshness.BOUNDED:
            yield _Need(("bounded-staleness", "linearizable"), everywhere, one_will_do=True)
        case Freshness.LATEST:
            yield _Need(("linearizable",), everywhere)
    match needs.visibility:
        case Visibility.WRITER:
            yield _Need(("read-your-writes", "read-after-write", "linearizable"), everywhere)
        case Visibility.EVERYBODY:
            yield _Need(("read-after-write", "linearizable"), everywhere)
    if needs.loss is Loss.NEVER:
        yield _Need(("durability",), everywhere)
    elif needs.loss is Loss.CACHE_LOST:
        yield _Need(("durability",), tuple(item for item in everywhere if item not in _CACHE_LOST))
    if needs.protection is Protection.ONE_LOAD:
        yield _Need(("single-flight",), everywhere)


def _counted(row: TruthRow, needs: Needs) -> Iterator[Evidence]:
    if needs.latency is Latency.LOW:
        found = _write_trips(row, "database")
        yield Evidence("latency", None, found == 0, found=found)
    if needs.complexity is not Complexity.HIGH:
        short = needs.complexity is Complexity.MEDIUM or row.lines <= FEW_LINES
        yield Evidence("complexity", None, not row.workers and short, found=row.lines)


# -- what the table says of a need


def _look(row: TruthRow, need: _Need) -> Iterator[Evidence]:
    for condition in need.conditions:
        cells = [cell for cell in row.cells if cell.condition is condition and cell.property_name in need.by]
        yield _decided(need, condition, cells) or _climbed(row, need, condition)


def _decided(need: _Need, condition: Condition, cells: Sequence[TruthCell]) -> Evidence | None:
    """What cells say; None if none of them decides.  That a stronger property is refuted decides nothing."""
    upheld = [cell for cell in cells if cell.verdict is Verdict.UPHELD]
    against = [
        cell for cell in cells if cell.property_name == need.by[0] and cell.verdict is not Verdict.UPHELD
    ]
    if against and not (need.one_will_do and upheld):
        return _of_cell(need, condition, _worst(against))
    return _of_cell(need, condition, upheld[0]) if upheld else None


def _worst(cells: Iterable[TruthCell]) -> TruthCell:
    order = (Verdict.REFUTED, Verdict.UNKNOWN, Verdict.NOT_EXERCISED)
    return min(cells, key=lambda cell: order.index(cell.verdict))


def _of_cell(need: _Need, condition: Condition, cell: TruthCell) -> Evidence:
    met = cell.verdict is Verdict.UPHELD
    return Evidence(need.by[0], condition, met, cell=cell, schedules=cell.exercised)


def _climbed(row: TruthRow, need: _Need, condition: Condition) -> Evidence:
    """What the ladder says where no cell does: every one that was climbed under the condition."""
    ladders = [item for item in row.ladders if item.condition is condition and item.strongest]
    rungs = [_rung_for(need, item.strongest) for item in ladders]
    withheld = need.by[0] == "linearizable" or any(cell.property_name == need.by[0] for cell in row.cells)
    if withheld or not rungs or rungs[0] is None or None in rungs:
        return Evidence(need.by[0], condition, False)
    histories = sum(item.histories for item in ladders)
    return Evidence(need.by[0], condition, True, rung=rungs[0], schedules=histories)


def _rung_for(need: _Need, strongest: Iterable[str]) -> str | None:
    """The first of these rungs that meets a need, by itself or by what it implies."""
    for rung in strongest:
        if any(name.partition(":")[0] in need.by for name in (rung, *_below().get(rung, ()))):
            return rung
    return None


@cache
def _below() -> dict[str, frozenset[str]]:
    """The names of all rungs that each rung of the ladder implies, at once or by way of others."""
    found: dict[str, frozenset[str]] = {}
    for rung in reversed(RUNGS):
        found[rung.name] = frozenset(rung.implies).union(*(found[name] for name in rung.implies))
    return found
