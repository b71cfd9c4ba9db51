"""Framing of the Redis protocol, RESP2 and RESP3: where a message begins and ends, and what it says.

Bytes go in as they arrive, in pieces of any size; whole messages come out, each with the bytes it was made of
(`raw`), so that whoever passes them on changes nothing.  No sockets here.

Rule 1  The result depends on the bytes, never on how they were split.
Rule 2  No byte is examined twice, however small the pieces: time is linear in the size of the stream.
Rule 3  Whatever is not RESP raises FramingError with the offset in the stream; nothing else is ever raised.
        The messages that the same call had completed are lost with it, and the parser stays broken.
Rule 4  A small message that arrives whole (nearly every one does) takes a short cut that gives the same result.

    respcommands.py   Command, CommandParser: what clients send
    respreplies.py    Reply, ReplyParser: what servers send
    respvalues.py     what a reply can say, and its canonical form
    respencoding.py   what the wire itself says
    respstream.py     bytes not yet cut, and how long everything may be
"""

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.respcommands import Command, CommandParser
from cacheproof.chaos.wire.respencoding import (
    encode_bulk,
    encode_command,
    encode_error,
    encode_integer,
    encode_simple,
)
from cacheproof.chaos.wire.respreplies import Reply, ReplyParser
from cacheproof.chaos.wire.respvalues import (
    RespError,
    RespMap,
    RespSet,
    RespValue,
    Verbatim,
    reply_to_json,
    to_text,
)

__all__ = [
    "Command",
    "CommandParser",
    "FramingError",
    "Reply",
    "ReplyParser",
    "RespError",
    "RespMap",
    "RespSet",
    "RespValue",
    "Verbatim",
    "encode_bulk",
    "encode_command",
    "encode_error",
    "encode_integer",
    "encode_simple",
    "reply_to_json",
    "to_text",
]
