"""The parts that payloads of PostgreSQL messages are made of: zero-ended strings, counted numbers and values.

Each reader takes the payload and a position and returns what it read and the position behind it.  What does
not read raises ValueError, IndexError or struct.error; whoever knows the message turns `UNREADABLE` into a
FramingError by `unreadable`.  A value that is longer than the payload is noticed by `expect_end`.
"""

from struct import Struct, error, unpack_from

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgmessages import Message

__all__ = [
    "UNREADABLE",
    "Columns",
    "expect_end",
    "for_each",
    "read_columns",
    "read_cstring",
    "read_numbers",
    "read_values",
    "unreadable",
]

UNREADABLE = (ValueError, IndexError, error)

Columns = tuple[tuple[int, bool], ...]
"""Type OID of each column, and whether it comes in binary format."""


_COUNT, _LENGTH = Struct(">H"), Struct(">i")
_COLUMN = Struct(">IhIhih")  # table, attribute, type, size, modifier, format


def unreadable(message: Message, cause: Exception) -> FramingError:
    """The error that names a message whose payload does not read."""
    return FramingError(
        f"message {message.tag!r} of length {len(message.raw) - 1} has a payload that does not read as one: "
        f"{message.payload[:80]!r} ({cause})"
    )


def read_cstring(payload: bytes, position: int) -> tuple[bytes, int]:
    """A string that ends with a zero byte."""
    end = payload.index(b"\0", position)
    return payload[position:end], end + 1


def read_numbers(payload: bytes, position: int, kind: str) -> tuple[tuple[int, ...], int]:
    """A count (int16) and so many numbers; `kind` is struct's letter for one."""
    count: int = _COUNT.unpack_from(payload, position)[0]
    if count == 0:
        return (), position + 2
    width = 4 if kind == "I" else 2
    return unpack_from(f">{count}{kind}", payload, position + 2), position + 2 + count * width


def read_values(payload: bytes, position: int) -> tuple[list[bytes | None], int]:
    """A count (int16) and so many values, each with its length (−1: NULL)."""
    count: int = _COUNT.unpack_from(payload, position)[0]
    position += 2
    found: list[bytes | None] = []
    for _ in range(count):
        length: int = _LENGTH.unpack_from(payload, position)[0]
        position += 4
        if length < -1:
            raise ValueError(f"a value of length {length}")
        found.append(None if length < 0 else payload[position : position + length])
        position += max(length, 0)
    return found, position


def expect_end(payload: bytes, position: int) -> None:
    """Raises ValueError unless `position` is the end of the payload."""
    if position != len(payload):
        raise ValueError(f"{len(payload)} bytes instead of {position}")


def for_each(formats: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Format codes as the protocol abbreviates them: none means text, one is meant for all."""
    return formats if len(formats) == count else (formats[0] if formats else 0,) * count


def read_columns(payload: bytes) -> Columns:
    """The payload of a RowDescription."""
    count: int = _COUNT.unpack_from(payload)[0]
    position = _COUNT.size
    columns = []
    for _ in range(count):
        position = payload.index(b"\0", position) + 1
        _, _, oid, _, _, code = _COLUMN.unpack_from(payload, position)
        columns.append((oid, code == 1))
        position += _COLUMN.size
    expect_end(payload, position)
    return tuple(columns)
