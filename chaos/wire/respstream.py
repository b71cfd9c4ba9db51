"""Bytes of the Redis protocol that have arrived and are not yet cut into messages, and how long parts may be.

Both parsers read through a `Stream`: by whole lines and by blocks of a known size.  It examines no byte twice,
and it knows the place of every byte in the connection, so that what is wrong can be named with its offset.
"""

from typing import Final

from cacheproof.chaos.wire.framing import FramingError

__all__ = [
    "MAX_BULK",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "MAX_ELEMENTS",
    "MAX_LINE",
    "MAX_NUMBER",
    "SHORT_CUT",
    "Stream",
    "read_length",
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
SHORT_CUT: Final = 16 * 1024
"""Bytes up to which the short cut for whole messages is worth a try."""


class Stream:
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


def read_length(text: bytes) -> int:
    """A length or -1.  Raises ValueError for all else that int() would take ("1_0", " 1", "+1")."""
    if text.isdigit() or text == b"-1":
        return int(text)
    raise ValueError(text)
