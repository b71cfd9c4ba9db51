"""Drawings of intervals show what precedes what, and never more than fits."""

import random
import re

import pytest

from cacheproof.models.operation import Operation, Outcome, Value
from cacheproof.reports.lanes import draw_lanes, operation_words
from cacheproof.reports.words import Names

OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO


def op(
    process: int,
    f: str,
    value: Value,
    invoked: int,
    returned: int | None,
    outcome: Outcome = OK,
    result: Value = None,
) -> Operation:
    return Operation(process, f, "k", value, invoked, returned, outcome, result=result)


def test_a_drawing() -> None:
    """A lane a process, in the order of processes; marks say how an operation ended."""
    drawn = draw_lanes(
        [
            op(1, "read", "v1", 9, 12),
            op(0, "write", "v1", 0, 3),
            op(1, "write", "v2", 4, 7, FAIL),
            op(26, "cas", (1, 2), 8, None, INFO),
            op(0, "cas", (1, 2), 10, 11, result=False),
        ],
        Names(),
        100,
    )
    assert drawn == (
        "A          |--write v1--|                    |--cas 1 → 2 refused--|",
        "B                         |--write v2--!   |---------read v1---------|",
        "client 26                                |----------cas 1 → 2----------?",
    )


def test_a_process_that_went_on_has_a_second_lane() -> None:
    """Where what it did before may still happen."""
    drawn = draw_lanes([op(0, "write", "v2", 0, None, INFO), op(0, "read", "v1", 4, 5)], Names((0,)), 60)
    assert drawn == (
        "worker 1  |---write v2----?",
        "worker 1    |--read v1--|",
    )


def test_words_become_shorter_before_there_is_no_drawing() -> None:
    """Values first, then the names of methods."""
    operations = [op(0, "write", "x" * 40, 0, 1), op(0, "read", "y" * 40, 2, 3)]
    assert draw_lanes(operations, Names(), 100) == (f"A  |--write {'x' * 23}…--| |--read {'y' * 23}…--|",)
    assert draw_lanes(operations, Names(), 60) == (f"A  |--write {'x' * 11}…--| |--read {'y' * 11}…--|",)
    assert draw_lanes(operations, Names(), 45) == (f"A  |--w {'x' * 11}…--| |--r {'y' * 11}…--|",)
    assert draw_lanes(operations, Names(), 27) == ("A  |--w xx…--| |--r yy…--|",)
    assert draw_lanes(operations, Names(), 25) is None


def test_nothing_is_drawn_of_nothing() -> None:
    """And it does fit."""
    assert draw_lanes([], Names(), 10) == ()


@pytest.mark.parametrize(
    ("operation", "words", "short"),
    [
        (op(0, "read", "v1", 0, 1), "read v1", "r v1"),
        (op(0, "read", None, 0, 1), "read no record", "r no record"),
        (op(0, "read", None, 0, None, INFO), "read", "r"),
        (op(0, "delete", None, 0, 1), "delete", "d"),
        (op(0, "cas", (1, None), 0, 1), "cas 1 → no record", "cas 1 → no record"),
        (op(0, "cas", (1, 2), 0, 1, result=False), "cas 1 → 2 refused", "cas 1 → 2 refused"),
        (op(0, "cas", 7, 0, 1), "cas 7", "cas 7"),
        (op(0, "write", "a\nb", 0, 1), "write a\\nb", "w a\\nb"),
        (
            op(0, "read_many", ("a", "b"), 0, 1, result=(("a", "1"), ("b", None))),
            "read_many 1, no record",
            "read_many 1, no record",
        ),
        (op(0, "read_many", ("a", "b"), 0, None, INFO), "read_many", "read_many"),
        (op(0, "write_many", (("a", 1), ("b", 2)), 0, None, INFO), "write_many 1, 2", "write_many 1, 2"),
        (op(0, "in\x1bc", 2, 0, 1), "in\\x1bc 2", "in\\x1bc 2"),
        (op(0, "f" * 40, 2, 0, 1), f"{'f' * 23}… 2", f"{'f' * 23}… 2"),
    ],
)
def test_words_of_operations(operation: Operation, words: str, short: str) -> None:
    """The method and its value, in words that cannot disturb a terminal."""
    assert operation_words(operation) == words
    assert operation_words(operation, letter=True) == short


def test_drawings_tell_the_truth() -> None:
    """500 random histories: for every two operations, one is drawn before the other if and only if it was."""
    chance = random.Random(3)
    for _ in range(500):
        operations = _some(chance)
        drawn = draw_lanes(operations, Names(), 10_000)
        assert drawn is not None
        spans = {
            found[1]: found.span()
            for line in drawn
            for found in re.finditer(r"\|-+write (v\d+)-+[|!?]", line)
        }
        assert len(spans) == len(operations)
        for one in operations:
            for other in operations:
                before = spans[str(one.value)][1] <= spans[str(other.value)][0]
                assert before == one.precedes(other)


def _some(chance: random.Random) -> list[Operation]:
    ends: dict[int, int] = {}
    operations: list[Operation] = []
    ticks = list(range(40))
    for number in range(chance.randrange(1, 7)):
        process = chance.randrange(3)
        begin = ends.get(process, 0) + chance.randrange(1, 4)
        taken = {item.invoked for item in operations} | {item.returned for item in operations}
        begin = next(tick for tick in ticks if tick >= begin and tick not in taken)
        end = next(tick for tick in ticks if tick > begin + chance.randrange(6) and tick not in taken)
        outcome = chance.choice([OK, OK, FAIL, INFO])
        operations.append(
            op(process, "write", f"v{number}", begin, None if outcome is INFO else end, outcome)
        )
        ends[process] = end
    return operations
