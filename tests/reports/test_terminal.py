"""The terminal: the order in which a tired person asks, colour only where it is wanted, commands to paste."""

import io
import re
from dataclasses import replace
from types import ModuleType

import pytest
from rich.cells import cell_len
from rich.console import Console

from cacheproof.models.contract import Condition
from cacheproof.models.report import Counterexample, Scope
from cacheproof.models.verdict import Verdict
from cacheproof.reports.terminal import render_counterexample, render_report, render_verdict_line, to_text

STALE_SET = """\
REFUTED  cache-aside: "after a write is acknowledged, the next read sees it"   (CA4, condition: concurrent)
stale set · schedule 5 of the exhaustive 1 reader × 1 writer (10) · shrunk from 23 decisions to 7 · replayed 10 of 10

B's read returned v1, although A's write of v2 had returned before that read began.
The cache goes on serving v1 for up to 300 s; the database holds v2.

      client A                client B                  cache          database
                                                        user:1 absent  user:1 = v1
   1                          ┌ read user:1
   2                          │ GET user:1 ───────────► miss
   3                          │ SELECT … user:1 ─────────────────────► v1
   4  ┌ write user:1 := v2    ┆
   5  │ UPDATE … := v2 ──────────────────────────────────────────────► v2
   6  │ DEL user:1 ───────────────────────────────────► nothing to delete
   7  └ ok                    ┆
   8                          │ SET user:1 v1 EX 300 ─► v1   ✗ older than the database
   9                          └ ok v1
      ┈┈ epilogue: everything is quiet now
  10                          ┌ read user:1
  11                          │ GET user:1 ───────────► v1
  12                          └ ok v1   ✗ v2 was acknowledged at 7

one preemption: B waits after 3 until A has returned
every step is needed: without any one of them the guarantee holds
known fixes    lease · versioned set with a tombstone      cacheproof explain stale-set
replay         cacheproof replay .cacheproof/anomalies/stale-set-7f3a.json
seed           1732308812 (profile default)
"""

STORIES = [
    "stale_set",
    "crash_before_invalidation",
    "lost_write",
    "lost_invalidation",
    "lost_reply",
    "two_keys",
    "three_clients",
    "hostile_values",
    "wide_values",
    "long_story",
]


def page_of(stories: ModuleType, found: Counterexample, width: int = 120) -> str:
    cell = stories.cell(found)
    return to_text(render_counterexample(cell, stories.report(cell)), width)


def told(stories: ModuleType, name: str, width: int = 120) -> str:
    return page_of(stories, getattr(stories, name)(), width)


def test_the_stale_set_reads_as_it_should(stories: ModuleType) -> None:
    """The whole page of the best-known anomaly, byte for byte."""
    found = replace(stories.stale_set(), schedule=stories.stale_set().schedule.with_decisions(
        stories.stale_set().schedule.decisions[:7]
    ))  # fmt: skip
    cell = stories.cell(found)
    assert to_text(render_counterexample(cell, stories.report(cell)), 120) == STALE_SET


@pytest.mark.parametrize("width", [40, 80, 100, 120])
@pytest.mark.parametrize("name", STORIES)
def test_no_line_is_wider_than_the_terminal(stories: ModuleType, name: str, width: int) -> None:
    """Only a single word of a command may be wider, because breaking it would break the command."""
    lines = told(stories, name, width).splitlines()
    assert all(cell_len(line) <= width for line in lines if ".cacheproof/" not in line)


def test_markup_in_values_is_text(stories: ModuleType) -> None:
    """What looks like markup or an escape sequence neither colours nor disappears."""
    page = told(stories, "hostile_values")
    assert "[red]v1[/red]" in page and "\x1b" not in page


