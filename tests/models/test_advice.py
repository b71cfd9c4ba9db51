"""`models/advice.py`: nothing is recommended that was not measured to keep what is needed."""

import random
from dataclasses import replace
from typing import Any

import pytest

from cacheproof.models.advice import (
    FEW_LINES,
    Advice,
    Complexity,
    Freshness,
    Latency,
    Loss,
    Needs,
    Protection,
    Visibility,
    advise,
)
from cacheproof.models.contract import CORE_CONDITIONS, Condition
from cacheproof.models.page import Kind, Section
from cacheproof.models.truth_table import Cost, Rungs, TruthCell, TruthRow, TruthTable
from cacheproof.models.verdict import Verdict

QUIET, CONCURRENT, CRASH = Condition.QUIET, Condition.CONCURRENT, Condition.CACHE_CRASH
TWO = (QUIET, CONCURRENT)


def cell(name: str, condition: Condition, verdict: Verdict = Verdict.UPHELD, id_: str = "") -> TruthCell:
    refuted = verdict is Verdict.REFUTED
    anomaly = "stale-set" if refuted else None
    return TruthCell(id_ or name, name, {"name": name}, condition, not refuted, verdict, 9, 8, anomaly)


def row(name: str, *cells: TruthCell, **fields: Any) -> TruthRow:
    given: dict[str, Any] = {
        "profile": "default",
        "seed": 0,
        "lines": 10,
        "costs": (Cost("write", "database", 1, 1),),
    }
    cache = fields.pop("cache", f"m:{name}")
    made = TruthRow(name, Section.CACHE_ASIDE, Kind.RECIPE, cache, name, 300, **(given | fields))
    return replace(made, cells=cells)


def keeps(*names: str, under: tuple[Condition, ...] = TWO) -> list[TruthCell]:
    return [cell(name, condition) for name in names for condition in under]


def ask(*rows: TruthRow, **needs: Any) -> Advice:
    given: dict[str, Any] = {"freshness": Freshness.ANY, "loss": Loss.ANY, "conditions": TWO}
    return advise(Needs(**(given | needs)), TruthTable(rows))


def best(*rows: TruthRow, **needs: Any) -> str | None:
    found = ask(*rows, **needs).best
    return None if found is None else found.row.name


NEEDS: list[tuple[dict[str, Any], str]] = [
    ({"freshness": Freshness.EVENTUAL}, "convergence"),
    ({"freshness": Freshness.BOUNDED}, "bounded-staleness"),
    ({"freshness": Freshness.LATEST}, "linearizable"),
    ({"visibility": Visibility.WRITER}, "read-your-writes"),
    ({"visibility": Visibility.EVERYBODY}, "read-after-write"),
    ({"loss": Loss.NEVER}, "durability"),
    ({"protection": Protection.ONE_LOAD}, "single-flight"),
]


@pytest.mark.parametrize(("needs", "name"), NEEDS)
def test_a_need_is_met_by_the_property_that_says_so(needs: dict[str, Any], name: str) -> None:
    """Upheld under every condition that matters."""
    assert best(row("good", *keeps(name)), **needs) == "good"


@pytest.mark.parametrize(("needs", "name"), NEEDS)
@pytest.mark.parametrize("verdict", [Verdict.REFUTED, Verdict.UNKNOWN, Verdict.NOT_EXERCISED, None])
def test_what_is_not_upheld_is_not_recommended(
    needs: dict[str, Any], name: str, verdict: Verdict | None
) -> None:
    """Refuted, unknown, not exercised or not measured under one condition is enough."""
    doubtful = [] if verdict is None else [cell(name, CONCURRENT, verdict)]
    advice = ask(row("bad", cell(name, QUIET), *doubtful), **needs)
    assert advice.best is None
    assert advice.nearest is not None and advice.nearest.row.name == "bad"
    (lack,) = advice.nearest.unmet
    assert (lack.need, lack.condition) == (name, CONCURRENT)
    assert (lack.cell.verdict if lack.cell else None) is verdict


@pytest.mark.parametrize(
    "need", [needs for needs, name in NEEDS if name not in ("durability", "single-flight")]
)
def test_linearizable_meets_every_need_of_readers(need: dict[str, Any]) -> None:
    """What cannot be told from the database is as fresh as the database."""
    assert best(row("strong", *keeps("linearizable")), **need) == "strong"


def test_that_a_stronger_property_is_refuted_decides_nothing() -> None:
    """Eventual agreement may be kept by what is not linearizable; but not known without a word of it."""
    broken = [cell("linearizable", at, Verdict.REFUTED) for at in TWO]
    assert best(row("weak", *broken), freshness=Freshness.EVENTUAL) is None
    assert best(row("weak", *broken, *keeps("convergence")), freshness=Freshness.EVENTUAL) == "weak"


