"""Replies of the Redis protocol: every type, whatever the pieces, and that garbage is named."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.respencoding import encode_bulk, encode_error, encode_integer
from cacheproof.chaos.wire.respreplies import ReplyParser
from cacheproof.chaos.wire.respstream import MAX_BULK, MAX_DEPTH, MAX_DIGITS, MAX_ELEMENTS, MAX_LINE
from cacheproof.chaos.wire.respvalues import RespError, RespMap, RespSet, RespValue, Verbatim, reply_to_json


def replies(*pieces: bytes) -> list[RespValue]:
    """The values of the replies in a stream that arrives in these pieces."""
    parser = ReplyParser()
    return [reply.value for piece in pieces for reply in parser.feed(piece)]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


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


def test_what_is_streamed_has_limits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not announce its size is stopped when it has grown too large."""
    monkeypatch.setattr("cacheproof.chaos.wire.respreplies.MAX_ELEMENTS", 3)
    monkeypatch.setattr("cacheproof.chaos.wire.respreplies.MAX_BULK", 5)
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
