"""`reports/advice.py`: what to take, why, and what goes wrong all the same, in words."""

from dataclasses import replace

from cacheproof.models.advice import Assessment, Complexity, Freshness, Latency, Loss, Needs, advise
from cacheproof.models.contract import Condition
from cacheproof.models.page import Kind, Section
from cacheproof.models.truth_table import Cost, Rungs, TruthCell, TruthRow, TruthTable
from cacheproof.models.verdict import Verdict
from cacheproof.reports.advice import advice_lines

KEPT = TruthCell(
    "CA5", "nothing is lost", {"name": "durability"}, Condition.QUIET, True, Verdict.UPHELD, 9, 8
)
STALE = TruthCell(
    "CA4",
    "reads are fresh",
    {"name": "read-after-write"},
    Condition.QUIET,
    False,
    Verdict.REFUTED,
    9,
    8,
    "stale-set",
)
ROW = TruthRow(
    "cache-aside",
    Section.CACHE_ASIDE,
    Kind.RECIPE,
    "patterns.cache_aside:CacheAside",
    "cache-aside",
    300,
    "quick",
    0,
    0,
    19,
    (KEPT, STALE, replace(STALE, condition=Condition.EXPIRY)),
    (Rungs(Condition.QUIET, ("convergence:within_s=300",), 44),),
    (Cost("write", "database", 1, 1),),
)
OTHER = replace(ROW, name="leases", cache="patterns.leases:Leases", kind=Kind.HARDENED, workers=2)


def told(*rows: TruthRow, needs: Needs) -> str:
    return "\n".join(advice_lines(advise(needs, TruthTable(rows))))


def test_a_recommendation_has_its_evidence_and_its_risks() -> None:
    """Cells, conditions, schedules; then what is refuted here, and elsewhere, by anomaly and in words."""
    text = told(ROW, OTHER, needs=Needs(conditions=(Condition.QUIET,), complexity=Complexity.HIGH))
    assert text.startswith("take    cache-aside: a recipe, 19 lines (patterns.cache_aside:CacheAside)")
    assert "✓ no acknowledged write is lost: quiet: CA5 upheld in 8 schedules" in text
    assert "with the database: quiet: converges within 300 s in 44 histories" in text
    here, _, there = text.partition("and under other conditions")
    assert "what goes wrong all the same\n  · stale set: A reader loads a row" in here
    assert "breaks “reads are fresh” (CA4) under quiet" in here
    assert "breaks “reads are fresh” (CA4) under expiry" in there
    assert text.endswith("also fits    leases")


def test_if_nothing_fits_the_nearest_is_named() -> None:
    """With all that it lacks: refuted, not measured, and too many round trips or lines."""
    needs = Needs(
        Freshness.LATEST,
        latency=Latency.LOW,
        complexity=Complexity.LOW,
        loss=Loss.NEVER,
        conditions=(Condition.QUIET,),
    )
    lossy = replace(KEPT, verdict=Verdict.REFUTED, anomaly="lost-write")
    text = told(replace(OTHER, cells=(lossy,)), needs=needs)
    assert text.startswith(
        "No pattern of the truth table was measured to keep all of that.\nnearest    leases"
    )
    assert "a hardened design, 19 lines, 2 workers" in text
    assert "✗ reads return the latest value (linearizable), quiet: not measured" in text
    assert "✗ no acknowledged write is lost, quiet: CA5 refuted by lost write" in text
    assert "✗ a write does not wait for the database: 1 round trip to the database" in text
    assert "✗ little to run: 19 lines" in text


def test_a_doubt_has_its_reason() -> None:
    """Unknown is no pass, and it is said why."""
    doubt = replace(KEPT, verdict=Verdict.UNKNOWN, reason="it hung")
    text = told(replace(ROW, cells=(doubt,)), needs=Needs(conditions=(Condition.QUIET,)))
    assert "✗ no acknowledged write is lost, quiet: CA5 unknown (it hung)" in text


def test_without_a_table_there_is_nothing_near() -> None:
    """One line."""
    assert told(needs=Needs()) == "No pattern of the truth table was measured to keep all of that."


def test_what_was_never_asked_for_needs_no_evidence() -> None:
    """Whoever needs nothing is told the simplest, and what goes wrong with it."""
    needs = Needs(Freshness.ANY, loss=Loss.ANY, conditions=(Condition.QUIET,))
    found = advise(needs, TruthTable((ROW,))).best
    assert isinstance(found, Assessment) and found.evidence == ()
    assert "what was measured" not in told(ROW, needs=needs)