def test_a_looser_bound_will_do_for_staleness_and_for_nothing_else() -> None:
    """Staleness within the ttl is refuted, within ttl and load it is kept.  A loss is a loss."""
    looser = [*keeps("bounded-staleness"), cell("bounded-staleness", QUIET, Verdict.REFUTED, "CA3")]
    assert best(row("loose", *looser), freshness=Freshness.BOUNDED) == "loose"
    lossy = [*keeps("durability"), cell("durability", QUIET, Verdict.REFUTED, "WB7")]
    advice = ask(row("lossy", *lossy), loss=Loss.NEVER)
    assert advice.nearest is not None and [item.cell for item in advice.nearest.unmet] == [lossy[-1]]


def test_the_worst_cell_speaks() -> None:
    """Of several cells against a need, a refuted one is named before one that is only in doubt."""
    both = [cell("durability", QUIET, Verdict.UNKNOWN, "A"), cell("durability", QUIET, Verdict.REFUTED, "B")]
    advice = ask(row("bad", *both), loss=Loss.NEVER, conditions=(QUIET,))
    assert advice.nearest is not None and advice.nearest.unmet[0].cell is both[1]


def test_a_loss_with_the_cache_may_be_tolerated() -> None:
    """Then durability matters only where the cache keeps what it holds."""
    cells = [cell("durability", QUIET), cell("durability", CRASH, Verdict.REFUTED)]
    needs = {"conditions": (QUIET, CRASH)}
    assert best(row("behind", *cells), loss=Loss.NEVER, **needs) is None
    assert best(row("behind", *cells), loss=Loss.CACHE_LOST, **needs) == "behind"


@pytest.mark.parametrize(
    ("strongest", "needs", "fits"),
    [
        (("convergence:within_s=300",), {"freshness": Freshness.EVENTUAL}, True),
        (("linearizable",), {"visibility": Visibility.WRITER}, True),
        (("staleness-in-versions:versions=0",), {"freshness": Freshness.BOUNDED}, True),
        (("monotonic-reads",), {"visibility": Visibility.WRITER}, False),
        (("no-such-rung",), {"freshness": Freshness.LATEST}, False),
    ],
)
def test_the_ladder_speaks_where_no_cell_does(
    strongest: tuple[str, ...], needs: dict[str, Any], fits: bool
) -> None:
    """A model that no history broke, or one that it implies, meets a need of which the contract says nothing."""
    measured = row("silent", ladders=tuple(Rungs(at, strongest, 44) for at in TWO))
    advice = ask(measured, **needs)
    assert (advice.best is not None) is fits
    if advice.best is not None:
        assert {(item.rung, item.schedules) for item in advice.best.evidence} == {(strongest[0], 44)}


def test_the_ladder_does_not_speak_for_a_contract_that_withholds_a_claim() -> None:
    """What is claimed under quiet alone is not claimed elsewhere; and two clients make nothing linearizable for three."""
    ladders = tuple(Rungs(at, ("linearizable",), 44) for at in TWO)
    withheld = row("lease", cell("read-after-write", TWO[0]), ladders=ladders)
    assert ask(withheld, visibility=Visibility.EVERYBODY).best is None
    assert ask(row("silent", ladders=ladders), visibility=Visibility.EVERYBODY).best is not None
    assert ask(row("silent", ladders=ladders), freshness=Freshness.LATEST).best is None
    assert ask(row("silent", ladders=ladders), freshness=Freshness.BOUNDED).best is not None


def test_rows_about_one_class_are_one_pattern() -> None:
    """What each of them was held to is known of the class, also what speaks against it."""
    needs = {"loss": Loss.NEVER, "protection": Protection.ONE_LOAD, "visibility": Visibility.WRITER}
    climbed = tuple(Rungs(at, ("linearizable",), 44) for at in TWO)
    idle = tuple(Rungs(at, (), 44) for at in TWO)
    one = row("lock", *keeps("durability"), cache="m:Lock", ladders=climbed)
    two = row("lock-loads", *keeps("single-flight"), cache="m:Lock", ladders=idle)
    assert best(one, **needs) is best(two, **needs) is None
    assert best(one, two, **needs) == "lock"
    assert best(one, replace(two, ttl_s=None), **needs) is None
    fallen = tuple(Rungs(at, ("integrity",), 44) for at in TWO)
    assert best(one, replace(two, ladders=fallen), **needs) is None
    lossy = replace(two, cells=(*two.cells, cell("durability", QUIET, Verdict.REFUTED)))
    assert best(one, lossy, **needs) is None


