"""Replies of the Redis protocol, RESP2 and RESP3, and the parser that cuts what a server sends into them.

The rules are those of resp.py.  Types, by first byte
(https://redis.io/docs/latest/develop/reference/protocol-spec/):

    +simple  $bulk  =verbatim     -error  !bulk error     :integer  (big number  ,double  #boolean  _null
    *array  ~set  %map  >push     |attribute (of the value behind it, skipped)
    $? with ;chunks               *? ~? %? with an end mark "."  (streamed: the length is not known beforehand)
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cacheproof.chaos.wire.respstream import (
    MAX_BULK,
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_ELEMENTS,
    MAX_LINE,
    MAX_NUMBER,
    SHORT_CUT,
    Stream,
    read_length,
)
from cacheproof.chaos.wire.respvalues import RespError, RespMap, RespSet, RespValue, Verbatim, to_text

__all__ = ["Reply", "ReplyParser"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One message from the server.  A push ('>', RESP3 only) answers no request."""

    value: RespValue
    raw: bytes
    is_push: bool = False

    @property
    def is_error(self) -> bool:
        return isinstance(self.value, RespError)


_INTEGER = re.compile(rb"[+-]?[0-9]+")
_DOUBLE = re.compile(rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|nan)")


def _integer(text: bytes) -> RespValue:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)  # a ValueError too if there are more than MAX_DIGITS


def _double(text: bytes) -> RespValue:
    if not _DOUBLE.fullmatch(text):
        raise ValueError(text)
    return float(text)


def _boolean(text: bytes) -> RespValue:
    return (b"f", b"t").index(text) == 1


def _null(text: bytes) -> RespValue:
    if text:
        raise ValueError(text)
    return None


def _error(text: bytes) -> RespValue:
    return RespError(to_text(text))


def _verbatim(block: bytes) -> RespValue:
    if block[3:4] != b":":
        raise ValueError(block)
    return Verbatim(block[:3], block[4:])


# What stands in the line itself: how to read it (ValueError: it is malformed), how long it may be, its name.
_LINES: Mapping[int, tuple[Callable[[bytes], RespValue], int, str]] = {
    ord("+"): (lambda text: text, MAX_LINE, "a simple string"),
    ord("-"): (_error, MAX_LINE, "an error"),
    ord(":"): (_integer, MAX_NUMBER, "an integer"),
    ord("("): (_integer, MAX_DIGITS + 1, "a big number"),
    ord(","): (_double, MAX_LINE, "a double"),
    ord("#"): (_boolean, MAX_NUMBER, "#t or #f"),
    ord("_"): (_null, MAX_NUMBER, "a null"),
}
# What stands in a block behind the line, which gives the block's length.
_BLOCKS: Mapping[int, Callable[[bytes], RespValue]] = {
    ord("$"): lambda block: block,
    ord("!"): _error,
    ord("="): _verbatim,
}
# What an aggregate becomes when all of its elements are there.  An attribute becomes nothing.
_AGGREGATES: Mapping[int, Callable[[list[RespValue]], RespValue]] = {
    ord("*"): tuple,
    ord(">"): tuple,
    ord("~"): lambda items: RespSet(tuple(items)),
    ord("%"): lambda items: RespMap(tuple(zip(items[::2], items[1::2], strict=True))),
    ord("|"): lambda items: None,
}
_PUSH, _ATTRIBUTE, _STRING, _CHUNK, _END = ord(">"), ord("|"), ord("$"), ord(";"), ord(".")
_PAIRED = frozenset(b"%|")
_STREAMED = frozenset(b"*~%")
_NULLABLE = frozenset(b"$*")


class _Open:
    """An aggregate (or streamed string) whose elements are not all there yet.

    `size` is their number, None for a streamed one; `held` counts the bytes of a streamed string.
    """

    __slots__ = ("held", "items", "kind", "size")

    def __init__(self, kind: int, size: int | None) -> None:
        self.kind = kind
        self.size = size
        self.held = 0
        self.items: list[RespValue] = []


class _Mark:
    """What a step of the parser can give instead of a value."""


_WAIT, _GO_ON = _Mark(), _Mark()


