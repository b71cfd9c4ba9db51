"""When PostgreSQL has said all it has to say to a cycle, and what it said.

A tracker counts the server's answers to one cycle: it is complete exactly when the server falls silent.

1. Every message of a cycle has its answers, in order (`_ANSWERS`); ReadyForQuery follows Sync, Query and
   FunctionCall.
2. An error ends them: the server then skips all messages up to the next Sync, so that cycles without a Sync
   get no reply at all (`complete` from the start).
3. COPY FROM STDIN in a simple Query is complete with its ReadyForQuery, which follows the data.  In the
   extended protocol the cycle is complete with the server's invitation to send data (the Sync behind it is
   swallowed); the answer to the COPY comes with that to the client's next Sync.

Source: PostgreSQL documentation, "Frontend/Backend Protocol", Message Flow; src/backend/tcop/postgres.c.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgmessages import Message
from cacheproof.chaos.wire.pgpayload import (
    UNREADABLE,
    Columns,
    expect_end,
    read_columns,
    read_numbers,
    read_values,
    unreadable,
)
from cacheproof.chaos.wire.pgsession import Cycle, Portal, Prepared, Session, Step
from cacheproof.chaos.wire.pgsql import Statement
from cacheproof.chaos.wire.pgvalues import decode_text, decode_value
from cacheproof.models.operation import Value

__all__ = ["CycleResult", "ReplyTracker", "result_to_json"]

MAX_ROWS = 50
"""So many rows of a reply are kept for the record."""


@dataclass(frozen=True, slots=True)
class CycleResult:
    """The reply to a cycle.

    `tags` are the command tags ("UPDATE 1"; "SUSPENDED" for a portal that has more rows), `rows` those of
    all result sets in order, the first 50 of them (`truncated` if there were more).  `error` has "sqlstate"
    and "message".  `status` is that of ReadyForQuery: "I", "T" or "E"; None if there was none.
    """

    tags: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    error: Mapping[str, str] | None = None
    status: str | None = None
    truncated: bool = False


_ASYNCHRONOUS = frozenset({b"A", b"N", b"S"})  # notification, notice, parameter status
_COPY_BEGINS: Mapping[bytes, Literal["in", "out"]] = {b"G": "in", b"H": "out", b"W": "in"}
_COPYING = dict.fromkeys((*_COPY_BEGINS, b"d", b"c"), False)

# Message of the client → what the server may answer, and whether that is its last answer.  Query and
# FunctionCall are over with ReadyForQuery only; "c" stands for a COPY that an earlier cycle began.
_ANSWERS: Mapping[bytes, Mapping[bytes, bool]] = {
    b"P": {b"1": True},
    b"B": {b"2": True},
    b"C": {b"3": True},
    b"D": {b"t": False, b"T": True, b"n": True},
    b"E": {b"D": False, b"C": True, b"I": True, b"s": True, **_COPYING},
    b"F": {b"V": False},
    b"Q": {b"T": False, b"D": False, b"C": False, b"I": False, **_COPYING},
    b"c": {b"C": True},
}
_LAST_STEP: Mapping[str, tuple[Step, ...]] = {"query": ((b"Q", None),), "function": ((b"F", None),)}
_UNTIL_READY = frozenset({b"F", b"Q"})
_FATAL = ("FATAL", "PANIC")
_UNKNOWN = Portal(Prepared(""), Statement(""))


class ReplyTracker:
    """What the server still has to say to one cycle, and what it has said.

    `complete` is True once nothing more will come; for some cycles that is so from the start.  `in_copy` is
    "in" while the server expects COPY data, "out" while it sends them.
    """

    __slots__ = (
        "_at",
        "_columns",
        "_error",
        "_rows",
        "_session",
        "_status",
        "_steps",
        "_synced",
        "_tags",
        "_truncated",
        "complete",
        "in_copy",
    )

    def __init__(self, cycle: Cycle, session: Session | None = None) -> None:
        self._session = session or Session()
        self._synced = cycle.ends_with == "sync"
        skipped = self._session.skipping
        self._steps = () if skipped else cycle.steps + _LAST_STEP.get(cycle.ends_with, ())
        self._at = 0
        self._columns: Columns | None = None
        self._tags: list[str] = []
        self._rows: list[tuple[Value, ...]] = []
        self._error: Mapping[str, str] | None = None
        self._status: str | None = None
        self._truncated = False
        self.complete = cycle.ends_with == "terminate" or (skipped and not self._synced)
        self.in_copy: Literal["in", "out"] | None = None

    @property
    def result(self) -> CycleResult:
        """What has come up to now."""
        return CycleResult(tuple(self._tags), tuple(self._rows), self._error, self._status, self._truncated)

    def feed(self, message: Message) -> bool:
        """True when the reply is complete.

        What the server says of its own accord (notices, notifications, settings) does not count and may
        come at any time.  Raises FramingError for an answer to nothing that was asked.
        """
        if message.tag in _ASYNCHRONOUS:
            return self.complete
        if self.complete:
            raise self._unexpected(message)
        try:
            if message.tag == b"Z":
                self._ready(message)
            elif message.tag == b"E":
                self._fail(message.payload)
            else:
                self._answer(message)
        except UNREADABLE as cause:
            raise unreadable(message, cause) from None
        return self.complete

    def _unexpected(self, message: Message) -> FramingError:
        waiting = [tag.decode() for tag, _ in self._steps[self._at :]]
        return FramingError(
            f"message {message.tag!r} of length {len(message.raw) - 1} from the server answers nothing; "
            f"expected answers to {waiting!r}"
        )

    def _answer(self, message: Message) -> None:
        step = self._steps[self._at] if self._at < len(self._steps) else (b"", None)
        last = _ANSWERS.get(step[0], {}).get(message.tag)
        if last is None:
            raise self._unexpected(message)
        take = _TAKES.get(message.tag)
        if take is not None:
            take(self, step[1], message)
        if last:
            self._at += 1
            self._columns = None
            if self._at == len(self._steps) and not self._synced:
                self.complete = True

    def _ready(self, message: Message) -> None:
        unanswered = {tag for tag, _ in self._steps[self._at :]}
        # The error that ended a COPY may have come before this tracker was there.
        if unanswered - _UNTIL_READY - {b"c"} or not (self._synced or unanswered & _UNTIL_READY):
            raise self._unexpected(message)
        self._status = message.payload.decode("ascii")
        self._session.status, self._session.skipping = self._status, False
        self.in_copy, self.complete = None, True

    def _fail(self, payload: bytes) -> None:
        fields = {part[:1]: decode_text(part[1:]) for part in payload.split(b"\0")}
        found = {"sqlstate": fields.get(b"C", ""), "message": fields.get(b"M", "")}
        # A second error says only that the first was fatal.
        self._error = self._error or found
        fatal = fields.get(b"V", fields.get(b"S")) in _FATAL
        failed = self._steps[self._at : self._at + 1]
        # These are followed by ReadyForQuery in any case; all else is skipped up to the next Sync.
        alone = bool(failed) and failed[0][0] in _UNTIL_READY
        skips = not (alone or self._synced)
        self._session.skipping = skips
        self._steps, self._at = (failed if alone else ()), 0
        self.in_copy, self.complete = None, fatal or skips

    def _take_parameters(self, target: Prepared | Portal | None, message: Message) -> None:
        if isinstance(target, Prepared):
            target.parameter_oids, position = read_numbers(message.payload, 0, "I")
            expect_end(message.payload, position)

    def _take_columns(self, target: Prepared | Portal | None, message: Message) -> None:
        self._columns = read_columns(message.payload) if message.tag == b"T" else ()
        if target is not None:
            target.columns = self._columns

    def _take_row(self, target: Prepared | Portal | None, message: Message) -> None:
        if len(self._rows) == MAX_ROWS:
            self._truncated = True
            return
        values, position = read_values(message.payload, 0)
        expect_end(message.payload, position)
        if self._columns is None:
            portal = target if isinstance(target, Portal) else _UNKNOWN
            self._columns = portal.result_columns(len(values))
        self._rows.append(
            tuple(
                [
                    decode_value(value, oid, binary)
                    for value, (oid, binary) in zip(values, self._columns, strict=True)
                ]
            )
        )

    def _take_tag(self, target: Prepared | Portal | None, message: Message) -> None:
        self._tags.append(decode_text(message.payload[:-1]))
        self.in_copy, self._columns = None, None

    def _take_suspension(self, target: Prepared | Portal | None, message: Message) -> None:
        self._tags.append("SUSPENDED")

    def _take_copy(self, target: Prepared | Portal | None, message: Message) -> None:
        self.in_copy = _COPY_BEGINS[message.tag]
        last = self._at + 1 == len(self._steps)
        if self.in_copy == "in" and last and self._steps[self._at][0] == b"E":
            self._tags.append("COPY")
            self._session.copying = self.complete = True

    def _take_copy_end(self, target: Prepared | Portal | None, message: Message) -> None:
        self.in_copy = None


_TAKES: Mapping[bytes, Callable[[ReplyTracker, Prepared | Portal | None, Message], None]] = {
    b"C": ReplyTracker._take_tag,
    b"D": ReplyTracker._take_row,
    b"G": ReplyTracker._take_copy,
    b"H": ReplyTracker._take_copy,
    b"T": ReplyTracker._take_columns,
    b"W": ReplyTracker._take_copy,
    b"c": ReplyTracker._take_copy_end,
    b"n": ReplyTracker._take_columns,
    b"s": ReplyTracker._take_suspension,
    b"t": ReplyTracker._take_parameters,
}


def result_to_json(result: CycleResult) -> dict[str, Any]:
    """The reply in canonical form, for a history.

    `{"tag": "UPDATE 1"}`, `{"tag": "SELECT 1", "rows": [["v1"]]}`, `{"error": "40001 could not …"}`; tags
    are joined by "; ", and `"truncated": true` says that there were more rows.
    """
    out: dict[str, Any] = {}
    if result.tags or result.error is None:
        out["tag"] = "; ".join(result.tags)
    if result.rows:
        out["rows"] = [list(row) for row in result.rows]
    if result.truncated:
        out["truncated"] = True
    if result.error is not None:
        out["error"] = f"{result.error['sqlstate']} {result.error['message']}"
    return out
