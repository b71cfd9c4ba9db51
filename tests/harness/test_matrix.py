"""`harness/matrix.py`: pages of a catalogue become rows of the truth table, from scratch or from what is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cacheproof.chaos.servers.embedded import EmbeddedServers
from cacheproof.harness import matrix
from cacheproof.harness.matrix import Matrix, judge_page, load_table, share_of, shipped_table
from cacheproof.harness.profiles import PROFILES, Profile
from cacheproof.models.contract import Condition
from cacheproof.models.errors import EnvironmentFault, UsageError
from cacheproof.models.page import Page, Section
from cacheproof.models.truth_table import Cost, TruthRow, TruthTable
from cacheproof.patterns.catalogue import PAGES

SMALL = Profile("small", ("1 reader × 1 writer",), scope_limit=10, random=0, confirmations=2, repeats=False)
PAGE = Page("cache-aside", Section.CACHE_ASIDE, "cache_aside:CacheAside", "CACHE_ASIDE")
TWO = (Condition.QUIET, Condition.CONCURRENT)
Judge = Callable[..., TruthRow]


@pytest.fixture
def judge(chaos_servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """`judge_page` with a small budget, on two conditions and two guarantees of cache-aside."""
    load = matrix._load

    def narrowed(page: Page) -> object:
        cache, contract = load(page)
        return cache, replace(contract.only(["CA4", "CA5"]), conditions=TWO)

    monkeypatch.setattr(matrix, "_load", narrowed)

    def run(**given: Any) -> TruthRow:
        return judge_page(PAGE, SMALL, chaos_servers, **given)

    return run


def verdicts(row: TruthRow) -> dict[tuple[str, str], str]:
    return {(cell.guarantee, cell.condition.value): cell.verdict.value for cell in row.cells}


def test_a_row_from_scratch_and_once_more_from_itself(judge: Judge) -> None:
    """The same verdicts and anomalies; what is known against a pattern costs one run instead of a search.

    Where that run does not show it, it is searched as if nothing had been known.
    """
    row = judge()
    assert verdicts(row) == {
        ("CA4", "quiet"): "upheld",
        ("CA4", "concurrent"): "refuted",
        ("CA5", "quiet"): "upheld",
        ("CA5", "concurrent"): "upheld",
    }
    stale = row.at("CA4", Condition.CONCURRENT)
    assert stale is not None and stale.schedule is not None
    assert (stale.anomaly, stale.schedules, len(stale.schedule.decisions)) == ("stale-set", 10, 7)
    assert (row.name, row.profile, row.seed, row.contract) == ("cache-aside", "small", 0, "cache-aside")
    assert 10 < row.lines < 30
    assert Cost("write", "database", 1, 1) in row.costs
    quiet, concurrent = (row.rungs(condition) for condition in TWO)
    assert quiet is not None and "linearizable" in quiet.strongest
    assert concurrent is not None and "linearizable" not in concurrent.strongest
    assert concurrent.histories == 10

    again = judge(known=row)
    assert verdicts(again) == verdicts(row)
    replayed = again.at("CA4", Condition.CONCURRENT)
    assert replayed is not None
    assert (replayed.schedules, replayed.anomaly, replayed.schedule) == (1, "stale-set", stale.schedule)
    assert not TruthTable((again,)).wrong

    # a schedule that breaks nothing proves nothing; one of a claim that has changed is not even tried
    harmless = replace(stale, schedule=stale.schedule.with_decisions(stale.schedule.decisions[:1]))
    others = (replace(stale, judged_by={"name": "integrity"}), replace(stale, guarantee="CA77"))
    searched = judge(known=replace(row, cells=(harmless, *others)))
    assert searched.cells == row.cells  # and the same seed finds the same once more

    # where something has yet to be refuted, the search is the larger one, and the other is for the rest
    larger = judge(to_refute=replace(SMALL, scope_limit=10, random=2))
    counts = {cell.condition: cell.schedules for cell in larger.cells}
    assert counts == {Condition.QUIET: 10, Condition.CONCURRENT: 12}


def test_a_run_is_over_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages, or those that are named, each with its share and with what is known of it."""
    seen = []

    def judged(page: Page, profile: Profile, servers: object, **given: object) -> str:
        seen.append((page.name, profile, given["seed"], given["known"], given["to_refute"]))
        return f"the row of {page.name}"

    class NoServers:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(matrix, "judge_page", judged)
    known = TruthTable(tuple(row for row in shipped_table().rows if row.name == "cache-aside"))
    work = Matrix(PAGES, NoServers, "quick", 3, known)  # type: ignore[arg-type]  # enough of servers
    done = list(work.run(["write-through", "cache-aside"], tell=lambda _: None))
    assert [PAGES[item.task].name for item in done] == ["cache-aside", "write-through"]
    assert [item.result for item in done] == ["the row of cache-aside", "the row of write-through"]
    assert [(name, seed, row) for name, _, seed, row, _ in seen] == [
        ("cache-aside", 3, known.rows[0]),
        ("write-through", 3, None),
    ]
    assert all(profile.random <= 10 and more is PROFILES["quick"] for _, profile, _, _, more in seen)
    assert len(list(work.run(tell=lambda _: None))) == len(PAGES)
    with pytest.raises(UsageError, match="no page is called 'nobody'; the catalogue has cache-aside"):
        work.run(["nobody"], tell=lambda _: None)


