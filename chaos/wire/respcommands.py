"""Requests of the Redis protocol: a command, and the parser that cuts what a client sends into commands.

The rules are those of resp.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cacheproof.chaos.wire.respencoding import encode_command
from cacheproof.chaos.wire.respstream import (
    MAX_BULK,
    MAX_ELEMENTS,
    MAX_LINE,
    MAX_NUMBER,
    SHORT_CUT,
    Stream,
    read_length,
)
from cacheproof.chaos.wire.respvalues import to_text

__all__ = ["Command", "CommandParser"]


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
        verb = self.args[0]
        return _NAMES.get(verb) or _learn_name(verb)


# Asked for many times in every exchange, so the usual verbs are remembered.
_NAMES: dict[bytes, str] = {}
_MOST_NAMES, _LONGEST_NAME = 1024, 32


def _learn_name(verb: bytes) -> str:
    name = to_text(verb.upper())
    if len(_NAMES) < _MOST_NAMES and len(verb) <= _LONGEST_NAME:
        _NAMES[verb] = name
    return name


class CommandParser:
    """Cuts what a client sends into commands.

    Inline commands ("SET key 'some value'") are taken as the server takes them; empty ones ("*0", a blank
    line) mean nothing to it and are left out.
    """

    __slots__ = ("_args", "_missing", "_stream")

    def __init__(self) -> None:
        self._stream = Stream()
        self._args: list[bytes] = []
        self._missing = 0

    @property
    def pending(self) -> bool:
        """True while the beginning of a command waits for its rest."""
        return bool(self._stream.buffer)

    def feed(self, data: bytes) -> list[Command]:
        """The commands that `data` completes.  Raises FramingError."""
        stream = self._stream
        if not stream.buffer and len(data) <= SHORT_CUT:
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
            length = read_length(line[1:])
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
