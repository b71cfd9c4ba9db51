"""Framing of the Redis protocol, RESP2 and RESP3: where a message begins and ends, and what it says.

Bytes go in as they arrive, in pieces of any size; whole messages come out, each with the bytes it was made of
(`raw`), so that whoever passes them on changes nothing.  No sockets here.

Rule 1  The result depends on the bytes, never on how they were split.
Rule 2  No byte is examined twice, however small the pieces: time is linear in the size of the stream.
Rule 3  Whatever is not RESP raises FramingError with the offset in the stream; nothing else is ever raised.
        The messages that the same call had completed are lost with it, and the parser stays broken.
Rule 4  A small message that arrives whole (nearly every one does) takes a short cut that gives the same result.

Types of a reply, by first byte (https://redis.io/docs/latest/develop/reference/protocol-spec/):

    +simple  $bulk  =verbatim     -error  !bulk error     :integer  (big number  ,double  #boolean  _null
    *array  ~set  %map  >push     |attribute (of the value behind it, skipped)
    $? with ;chunks               *? ~? %? with an end mark "."  (streamed: the length is not known beforehand)
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cacheproof.chaos.wire.framing import FramingError

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

MAX_BULK: Final = 512 * 1024 * 1024
"""Bytes in one string: Redis' own `proto-max-bulk-len`."""
MAX_ELEMENTS: Final = 1024 * 1024
"""Elements (pairs of a map) in one aggregate, and arguments of a command."""
MAX_DEPTH: Final = 32
"""Aggregates inside each other."""
MAX_LINE: Final = 64 * 1024
"""Bytes in a line of text (simple strings, errors, inline commands): Redis' own limit for inline commands."""
MAX_NUMBER: Final = 32
"""Bytes in a line that holds a length or a scalar of bounded size."""
MAX_DIGITS: Final = 4300
"""Digits of a big number: what Python turns into an int and back without being told otherwise."""
_SHORT_CUT: Final = 16 * 1024
"""Bytes up to which Rule 4 is worth a try."""


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class RespError:
    """An error as a value: "WRONGTYPE Operation against …"."""

    text: str


@dataclass(frozen=True, slots=True)
class RespMap:
    """Pairs in the order of the wire; keys may be anything, so this is no dict."""

    pairs: tuple[tuple["RespValue", "RespValue"], ...]


