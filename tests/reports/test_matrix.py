"""The matrix: every verdict in its place, and a mark where reality and contract disagree."""

from types import ModuleType

import pytest
from rich.cells import cell_len

from cacheproof.models.contract import CORE_CONDITIONS, Condition
from cacheproof.models.report import Cell
from cacheproof.models.verdict import Verdict
from cacheproof.reports.matrix import disagrees, render_matrix
from cacheproof.reports.terminal import to_text

MATRIX = """\
                                              quiet            concurrent       app crash
cache-aside
  CA1 reads return what was committed         ✓ 2,000          –
  CA4 after a write is acknowledged, the      ! ✓ 2,000        ✗ stale set      ✗ crash before
      next read sees it                                                           the
                                                                                  invalidation
  CA5 no acknowledged write is lost           ? unknown        ! ✗ lost         –
                                                                 write-behind

✓ upheld in so many schedules that exercised it · ✗ refuted by · ? unknown · – not exercised
! not what the contract says · empty: not claimed
"""


def cells(stories: ModuleType) -> list[Cell]:
    read, lost = "reads return what was committed", "no acknowledged write is lost"
    quiet, crash = Condition.QUIET, Condition.APP_CRASH
    return [
        stories.cell(None, guarantee="CA1", claim=read, condition=quiet, kept=True),
        stories.cell(None, guarantee="CA1", claim=read, verdict=Verdict.NOT_EXERCISED, kept=True),
        stories.cell(None, condition=quiet),
        stories.cell(stories.stale_set()),
        stories.cell(stories.crash_before_invalidation(), condition=crash),
        stories.cell(None, guarantee="CA5", claim=lost, condition=quiet, verdict=Verdict.UNKNOWN),
        stories.cell(stories.lost_write(), guarantee="CA5", claim=lost, kept=True),
        stories.cell(None, guarantee="CA5", claim=lost, condition=crash, verdict=Verdict.NOT_EXERCISED),
    ]


def test_the_matrix_reads_as_it_should(stories: ModuleType) -> None:
    """Verdicts stand below the conditions that occur, in their usual order, and disagreement is marked."""
    assert to_text(render_matrix([stories.report(*cells(stories))]), 120) == MATRIX


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120])
def test_the_matrix_fits(stories: ModuleType, width: int) -> None:
    """Six conditions, several caches, long names: no line is too wide, and no verdict is missing."""
    found = stories.crash_before_invalidation()
    row = [
        stories.cell(found, condition=condition, claim="w" * 50 + " and so on " * 9)
        for condition in CORE_CONDITIONS
    ]
    upheld = [
        stories.cell(None, guarantee="CA1", condition=condition, kept=True) for condition in CORE_CONDITIONS
    ]
    reports = [stories.report(*row, *upheld), stories.report(*upheld, cache="漢字[red]\x1b" * 20)]
    page = to_text(render_matrix(reports), width)
    assert max(map(cell_len, page.splitlines())) <= width
    assert (page.count("✗"), page.count("✓")) == (6 + 1, 12 + 1)
    assert "\x1b" not in page


def test_numbers_are_not_broken_at_eighty_columns(stories: ModuleType) -> None:
    """A count of thousands stands on one line even in the narrowest column."""
    row = [stories.cell(None, condition=condition, kept=True) for condition in CORE_CONDITIONS]
    page = to_text(render_matrix([stories.report(*row)]), 80)
    assert page.count("✓ 2,000") == 6 and "concur-" in page


@pytest.mark.parametrize(
    ("verdict", "kept", "differs"),
    [
        (Verdict.REFUTED, True, True),
        (Verdict.REFUTED, False, False),
        (Verdict.UPHELD, True, False),
        (Verdict.UPHELD, False, True),
        (Verdict.UNKNOWN, True, False),
        (Verdict.NOT_EXERCISED, False, False),
    ],
)
def test_disagreement_goes_both_ways(
    stories: ModuleType, verdict: Verdict, kept: bool, differs: bool
) -> None:
    """Kept but refuted, broken but upheld; what is not known disagrees with nothing."""
    assert disagrees(stories.cell(None, verdict=verdict, kept=kept)) is differs


def test_an_empty_matrix_says_so(stories: ModuleType) -> None:
    """No report, or none with cells, is no error."""
    assert to_text(render_matrix([])) == to_text(render_matrix([stories.report()])) == "nothing was judged\n"
