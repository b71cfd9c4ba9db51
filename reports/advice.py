"""Advice in words: what to take, what was measured of it, and what goes wrong with it all the same."""

from collections.abc import Iterable, Iterator, Sequence

from cacheproof.models.advice import Advice, Assessment, Evidence
from cacheproof.models.anomalies import ANOMALIES
from cacheproof.models.page import Kind
from cacheproof.models.truth_table import TruthCell
from cacheproof.models.verdict import Verdict
from cacheproof.reports.naming import anomaly_title
from cacheproof.reports.truth_table import rung_words

__all__ = ["advice_lines"]

_NEEDS = {
    "bounded-staleness": "staleness has a bound",
    "complexity": "little to run",
    "convergence": "the cache comes to agree with the database",
    "durability": "no acknowledged write is lost",
    "latency": "a write does not wait for the database",
    "linearizable": "reads return the latest value (linearizable)",
    "read-after-write": "everybody sees an acknowledged write",
    "read-your-writes": "the writer sees its own write",
    "single-flight": "one load of a key at a time",
}
"""The needs in words."""

_MOST_OTHERS = 3


def advice_lines(advice: Advice) -> Iterator[str]:
    """The advice as lines of plain text, each a sentence or an item; never wrapped."""
    if advice.best is not None:
        yield f"take    {_name(advice.best)}"
        yield from _details(advice.best)
        if others := advice.others[:_MOST_OTHERS]:
            yield ""
            yield f"also fits    {'; '.join(item.row.name for item in others)}"
        return
    yield "No pattern of the truth table was measured to keep all of that."
    if advice.nearest is not None:
        yield f"nearest    {_name(advice.nearest)}"
        yield from _details(advice.nearest)


def _name(item: Assessment) -> str:
    row = item.row
    kind = "a hardened design" if row.kind is Kind.HARDENED else "a recipe"
    workers = "" if not row.workers else f", {row.workers} worker{'s' if row.workers > 1 else ''}"
    return f"{row.name}: {kind}, {row.lines} lines{workers} ({row.cache})"


def _details(item: Assessment) -> Iterator[str]:
    if item.unmet:
        yield ""
        yield "what it lacks"
        yield from (f"  ✗ {_needed(found)}: {_said(found)}" for found in item.unmet)
    if met := [found for found in item.evidence if found.met]:
        yield ""
        yield "what was measured"
        yield from (f"  ✓ {line}" for line in _grouped(met))
    yield from _risks("what goes wrong all the same", item.risks)
    yield from _risks("and under other conditions", item.elsewhere)


def _needed(found: Evidence) -> str:
    where = f", {found.condition.value}" if found.condition is not None else ""
    return f"{_NEEDS.get(found.need, found.need)}{where}"


def _said(found: Evidence) -> str:
    """What the table holds for or against the need."""
    if found.cell is not None:
        return _of_cell(found.cell)
    if found.rung is not None:
        return f"{rung_words(found.rung)} in {found.schedules:,} histories"
    if found.found is not None:
        return _counted(found)
    return "not measured"


def _of_cell(cell: TruthCell) -> str:
    match cell.verdict:
        case Verdict.UPHELD:
            return f"{cell.guarantee} upheld in {cell.exercised:,} schedules"
        case Verdict.REFUTED:
            return f"{cell.guarantee} refuted by {anomaly_title(cell.anomaly or 'an unnamed anomaly')}"
    return f"{cell.guarantee} {cell.verdict.value} ({cell.reason})"


def _counted(found: Evidence) -> str:
    if found.need == "latency":
        return f"{found.found} round trip{'' if found.found == 1 else 's'} to the database"
    return f"{found.found} lines"


def _grouped(met: Sequence[Evidence]) -> Iterator[str]:
    """A line for each need, with the conditions behind it."""
    for need in dict.fromkeys(found.need for found in met):
        items = [found for found in met if found.need == need]
        told = [f"{found.condition.value}: {_said(found)}" for found in items if found.condition is not None]
        yield f"{_NEEDS.get(need, need)}: {'; '.join(told) or _said(items[0])}"


def _risks(title: str, cells: Iterable[TruthCell]) -> Iterator[str]:
    """The refuted cells by anomaly: what happens, and which claims that breaks, and under which conditions."""
    by: dict[str, list[TruthCell]] = {}
    for cell in cells:
        by.setdefault(cell.anomaly or "an unnamed anomaly", []).append(cell)
    if not by:
        return
    yield ""
    yield title
    for slug, broken in by.items():
        known = ANOMALIES.get(slug)
        yield f"  · {anomaly_title(slug)}{f': {known.summary}' if known else ''}"
        for guarantee in dict.fromkeys(cell.guarantee for cell in broken):
            here = [cell for cell in broken if cell.guarantee == guarantee]
            under = ", ".join(dict.fromkeys(cell.condition.value for cell in here))
            yield f"      breaks “{here[0].claim}” ({guarantee}) under {under}"
