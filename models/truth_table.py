"""The truth table: what each pattern of the catalogue was measured to keep, as data.

    table   a row for each pattern
    row     a pattern, and with which profile and seed it was searched: a cell for each guarantee and condition,
            the strongest models under each condition, what its operations cost, how long its text is
    cell    a guarantee under a condition: verdict, anomaly, schedules, and for a refuted one the schedule

Rule 1. It is data of runs and nothing else: the same search gives the same bytes, so it has no dates and no
        durations in it.
Rule 2. How many schedules a cell rests on follows from the budget; what it says must not.  So two tables agree
        when verdicts and anomalies do, and a search too small to put a guarantee to the test disagrees with
        nobody.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cacheproof.models.errors import UsageError
from cacheproof.models.fault import Condition
from cacheproof.models.page import Kind, Section
from cacheproof.models.schedule import Schedule
from cacheproof.models.verdict import Verdict

__all__ = [
    "TABLE_FORMAT",
    "Cost",
    "Difference",
    "Rungs",
    "TruthCell",
    "TruthRow",
    "TruthTable",
    "differences",
]

TABLE_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TruthCell:
    """One guarantee under one condition.

    `judged_by` is the property as data (`property_to_dict`; None for one that is not ours), `kept` what the
    contract says.  `schedules` were run, and `exercised` of them put the guarantee to the test.  A refuted cell
    has the slug of its `anomaly`, those of `others` that were found too, and the `schedule` that shows it.
    `reason` says why a cell is unknown or not exercised.
    """

    guarantee: str
    claim: str
    judged_by: Mapping[str, Any] | None
    condition: Condition
    kept: bool
    verdict: Verdict
    schedules: int = 0
    exercised: int = 0
    anomaly: str | None = None
    others: tuple[str, ...] = ()
    schedule: Schedule | None = None
    reason: str | None = None

    @property
    def property_name(self) -> str:
        """The name of the property that judges it; empty for one that is not ours."""
        return str(self.judged_by["name"]) if self.judged_by else ""

    @property
    def disagrees(self) -> bool:
        """Whether the verdict is not what the contract says: kept but refuted, or broken but upheld."""
        return self.verdict is (Verdict.REFUTED if self.kept else Verdict.UPHELD)


@dataclass(frozen=True, slots=True)
class Rungs:
    """The strongest models that no one of so many `histories` broke under a condition: names of `ladder.RUNGS`."""

    condition: Condition
    strongest: tuple[str, ...]
    histories: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Round trips of one kind of operation with nothing else going on: the fewest and the most.

    `server` is "cache" or "database".
    """

    f: str
    server: str
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class TruthRow:
    """One pattern.  `lines` counts the lines of code of its class, `workers` its background workers."""

    name: str
    section: Section
    kind: Kind
    cache: str
    contract: str
    ttl_s: float | None
    profile: str
    seed: int
    workers: int = 0
    lines: int = 0
    cells: tuple[TruthCell, ...] = ()
    ladders: tuple[Rungs, ...] = ()
    costs: tuple[Cost, ...] = ()
    warnings: tuple[str, ...] = ()

    def at(self, guarantee: str, condition: Condition) -> TruthCell | None:
        """The cell of a guarantee under a condition; None if it was not judged."""
        wanted = (guarantee, condition)
        return next((item for item in self.cells if (item.guarantee, item.condition) == wanted), None)

    def rungs(self, condition: Condition) -> Rungs | None:
        return next((item for item in self.ladders if item.condition is condition), None)

    @property
    def guarantees(self) -> tuple[str, ...]:
        """The ids of its guarantees, in the order of the contract."""
        return tuple(dict.fromkeys(cell.guarantee for cell in self.cells))


@dataclass(frozen=True, slots=True)
class TruthTable:
    """All patterns that were judged, in the order of the catalogue."""

    rows: tuple[TruthRow, ...] = ()

    def row(self, name: str) -> TruthRow | None:
        return next((row for row in self.rows if row.name == name), None)

    @property
    def wrong(self) -> tuple[tuple[TruthRow, TruthCell], ...]:
        """The cells that were decided otherwise than their contract says, or could not be decided."""
        return tuple(
            (row, cell)
            for row in self.rows
            for cell in row.cells
            if cell.disagrees or cell.verdict is Verdict.UNKNOWN
        )

    def with_rows(self, fresh: Iterable[TruthRow], order: Iterable[str]) -> "TruthTable":
        """The same table with these rows new or in the place of older ones, in this order of names.

        Rows whose name is not in `order` are left out: their page is gone.
        """
        known = {row.name: row for row in (*self.rows, *fresh)}
        return replace(self, rows=tuple(known[name] for name in order if name in known))

    def to_json(self) -> str:
        """Always the same text for the same table; a cell a line, so that changes can be read."""
        rows = ",\n".join("\n".join(_row_lines(row)) for row in self.rows)
        head = ["{", f' "format": {TABLE_FORMAT},', ' "rows": [']
        return "\n".join([*head, *([rows] if rows else []), " ]", "}"]) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TruthTable":
        """Read what `to_json` wrote.  Raises UsageError, saying what is wrong, for anything else."""
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("format") != TABLE_FORMAT:
                raise UsageError(
                    f"not a truth table of format {TABLE_FORMAT}; make it anew: cacheproof matrix"
                )
            return cls(tuple(map(_read_row, data["rows"])))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise UsageError(f"this is no truth table ({error!r}); make it anew: cacheproof matrix") from None


