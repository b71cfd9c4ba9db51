"""Requests of the Redis protocol: what is cut where, whatever the pieces, and that garbage is named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire import respcommands
from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.respcommands import Command, CommandParser
from cacheproof.chaos.wire.respencoding import encode_command
from cacheproof.chaos.wire.respstream import MAX_BULK, MAX_ELEMENTS, MAX_LINE


def commands(*pieces: bytes) -> list[tuple[bytes, ...]]:
    """The arguments of the commands in a stream that arrives in these pieces."""
    parser = CommandParser()
    return [command.args for piece in pieces for command in parser.feed(piece)]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


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


def test_a_command_names_its_verb_in_capitals() -> None:
    """`name` is the verb, of a container command its first word; bytes that are no text do not raise."""
    assert Command.of("client", "setinfo", "lib-name", "x").name == "CLIENT"
    assert Command.of(b"\xffget").name == "\\xffGET"
    assert Command.of("SET", b"k", 1).args == (b"SET", b"k", b"1")


def test_names_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many verbs a client makes up, and however long they are; their names are right all the same."""
    remembered: dict[bytes, str] = {}
    monkeypatch.setattr(respcommands, "_NAMES", remembered)
    for number in range(3000):
        assert Command.of(f"verb{number}").name == f"VERB{number}"
        assert Command.of(f"verb{number}").name == f"VERB{number}"
    assert Command.of("x" * 100_000).name == "X" * 100_000
    assert len(remembered) == 1024 and max(map(len, remembered)) < 10


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


def test_an_announced_size_at_the_limit_is_allowed() -> None:
    """Just below the limit of BAD_REQUESTS all is well: the parser waits for the arguments."""
    assert commands(b"*%d\r\n" % MAX_ELEMENTS) == []
