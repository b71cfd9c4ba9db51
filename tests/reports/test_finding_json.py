"""Findings as JSON values: everything that they hold, and nothing that JSON lacks."""

import json
from math import inf, nan

from cacheproof.models.event import Committed
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.verdict import Finding
from cacheproof.reports.finding_json import finding_to_dict, jsonable, operation_to_dict

WRITE = Operation(1, "write", "k", "v2", 0, 2, Outcome.OK, result=1)
READ = Operation(0, "read", "k", "v1", 3, None, Outcome.INFO, error="gone", final=True)


def test_a_finding() -> None:
    """Keys in a fixed order; operations with their intervals, versions with their events."""
    finding = Finding(
        "p",
        "stale-read",
        "k",
        READ,
        (WRITE,),
        (Committed(1, 0.5, "k", "v2", 1, 1),),
        2.5,
        (7, 8),
        3,
        (None, 2),
    )
    assert list(finding_to_dict(finding).items()) == [
        ("property", "p"),
        ("kind", "stale-read"),
        ("key", "k"),
        ("culprit", operation_to_dict(READ)),
        ("because", [operation_to_dict(WRITE)]),
        ("versions", [{"index": 1, "key": "k", "value": "v2", "version": 1}]),
        ("stale_s", 2.5),
        ("at", [7, 8]),
        ("found", 3),
        ("allowed", [None, 2]),
    ]
    bare = finding_to_dict(Finding("p", "lost", None))
    assert (bare["culprit"], bare["because"], bare["allowed"]) == (None, [], None)


def test_an_operation() -> None:
    """All of its fields but the seconds."""
    assert operation_to_dict(READ) == {
        "process": 0,
        "f": "read",
        "key": "k",
        "value": "v1",
        "result": None,
        "invoked": 3,
        "returned": None,
        "outcome": "info",
        "error": "gone",
        "final": True,
    }


def test_what_json_lacks_becomes_words() -> None:
    """At any depth; what JSON has stays as it is."""
    found = jsonable({"a": (1, inf, [nan, True, None]), 2: Outcome.OK, "b": 1.5, "c": {3}})
    assert found == {"a": [1, "inf", ["nan", True, None]], "2": "ok", "b": 1.5, "c": "{3}"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