def test_colour_is_left_out_unless_it_is_wanted(stories: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """`to_text` has colour only on request; a console has it only at a terminal without NO_COLOR."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    cell = stories.cell(stories.stale_set())
    page = render_counterexample(cell, stories.report(cell))
    coloured = to_text(page, 120, color=True)
    assert "\x1b[" not in to_text(page, 120) and "\x1b[1;31mREFUTED" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == to_text(page, 120)
    monkeypatch.delenv("FORCE_COLOR")
    file = io.StringIO()
    Console(file=file, width=120).print(page)
    assert "\x1b[" not in file.getvalue()


def test_a_wide_terminal_is_not_filled(stories: ModuleType) -> None:
    """Beyond 120 columns lines do not get longer; an explicit width is obeyed."""
    cell = stories.cell(stories.crash_before_invalidation())
    page = to_text(render_counterexample(cell, stories.report(cell)), 200)
    assert max(map(cell_len, page.splitlines())) == 120
    page = to_text(render_counterexample(cell, stories.report(cell), width=90), 200)
    assert max(map(cell_len, page.splitlines())) == 90


def test_a_long_command_can_still_be_pasted(stories: ModuleType) -> None:
    """It is broken only where a shell allows it: joined at the backslashes it is the command."""
    found = replace(
        stories.stale_set(), replay_command="cacheproof replay --seed 17 --cache a.b:C " + "x" * 50
    )
    cell = stories.cell(found)
    page = to_text(render_counterexample(cell, stories.report(cell)), 60)
    begun = page[page.index("replay  ") :].removeprefix("replay").split("\nseed")[0]
    assert " ".join(begun.replace("\\\n", " ").split()) == found.replay_command


def test_what_is_not_known_is_not_claimed(stories: ModuleType) -> None:
    """A counterexample that is not minimal, not replayed and of no known name says nothing else."""
    found = replace(
        stories.stale_set(), anomaly="torn-read", minimal=False, replays=0, replayed=0, replay_command=None,
        found_by="random walk", found_after=1, shrunk_from=0,
    )  # fmt: skip
    page = page_of(stories, found)
    assert "torn read · found by random walk after 1 schedule · 8 decisions · not replayed" in page
    assert not any(word in page for word in ("every step", "known fixes", "explain", "cacheproof replay"))


def test_a_refuted_cell_without_counterexample_says_why(stories: ModuleType) -> None:
    """Nothing to draw is no reason to fail."""
    cell = stories.cell(None, verdict=Verdict.REFUTED, reason="too large to keep")
    assert "too large to keep" in to_text(render_counterexample(cell, stories.report(cell)))


def full_report(stories: ModuleType) -> str:
    found = stories.stale_set()
    cells = [
        stories.cell(found),
        stories.cell(replace(found, replay_command="replay the other"), condition=Condition.EXPIRY),
        stories.cell(stories.lost_write(), guarantee="CA5", claim="nothing is lost", kept=True),
        stories.cell(None, guarantee="CA1", kept=True),
        stories.cell(None, guarantee="CA2", kept=False),
        stories.cell(None, guarantee="CA3", verdict=Verdict.UNKNOWN, reason="a read failed"),
        stories.cell(None, guarantee="CA3", verdict=Verdict.NOT_EXERCISED, condition=Condition.APP_CRASH),
    ]
    return to_text(render_report(stories.report(*cells, warnings=("uses [bold]time",))), 120)


def test_a_report_begins_with_what_should_have_held(stories: ModuleType) -> None:
    """What the contract says is kept comes before what it says is broken."""
    page = full_report(stories)
    assert page.index('"nothing is lost"') < page.index('"after a write is acknowledged')


def test_a_report_draws_each_story_once(stories: ModuleType) -> None:
    """The same anomaly under another condition is named with its replay, not drawn again."""
    page = full_report(stories)
    assert page.count("REFUTED") == 2
    assert (
        "also           refuted under expiry, by the same anomaly\n expiry        replay the other\n" in page
    )


def test_one_schedule_is_drawn_once(stories: ModuleType) -> None:
    """A second guarantee that the same schedule refutes refers to the diagram above, and has its own replay."""
    cells = [stories.cell(stories.stale_set()), stories.cell(stories.stale_set(), guarantee="CA9")]
    page = to_text(render_report(stories.report(*cells)), 120)
    assert page.count("REFUTED") == 2 and page.count("┌ write") == 1
    assert "diagram        the same schedule as for CA4 (concurrent) above" in page
    assert page.count("replay         cacheproof replay") == 2


def test_an_incomplete_search_is_not_called_complete(stories: ModuleType) -> None:
    """What was searched is told by condition, and that a scope was given up is said."""
    scopes = (
        Scope(Condition.QUIET, "pairs", 4, True),
        Scope(Condition.CONCURRENT, "1 reader × 1 writer", 10, True),
        Scope(Condition.CONCURRENT, "2 writers", 1200, False),
    )
    page = to_text(render_report(stories.report(scopes=scopes)), 120)
    assert "searched       quiet: all 4 schedules of pairs\n" in page
    assert (
        "searched       concurrent: all 10 schedules of 1 reader × 1 writer; only the first 1,200 schedules of 2 writers\n"
        in page
    )


def test_a_report_ends_with_what_its_verdicts_rest_on(stories: ModuleType) -> None:
    """Verdicts, what is unknown and why, what was searched, the servers and the warnings."""
    assert full_report(stories).splitlines()[-6:] == [
        "unknown        CA3 (concurrent): a read failed",
        "not exercised  CA3 (app crash)",
        "searched       concurrent: all 10 schedules of 1 reader × 1 writer",
        "cache          Valkey 9.1.2, no persistence",
        "database       PostgreSQL 18, fsync off",
        "warning        uses [bold]time",
    ]


def test_a_report_can_be_narrowed_to_some_cells(stories: ModuleType) -> None:
    """Only the cells asked for are drawn."""
    first, second = stories.cell(stories.stale_set()), stories.cell(stories.lost_write(), guarantee="CA5")
    page = to_text(render_report(stories.report(first, second), cells=[second]), 120)
    assert "CA5, condition" in page and "CA4, condition" not in page


def test_the_verdict_line_sums_a_report_up(stories: ModuleType) -> None:
    """Every cell is counted once, by its verdict and by whether the contract says so."""
    found = stories.stale_set()
    cells = [stories.cell(None, kept=True)] * 5 + [stories.cell(found)] * 4
    cells += [stories.cell(None, verdict=Verdict.UNKNOWN)]
    assert render_verdict_line(stories.report(*cells, seed=17)) == (
        "cache-aside: 5 upheld, 4 refuted as the contract expects, 1 unknown · 3,200 schedules · 41 s · seed 17"
    )
    surprises = [stories.cell(found, kept=True), stories.cell(None, kept=False)]
    assert render_verdict_line(stories.report(*surprises, seed=1, seconds=0.26, schedules=1)) == (
        "cache-aside: 1 upheld although the contract expects a refutation, 1 refuted although the contract says "
        "it is kept · 1 schedule · 0.3 s · seed 1"
    )
    assert render_verdict_line(stories.report()).startswith("cache-aside: nothing was judged · ")
