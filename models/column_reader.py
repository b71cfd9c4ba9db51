"""Reads a history on disk (jsonl.py) into columns: millions of lines in seconds.

Rule 1. Lines come in pieces of any length and are taken in blocks: a block is decoded at once, and turned into
        arrays at once.  Between blocks remain the arrays and the calls that are still open, never the text.
Rule 2. A return ends the call that its process has open; what never returns is ambiguous (info).

            line 5   A invokes a read ──┐
            line 6   B invokes a write  │ ──┐         row 0: A's read, [3, 5]
            line 7   A ok ──────────────┘   │         row 1: B's write, [4, …
            line 8   (end of the file)      ╵

Rule 3. The rules of a line are those of jsonl.py, and so are the words for what breaks them.  Decoding is fast
        and terse; what it refuses, or what looks unusual (a member more than expected), is looked at again by
        the strict reader.  Nothing is guessed.
Rule 4. Exchanges, commits, faults and phases are not kept.  Of them only index and time are looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import attrgetter, methodcaller
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from cacheproof.models.columns import DELETE, FAIL, INFO, NO_VALUE, OK, PENDING, WRITE, Columns, Tables
from cacheproof.models.event import Invoked
from cacheproof.models.jsonl import EventReader, read_lines
from cacheproof.models.malformed import Malformed

__all__ = ["read_columns"]

_BLOCK = 1 << 20  # bytes of text that are decoded at once
_FIRST = 2  # the line of event 0
_BYTE = re.compile(r"\(byte (\d+)\)")

_count_members = methodcaller("count", b'":')  # at least: a text may contain it, too


def read_columns(source: Iterable[bytes]) -> Columns:
    """The columns of a history on disk, from its lines or from pieces of any length; an open binary file will do.

    Raises Malformed, a UsageError with line and column, for a line that is not an event, an index that is
    not the next one, and a return without an invocation.
    """
    blocks = _blocks(source)
    first, more, rest = next(blocks, b"").partition(b"\n")
    head, _ = read_lines([_text(1, first)])
    reader = _Reader(Tables(head.initial))
    for block in chain([rest] if more else [], blocks):
        reader.take(block)
    return reader.columns()


def _blocks(source: Iterable[bytes]) -> Iterator[bytes]:
    """A text that comes in pieces, in blocks of whole lines, without the line feed at the end of each."""
    pieces: list[bytes] = []
    size = 0
    for piece in source:
        pieces.append(piece)
        size += len(piece)
        if size >= _BLOCK and b"\n" in piece:
            block, _, rest = b"".join(pieces).rpartition(b"\n")
            yield block
            pieces, size = [rest], len(rest)
    if last := b"".join(pieces):
        yield last.removesuffix(b"\n")


# -- what a line holds -----------------------------------------------------------------------------------------

_Index = Annotated[int, msgspec.Meta(ge=0, lt=PENDING)]
_AnyValue = str | int | float | bool | list[Any] | None


class _Event(msgspec.Struct, gc=False):
    index: _Index
    time: float


class _Call(_Event, tag="invoke"):
    process: _Index
    f: str
    key: str | None
    value: _AnyValue
    final: bool = False

    def is_plain(self, members: int) -> bool:
        """True if its line held nothing but this."""
        return members == 7 + self.final


class _End(_Event):
    outcome: ClassVar[int]
    process: _Index
    value: _AnyValue
    error: str | None = None
    f: str | msgspec.UnsetType = msgspec.UNSET
    key: str | msgspec.UnsetType | None = msgspec.UNSET

    def is_plain(self, members: int, call: _Call) -> bool:
        """True if its line held nothing but this, and what it repeats of the call is the same."""
        repeated = (self.f is not msgspec.UNSET) + (self.key is not msgspec.UNSET)
        if members != 5 + (self.error is not None) + repeated:
            return False
        return not repeated or (self.f in (msgspec.UNSET, call.f) and self.key in (msgspec.UNSET, call.key))


class _Ok(_End, tag="ok"):
    outcome = OK


class _Fail(_End, tag="fail"):
    outcome = FAIL


class _Info(_End, tag="info"):
    outcome = INFO


class _Exchange(_Event, tag="exchange"):
    pass


class _Fault(_Event, tag="fault"):
    pass


class _Commit(_Event, tag="commit"):
    pass


class _Phase(_Event, tag="phase"):
    pass


_AnyEvent = _Call | _Ok | _Fail | _Info | _Exchange | _Fault | _Commit | _Phase
_ENDS = frozenset({_Ok, _Fail, _Info})
_LINE = msgspec.json.Decoder(_AnyEvent)
_REFUSALS = (msgspec.MsgspecError, RecursionError, TypeError, UnicodeDecodeError)


class _Refused(Exception):
    """The strict reader will say why."""


class _Reader:
    """Takes blocks of lines, and makes columns of them in the end."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._taken = 0  # events so far
        self._open: dict[int, _Call] = {}  # the calls that have not returned, by process
        self._parts: dict[str, list[npt.NDArray[Any]]] = {}
        self._keep([], [], [])  # so that every column has its type, even if there is nothing in it

    def take(self, block: bytes) -> None:
        """Add the next lines."""
        before, lines = dict(self._open), block.split(b"\n")
        try:
            events: list[_AnyEvent] = list(map(_LINE.decode, lines))
            self._check_indices(events)
            is_plain = self._pair(events, map(_count_members, lines))
        except (*_REFUSALS, _Refused):
            self._check_strictly(lines, before)
            raise self._refusal(lines) from None
        if not is_plain or _has_blanks(block):
            self._check_strictly(lines, before)
        self._taken += len(lines)

    def _check_indices(self, events: list[_AnyEvent]) -> None:
        found = _column(events, "index", np.int64)
        if not np.array_equal(found, np.arange(self._taken, self._taken + len(found))):
            raise _Refused

    def _pair(self, events: Sequence[Any], members: Iterable[int]) -> bool:
        """Keep the calls, the returns, and for each return the index of the call that it ends.

        True if no line held other members than those that are known.
        """
        calls: list[_Call] = []
        ends: list[_End] = []
        ended: list[int] = []
        is_plain = True
        opened = self._open
        for event, count in zip(events, members, strict=True):
            kind = type(event)  # quicker than isinstance
            if kind is _Call:
                if event.process in opened:
                    raise _Refused
                if count != 7 and not event.is_plain(count):
                    is_plain = False
                opened[event.process] = event
                calls.append(event)
            elif kind in _ENDS:
                call = opened.pop(event.process, None)
                if call is None:
                    raise _Refused
                if count != 5 and not event.is_plain(count, call):
                    is_plain = False
                ended.append(call.index)
                ends.append(event)
        self._keep(calls, ends, ended)
        return is_plain

    def _keep(self, calls: list[_Call], ends: list[_End], ended: list[int]) -> None:
        tables = self._tables
        found = {
            "process": _column(calls, "process", np.int64),
            "f": tables.methods.numbers(map(attrgetter("f"), calls)),
            "key": tables.key_numbers(map(attrgetter("key"), calls)),
            "value": tables.values.numbers(map(attrgetter("value"), calls)),
            "final": _column(calls, "final", np.bool_),
            "invoked": _column(calls, "index", np.int64),
            "invoked_s": _column(calls, "time", np.float64),
            "ended": np.fromiter(ended, np.int64, len(ended)),
            "outcome": _column(ends, "outcome", np.int8),
            "result": tables.values.numbers(map(attrgetter("value"), ends)),
            "error": tables.errors.numbers(map(attrgetter("error"), ends)),
            "returned": _column(ends, "index", np.int64),
            "returned_s": _column(ends, "time", np.float64),
        }
        for name, part in found.items():
            self._parts.setdefault(name, []).append(part)

    def columns(self) -> Columns:
        """Everything that was taken.  What has not returned is ambiguous (info)."""
        parts = {name: np.concatenate(self._parts.pop(name)) for name in tuple(self._parts)}
        rows, count = np.searchsorted(parts["invoked"], parts["ended"]), len(parts["invoked"])
        settled = parts["outcome"] != INFO
        ok = parts["outcome"] == OK
        result = _spread(count, rows[ok], parts["result"][ok], NO_VALUE)
        outcome = _spread(count, rows, parts["outcome"], INFO)
        # What a write or a delete returns (a count, perhaps) is not what it wrote.
        reads = (outcome == OK) & (parts["value"] == NO_VALUE) & ~np.isin(parts["f"], (WRITE, DELETE))
        return self._tables.columns(
            process=parts["process"],
            f=parts["f"],
            key=parts["key"],
            value=np.where(reads, result, parts["value"]),
            result=result,
            error=_spread(count, rows, parts["error"], NO_VALUE),
            outcome=outcome,
            final=parts["final"],
            invoked=parts["invoked"],
            returned=_spread(count, rows[settled], parts["returned"][settled], PENDING),
            invoked_s=parts["invoked_s"],
            returned_s=_spread(count, rows[settled], parts["returned_s"][settled], np.nan),
        )

    def _check_strictly(self, lines: list[bytes], opened: Mapping[int, _Call]) -> None:
        """What jsonl.py has against these lines: raises Malformed for the first that breaks a rule."""
        calls = {
            process: (call.index + _FIRST, Invoked(call.index, call.time, process, call.f, call.key, None))
            for process, call in opened.items()
        }
        reader = EventReader(self._taken, calls)
        for number, line in enumerate(lines, self._taken + _FIRST):
            reader.read(_text(number, line))

    def _refusal(self, lines: list[bytes]) -> Malformed:
        """What only the fast decoder has against these lines: NaN, half a surrogate pair, and the like."""
        refusals = ((place, _objection(line)) for place, line in enumerate(lines, self._taken + _FIRST))
        number, error = next((number, error) for number, error in refusals if error)
        place = _BYTE.search(str(error))
        prefix = lines[number - _FIRST - self._taken][: int(place[1])] if place else b""
        said = _BYTE.sub("", str(error)).strip().lower()
        return Malformed(
            number, len(prefix.decode()) + 1, f"{said}; expected JSON without NaN and half characters"
        )


def _has_blanks(block: bytes) -> bool:
    """True if there may be a name in it with a blank behind it, which `_count_members` does not see."""
    return b" :" in block or any(blank in block and blank + b":" in block for blank in (b"\t", b"\r"))


def _objection(line: bytes) -> msgspec.MsgspecError | None:
    try:
        _LINE.decode(line)
    except msgspec.MsgspecError as error:
        return error
    return None


def _text(number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        column = len(line[: error.start].decode()) + 1
        raise Malformed(number, column, f"byte {line[error.start]:#04x}; expected UTF-8") from None


def _column(events: Sequence[msgspec.Struct], name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.fromiter(map(attrgetter(name), events), kind, len(events))


def _spread(count: int, rows: npt.NDArray[Any], values: npt.NDArray[Any], rest: float) -> npt.NDArray[Any]:
    """`count` values: those given, in these rows, and `rest` elsewhere."""
    whole = np.full(count, rest, values.dtype)
    whole[rows] = values
    return whole
