"""JSON Lines are read strictly: every way to be wrong is named with its line and column."""

import json
import random
from typing import Any

import pytest

from cacheproof.models.event import Committed, Faulted, Invoked, Returned
from cacheproof.models.jsonl import EventReader, Head, event_to_dict, read_lines
from cacheproof.models.malformed import Malformed
from cacheproof.models.operation import Outcome

HEAD = '{"type":"run","format":1,"processes":2,"workers":[1],"initial":{"k":[1,[2]]}}'
CALL = '{"index":0,"time":0,"type":"invoke","process":0,"f":"read","key":"k","value":null}'
OK = '{"index":1,"time":0.5,"type":"ok","process":0,"value":"v"}'
EXCHANGE = (
    '{"index":0,"time":0,"type":"exchange","process":0,"server":"cache","verb":"GET","request":["GET","k"],'
    '"keys":["k"],"reply":{"error":"no"},"fate":"delivered"}'
)
FAULT = (
    '{"index":0,"time":0,"type":"fault","fault":"crash","process":0,"server":null,'
    '"detail":"x","overlapped":[0]}'
)
COMMIT = '{"index":0,"time":0,"type":"commit","key":"k","value":["v"],"version":1,"process":null}'
PHASE = '{"index":0,"time":0,"type":"phase","phase":"heal"}'


def refusal(*lines: str) -> Malformed:
    with pytest.raises(Malformed) as caught:
        read_lines(lines)
    return caught.value


def test_lines_are_read_with_or_without_their_line_feeds() -> None:
    """From any iterable, one after the other."""
    head, events = read_lines(line + "\n" for line in (HEAD, CALL, OK))
    assert head == Head({"k": (1, (2,))}, 2, (1,))
    assert events == (Invoked(0, 0.0, 0, "read", "k", None), Returned(1, 0.5, 0, Outcome.OK, "v"))
    assert read_lines([HEAD, CALL, OK]) == (head, events)
    assert read_lines([HEAD + "\r\n", CALL + "\r", OK]) == (head, events)
    assert read_lines([HEAD]) == (head, ())


def test_arrays_are_tuples_in_memory() -> None:
    """In values of every kind of event."""
    (event,) = read_lines([HEAD, COMMIT])[1]
    assert event == Committed(0, 0.0, "k", ("v",), 1)
    assert event_to_dict(event)["value"] == ("v",)


@pytest.mark.parametrize(
    "line",
    [
        CALL,
        CALL.replace("}", ',"final":true}'),
        EXCHANGE,
        EXCHANGE.replace('"fate":"delivered"', '"fate":"delivered","waits":true,"waited":true'),
        FAULT,
        COMMIT,
        PHASE,
    ],
)
def test_events_are_written_as_they_were_read(line: str) -> None:
    """Field by field."""
    (event,) = read_lines([HEAD, line])[1]
    assert json.loads(json.dumps(event_to_dict(event))) == json.loads(line)


def test_ends_and_heads_are_written_as_they_were_read() -> None:
    """The error of an operation stands there only if there is one."""
    failed = OK.replace('"ok"', '"fail"').replace("}", ',"error":"no"}')
    for end in (OK, failed):
        head, events = read_lines([HEAD, CALL, end])
        assert json.loads(json.dumps(head.to_dict())) == json.loads(HEAD)
        assert json.loads(json.dumps(event_to_dict(events[1]))) == json.loads(end)


def test_unknown_fields_are_passed_over() -> None:
    """In the head, too; but what an operation repeats as it returns has to be the same."""
    head = HEAD.replace('"format":1', '"format":1,"made_by":{"x":1}')
    end = OK.replace('"value":"v"', '"value":"v","f":"read","key":"k","note":[1]')
    assert read_lines([head, CALL.replace('"f"', '"note":1,"f"'), end]) == read_lines([HEAD, CALL, OK])


