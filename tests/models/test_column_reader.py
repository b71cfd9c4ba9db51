"""A history on disk becomes the columns of that history, and what is none is refused with line and column."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial

import numpy as np
import pytest

from cacheproof.models import column_reader
from cacheproof.models.column_reader import read_columns
from cacheproof.models.columns import columns_of
from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.errors import UsageError
from cacheproof.models.event import Committed, Entered, Exchanged, Faulted, Invoked, Phase, Returned
from cacheproof.models.history import History
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Outcome

EVERYTHING = History(
    {"k": "v0", "größe": None, "list": ("a", (1, 2))},
    (
        Invoked(0, 0.0, 0, "write", "k", "v1\u2028"),
        Exchanged(1, 0.25, 0, ServerName.CACHE, "DEL", ("DEL", "k"), ("k",), 1, Fate.DELIVERED),
        Invoked(2, 0.25, 1, "read", "k", None),
        Committed(3, 0.5, "k", "v1", 1, 0),
        Returned(4, 0.5, 0, Outcome.OK, 17),
        Returned(5, 1.0, 1, Outcome.FAIL, "v0", "boom"),
        Faulted(6, 1.0, "crash", 0),
        Invoked(7, 1.0, 3, "read", "größe", None),
        Invoked(8, 2.0, 0, "cas", "k", ("v1", True)),
        Returned(9, 2.0, 0, Outcome.INFO, None, "timed out"),
        Entered(10, 2.0, Phase.QUIESCE),
        Invoked(11, 3.0, 1, "read_many", None, None, final=True),
        Returned(12, 3.0, 1, Outcome.OK, (("k", 1.0), ("x", None))),
        Invoked(13, 3.0, 2, "delete", "k", None),
        Returned(14, 3.0, 2, Outcome.OK, 1),
    ),
    processes=3,
)


def lines_of(history: History) -> list[bytes]:
    return history.to_jsonl().encode().splitlines(keepends=True)


def test_the_columns_are_those_of_the_history(happenings: Callable[..., History]) -> None:
    """Read from disk or made from the history: the same operations, keys and first values."""
    for history in (EVERYTHING, *(happenings(seed, keys=2) for seed in range(400))):
        found = read_columns(lines_of(history))
        assert tuple(found.operations()) == history.operations
        assert dict(zip(found.keys, (found.values[number] for number in found.initial), strict=True)) == {
            key: history.initial.get(key) for key in found.keys
        }
        expected = columns_of(history)
        for field in fields(found):
            array = getattr(found, field.name)
            assert not isinstance(array, np.ndarray) or array.dtype == getattr(expected, field.name).dtype


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_pieces_may_be_of_any_length(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, halves of lines, everything at once; the block is no limit, and the last newline may be missing."""
    text = EVERYTHING.to_jsonl().encode()
    for block in (1, 300, 1 << 20):
        monkeypatch.setattr(column_reader, "_BLOCK", block)
        for end in (text, text.removesuffix(b"\n")):
            pieces = [end[at : at + size] for at in range(0, len(end), size)]
            assert tuple(read_columns(pieces).operations()) == EVERYTHING.operations


