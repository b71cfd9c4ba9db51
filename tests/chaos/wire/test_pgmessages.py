"""Framing of the PostgreSQL protocol: pieces of any size, limits, garbage, and the encoders."""

import struct
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgmessages import (
    BackendParser,
    CancelRequest,
    FrontendPacket,
    FrontendParser,
    GSSENCRequest,
    Message,
    SSLRequest,
    Startup,
    authentication_ok,
    backend_key_data,
    cancel_request,
    encode,
    error_response,
    negotiate_protocol_version,
    parameter_status,
    query,
    ready_for_query,
    ssl_refusal,
    startup,
)

SSL = struct.pack(">II", 8, 80877103)
GSSENC = struct.pack(">II", 8, 80877104)
FRONTEND_TAGS = [bytes([tag]) for tag in b"BCDEFHPQSXcdfp"]

names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
parameters = st.dictionaries(names.filter(bool), names, max_size=4)
frontend_messages = st.builds(encode, st.sampled_from(FRONTEND_TAGS), st.binary(max_size=30))
backend_messages = st.builds(encode, st.binary(min_size=1, max_size=1), st.binary(max_size=30))


def packet(code: int, rest: bytes = b"") -> bytes:
    return struct.pack(">II", len(rest) + 8, code) + rest


def outcome(parser: BackendParser | FrontendParser, pieces: list[bytes]) -> tuple[list[Any], str | None]:
    """All that came out, and the error that ended it; what came in the failing piece is gone by contract."""
    found: list[FrontendPacket] = []
    for piece in pieces:
        try:
            found += parser.feed(piece)
        except FramingError as error:
            return found, str(error)
    return found, None


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(stream) + 1) for cut in cuts}), len(stream)]
    return [stream[left:right] for left, right in pairwise(edges)]


# --- what is read ---


def test_the_packets_before_a_session() -> None:
    """SSL, GSSENC and cancel requests and both versions of Startup are told apart."""
    stream = SSL + GSSENC + startup({"user": "ä", "database": "d"}, minor=2) + query("select 1")
    ssl, gssenc, start, message = FrontendParser().feed(stream)
    assert ssl == SSLRequest(SSL) and gssenc == GSSENCRequest(GSSENC)
    assert isinstance(start, Startup)
    assert (start.parameters, start.minor) == ({"user": "ä", "database": "d"}, 2)
    assert message == Message(b"Q", b"select 1\0", query("select 1"))


@pytest.mark.parametrize("length", [1, 4, 32, 256])
def test_cancel_requests_have_secrets_of_any_length(length: int) -> None:
    """The secret is 4 bytes in protocol 3.0 and up to 256 in 3.2."""
    raw = cancel_request(0xFFFFFFFE, b"s" * length)
    assert FrontendParser().feed(raw) == [CancelRequest(0xFFFFFFFE, b"s" * length, raw)]


def test_parameters_that_are_no_utf8_survive() -> None:
    """A name in another encoding can be sent on as it came."""
    raw = packet(196608, b"user\0\xff\0\0")
    (start,) = FrontendParser().feed(raw)
    assert isinstance(start, Startup) and startup(start.parameters) == raw


def test_a_session_without_parameters() -> None:
    """An empty list of parameters is a list."""
    (start,) = FrontendParser().feed(startup({}))
    assert isinstance(start, Startup) and start.parameters == {} and start.minor == 0


def test_every_split_of_a_session_gives_the_same() -> None:
    """Cut in two at every byte, and into single bytes, a stream gives the same packets."""
    client = SSL + startup({"user": "u"}) + query("select 1") + encode(b"S") + encode(b"P", b"x" * 300)
    server = (
        authentication_ok() + parameter_status("a", "b") + ready_for_query("I") + encode(b"D", b"\0" * 300)
    )
    for stream, parser in ((client, FrontendParser), (server, BackendParser)):
        whole = outcome(parser(), [stream])
        assert len(whole[0]) >= 4 and whole[1] is None
        assert outcome(parser(), [stream[at : at + 1] for at in range(len(stream))]) == whole
        for at in range(len(stream)):
            assert outcome(parser(), [stream[:at], stream[at:]]) == whole


@settings(max_examples=150, deadline=None)
@given(parameters, st.lists(frontend_messages, max_size=8), st.lists(st.integers(0, 1 << 16), max_size=8))
def test_frontend_streams_are_cut_as_they_were_joined(
    options: dict[str, str], messages: list[bytes], cuts: list[int]
) -> None:
    """Any messages, in any pieces, come out as they went in."""
    start = startup(options)
    found, failure = outcome(FrontendParser(), pieces_of(start + b"".join(messages), cuts))
    assert failure is None and found[0].parameters == options
    assert [item.raw for item in found] == [start, *messages]
    assert all(encode(item.tag, item.payload) == item.raw for item in found[1:])


@settings(max_examples=150, deadline=None)
@given(st.lists(backend_messages, max_size=8), st.lists(st.integers(0, 1 << 16), max_size=8))
def test_backend_streams_are_cut_as_they_were_joined(messages: list[bytes], cuts: list[int]) -> None:
    """Any messages, in any pieces, come out as they went in, unknown tags too."""
    found, failure = outcome(BackendParser(), pieces_of(b"".join(messages), cuts))
    assert failure is None and [item.raw for item in found] == messages


