"""How an operation ended: ok, fail or info, and in words that are the same in every run."""

from typing import Any

import pytest

from cacheproof.harness.outcome import canonical, outcome_of
from cacheproof.harness.process import OpenOperation
from cacheproof.models.operation import Outcome, Value


@pytest.mark.parametrize(
    ("f", "touched", "packet", "outcome"),
    [
        ("read", True, {"value": "v1"}, Outcome.OK),
        ("read", True, {"error": "E: no"}, Outcome.FAIL),  # a read that raised changed nothing
        ("write", False, {"error": "E: no"}, Outcome.FAIL),  # nothing of it ever reached a server
        ("write", True, {"error": "E: no"}, Outcome.INFO),
        ("write", True, {"value": None}, Outcome.OK),
        ("read_many", True, {"error": "E: no"}, Outcome.FAIL),
        ("warm_up", True, {"error": "E: no"}, Outcome.INFO),  # it may have filled something
        ("increment", False, {"error": "E: no"}, Outcome.FAIL),
    ],
)
def test_outcomes(f: str, touched: bool, packet: dict[str, Any], outcome: Outcome) -> None:
    """An error is only in doubt if it comes after something of a write had been delivered."""
    operation = OpenOperation(f, "k", "v2" if f == "write" else None, 0, touched)
    assert outcome_of(packet, operation)[0] is outcome


def test_a_read_has_the_value_it_returned_and_a_write_the_one_it_wrote() -> None:
    """Whatever a write returns is not looked at."""
    assert outcome_of({"value": "v1"}, OpenOperation("read", "k", None, 0))[1:] == ("v1", None)
    assert outcome_of({"value": None}, OpenOperation("write", "k", "v2", 0))[1:] == ("v2", None)
    failed = outcome_of({"error": "E: no"}, OpenOperation("write", "k", "v2", 0))
    assert failed == (Outcome.FAIL, "v2", "E: no")


@pytest.mark.parametrize(
    ("f", "argument", "returned", "recorded"),
    [
        ("increment", 1, 3, 3),
        ("increment", 1, None, None),
        ("delete", None, None, None),
        ("acquire", None, False, False),
        ("read_many", ("a", "b"), [["a", "1"], ["b", None]], (("a", "1"), ("b", None))),
        ("write_many", (("a", "v3"),), None, (("a", "v3"),)),
        ("read", None, "1", "1"),
        ("refresh", None, None, None),
    ],
)
def test_results_of_calls_with_arguments(f: str, argument: Value, returned: Any, recorded: Value) -> None:
    """What they returned where that is recorded, as tuples; else what they were given, as of a write."""
    operation = OpenOperation(f, None, argument, 0, touched=True)
    assert outcome_of({"value": returned}, operation) == (Outcome.OK, recorded, None)
    assert outcome_of({"error": "E"}, operation)[1] == argument


def test_in_a_run_of_numbers_text_is_a_number() -> None:
    """A cache may return either; what is no number is left for a model to see."""
    read = OpenOperation("read", "k", None, 0)
    values = [outcome_of({"value": value}, read, numbers=True)[1] for value in ("12", 12, 12.0, "v1", None)]
    assert values == [12, 12, 12, "v1", None] and {type(value) for value in values[:3]} == {int}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no numbers", "no numbers"),
        ("version 18, process 2 of 3", "version 18, process #1 of 3"),
        ("Process 91 waits for transaction 780; Process 92, process 91", None),
        ("<Lock at 0x7f3aa0b1c2d0> is locked", "<Lock at …> is locked"),
        ("mask 0xff", "mask 0xff"),
        ('while updating tuple (0,17) in relation "records"', 'while updating tuple … in relation "records"'),
        ("pid=4711", "pid=#1"),
        ("x" * 600, "x" * 500),
    ],
)
def test_what_differs_from_run_to_run_is_put_into_canonical_form(said: str, told: str | None) -> None:
    """By first appearance, the same number the same place; all else is left as it was said."""
    expected = "Process #1 waits for transaction #2; Process #3, process #1" if told is None else told
    assert canonical(said) == expected
    assert canonical(canonical(said)) == expected