def test_calls_are_paired_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A return ends the call that its process made in an earlier block."""
    monkeypatch.setattr(column_reader, "_BLOCK", 1)
    assert tuple(read_columns(lines_of(EVERYTHING)).operations()) == EVERYTHING.operations


def test_a_run_without_events_has_no_rows() -> None:
    """The first line alone is a history."""
    columns = read_columns(lines_of(History({"k": "v0"})))
    assert len(columns) == 0 and columns.keys == ("k",)


HEAD = '{"type":"run","format":1,"processes":1,"workers":[],"initial":{}}'
CALL = '{"index":0,"time":0.0,"type":"invoke","process":0,"f":"read","key":"k","value":null}'
DONE = '{"index":1,"time":0.0,"type":"ok","process":0,"value":"v1"}'


def changed(line: str, old: str, new: str) -> str:
    assert line.count(old) == 1
    return line.replace(old, new)


REFUSED = {
    "an empty file": [],
    "a blank first line": ["", HEAD],
    "an event first": [CALL],
    "another format": [changed(HEAD, '"format":1', '"format":2')],
    "an object for a first value": [changed(HEAD, ":{}", ':{"k":[{}]}')],
    "not JSON": [HEAD, CALL, "oops"],
    "cut off": [HEAD, CALL[:40]],
    "a blank line": [HEAD, CALL, "", DONE],
    "two events on one line": [HEAD, CALL + DONE],
    "no object": [HEAD, ' "x"'],
    "no type": [HEAD, '{"index":0}'],
    "another type": [HEAD, changed(CALL, "invoke", "dance")],
    "a member is missing": [HEAD, changed(CALL, '"f":"read",', "")],
    "a member twice": [HEAD, changed(CALL, '"key"', '"f":"write","key"')],
    "a member twice, once with a blank": [HEAD, changed(CALL, '"key"', '"f" :"write","key"')],
    "a number for a key": [HEAD, changed(CALL, '"k"', "5")],
    "true for a process": [HEAD, changed(CALL, '"process":0', '"process":true')],
    "a negative index": [HEAD, changed(CALL, '"index":0', '"index":-1')],
    "a fraction for an index": [HEAD, changed(CALL, '"index":0', '"index":0.0')],
    "time without end": [HEAD, changed(CALL, '"time":0.0', '"time":1e999')],
    "an object for a value": [HEAD, changed(CALL, "null", '{"a":1}')],
    "an object inside an array": [HEAD, CALL, changed(DONE, '"v1"', "[1,[{}]]")],
    "a word for final": [HEAD, changed(CALL, "null", 'null,"final":"yes"')],
    "a number for an error": [HEAD, CALL, changed(DONE, '"v1"', '"v1","error":7')],
    "nested too deeply": [HEAD, "[" * 200_000],
    "the wrong index": [HEAD, CALL, changed(DONE, '"index":1', '"index":3')],
    "an index twice": [HEAD, CALL, CALL],
    "a return without a call": [HEAD, CALL, changed(DONE, '"process":0', '"process":7')],
    "a return twice": [HEAD, CALL, DONE, changed(DONE, '"index":1', '"index":2')],
    "a call while one is open": [HEAD, CALL, changed(CALL, '"index":0', '"index":1')],
    "the return of another method": [HEAD, CALL, changed(DONE, '"v1"', '"v1","f":"write"')],
    "the return of another key": [HEAD, CALL, changed(DONE, '"v1"', '"v1","key":null')],
    "behind blanks and letters of two bytes": [
        HEAD,
        changed(CALL, '"k","value":null', '  "größe" , "value": {}'),
    ],
}


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        read()
    return str(caught.value)


@pytest.mark.parametrize("block", [1, 1 << 20])
@pytest.mark.parametrize("title", REFUSED)
def test_what_breaks_a_rule_is_refused(title: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With line, column and reason as the strict reader gives them, in the first block and in later ones."""
    monkeypatch.setattr(column_reader, "_BLOCK", block)
    lines = REFUSED[title]
    found = refusal(lambda: read_columns(line.encode() + b"\n" for line in lines))
    assert found == refusal(lambda: History.from_jsonl(lines)) and found.startswith(
        f"line {max(len(lines), 1)}"
    ) == (title not in ("a blank first line", "a blank line"))


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("NaN", 55, "json is malformed: invalid character; expected JSON without NaN"),
        ('"\\ud800"', 1, "input data was truncated; expected JSON without NaN and half characters"),
    ],
)
def test_what_python_alone_takes_for_json_is_refused(text: str, column: int, what: str) -> None:
    """NaN is no JSON, and half a surrogate pair is no text."""
    lines = [HEAD, CALL, changed(DONE, '"v1"', text)]
    with pytest.raises(Malformed) as caught:
        read_columns(line.encode() + b"\n" for line in lines)
    assert (caught.value.line, caught.value.column) == (3, column) and caught.value.what.startswith(what)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    """The column is that of the first bad byte, in characters."""
    before, _, after = CALL.partition('k"')
    bad = before.encode() + "ö".encode() + b"\xff" + after.encode()
    with pytest.raises(Malformed) as caught:
        read_columns([HEAD.encode() + b"\n", bad + b"\n"])
    assert (caught.value.line, caught.value.column) == (2, len(before) + 2)
    assert caught.value.what == "byte 0xff; expected UTF-8"


UNUSUAL = {
    "members that nobody knows": [HEAD, changed(CALL, "null", 'null,"colour":"red"'), DONE],
    "members in another order": [HEAD, CALL, '{"value":"v1","type":"ok","process":0,"time":0,"index":1}'],
    "blanks": [HEAD, CALL.replace(":", " : "), DONE.replace(",", " , ") + " "],
    "an error that is null": [HEAD, CALL, changed(DONE, '"v1"', '"v1","error":null')],
    "method and key at the return": [HEAD, CALL, changed(DONE, '"v1"', '"v1","f":"read","key":"k"')],
    "what looks like a member in a value": [HEAD, CALL, changed(DONE, "v1", '\\"f\\":')],
    "tabulators": [HEAD, CALL.replace(":", "\t:\t"), DONE.replace(",", "\t,\t")],
    "carriage returns": [HEAD + "\r", CALL + "\r", DONE + "\r"],
}


@pytest.mark.parametrize("title", UNUSUAL)
def test_what_is_only_unusual_is_read(title: str) -> None:
    """Whatever the rules allow."""
    found = read_columns(line.encode() + b"\n" for line in UNUSUAL[title])
    assert tuple(found.operations()) == History.from_jsonl(UNUSUAL[title]).operations != ()


def test_damaged_files_are_refused_alike(happenings: Callable[..., History]) -> None:
    """Of 3,000 damaged files, those that History refuses are refused with the same words, the others read alike.

    But for lines that columns skip: of these only index and time are looked at.
    """
    chance, refused = random.Random(8), 0
    for seed in range(3_000):
        lines = lines_of(happenings(seed))
        place = chance.randrange(len(lines))
        line = bytearray(lines[place])
        for _ in range(chance.randint(1, 2)):
            line[chance.randrange(len(line) - 1)] = chance.choice(b'{}[]",:01ax ')
        text = b"".join((*lines[:place], bytes(line), *lines[place + 1 :]))
        try:
            expected = History.from_jsonl(text.decode()).operations
        except UsageError as error:
            refused += 1
            if b'"commit"' not in line and b'"phase"' not in line:
                assert refusal(partial(read_columns, [text])) == str(error)
        else:
            assert tuple(read_columns([text]).operations()) == expected
    assert 1_500 < refused < 2_900


def test_a_hundred_thousand_lines_take_moments() -> None:
    """50,000 operations in well under the seconds that decoding them into events takes."""

    def lines() -> Iterator[bytes]:
        yield HEAD.encode() + b"\n"
        for index in range(0, 100_000, 2):
            call = {"index": index, "time": 0.5, "type": "invoke", "process": index % 10, "f": "write"}
            done = {"index": index + 1, "time": 0.5, "type": "ok", "process": index % 10, "value": None}
            yield json.dumps(call | {"key": "k", "value": f"v{index}"}).encode() + b"\n"
            yield json.dumps(done).encode() + b"\n"

    text = list(lines())
    begun = time.process_time()
    assert len(read_columns(text)) == 50_000
    assert time.process_time() - begun < 2