@pytest.mark.parametrize(
    "page",
    [
        replace(PAGE, cache="no_such_file:CacheAside"),
        replace(PAGE, cache="cache_aside:NoSuchClass"),
        replace(PAGE, contract="NO_SUCH_CONTRACT"),
    ],
)
def test_a_row_that_leads_nowhere_is_said(page: Page) -> None:
    """With its name, before anything is started."""
    with pytest.raises(UsageError, match="page 'cache-aside' cannot be loaded"):
        Matrix.contract(page)


@pytest.mark.parametrize("profile", ["quick", "default"])
@pytest.mark.parametrize("places", [0, 1, 50, 120, 280, 5_000])
def test_a_budget_is_shared(profile: str, places: int) -> None:
    """More places, less for each; but never so little that nothing is searched."""
    share = share_of(profile, places)
    each = len(share.scopes) * share.scope_limit + share.random
    assert share.scope_limit >= 3 and share.random >= 2
    if places == 280:
        assert each * places <= {"quick": 4_000, "default": 24_000}[profile]
    if places:
        assert each <= len(share.scopes) * share_of(profile, places // 2).scope_limit + share.random * 2


def test_a_thorough_search_is_not_shared() -> None:
    """It has nights."""
    assert share_of("thorough", 280) is PROFILES["thorough"]
    with pytest.raises(UsageError, match="unknown profile"):
        share_of("sloppy", 1)


def test_tables_on_disk(tmp_path: Path) -> None:
    """What is not there, and what is none, is named."""
    (tmp_path / "good.json").write_text(TruthTable().to_json())
    (tmp_path / "bad.json").write_bytes(b"\xff")
    assert load_table(tmp_path / "good.json") == TruthTable()
    for name in ("bad.json", "none.json"):
        with pytest.raises(UsageError, match=name):
            load_table(tmp_path / name)


def test_a_table_comes_with_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is the one in docs/; an installation without it says so."""
    docs = Path(__file__).parents[2] / "docs" / "truth-table.json"
    assert shipped_table() == load_table(docs)
    assert shipped_table().rows
    monkeypatch.setattr(matrix, "files", lambda _: tmp_path)
    with pytest.raises(EnvironmentFault, match="install cacheproof again"):
        shipped_table()


def test_lines_are_those_of_the_class_alone() -> None:
    """Without docstrings, comments and blank lines; with what it inherits from its own module."""
    assert matrix._code('class A:\n    """Words."""\n\n    # why\n    x = 1\n') == "class A:\n    x = 1"
    assert matrix._code('class A:\n    """Words alone."""\n') == "class A:\n    pass"
