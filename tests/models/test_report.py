"""A report merges its cells and finds them again."""

from dataclasses import replace

import pytest

from cacheproof.models.contract import Condition
from cacheproof.models.history import History
from cacheproof.models.report import Cell, Counterexample, Report
from cacheproof.models.schedule import Schedule
from cacheproof.models.verdict import Finding, Verdict

COUNTEREXAMPLE = Counterexample(
    anomaly="stale-set",
    finding=Finding("read-after-write", "stale-read", "k"),
    schedule=Schedule(),
    history=History({}),
    snapshots=(),
    found_by="exhaustive",
    found_after=5,
    shrunk_from=23,
    shrink_replays=30,
    minimal=True,
    replayed=10,
    replays=10,
)
UPHELD = Cell("CA1", "integrity", Condition.QUIET, Verdict.UPHELD, 10, 10, kept=True)
REFUTED = Cell("CA4", "fresh", Condition.CONCURRENT, Verdict.REFUTED, 10, 10, False, COUNTEREXAMPLE)


def test_the_verdict_is_that_of_all_cells() -> None:
    """One refuted cell refutes; no cell at all proves nothing."""
    assert Report("c", "k", "default", 1, (UPHELD, REFUTED)).verdict is Verdict.REFUTED
    assert Report("c", "k", "default", 1, (UPHELD,)).verdict is Verdict.UPHELD
    assert Report("c", "k", "default", 1, ()).verdict is Verdict.NOT_EXERCISED


def test_cells_and_counterexamples_are_found() -> None:
    """By guarantee and condition; a cell that was not judged is a KeyError."""
    report = Report("c", "k", "default", 1, (UPHELD, REFUTED))
    assert report.counterexamples == (COUNTEREXAMPLE,)
    assert report.cell("CA4", Condition.CONCURRENT) is REFUTED
    with pytest.raises(KeyError, match="CA4"):
        report.cell("CA4", Condition.QUIET)


def test_a_cell_may_have_several_counterexamples() -> None:
    """The most telling one comes first, in the cell and in the report; a cell without one has none."""
    other = replace(COUNTEREXAMPLE, anomaly="lost-invalidation")
    cell = replace(REFUTED, others=(other,))
    assert cell.counterexamples == (COUNTEREXAMPLE, other)
    assert UPHELD.counterexamples == ()
    assert Report("c", "k", "default", 1, (UPHELD, cell, REFUTED)).counterexamples == (
        COUNTEREXAMPLE,
        other,
        COUNTEREXAMPLE,
    )


def test_doubt_outweighs_success() -> None:
    """A report is as good as its most doubtful cell; what was not exercised proves nothing, and spoils nothing."""
    unknown = replace(UPHELD, verdict=Verdict.UNKNOWN)
    idle = replace(UPHELD, verdict=Verdict.NOT_EXERCISED)
    assert Report("c", "k", "default", 1, (UPHELD, unknown)).verdict is Verdict.UNKNOWN
    assert Report("c", "k", "default", 1, (UPHELD, idle)).verdict is Verdict.UPHELD
    assert Report("c", "k", "default", 1, (idle,)).verdict is Verdict.NOT_EXERCISED