# --- garbage ---


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (struct.pack(">I", 7), "at offset 0: startup packet (no tag) has length 7, expected 8 to 10000"),
        (struct.pack(">I", 10_001), "has length 10001"),
        (b"\x16\x03\x01\x02", "sslnegotiation=postgres"),
        (SSL + struct.pack(">I", 0), "at offset 8: startup packet (no tag) has length 0"),
        (packet(2 << 16), "of length 8 asks for protocol 2.0, expected 3.x"),
        (packet(80877102, bytes(4)), "cancel request (no tag) has length 12, expected 13 to 268"),
        (packet(80877102, bytes(261)), "has length 269"),
        (packet(196608), "parameters that are not pairs"),
        (packet(196608, b"user\0x"), "parameters that are not pairs"),
        (packet(196608, b"user\0\0"), "parameters that are not pairs"),
        (packet(196608, b"user\0x\0"), "parameters that are not pairs"),
        (packet(196608, b"user\0x\0\0\0"), "parameters that are not pairs"),
        (packet(196608, b"\0x\0\0"), "parameters that are not pairs"),
        (startup({}) + b"Q\0\0\0\3", "at offset 9: message b'Q' has length 3, expected 4 to 1073741824"),
        (startup({}) + b"Q\x40\0\0\1", "message b'Q' has length 1073741825"),
        (startup({}) + encode(b"S") + b"Z\0\0\0\5", "at offset 14: message b'Z' of length 5 is none that"),
    ],
)
def test_what_no_client_sends(stream: bytes, said: str) -> None:
    """Each is refused with its tag, its length and its place, also byte by byte, and ever after."""
    for pieces in ([stream], [stream[at : at + 1] for at in range(len(stream))]):
        parser = FrontendParser()
        failure = outcome(parser, pieces)[1]
        assert failure is not None and said in failure
        with pytest.raises(FramingError, match="at offset"):
            parser.feed(b"")


@pytest.mark.parametrize("length", [0, 3, (1 << 30) + 1, (1 << 32) - 1])
def test_impossible_lengths_from_a_server(length: int) -> None:
    """They are refused as soon as the header is there."""
    parser = BackendParser()
    assert parser.feed(b"E" + struct.pack(">I", length)[:3]) == []
    with pytest.raises(FramingError, match=rf"message b'E' has length {length}, expected 4 to"):
        parser.feed(struct.pack(">I", length)[3:])


def test_the_longest_lengths_are_allowed() -> None:
    """One GiB and 10,000 bytes are no error; their bytes are waited for."""
    assert BackendParser().feed(b"D" + struct.pack(">I", 1 << 30)) == []
    filling = "x" * (10_000 - 8 - len(b"user\0\0\0"))
    (start,) = FrontendParser().feed(startup({"user": filling}))
    assert isinstance(start, Startup) and len(start.raw) == 10_000


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.booleans(), st.lists(st.integers(0, 100), max_size=4))
def test_garbage_is_refused_the_same_way_however_it_comes(
    garbage: bytes, begun: bool, cuts: list[int]
) -> None:
    """Nothing but FramingError is raised, and the pieces do not decide whether."""
    stream = (startup({"user": "u"}) if begun else b"") + garbage
    for parser in (FrontendParser, BackendParser):
        whole, failure = outcome(parser(), [stream])
        found, failure_in_pieces = outcome(parser(), pieces_of(stream, cuts))
        assert failure_in_pieces == failure
        assert failure is not None or found == whole


def test_long_messages_cost_each_byte_once() -> None:
    """Doubling the length of a message that comes in small pieces about doubles the time (not quadruples)."""

    def seconds(size: int) -> float:
        stream = encode(b"d", bytes(size))
        pieces = [stream[at : at + (1 << 14)] for at in range(0, len(stream), 1 << 14)]
        parser, began = BackendParser(), time.perf_counter()
        found = [message for piece in pieces for message in parser.feed(piece)]
        took = time.perf_counter() - began
        assert [message.raw for message in found] == [stream]
        return took

    # A quadratic parser would take 64 times as long for 8 times the length.
    assert min(seconds(16 << 20) for _ in range(3)) < 30 * min(seconds(2 << 20) for _ in range(3)) + 0.05


# --- what is written ---


def test_encoders() -> None:
    """Each helper gives the bytes of the documentation."""
    assert authentication_ok() == b"R\0\0\0\x08\0\0\0\0"
    assert parameter_status("a", "é") == b"S\0\0\0\x09a\0\xc3\xa9\0"
    assert backend_key_data(258, b"abcd") == b"K\0\0\0\x0c\0\0\1\2abcd"
    assert ready_for_query("T") == b"Z\0\0\0\5T"
    assert error_response("FATAL", "57P01", "bye") == b"E\0\0\0\x1fSFATAL\0VFATAL\0C57P01\0Mbye\0\0"
    assert negotiate_protocol_version(2) == b"v\0\0\0\x0c\0\3\0\2\0\0\0\0"
    assert negotiate_protocol_version(0, ["_pq_.x"])[-11:] == b"\0\0\0\1_pq_.x\0"
    assert ssl_refusal() == b"N"
    assert startup({"user": "u"}, 2) == b"\0\0\0\x10\0\3\0\2user\0u\0\0"
    assert query("x") == b"Q\0\0\0\6x\0"
    assert cancel_request(1, b"abcd") == b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\1abcd"
    assert encode(b"X") == b"X\0\0\0\4"