def test_the_ladder_does_not_speak_against_a_cell() -> None:
    """A cell is the better witness: its search was judged, minimised and replayed."""
    ladders = tuple(Rungs(at, ("linearizable",), 44) for at in TWO)
    refuted = cell("read-after-write", QUIET, Verdict.REFUTED)
    assert best(row("bad", refuted, ladders=ladders), visibility=Visibility.EVERYBODY) is None


@pytest.mark.parametrize(("trips", "fits"), [(0, True), (1, False), (None, False)])
def test_a_fast_write_does_not_wait_for_the_database(trips: int | None, fits: bool) -> None:
    """Counted, and not met if nobody counted."""
    costs = () if trips is None else (Cost("write", "database", trips, trips), Cost("read", "database", 0, 9))
    assert (best(row("x", costs=costs), latency=Latency.LOW) == "x") is fits
    assert best(row("x", costs=costs), latency=Latency.ANY) == "x"


@pytest.mark.parametrize(
    ("workers", "lines", "low", "medium"),
    [(0, FEW_LINES, True, True), (0, FEW_LINES + 1, False, True), (1, 5, False, False)],
)
def test_little_to_run(workers: int, lines: int, low: bool, medium: bool) -> None:
    """Few lines and no worker, or at least no worker."""
    made = row("x", workers=workers, lines=lines)
    assert (best(made, complexity=Complexity.LOW) == "x") is low
    assert (best(made, complexity=Complexity.MEDIUM) == "x") is medium
    assert best(made, complexity=Complexity.HIGH) == "x"


def test_the_simplest_that_fits_is_best() -> None:
    """Fewer workers, then fewer round trips of a write, then less code; the others are named in that order."""
    twice = (Cost("write", "database", 1, 1), Cost("write", "cache", 1, 1))
    rows = [row("worker", workers=1, lines=1), row("long", lines=50), row("short"), row("trips", costs=twice)]
    advice = ask(*rows)
    assert advice.best is not None and advice.best.row.name == "short"
    assert [item.row.name for item in advice.others] == ["long", "trips", "worker"]


def test_the_nearest_lacks_least() -> None:
    """And of those that lack as much, it is the simplest."""
    rows = [
        row("none"),
        row("half", cell("durability", QUIET), lines=99),
        row("same", cell("durability", QUIET)),
    ]
    advice = ask(*rows, loss=Loss.NEVER)
    assert advice.nearest is not None and advice.nearest.row.name == "same"
    assert ask(loss=Loss.NEVER).nearest is None


def test_risks_are_told_apart_by_what_matters() -> None:
    """What is refuted under a condition that matters, and what is elsewhere."""
    here, there = (cell("linearizable", at, Verdict.REFUTED) for at in (QUIET, CRASH))
    found = ask(row("x", here, there, cell("durability", QUIET))).best
    assert found is not None and (found.risks, found.elsewhere) == ((here,), (there,))


def test_no_table_and_no_needs_make_it_recommend_what_is_not_upheld() -> None:
    """The rule itself, on 3,000 random tables: a need has an upheld cell of it or a stronger one, or a rung."""
    chance = random.Random(5)
    names = ["convergence", "linearizable", "read-after-write", "durability", "single-flight"]
    recommended = refused = 0
    for _ in range(3_000):
        conditions = tuple(chance.sample(CORE_CONDITIONS, 2))
        verdicts = chance.choices([*Verdict], [9, 1, 1, 1], k=20)
        rows = [
            row(f"p{n}", *(cell(name, at, chance.choice(verdicts)) for name in names for at in conditions))
            for n in range(2)
        ]
        needs = Needs(
            chance.choice([Freshness.EVENTUAL, Freshness.LATEST]),
            chance.choice([*Visibility]),
            chance.choice([*Loss]),
            protection=chance.choice([*Protection]),
            conditions=conditions,
        )
        advice = advise(needs, TruthTable(tuple(rows)))
        if advice.best is None:
            refused += 1
            continue
        recommended += 1
        for at in conditions:
            upheld = {
                c.property_name
                for c in advice.best.row.cells
                if c.condition is at and c.verdict is Verdict.UPHELD
            }
            assert needs.freshness is Freshness.EVENTUAL or "linearizable" in upheld
            assert needs.loss is not Loss.NEVER or "durability" in upheld
            assert needs.protection is Protection.NONE or "single-flight" in upheld
            assert needs.visibility is not Visibility.EVERYBODY or upheld & {
                "read-after-write",
                "linearizable",
            }
    assert recommended > 300 and refused > 300