@pytest.mark.parametrize(
    ("lines", "place", "what"),
    [
        ([], (1, 1), "nothing stands here; expected a run of format 1"),
        (["\n"], (1, 1), "nothing stands here; expected a run of format 1"),
        (["nonsense"], (1, 1), "not JSON: expecting value"),
        (["\ufeff" + HEAD], (1, 1), "not JSON"),
        (["[]"], (1, 1), "expected an object, found '[]'"),
        (['{"type":"walk"}'], (1, 1), "expected a run of format 1, found"),
        (['{"type":"run","format":2}'], (1, 1), "expected a run of format 1, found"),
        (['{"type":"run"}'], (1, 1), "'format' is missing; expected a whole number"),
        (['{"type":"run","format":true}'], (1, 24), "'format' is True; expected a whole number"),
        (['{"type":"run","format":1}'], (1, 1), "'initial' is missing; expected an object of keys"),
        ([HEAD.replace('"initial":{', '"initial":[{')[:-2] + "}]}"], (1, 64), "'initial' is [{"),
        ([HEAD.replace("[1,[2]]", '{"a":1}')], (1, 64), "'initial' is {'k': {'a': 1}}"),
        ([HEAD.replace('"processes":2', '"processes":-2')], (1, 38), "'processes' is -2; expected a whole"),
        ([HEAD.replace("[1]", '["B"]')], (1, 50), "'workers' is ['B']; expected an array of whole"),
        ([HEAD, CALL[:-1]], (2, 82), "not JSON: expecting"),
        ([HEAD, CALL, "\n", OK], (3, 1), "nothing stands here; expected an event"),
        ([HEAD, CALL, " "], (3, 1), "nothing stands here; expected an event"),
        ([HEAD, CALL + OK], (2, 83), "not JSON: extra data"),
        ([HEAD, "[" * 100_000], (2, 1), "not JSON that can be read"),
        ([HEAD, CALL.replace("0,", "9" * 5000 + ",", 1)], (2, 1), "not JSON that can be read"),
        ([HEAD, '{"index":0,"index":0}'], (2, 12), "'index' occurs twice; expected it once"),
        ([HEAD, EXCHANGE.replace('"error":"no"', '"é":1,"\\u00e9":2')], (2, 125), "'é' occurs twice"),
        ([HEAD, '{"\\u00e9":1,"\\u00e9":2}'], (2, 1), "'é' occurs twice"),
    ],
)
def test_what_is_no_line_of_a_history(lines: list[str], place: tuple[int, int], what: str) -> None:
    """Empty, no JSON, no object, no run."""
    found = refusal(*lines)
    assert (found.line, found.column) == place
    assert what in found.what


@pytest.mark.parametrize(
    ("line", "old", "new", "what"),
    [
        (CALL, '"index":0', '"index":1', "'index' is 1; expected 0"),
        (CALL, '"index":0', '"index":0.0', "'index' is 0.0; expected a whole number of at least 0"),
        (CALL, '"index":0', '"index":false', "'index' is False; expected"),
        (CALL, '"time":0', '"time":"0"', "'time' is '0'; expected a finite number of seconds"),
        (CALL, '"time":0', '"time":NaN', "'time' is nan; expected"),
        (CALL, '"time":0', f'"time":1{"0" * 400}', "expected a finite number"),
        (CALL, '"type":"invoke"', '"type":"dance"', "'type' is 'dance'; expected 'invoke' or 'ok' or"),
        (CALL, '"type":"invoke"', '"type":3', "'type' is 3; expected a string"),
        (CALL, '"process":0', '"process":-1', "'process' is -1; expected a whole number of at least 0"),
        (CALL, '"process":0', '"process":null', "'process' is None; expected"),
        (CALL, '"f":"read"', '"f":null', "'f' is None; expected a string"),
        (CALL, '"key":"k"', '"key":7', "'key' is 7; expected a string or null"),
        (CALL, '"value":null', '"value":{"a":1}', "'value' is {'a': 1}; expected null, a scalar or an array"),
        (CALL, '"value":null', '"value":[[{}]]', "'value' is [[{}]]; expected"),
        (CALL, '"value":null', f'"value":{"[" * 900}{"]" * 900}', "expected null, a scalar"),
        (CALL, '"value":null', '"value":null,"final":1', "'final' is 1; expected true or false"),
        (EXCHANGE, '"server":"cache"', '"server":"disk"', "'server' is 'disk'; expected 'cache' or"),
        (EXCHANGE, '"server":"cache"', '"server":null', "'server' is None; expected"),
        (EXCHANGE, '"verb":"GET"', '"verb":[]', "'verb' is []; expected a string"),
        (EXCHANGE, '"request":["GET","k"]', '"request":"GET k"', "'request' is 'GET k'; expected an array"),
        (EXCHANGE, '"keys":["k"]', '"keys":[[]]', "'keys' is [[]]; expected an array of strings"),
        (EXCHANGE, '"keys":["k"]', '"keys":[1]', "'keys' is [1]; expected an array of strings"),
        (EXCHANGE, '"fate":"delivered"', '"fate":"eaten"', "'fate' is 'eaten'; expected 'delivered' or"),
        (FAULT, '"server":null', '"server":"disk"', "'server' is 'disk'; expected"),
        (FAULT, '"detail":"x"', '"detail":[1]', "'detail' is [1]; expected a string, a number or null"),
        (
            FAULT,
            '"process":0',
            '"process":"A"',
            "'process' is 'A'; expected a whole number of at least 0, or",
        ),
        (COMMIT, '"key":"k"', '"key":null', "'key' is None; expected a string"),
        (COMMIT, '"version":1', '"version":1.5', "'version' is 1.5; expected"),
        (PHASE, '"phase":"heal"', '"phase":"tea"', "'phase' is 'tea'; expected 'heal' or"),
    ],
)
def test_fields_of_the_wrong_type(line: str, old: str, new: str, what: str) -> None:
    """The column is that of the value; blanks around it do not matter."""
    wrong = line.replace(old, new)
    assert wrong != line
    found = refusal(HEAD, wrong)
    assert what in found.what and found.line == 2
    name = new.rpartition('"final"')[1] or new.split(":")[0]
    assert found.column == wrong.index(name + ":") + len(name) + 2
    spaced = wrong.replace(name + ":", f"  {name} :  ")
    assert refusal(HEAD, spaced).column == spaced.index(f"{name} :  ") + len(name) + 5


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (CALL, "index time type process f key value"),
        (EXCHANGE, "index time type process server verb request keys reply fate"),
        (FAULT, "fault process server detail overlapped"),
        (COMMIT, "key value version process"),
        (PHASE, "phase"),
    ],
)
def test_fields_that_are_missing(line: str, names: str) -> None:
    """None has a value by default, save those that are written only when they say something."""
    for name in names.split():
        data = json.loads(line)
        del data[name]
        found = refusal(HEAD, json.dumps(data))
        assert (found.line, found.column) == (2, 1)
        assert f"{name!r} is missing; expected" in found.what


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (
            OK.replace('"process":0', '"process":1'),
            "process 1 returns without an invocation; expected an 'invoke'",
        ),
        (
            CALL.replace('"index":0', '"index":1'),
            "process 0 invokes while its 'read' of line 2 is open; expected that to return first",
        ),
        (OK.replace("}", ',"f":"write"}'), "'f' is 'write'; expected 'read', invoked in line 2"),
        (OK.replace("}", ',"key":"l"}'), "'key' is 'l'; expected 'k', invoked in line 2"),
        (OK.replace("}", ',"error":5}'), "'error' is 5; expected a string or null"),
    ],
)
def test_operations_are_paired(end: str, what: str) -> None:
    """One open operation a process, and what returns is what was invoked."""
    found = refusal(HEAD, CALL, end)
    assert found.line == 3 and found.column > 1
    assert what in found.what


