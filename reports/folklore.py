"""The summary table that people repeat about caching patterns, and the words for what was measured instead.

    pattern         read consistency     write latency    data-loss risk             complexity
    cache-aside     eventual, on miss    no overhead      none                       low
    write-through   strong, immediate    2×               none                       medium
    write-behind    eventual             very low         high, on a cache crash     high
    read-through    eventual, on miss    no overhead      none                       low

What stands beside each claim comes from the verdicts and counts of the truth table alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cacheproof.models.truth_table import Cost, TruthCell, TruthRow
from cacheproof.models.verdict import Verdict

__all__ = ["FOLKLORE", "Folklore", "measured"]


@dataclass(frozen=True, slots=True)
class Folklore:
    """A row of the summary; `rows` are the pages of the catalogue that measure it."""

    pattern: str
    consistency: str
    latency: str
    loss: str
    complexity: str
    rows: tuple[str, ...]


FOLKLORE: tuple[Folklore, ...] = (
    Folklore("cache-aside", "eventual, on miss", "no overhead", "none", "low", ("cache-aside",)),
    Folklore("write-through", "strong, immediate", "2×", "none", "medium", ("write-through",)),
    Folklore(
        "write-behind",
        "eventual",
        "very low",
        "high, on a cache crash",
        "high",
        ("write-behind-list", "write-behind-stream"),
    ),
    Folklore("read-through", "eventual, on miss", "no overhead", "none", "low", ("read-through",)),
)

_CONSISTENCY = {
    "linearizable": "linearizable",
    "read-after-write": "a read after a write sees it",
    "convergence": "comes to agree with the database in time",
}

Linked = Callable[[str | None], str]
"""Makes of the slug of an anomaly what stands in the text."""


def measured(row: TruthRow, linked: Linked) -> tuple[str, str, str, str]:
    """What was found of read consistency, write latency, data loss and complexity."""
    return (_consistency(row, linked), _latency(row), _loss(row, linked), _complexity(row))


def _consistency(row: TruthRow, linked: Linked) -> str:
    told = []
    for name, words in _CONSISTENCY.items():
        cells = [cell for cell in row.cells if cell.property_name == name]
        if cells:
            told.append(f"{words}: {_where(cells, linked)}")
    return "; ".join(told) or "nothing claimed"


def _where(cells: Iterable[TruthCell], linked: Linked) -> str:
    """ "quiet alone; not under concurrent (stale set), expiry (…)"."""
    found = list(cells)
    good = [cell.condition.value for cell in found if cell.verdict is Verdict.UPHELD]
    bad = [cell for cell in found if cell.verdict is Verdict.REFUTED]
    open_ = [
        cell.condition.value for cell in found if cell.verdict in (Verdict.UNKNOWN, Verdict.NOT_EXERCISED)
    ]
    parts = []
    if not bad and not open_:
        parts.append(f"under all {len(found)} conditions" if len(found) > 1 else f"under {good[0]}")
    elif good:
        parts.append(f"under {', '.join(good)}")
    if bad:
        parts.append(f"not under {_broken(bad, linked)}")
    if open_:
        parts.append(f"not decided under {', '.join(open_)}")
    return "; ".join(parts)


def _broken(cells: Iterable[TruthCell], linked: Linked) -> str:
    """The conditions by anomaly: "concurrent, expiry (stale set), app crash (…)"."""
    by: dict[str, list[str]] = {}
    for cell in cells:
        by.setdefault(linked(cell.anomaly), []).append(cell.condition.value)
    return ", ".join(f"{', '.join(conditions)} ({anomaly})" for anomaly, conditions in by.items())


def _latency(row: TruthRow) -> str:
    cache, database = (_cost(row, server) for server in ("cache", "database"))
    if cache is None and database is None:
        return "not measured"
    most = sum(cost.most for cost in (cache, database) if cost is not None)
    of_database = database.most if database else 0
    trips = "1 round trip" if most == 1 else f"{most} round trips"
    if not of_database:
        return f"{trips}, none with the database"
    return f"{trips}, {of_database if most > of_database else 'all'} with the database"


def _cost(row: TruthRow, server: str) -> Cost | None:
    return next((cost for cost in row.costs if (cost.f, cost.server) == ("write", server)), None)


def _loss(row: TruthRow, linked: Linked) -> str:
    cells = [cell for cell in row.cells if cell.property_name == "durability"]
    if not cells:
        return "nothing claimed"
    bad = [cell for cell in cells if cell.verdict is Verdict.REFUTED]
    if bad:
        return f"acknowledged writes are lost under {_broken(bad, linked)}"
    return f"none found: every acknowledged write is kept {_where(cells, linked)}"


def _complexity(row: TruthRow) -> str:
    workers = {0: "no worker", 1: "1 worker"}.get(row.workers, f"{row.workers} workers")
    return f"{row.lines} lines, {workers}"