# -- as JSON


def _row_lines(row: TruthRow) -> Iterator[str]:
    """The lines of one row; the schedules stand beside the cells, each once, and cells have their numbers."""
    schedules = list(dict.fromkeys(cell.schedule.to_json() for cell in row.cells if cell.schedule))
    data: dict[str, Any] = {
        "name": row.name,
        "section": row.section.value,
        "kind": row.kind.value,
        "cache": row.cache,
        "contract": row.contract,
        "ttl_s": row.ttl_s,
        "profile": row.profile,
        "seed": row.seed,
        "workers": row.workers,
        "lines": row.lines,
        "warnings": list(row.warnings),
    }
    lists: dict[str, list[Any]] = {
        "costs": [{"f": c.f, "server": c.server, "least": c.least, "most": c.most} for c in row.costs],
        "ladders": [
            {
                "condition": item.condition.value,
                "histories": item.histories,
                "strongest": list(item.strongest),
            }
            for item in row.ladders
        ],
        "cells": [_cell(cell, schedules) for cell in row.cells],
        "schedules": [json.loads(item) for item in schedules],
    }
    yield "  {"
    yield from (f"   {json.dumps(name)}: {_compact(value)}," for name, value in data.items())
    for place, (name, items) in enumerate(lists.items(), start=1):
        yield f"   {json.dumps(name)}: ["
        yield from (f"    {_compact(item)}{',' * (n < len(items))}" for n, item in enumerate(items, start=1))
        yield f"   ]{',' * (place < len(lists))}"
    yield "  }"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _cell(cell: TruthCell, schedules: list[str]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "guarantee": cell.guarantee,
        "condition": cell.condition.value,
        "kept": cell.kept,
        "verdict": cell.verdict.value,
        "schedules": cell.schedules,
        "exercised": cell.exercised,
        "anomaly": cell.anomaly,
        "others": list(cell.others),
        "schedule": schedules.index(cell.schedule.to_json()) if cell.schedule else None,
        "reason": cell.reason,
    }
    empty: tuple[Any, ...] = (None, [])
    return {name: value for name, value in data.items() if value not in empty} | {
        "claim": cell.claim,
        "judged_by": dict(cell.judged_by) if cell.judged_by else None,
    }


def _read_row(data: Any) -> TruthRow:
    schedules = [Schedule.from_dict(item) for item in data["schedules"]]
    return TruthRow(
        name=data["name"],
        section=Section(data["section"]),
        kind=Kind(data["kind"]),
        cache=data["cache"],
        contract=data["contract"],
        ttl_s=data["ttl_s"],
        profile=data["profile"],
        seed=data["seed"],
        workers=data["workers"],
        lines=data["lines"],
        cells=tuple(_read_cell(item, schedules) for item in data["cells"]),
        ladders=tuple(
            Rungs(Condition(item["condition"]), tuple(item["strongest"]), item["histories"])
            for item in data["ladders"]
        ),
        costs=tuple(Cost(**item) for item in data["costs"]),
        warnings=tuple(data["warnings"]),
    )


def _read_cell(data: Any, schedules: list[Schedule]) -> TruthCell:
    place = data.get("schedule")
    return TruthCell(
        guarantee=data["guarantee"],
        claim=data["claim"],
        judged_by=data["judged_by"],
        condition=Condition(data["condition"]),
        kept=data["kept"],
        verdict=Verdict(data["verdict"]),
        schedules=data["schedules"],
        exercised=data["exercised"],
        anomaly=data.get("anomaly"),
        others=tuple(data.get("others", ())),
        schedule=None if place is None else schedules[place],
        reason=data.get("reason"),
    )


# -- comparing


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two tables disagree: a cell, or with `guarantee` None a pattern that only one of them has.

    `before` and `after` are the cells of the older and the fresher table; None where there is none.  `gone` tells
    of a pattern that the older one alone has.
    """

    pattern: str
    guarantee: str | None = None
    condition: Condition | None = None
    before: TruthCell | None = None
    after: TruthCell | None = None
    gone: bool = False


def differences(before: TruthTable, after: TruthTable, *, partial: bool = False) -> tuple[Difference, ...]:
    """Every disagreement on a verdict or an anomaly (rule 2), in the order of `after`.

    With `partial` the patterns that `after` lacks were not asked for, and are no difference.
    """
    found: list[Difference] = []
    for fresh in after.rows:
        known = before.row(fresh.name)
        if known is None:
            found.append(Difference(fresh.name))
        else:
            found += _row_differences(known, fresh)
    if not partial:
        found += [Difference(row.name, gone=True) for row in before.rows if after.row(row.name) is None]
    return tuple(found)


def _row_differences(before: TruthRow, after: TruthRow) -> Iterator[Difference]:
    places = dict.fromkeys((cell.guarantee, cell.condition) for cell in (*after.cells, *before.cells))
    for guarantee, condition in places:
        old, new = before.at(guarantee, condition), after.at(guarantee, condition)
        if not _agree(old, new):
            yield Difference(after.name, guarantee, condition, old, new)


def _agree(before: TruthCell | None, after: TruthCell | None) -> bool:
    if before is None or after is None:
        return before is after
    if before.kept is not after.kept:
        return False
    if after.verdict is Verdict.NOT_EXERCISED and before.verdict is Verdict.UPHELD:
        return True
    return before.verdict is after.verdict and after.anomaly in (before.anomaly, *before.others)