class ReplyParser:
    """Cuts what a server sends into replies and pushes."""

    __slots__ = ("_kind", "_open", "_stream")

    def __init__(self) -> None:
        self._stream = Stream()
        self._open: list[_Open] = []
        self._kind = 0

    @property
    def pending(self) -> bool:
        """True while the beginning of a reply waits for its rest."""
        return bool(self._stream.buffer)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes.  Raises FramingError."""
        stream = self._stream
        if not stream.buffer and len(data) <= SHORT_CUT:
            reply = _whole_reply(data)
            if reply is not None:
                stream.passed(len(data))
                return [reply]
        stream.append(data)
        replies = []
        while (value := self._step()) is not _WAIT:
            if not isinstance(value, _Mark):
                replies.append(Reply(value, stream.cut(), self._kind == _PUSH))
        stream.drop()
        return replies

    def _step(self) -> RespValue | _Mark:
        """Read one element and put it where it belongs.  A value: it is the whole message."""
        begun = self._stream.at
        value = self._element()
        if value is _WAIT:
            self._stream.at = begun
        return value if isinstance(value, _Mark) else self._place(value, begun)

    def _element(self) -> RespValue | _Mark:
        stream, open_ = self._stream, self._open
        if stream.at == len(stream.buffer):
            return _WAIT
        kind = stream.buffer[stream.at]
        if open_ and open_[-1].kind == _STRING:
            return self._chunk(kind)
        if not open_:
            self._kind = kind
        if kind in _BLOCKS:
            return self._block(kind)
        if kind in _LINES:
            return self._line(kind)
        if kind in _AGGREGATES and (kind != _PUSH or not open_):
            return self._aggregate(kind)
        if kind == _END and open_ and open_[-1].size is None:
            return self._end()
        raise stream.error("the first byte of a reply" if not open_ else "the first byte of an element")

    def _line(self, kind: int) -> RespValue | _Mark:
        convert, limit, what = _LINES[kind]
        begun = self._stream.at
        line = self._stream.line(limit + 1)
        if line is None:
            return _WAIT
        try:
            return convert(line[1:])
        except ValueError:
            raise self._stream.error(what, begun) from None

    def _length(self, kind: int, limit: int, *, streamed: bool) -> int | None | _Mark:
        """The length in the line of a string or aggregate; -1 for a null, None for "?"."""
        begun = self._stream.at
        line = self._stream.line(MAX_NUMBER)
        if line is None:
            return _WAIT
        if streamed and line[1:] == b"?":
            return None
        try:
            length = read_length(line[1:])
        except ValueError:
            length = limit + 1
        if length > limit or (length < 0 and kind not in _NULLABLE):
            raise self._stream.error(f"{chr(kind)} and a length of at most {limit}", begun)
        return length

    def _block(self, kind: int) -> RespValue | _Mark:
        begun = self._stream.at
        size = self._length(kind, MAX_BULK, streamed=kind == _STRING)
        if isinstance(size, _Mark):
            return size
        if size is None:
            return self._begin(_STRING, None, begun)
        if size < 0:
            return None
        block = self._stream.block(size)
        if block is None:
            return _WAIT
        try:
            return _BLOCKS[kind](block)
        except ValueError:
            raise self._stream.error("three letters and a colon in a verbatim string", begun) from None

    def _aggregate(self, kind: int) -> RespValue | _Mark:
        begun = self._stream.at
        size = self._length(kind, MAX_ELEMENTS, streamed=kind in _STREAMED)
        if isinstance(size, _Mark):
            return size
        if size is not None and size < 0:
            return None
        if size == 0:
            return _GO_ON if kind == _ATTRIBUTE else _AGGREGATES[kind]([])
        return self._begin(kind, size and size * 2 if kind in _PAIRED else size, begun)

    def _begin(self, kind: int, size: int | None, begun: int) -> _Mark:
        if len(self._open) == MAX_DEPTH:
            raise self._stream.error(f"at most {MAX_DEPTH} aggregates inside each other", begun)
        self._open.append(_Open(kind, size))
        return _GO_ON

    def _end(self) -> RespValue | _Mark:
        """The end mark of a streamed aggregate."""
        begun = self._stream.at
        line = self._stream.line(MAX_NUMBER)
        if line is None:
            return _WAIT
        innermost = self._open[-1]
        if line != b"." or (innermost.kind in _PAIRED and len(innermost.items) % 2):
            raise self._stream.error("an end mark, and in a map a value for each key", begun)
        self._open.pop()
        return _AGGREGATES[innermost.kind](innermost.items)

    def _chunk(self, kind: int) -> RespValue | _Mark:
        """A piece of a streamed string; an empty one ends it."""
        begun = self._stream.at
        if kind != _CHUNK:
            raise self._stream.error("; and the length of a chunk")
        size = self._length(kind, MAX_BULK, streamed=False)
        if isinstance(size, _Mark):
            return size
        innermost = self._open[-1]
        if not size:
            self._open.pop()
            return b"".join(chunk for chunk in innermost.items if isinstance(chunk, bytes))
        chunk = self._stream.block(size)
        if chunk is None:
            return _WAIT
        innermost.held += size
        if innermost.held > MAX_BULK:
            raise self._stream.error(f"at most {MAX_BULK} bytes in a streamed string", begun)
        innermost.items.append(chunk)
        return _GO_ON

    def _place(self, value: RespValue, begun: int) -> RespValue | _Mark:
        """Put a value into the innermost open aggregate; one that is complete now is a value itself."""
        while self._open:
            innermost = self._open[-1]
            if innermost.size is None and len(innermost.items) == MAX_ELEMENTS:
                raise self._stream.error(f"at most {MAX_ELEMENTS} elements in a streamed aggregate", begun)
            innermost.items.append(value)
            if innermost.size is None or len(innermost.items) < innermost.size:
                return _GO_ON
            self._open.pop()
            if innermost.kind == _ATTRIBUTE:
                return _GO_ON
            value = _AGGREGATES[innermost.kind](innermost.items)
        return value


def _whole_reply(data: bytes) -> Reply | None:
    """Rule 4 for replies: `data` as a reply if it is exactly one of the usual ones or one bulk string."""
    if len(data) <= _USUAL_SIZE and data in _USUAL:
        return _USUAL[data]
    header, _, rest = data.partition(b"\r\n")
    if rest[-2:] == b"\r\n" and header == b"$%d" % (len(rest) - 2):
        return Reply(rest[:-2], data)
    return None


_USUAL: Mapping[bytes, Reply] = {
    reply.raw: reply
    for reply in (
        Reply(b"OK", b"+OK\r\n"),
        Reply(b"QUEUED", b"+QUEUED\r\n"),
        Reply(b"PONG", b"+PONG\r\n"),
        Reply(None, b"$-1\r\n"),
        Reply(None, b"_\r\n"),
        *(Reply(number, b":%d\r\n" % number) for number in range(-2, 100)),
    )
}
_USUAL_SIZE = max(map(len, _USUAL))
