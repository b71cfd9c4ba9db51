"""Jepsen's text log: operations are read, other loggers passed over, and everything else is refused."""

import pytest

from cacheproof.models.jepsen_log import KEY, is_log_line, read_log
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Operation, Outcome

UTIL = "INFO  jepsen.util - "
NEWER = "2024-05-24 13:36:56,498{GMT}\tINFO\t[jepsen worker 0] jepsen.util: "


def operations(*lines: str) -> tuple[Operation, ...]:
    return read_log(lines).history().operations


def test_a_log() -> None:
    """Reads, writes and compare-and-sets on one register that is empty at first; in lines of either age."""
    lines = ["0\t:invoke\t:write\t3", "0\t:ok\t:write\t3", "1\t:invoke\t:cas\t[3 4]", "1\t:fail\t:cas\t[3 4]"]
    for prefix in (UTIL, "INFO jepsen.util -   ", NEWER, NEWER.replace("{GMT}", "").replace("-24 ", "-24T")):
        found = read_log(f"{prefix}{line}\r\n" for line in lines)
        history = found.history()
        assert found.vocabulary is not None and found.vocabulary.model == "cas-register"
        assert history.initial == {KEY: None}
        assert [(op.f, op.key, op.value, op.outcome, op.result) for op in history.operations] == [
            ("write", KEY, 3, Outcome.OK, None),
            ("cas", KEY, (3, 4), Outcome.OK, False),
        ]


def test_unknown_outcomes_and_failures_keep_what_was_said() -> None:
    """In place of the value or behind it."""
    found = operations(
        f"{UTIL}0\t:invoke\t:write\t3",
        f"{UTIL}0\t:info\t:write\t:timed-out",
        f"{UTIL}1\t:invoke\t:read\tnil",
        f'{UTIL}1\t:fail\t:read\tnil\t[:down "no 0xff"]  ',
    )
    assert [(op.outcome, op.error) for op in found] == [
        (Outcome.INFO, None),
        (Outcome.FAIL, '[:down "no 0xff"]'),
    ]


def test_what_others_log_is_passed_over() -> None:
    """Other loggers, what follows them without a logger, the nemesis, and blank lines."""
    found = operations(
        "INFO  jepsen.core - 7\t:invoke\t:write\tno",
        "",
        f"{UTIL}0\t:invoke\t:read\tnil",
        "WARN  example.client - lost",
        "java.io.IOException",
        "\tat Example.java:7",
        "2024-05-24 13:36:56,498{GMT}\tERROR\t[main] org.example.Main: oh",
        "  ... 7 more",
        f'{UTIL}:nemesis\t:info\t:start\t"x',
        f"{NEWER}:nemesis\t:info\t:stop\tnil",
        f"{UTIL}0\t:ok\t:read\tnil",
    )
    assert [(op.f, op.value, op.invoked, op.returned) for op in found] == [("read", None, 0, 1)]


@pytest.mark.parametrize(
    ("line", "column", "what"),
    [
        ("0\t:invoke\t:read\tnil", 1, "is no line of a log; expected 'INFO  jepsen.util - …'"),
        ("INFO jepsen.util 0\t:invoke\t:read\tnil", 1, "is no line of a log"),
        (UTIL, 20, "nothing stands here; expected the number of a process"),
        (f"{UTIL}Waiting for it", 21, "'Waiting for it' stands here; expected the number of a process"),
        (f"{UTIL}A\t:invoke\t:read\tnil", 21, "expected the number of a process"),
        (f"{UTIL}0:invoke\t:read\tnil", 21, "expected the number of a process"),
        (f"{UTIL}{'9' * 5000}\t:invoke\t:read\tnil", 21, "expected the number of a process"),
        (f"{UTIL}:nemeses\t:info", 21, "expected the number of a process"),
        (f"{UTIL}0\tinvoke\t:read\tnil", 23, "'invoke\\t:read\\tnil' stands here; expected :invoke, :ok"),
        (f"{UTIL}0\t:begin\t:read\tnil", 23, "expected :invoke, :ok, :fail or :info"),
        (f"{UTIL}0\t:invoke\tread\tnil", 31, "expected a function such as :read"),
        (f"{UTIL}0\t:invoke\t:read", 36, "nothing stands here; expected a value, or nil"),
        (f"{UTIL}0\t:invoke\t:write\t[1", 38, "this vector does not end on its line"),
        (f"{UTIL}0\t:invoke\t:write\t; 3", 38, "'; 3' stands here; expected a value, or nil"),
        (f"{UTIL}0\t:invoke\t:write\t3 4", 39, "'4' stands beside the value of an :invoke"),
        (f"{UTIL}0\t:invoke\t:txn\tnil", 32, "not supported: :txn"),
        (f"{UTIL}0\t:ok\t:read\tnil", 21, "process 0 returns without an invocation"),
        (f"{UTIL}0\t:invoke\t:read\t3", 37, "3 is given to a :read; expected nil"),
    ],
)
def test_everything_else_is_refused_where_it_stands(line: str, column: int, what: str) -> None:
    """The line, the column, and what was expected."""
    with pytest.raises(Malformed) as caught:
        read_log([f"{UTIL}5\t:invoke\t:read\tnil\n", line + "\n"])
    assert (caught.value.line, caught.value.column) == (2, column)
    assert what in caught.value.what


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (UTIL, True),
        (NEWER, True),
        ("WARN  org.example.Some$Inner - x", True),
        ("{:process 0}", False),
        ("INFO", False),
        ("2024-05-24 it was", False),
    ],
)
def test_log_lines_are_told_from_others(line: str, told: bool) -> None:
    """By how they begin, whichever the logger."""
    assert is_log_line(line) is told