@dataclass(frozen=True, slots=True)
class RespSet:
    """Members in the order of the wire."""

    members: tuple["RespValue", ...]


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A string for people, with its format of three letters ("txt", "mkd")."""

    format: bytes
    content: bytes


RespValue: TypeAlias = (
    bytes | int | float | None | RespError | RespMap | RespSet | Verbatim | tuple["RespValue", ...]
)
"""Simple and bulk strings are bytes, arrays and pushes tuples, booleans bool, big numbers int, nulls None."""


@dataclass(frozen=True, slots=True)
class Command:
    """One request: the verb and its arguments (never empty), and the bytes it came in."""

    args: tuple[bytes, ...]
    raw: bytes

    @classmethod
    def of(cls, *args: bytes | str | int) -> "Command":
        """The command of these arguments, encoded as clients encode it."""
        data = tuple(item if isinstance(item, bytes) else str(item).encode() for item in args)
        return cls(data, encode_command(*data))

    @property
    def name(self) -> str:
        """The verb in capitals; of a container command such as CLIENT SETINFO the first word."""
        return to_text(self.args[0].upper())


@dataclass(frozen=True, slots=True)
class Reply:
    """One message from the server.  A push ('>', RESP3 only) answers no request."""

    value: RespValue
    raw: bytes
    is_push: bool = False

    @property
    def is_error(self) -> bool:
        return isinstance(self.value, RespError)


# ── bytes that have arrived ─────────────────────────────────────────────────────────────────────────────────


class _Stream:
    """Bytes received and not yet cut into messages, read by whole lines and blocks.

    `at` is where reading goes on, `_start` where the present message began, `_scanned` up to where no line
    feed was found; all count from the start of the buffer, and `_base` is that start's place in the stream.
    """

    __slots__ = ("_base", "_broken", "_scanned", "_start", "at", "buffer")

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.at = 0
        self._start = 0
        self._scanned = 0
        self._base = 0
        self._broken: str | None = None

    def append(self, data: bytes) -> None:
        if self._broken is not None:
            raise FramingError(self._broken)
        self.buffer += data

    def passed(self, size: int) -> None:
        """Count bytes that took the short cut."""
        self._base += size

    def line(self, limit: int) -> bytes | None:
        """The next line without its CRLF, at most `limit` bytes of it; None while it is incomplete."""
        end = self.line_feed()
        size = (len(self.buffer) if end < 0 else end) - 1 - self.at  # an incomplete line may hold its CR
        if size > limit:
            raise self.error(f"a line of at most {limit} bytes that ends with CRLF")
        if end < 0:
            return None
        line = bytes(self.buffer[self.at : end + 1])
        if line.find(b"\r") != size:
            raise self.error("CR and LF only together, at the end of the line")
        self.at = end + 1
        return line[:-2]

    def line_feed(self) -> int:
        """Where the present line ends, -1 while it is incomplete."""
        end = self.buffer.find(b"\n", max(self.at, self._scanned))
        if end < 0:
            self._scanned = len(self.buffer)
        return end

    def block(self, size: int) -> bytes | None:
        """The next `size` bytes, which CRLF must follow; None while they are incomplete."""
        end = self.at + size
        if len(self.buffer) < end + 2:
            return None
        if self.buffer[end : end + 2] != b"\r\n":
            raise self.error(f"CRLF after a string of {size} bytes", end)
        block = bytes(self.buffer[self.at : end])
        self.at = end + 2
        return block

    def cut(self) -> bytes:
        """The bytes of the message that ends here; the next one begins here."""
        raw = bytes(self.buffer[self._start : self.at])
        self._start = self.at
        return raw

    def drop(self) -> None:
        """Free the bytes of the messages that were cut."""
        if self._start:
            del self.buffer[: self._start]
            self._base += self._start
            self.at -= self._start
            self._scanned = max(0, self._scanned - self._start)
            self._start = 0

    def error(self, expected: str, at: int | None = None) -> FramingError:
        """The error to raise for what is found at `at` (where reading stands).  The stream is broken now."""
        at = self.at if at is None else at
        found = bytes(self.buffer[at : at + 32])
        self._broken = (
            f"byte {self._base + at} of the stream: found {found!r}, expected {expected}; "
            f"close this connection"
        )
        return FramingError(self._broken)


def _length(text: bytes) -> int:
    """A length or -1.  Raises ValueError for all else that int() would take ("1_0", " 1", "+1")."""
    if text.isdigit() or text == b"-1":
        return int(text)
    raise ValueError(text)


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────


class CommandParser:
    """Cuts what a client sends into commands.

    Inline commands ("SET key 'some value'") are taken as the server takes them; empty ones ("*0", a blank
    line) mean nothing to it and are left out.
    """

    __slots__ = ("_args", "_missing", "_stream")

    def __init__(self) -> None:
        self._stream = _Stream()
        self._args: list[bytes] = []
        self._missing = 0

    @property
    def pending(self) -> bool:
        """True while the beginning of a command waits for its rest."""
        return bool(self._stream.buffer)

    def feed(self, data: bytes) -> list[Command]:
        """The commands that `data` completes.  Raises FramingError."""
        stream = self._stream
        if not stream.buffer and len(data) <= _SHORT_CUT:
            command = _whole_command(data)
            if command is not None:
                stream.passed(len(data))
                return [command]
        stream.append(data)
        commands = []
        while self._read():
            raw = stream.cut()
            if self._args:
                commands.append(Command(tuple(self._args), raw))
                self._args = []
        stream.drop()
        return commands

    def _read(self) -> bool:
        """Read on; True when a command (perhaps an empty one) is complete."""
        stream = self._stream
        if not self._missing:
            if stream.at == len(stream.buffer):
                return False
            if stream.buffer[stream.at] != 0x2A:
                return self._read_inline()
            count = self._read_length(b"*", MAX_ELEMENTS, "an array of arguments")
            if count is None:
                return False
            self._missing = max(0, count)
        while self._missing:
            if not self._read_argument():
                return False
            self._missing -= 1
        return True

    def _read_argument(self) -> bool:
        stream, begun = self._stream, self._stream.at
        size = self._read_length(b"$", MAX_BULK, "a bulk string")
        argument = None
        if size is not None:
            if size < 0:
                stream.at = begun
                raise stream.error("an argument that is not null")
            argument = stream.block(size)
        if argument is None:
            stream.at = begun
            return False
        self._args.append(argument)
        return True

    def _read_length(self, kind: bytes, limit: int, what: str) -> int | None:
        stream, begun = self._stream, self._stream.at
        if stream.buffer[begun : begun + 1] not in (kind, b""):
            raise stream.error(f"{kind.decode()} and the length of {what}")
        line = stream.line(MAX_NUMBER)
        if line is None:
            return None
        try:
            length = _length(line[1:])
        except ValueError:
            length = limit + 1
        if length > limit:
            stream.at = begun
            raise stream.error(f"{kind.decode()} and the length of {what}, at most {limit}")
        return length

    def _read_inline(self) -> bool:
        stream = self._stream
        end = stream.line_feed()
        size = (len(stream.buffer) if end < 0 else end) - stream.at
        if size > MAX_LINE:
            raise stream.error(f"an inline command of at most {MAX_LINE} bytes")
        if end < 0:
            return False
        args = _split_inline(bytes(stream.buffer[stream.at : end]).strip())
        if args is None:
            raise stream.error("an inline command with balanced quotes")
        stream.at = end + 1
        self._args = args
        return True


def _whole_command(data: bytes) -> Command | None:
    """Rule 4 for requests: `data` as a command if it is exactly one, in the usual form."""
    parts = data.split(b"\r\n")
    count = len(parts) // 2 - 1
    if len(parts) % 2 or parts[0] != b"*%d" % count or parts[-1] or not count:
        return None
    args = parts[2::2]
    for header, argument in zip(parts[1::2], args, strict=False):
        if header != b"$%d" % len(argument):
            return None
    return Command(tuple(args), data)


_INLINE = re.compile(
    rb"""\s*+([^\s"']*+)(?:"((?:\\.|[^"\\])*+)"|'((?:\\'|[^'])*+)')?(?=\s|\Z)""",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED: Mapping[bytes, bytes] = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def _split_inline(line: bytes) -> list[bytes] | None:
    """The words of an inline command, as `sdssplitargs` of Redis splits them; None if quotes do not match."""
    args: list[bytes] = []
    at = 0
    while at < len(line):
        found = _INLINE.match(line, at)
        if found is None:
            return None
        plain, double, single = found.groups(default=b"")
        args.append(plain + _ESCAPE.sub(_unescape, double) + single.replace(rb"\'", b"'"))
        at = found.end()
    return args


def _unescape(escape: re.Match[bytes]) -> bytes:
    code, letter = escape.groups()
    return bytes.fromhex(code.decode()) if code else _ESCAPED.get(letter, letter)


# ── replies ─────────────────────────────────────────────────────────────────────────────────────────────────

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
        self._stream = _Stream()
        self._open: list[_Open] = []
        self._kind = 0

    @property
    def pending(self) -> bool:
        """True while the beginning of a reply waits for its rest."""
        return bool(self._stream.buffer)

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes.  Raises FramingError."""
        stream = self._stream
        if not stream.buffer and len(data) <= _SHORT_CUT:
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
            length = _length(line[1:])
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


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────


def encode_command(*args: bytes | str | int) -> bytes:
    """A request, as clients send it."""
    out = [b"*%d\r\n" % len(args)]
    for argument in args:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        out.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(out)


def encode_simple(text: str) -> bytes:
    """A simple string such as OK.  Line breaks in it become blanks, as the server does it."""
    return b"+%b\r\n" % _one_line(text)


def encode_error(text: str) -> bytes:
    """An error; `text` begins with its code ("ERR …").  Line breaks in it become blanks."""
    return b"-%b\r\n" % _one_line(text)


def encode_integer(n: int) -> bytes:
    """An integer."""
    return b":%d\r\n" % n


def encode_bulk(data: bytes | None, resp3: bool) -> bytes:
    """A bulk string, or the null of the protocol's version."""
    if data is None:
        return b"_\r\n" if resp3 else b"$-1\r\n"
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _one_line(text: str) -> bytes:
    return text.encode().translate(bytes.maketrans(b"\r\n", b"  "))


def to_text(data: bytes) -> str:
    r"""Bytes for people: UTF-8, and what is not as readable escapes (b"\xff1" is "\\xff1")."""
    return data.decode("utf-8", "backslashreplace")


def reply_to_json(value: RespValue) -> Any:
    """A reply in canonical form: what JSON can hold, equal for RESP2 and RESP3 where the server says the same.

    Strings become str, null None, an error `{"error": text}`, an array a list, a set a sorted list, a map a
    dict whose keys are str (JSON text for what is neither string nor number), an infinite double or one that
    is no number a str ("inf", "-inf", "nan").
    """
    match value:
        case bytes():
            return to_text(value)
        case float() if value - value != 0:  # infinite, or no number
            return str(value)
        case tuple():
            return [reply_to_json(item) for item in value]
        case RespError(text):
            return {"error": text}
        case RespMap(pairs):
            return {_json_key(key): reply_to_json(item) for key, item in pairs}
        case RespSet(members):
            return sorted(map(reply_to_json, members), key=_json_text)
        case Verbatim(_, content):
            return to_text(content)
    return value


def _json_key(key: RespValue) -> str:
    plain = reply_to_json(key)
    return plain if isinstance(plain, str) else _json_text(plain)


def _json_text(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=True)
