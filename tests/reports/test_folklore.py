"""`reports/folklore.py`: what people say, and what was measured, from cells and counts alone."""

import pytest

from cacheproof.models.contract import Condition
from cacheproof.models.page import Kind, Section
from cacheproof.models.truth_table import Cost, TruthCell, TruthRow
from cacheproof.models.verdict import Verdict
from cacheproof.patterns.catalogue import PAGES
from cacheproof.reports.folklore import FOLKLORE, measured


def cell(name: str, condition: Condition, verdict: Verdict) -> TruthCell:
    anomaly = "stale-set" if verdict is Verdict.REFUTED else None
    return TruthCell("X", "x", {"name": name}, condition, True, verdict, 9, 8, anomaly)


def row(*cells: TruthCell, costs: tuple[Cost, ...] = (), workers: int = 0) -> TruthRow:
    return TruthRow(
        "x", Section.CACHE_ASIDE, Kind.RECIPE, "m:C", "x", 300, "quick", 0, workers, 19, cells, costs=costs
    )


def words(made: TruthRow) -> tuple[str, str, str, str]:
    return measured(made, str)


def test_the_summary_speaks_of_pages_that_exist() -> None:
    """Each of its rows is measured by rows of the catalogue."""
    assert {name for told in FOLKLORE for name in told.rows} <= {page.name for page in PAGES}
    assert len(FOLKLORE) == 4


def test_consistency_says_where() -> None:
    """Upheld, refuted by what, and not decided, each with its conditions."""
    made = row(
        cell("linearizable", Condition.QUIET, Verdict.UPHELD),
        cell("linearizable", Condition.CONCURRENT, Verdict.REFUTED),
        cell("linearizable", Condition.EXPIRY, Verdict.REFUTED),
        cell("linearizable", Condition.EVICTION, Verdict.UNKNOWN),
        cell("convergence", Condition.QUIET, Verdict.UPHELD),
        cell("convergence", Condition.EXPIRY, Verdict.UPHELD),
        cell("read-after-write", Condition.QUIET, Verdict.UPHELD),
    )
    assert words(made)[0] == (
        "linearizable: under quiet; not under concurrent, expiry (stale-set); not decided under eviction; "
        "a read after a write sees it: under quiet; "
        "comes to agree with the database in time: under all 2 conditions"
    )


@pytest.mark.parametrize(
    ("cache", "database", "told"),
    [
        (1, 1, "2 round trips, 1 with the database"),
        (1, 0, "1 round trip, none with the database"),
        (0, 1, "1 round trip, all with the database"),
        (2, 2, "4 round trips, 2 with the database"),
    ],
)
def test_latency_is_counted(cache: int, database: int, told: str) -> None:
    """Round trips of a write, and how many of them reach the database."""
    costs = (
        Cost("write", "cache", 0, cache),
        Cost("write", "database", 0, database),
        Cost("read", "cache", 1, 7),
    )
    assert words(row(costs=costs))[1] == told


def test_loss_says_where() -> None:
    """Lost under what, or kept under what."""
    kept = cell("durability", Condition.QUIET, Verdict.UPHELD)
    lost = cell("durability", Condition.CACHE_CRASH, Verdict.REFUTED)
    assert words(row(kept))[2] == "none found: every acknowledged write is kept under quiet"
    assert words(row(kept, lost))[2] == "acknowledged writes are lost under cache crash (stale-set)"


def test_what_was_not_measured_is_said() -> None:
    """An empty row makes no claims."""
    assert words(row()) == ("nothing claimed", "not measured", "nothing claimed", "19 lines, no worker")
    assert [words(row(workers=n))[3] for n in (1, 2)] == ["19 lines, 1 worker", "19 lines, 2 workers"]
