"""A recording is read in whatever format it is; the examples beside this file are of each, good and bad."""

import random
from pathlib import Path

import pytest

from cacheproof.models.errors import UsageError
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Operation, Outcome
from cacheproof.models.recording import Format, Recording, read_recording, recognise

EXAMPLES = Path(__file__).with_name("recorded")


def recording(name: str) -> Recording:
    with (EXAMPLES / name).open(encoding="utf-8", newline="\n") as file:
        return read_recording(file)


def told(operation: Operation) -> tuple[object, ...]:
    return operation.process, operation.f, operation.key, operation.value, operation.outcome.value


def test_json_lines() -> None:
    """Ours has no model: the properties judge it."""
    found = recording("upheld.jsonl")
    assert (found.format, found.model) == (Format.JSON_LINES, None)
    assert [told(item) for item in found.history.operations] == [
        (0, "read", "user:1", "v1", "ok"),
        (1, "write", "user:1", "v2", "ok"),
        (0, "read", "user:1", "v2", "ok"),
    ]
    assert [item.value for item in found.history.commits["user:1"]] == ["v2"]


def test_a_log_of_jepsen() -> None:
    """One register with compare-and-set."""
    found = recording("upheld.log")
    assert (found.format, found.model) == (Format.JEPSEN_LOG, "cas-register")
    assert [told(item) for item in found.history.operations] == [
        (0, "write", "register", 1, "ok"),
        (1, "cas", "register", (1, 2), "ok"),
        (2, "write", "register", 3, "info"),
        (3, "read", "register", 3, "ok"),
    ]
    assert found.history.operations[1].result is False


def test_edn() -> None:
    """Strings by key, or independent registers."""
    found = recording("upheld.edn")
    assert (found.format, found.model) == (Format.EDN, "key-value")
    assert [told(item) for item in found.history.operations][2] == (0, "write", "b", '"quoted"', "ok")
    independent = recording("independent.edn")
    assert independent.model == "cas-register"
    assert independent.history.initial == {"1": None, "2": None}
    assert independent.history.operations[1].outcome is Outcome.INFO


@pytest.mark.parametrize(
    ("name", "place"),
    [("malformed.jsonl", (3, 45)), ("malformed.log", (2, 33)), ("malformed.edn", (2, 51))],
)
def test_what_is_wrong_is_named_with_its_place(name: str, place: tuple[int, int]) -> None:
    """Line and column, in each format."""
    with pytest.raises(Malformed) as caught:
        recording(name)
    assert (caught.value.line, caught.value.column) == place


@pytest.mark.parametrize(
    ("line", "format"),
    [
        ('{"type":"run"}', Format.JSON_LINES),
        (' { "type" : "run"}', Format.JSON_LINES),
        ("{:process 0}", Format.EDN),
        ("{}", Format.EDN),
        ("#jepsen.history.Op{:process 0}", Format.EDN),
        ("INFO  jepsen.util - 0", Format.JEPSEN_LOG),
        ("WARN  jepsen.core - hello", Format.JEPSEN_LOG),
        ("2024-05-24 13:36:56,498{GMT}\tINFO\t[main] jepsen.core: hello", Format.JEPSEN_LOG),
    ],
)
def test_the_first_line_tells_the_format(line: str, format: Format) -> None:
    """By how it begins."""
    assert recognise(line) is format


def test_a_line_of_no_format_is_refused() -> None:
    """Whatever precedes it, with what could be read."""
    with pytest.raises(Malformed, match=r"line 3, column 1: 'a,b' begins no format .*; expected \{\"type\""):
        read_recording(["\n", "; comment\n", "a,b\n", '{"type":"run"}'])


@pytest.mark.parametrize("lines", [[], ["\n", " "], ["; comment"]])
def test_an_empty_recording_is_refused(lines: list[str]) -> None:
    """There is nothing to judge, and that is no pass."""
    with pytest.raises(UsageError, match="nothing is recorded here; expected a history"):
        read_recording(lines)


@pytest.mark.parametrize("line", ["INFO  jepsen.core - hello", "{:process :nemesis, :type :info, :f :start}"])
def test_a_recording_without_operations_is_refused(line: str) -> None:
    """For the same reason."""
    with pytest.raises(UsageError, match="no operation is recorded here; expected at least one :invoke"):
        read_recording([line])


def test_lines_before_the_first_telling_one_are_counted() -> None:
    """A place is one in the file."""
    with pytest.raises(Malformed, match="line 3, column 1: "):
        read_recording(["\n", "; comment\n", "{:process 0"])


@pytest.mark.parametrize("name", ["upheld.log", "upheld.edn", "independent.edn", "upheld.jsonl"])
def test_no_damage_raises_anything_else(name: str) -> None:
    """2,000 times a few characters changed, dropped or doubled: the file is read, or refused in words."""
    chance = random.Random(name)
    text = (EXAMPLES / name).read_text("utf-8")
    refused = 0
    for _ in range(2_000):
        damaged = text
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(damaged))
            change = chance.choice(["", "\n", "{", "]", '"', "\\", "#", ":", "9", "-", damaged[place] * 2])
            damaged = damaged[:place] + change + damaged[place + 1 :]
        try:
            assert isinstance(read_recording(damaged.splitlines(True)), Recording)
        except UsageError as error:
            refused += 1
            assert isinstance(error, Malformed) or "is recorded here" in str(error)
    assert 500 < refused < 2_000