def test_a_process_may_go_on_after_an_unknown_outcome() -> None:
    """Its client was started anew."""
    info = OK.replace('"ok"', '"info"')
    again = CALL.replace('"index":0', '"index":2')
    assert len(read_lines([HEAD, CALL, info, again])[1]) == 3


def test_no_damage_goes_unnoticed_or_raises_anything_else() -> None:
    """10,000 single characters changed, dropped or doubled: the file is read, or refused with a place."""
    chance = random.Random(5)
    lines = [
        HEAD,
        CALL,
        OK,
        *[_moved(line, place) for place, line in enumerate([EXCHANGE, FAULT, COMMIT], 2)],
    ]
    refused = 0
    for _ in range(10_000):
        damaged = list(lines)
        number = chance.randrange(len(lines))
        text = damaged[number]
        place = chance.randrange(len(text))
        damaged[number] = (
            text[:place] + chance.choice(['"', "", "}", "x", "1", text[place] * 2]) + text[place + 1 :]
        )
        try:
            read_lines(damaged)
        except Malformed as error:
            refused += 1
            assert number + 1 <= error.line <= len(lines)
            assert 1 <= error.column <= len(damaged[error.line - 1]) + 1
    assert 5_000 < refused < 9_900


def _moved(line: str, index: int) -> str:
    data: dict[str, Any] = json.loads(line)
    return json.dumps({**data, "index": index})


def test_reading_can_begin_in_the_middle() -> None:
    """With the calls that are open there, of which the reader keeps its own account."""
    calls = {0: (9, Invoked(7, 0.0, 0, "read", "k", None))}
    line = OK.replace('"index":1', '"index":8')
    for _ in range(2):
        reader = EventReader(8, calls)
        assert reader.read(line) == Returned(8, 0.5, 0, Outcome.OK, "v")
        with pytest.raises(Malformed, match="line 11, column 45: process 0 returns without an invocation"):
            reader.read(line.replace('"index":8', '"index":9'))


def test_faults_may_be_about_nobody() -> None:
    """Time that passes has no process and no server, and a number for a detail."""
    line = FAULT.replace('"process":0', '"process":null').replace('"x"', "2.5")
    assert read_lines([HEAD, line])[1] == (Faulted(0, 0.0, "crash", None, None, 2.5, (0,)),)
