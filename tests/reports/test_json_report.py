"""The JSON report: everything, in a fixed order, in the same bytes."""

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from cacheproof.models.errors import EnvironmentFault
from cacheproof.models.history import History
from cacheproof.models.schedule import Schedule
from cacheproof.reports.json_report import file_name, report_to_dict, write_report


def test_everything_is_there(stories: ModuleType) -> None:
    """Cells, counterexample, schedule, history, snapshots and words can be read from the report."""
    found = stories.stale_set()
    data = report_to_dict(stories.report(stories.cell(found), stories.cell(None, guarantee="CA1")))
    assert (data["verdict"], data["seed"], data["servers"]["database"]) == (
        "refuted", 1732308812, "PostgreSQL 18, fsync off",
    )  # fmt: skip
    assert data["scopes"] == [
        {"condition": "concurrent", "name": "1 reader × 1 writer", "schedules": 10, "complete": True}
    ]
    first, second = data["cells"]
    assert (first["guarantee"], first["kept"], first["verdict"]) == ("CA4", False, "refuted")
    assert second["counterexample"] is None
    shown = first["counterexample"]
    assert shown["words"][0] == (
        "B's read returned v1, although A's write of v2 had returned before that read began."
    )
    assert shown["words"][-1] == "one preemption: B waits after 3 until A has returned"
    assert shown["finding"]["culprit"]["invoked"] == found.finding.culprit.invoked
    assert shown["snapshots"][8] == {
        "index": 8, "cache": {"user:1": {"value": "v1", "ttl_s": 300.0}}, "database": {"user:1": "v2"},
    }  # fmt: skip
    assert shown["steps"][-1] == {"number": 12, "index": 16}


def test_schedule_and_history_can_be_read_back(stories: ModuleType) -> None:
    """What stands in the report is what `Schedule` and `History` write themselves."""
    found = stories.stale_set()
    shown = report_to_dict(stories.report(stories.cell(found)))["cells"][0]["counterexample"]
    assert Schedule.from_dict(shown["schedule"]) == found.schedule
    lines = "\n".join(json.dumps(line) for line in shown["history"])
    assert History.from_jsonl(lines) == found.history


def test_the_same_report_has_the_same_bytes(stories: ModuleType, tmp_path: Path) -> None:
    """Neither the order of a mapping nor a second writing changes a byte."""
    report = stories.report(stories.cell(stories.two_keys()))
    turned = replace(report, servers=dict(reversed(report.servers.items())))
    first = write_report(report, tmp_path / "a" / "b").read_bytes()
    assert write_report(turned, tmp_path / "a" / "b").read_bytes() == first
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["cache-aside-cache-aside.json"]
    assert json.loads(first)["cache"] == "cache-aside"


@pytest.mark.parametrize("value", ["a\u2028b\x85c\n", "\ud800", "漢🦊", '"\\'])
def test_any_text_survives(stories: ModuleType, tmp_path: Path, value: str) -> None:
    """Line separators, lone surrogates and quotes are read back as they were written."""
    found = replace(
        stories.stale_set(), history=replace(stories.stale_set().history, initial={"user:1": value})
    )
    path = write_report(stories.report(stories.cell(found)), tmp_path)
    shown = json.loads(path.read_bytes())["cells"][0]["counterexample"]
    assert shown["history"][0]["initial"] == {"user:1": value}


def test_what_json_lacks_becomes_a_string(stories: ModuleType, tmp_path: Path) -> None:
    """Infinity and NaN are no JSON, and a strict reader must be able to read the report."""
    path = write_report(stories.report(seconds=float("inf")), tmp_path)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(path.read_text(), parse_constant=refuse)["seconds"] == "inf"


def test_file_names_are_safe_and_distinct(stories: ModuleType) -> None:
    """No path separators, no leading dots, no collision of names that differ only in what was replaced."""
    names = [
        file_name(stories.report(cache=cache))
        for cache in ("my cache", "my/cache", "../../etc", "", "漢", "x" * 300, "con:")
    ]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and "/" not in name and name[0] != "." and len(name) < 120 for name in names)
    assert file_name(stories.report()) == "cache-aside-cache-aside.json"


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(stories: ModuleType, tmp_path: Path) -> None:
    """The error names the path and says what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"cannot write the report .*choose another folder"):
        write_report(stories.report(), tmp_path / "file")
