"""What the wire itself says in the Redis protocol."""

from cacheproof.chaos.wire.respencoding import (
    encode_bulk,
    encode_command,
    encode_error,
    encode_integer,
    encode_simple,
)
from cacheproof.chaos.wire.respreplies import ReplyParser
from cacheproof.chaos.wire.respvalues import RespError, RespValue


def replies(*pieces: bytes) -> list[RespValue]:
    """The values of the replies in a stream that arrives in these pieces."""
    parser = ReplyParser()
    return [reply.value for piece in pieces for reply in parser.feed(piece)]


def test_what_the_wire_itself_says_is_well_formed() -> None:
    """Encoded answers parse back; line breaks cannot tear an answer in two; nulls differ by version."""
    assert encode_command("SET", b"\xff", 5) == b"*3\r\n$3\r\nSET\r\n$1\r\n\xff\r\n$1\r\n5\r\n"
    assert replies(encode_simple("a\r\nb")) == [b"a  b"]
    assert replies(encode_error("ERR a\nb")) == [RespError("ERR a b")]
    assert replies(encode_integer(-7)) == [-7]
    assert replies(encode_bulk(b"x\r\n", False)) == [b"x\r\n"]
    assert (encode_bulk(None, False), encode_bulk(None, True)) == (b"$-1\r\n", b"_\r\n")
