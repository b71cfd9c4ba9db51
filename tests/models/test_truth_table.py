"""`models/truth_table.py`: the table as data, on disk, and compared with another one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cacheproof.models.decision import Deliver, Invoke
from cacheproof.models.errors import UsageError
from cacheproof.models.fault import Condition
from cacheproof.models.page import Kind, Section
from cacheproof.models.schedule import Scenario, Schedule
from cacheproof.models.truth_table import Cost, Rungs, TruthCell, TruthRow, TruthTable, differences
from cacheproof.models.verdict import Verdict

SCHEDULE = Schedule(Scenario(), (Invoke(client=0, f="read", key="user:1"), Deliver(client=0)))
UPHELD = TruthCell(
    "CA1", "only committed", {"name": "integrity"}, Condition.QUIET, True, Verdict.UPHELD, 9, 8
)
REFUTED = TruthCell(
    "CA4",
    "reads are fresh",
    {"name": "read-after-write"},
    Condition.CONCURRENT,
    False,
    Verdict.REFUTED,
    20,
    17,
    "stale-set",
    ("commit-window",),
    SCHEDULE,
)
ROW = TruthRow(
    "cache-aside",
    Section.CACHE_ASIDE,
    Kind.RECIPE,
    "cacheproof.patterns.cache_aside:CacheAside",
    "cache-aside",
    300,
    "default",
    0,
    lines=19,
    cells=(UPHELD, REFUTED, replace(REFUTED, condition=Condition.EXPIRY)),
    ladders=(Rungs(Condition.QUIET, ("linearizable",), 44),),
    costs=(Cost("write", "database", 1, 1),),
    warnings=("the cache prints",),
)
TABLE = TruthTable((ROW, replace(ROW, name="other", ttl_s=None, kind=Kind.HARDENED)))


def changed(**fields: Any) -> TruthTable:
    """The table whose first row has another first cell."""
    return TruthTable((replace(ROW, cells=(replace(UPHELD, **fields), *ROW.cells[1:])), TABLE.rows[1]))


@pytest.mark.parametrize("table", [TABLE, TruthTable(), TruthTable((replace(ROW, cells=()),))])
def test_json_there_and_back(table: TruthTable) -> None:
    """What is written is read as it was, and always written with the same bytes."""
    assert TruthTable.from_json(table.to_json()) == table
    assert TruthTable.from_json(table.to_json()).to_json() == table.to_json()


def test_a_schedule_is_written_once() -> None:
    """Cells that one schedule refutes share it; a cell is a line, so that a change is a line."""
    data = json.loads(TruthTable((ROW,)).to_json())
    assert [len(row["schedules"]) for row in data["rows"]] == [1]
    assert TruthTable((ROW,)).to_json().count('"guarantee"') == 3
    assert sum('"guarantee"' in line for line in TruthTable((ROW,)).to_json().splitlines()) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 0, "rows": []}',
        '{"format": 1}',
        '{"format": 1, "rows": [{}]}',
        '{"format": 1, "rows": 3}',
        TABLE.to_json().replace('"upheld"', '"so so"'),
        TABLE.to_json().replace('"schedule": 0', '"schedule": 7'),
    ],
)
def test_what_is_no_table_is_refused(text: str) -> None:
    """With how to make one."""
    with pytest.raises(UsageError, match="cacheproof matrix"):
        TruthTable.from_json(text)


def test_looking_things_up() -> None:
    """By name, by guarantee and condition; None for what is not there."""
    assert TABLE.row("cache-aside") is ROW and TABLE.row("nobody") is None
    assert ROW.at("CA4", Condition.CONCURRENT) is REFUTED and ROW.at("CA4", Condition.QUIET) is None
    assert ROW.rungs(Condition.QUIET) == ROW.ladders[0] and ROW.rungs(Condition.EXPIRY) is None
    assert ROW.guarantees == ("CA1", "CA4")
    assert REFUTED.property_name == "read-after-write"
    assert replace(REFUTED, judged_by=None).property_name == ""


@pytest.mark.parametrize(
    ("verdict", "kept", "disagrees", "wrong"),
    [
        (Verdict.UPHELD, True, False, False),
        (Verdict.UPHELD, False, True, True),
        (Verdict.REFUTED, True, True, True),
        (Verdict.REFUTED, False, False, False),
        (Verdict.UNKNOWN, True, False, True),
        (Verdict.NOT_EXERCISED, True, False, False),
    ],
)
def test_what_is_wrong(verdict: Verdict, kept: bool, disagrees: bool, wrong: bool) -> None:
    """A cell decided otherwise than its contract says, and one that could not be decided."""
    table = changed(verdict=verdict, kept=kept)
    assert table.rows[0].cells[0].disagrees is disagrees
    assert bool(table.wrong) is wrong


def test_new_rows_take_the_place_of_old_ones() -> None:
    """In the order of the catalogue; what is not in it any more goes, what was not made stays."""
    fresh = replace(ROW, seed=7)
    table = TABLE.with_rows([fresh, replace(ROW, name="new")], ["new", "cache-aside"])
    assert [row.name for row in table.rows] == ["new", "cache-aside"]
    assert table.rows[1].seed == 7
    assert TABLE.with_rows([fresh], ["cache-aside", "other"]).rows[1] == TABLE.rows[1]


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({}, False),
        ({"schedules": 900, "exercised": 800}, False),
        ({"claim": "in other words"}, False),
        ({"verdict": Verdict.NOT_EXERCISED}, False),
        ({"verdict": Verdict.UNKNOWN}, True),
        ({"verdict": Verdict.REFUTED, "anomaly": "stale-set"}, True),
        ({"kept": False}, True),
        ({"guarantee": "CA7"}, True),
        ({"condition": Condition.EVICTION}, True),
    ],
)
def test_tables_agree_when_verdicts_do(change: dict[str, Any], differs: bool) -> None:
    """Counts and words are nobody's difference, nor is what a small search did not put to the test."""
    assert bool(differences(TABLE, changed(**change))) is differs


@pytest.mark.parametrize(
    ("anomaly", "differs"), [("stale-set", False), ("commit-window", False), ("zombie", True)]
)
def test_tables_agree_when_anomalies_do(anomaly: str, differs: bool) -> None:
    """A cell that several anomalies break may be shown by any that the table names."""
    fresh = TruthTable((replace(ROW, cells=(UPHELD, replace(REFUTED, anomaly=anomaly), ROW.cells[2])),))
    found = differences(TABLE, fresh, partial=True)
    assert [(item.guarantee, item.condition) for item in found] == (
        [("CA4", Condition.CONCURRENT)] if differs else []
    )


def test_not_exercised_does_not_excuse_a_refuted_cell() -> None:
    """What the table refutes has to be refuted again."""
    lost = replace(REFUTED, verdict=Verdict.NOT_EXERCISED, anomaly=None)
    fresh = TruthTable((replace(ROW, cells=(UPHELD, lost, ROW.cells[2])),))
    assert differences(TABLE, fresh, partial=True)


def test_patterns_that_one_table_lacks() -> None:
    """A page that has come or gone is a difference, unless the fresh table was to be a part only."""
    one = TruthTable((ROW,))
    assert [(item.pattern, item.gone) for item in differences(TABLE, one)] == [("other", True)]
    assert [(item.pattern, item.gone) for item in differences(one, TABLE)] == [("other", False)]
    assert differences(TABLE, one, partial=True) == ()
