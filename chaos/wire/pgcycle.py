"""Query cycles: what a client asks PostgreSQL for at once, and when the server has said all it has to say.

    Query  |  FunctionCall  |  [Parse Bind Describe Execute Close …] Sync or Flush  |  Terminate

The assembler cuts a client's messages into cycles and knows which statements they execute.  A tracker counts
the server's answers to one cycle: it is complete exactly when the server falls silent.  Rules:

1. A cycle is forwarded whole and unchanged, and its tracker is made then: when the reply to the cycle before
   it was complete.  What the two of them learn about a connection is kept in its `Session`.
2. Every message of a cycle has its answers (`_ANSWERS`).  An error ends them: the server then skips all
   messages up to the next Sync, so that cycles without one get no reply at all (`complete` from the start).
3. What earlier cycles executed without a Sync is committed by the Sync, so a Sync that follows is an
   exchange of its own and counts as the statement SYNC.
4. COPY data (`is_copy`) pass between cycles.  COPY FROM STDIN in a simple Query is complete with its
   ReadyForQuery, which follows the data.  In the extended protocol the cycle is complete with the server's
   invitation to send data (the Sync behind it is swallowed), and the client's next Sync ends the COPY.

Source: PostgreSQL documentation, "Frontend/Backend Protocol", Message Flow; src/backend/tcop/postgres.c.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct, error, unpack_from
from typing import Any, Literal

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgmessages import Message
from cacheproof.chaos.wire.pgsql import Statement, verbs
from cacheproof.chaos.wire.pgvalues import decode_text, decode_value, parameter_text
from cacheproof.models.operation import Value

__all__ = [
    "Cycle",
    "CycleAssembler",
    "CycleResult",
    "ReplyTracker",
    "Session",
    "Statement",
    "is_copy",
    "result_to_json",
]

MAX_ROWS = 50
"""So many rows of a reply are kept for the record."""

Columns = tuple[tuple[int, bool], ...]
"""Type OID of each column, and whether it comes in binary format."""


@dataclass(slots=True)
class Prepared:
    """A prepared statement; its columns are known once the server has described it."""

    sql: str
    parameter_oids: tuple[int, ...] = ()
    columns: Columns | None = None


@dataclass(slots=True)
class Portal:
    """A prepared statement with its parameters: what Execute runs.

    `formats` are the result formats that Bind asked for (none: text; one: for all columns).
    """

    prepared: Prepared
    statement: Statement
    formats: tuple[int, ...] = ()
    columns: Columns | None = None

    def result_columns(self, count: int) -> Columns:
        """The `count` columns of its rows; of type 0 (unknown) if the server was never asked."""
        if self.columns is not None:
            return self.columns
        # A description of the statement, not of the portal, cannot know the formats yet.
        known = self.prepared.columns
        oids = [0] * count if known is None else [oid for oid, _ in known]
        formats = _for_each(self.formats, len(oids))
        return tuple((oid, asked == 1) for oid, asked in zip(oids, formats, strict=True))


Step = tuple[bytes, Prepared | Portal | None]
"""One message of a cycle that wants an answer: its tag, and what it speaks of."""
EndsWith = Literal["sync", "flush", "query", "function", "terminate"]


@dataclass(frozen=True, slots=True)
class Cycle:
    """What is sent to the server as a whole.

    `statements` are those it executes, in order.  `passes` is True if it executes none or only such as
    nobody else can notice (BEGIN, SET, SHOW …).  `steps` are the messages in front of the last one that the
    server answers.
    """

    raw: bytes
    statements: tuple[Statement, ...]
    passes: bool
    ends_with: EndsWith
    steps: tuple[Step, ...] = field(default=(), repr=False, compare=False)


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


@dataclass(slots=True)
class Session:
    """What is known about one connection's session at the server.

    `skipping`: after an error the server takes no notice of anything up to the next Sync.  `copying`: a
    COPY FROM STDIN of the extended protocol awaits its data and its Sync.
    """

    statements: dict[bytes, Prepared] = field(default_factory=dict)
    portals: dict[bytes, Portal] = field(default_factory=dict)
    status: str | None = None
    skipping: bool = False
    copying: bool = False


def is_copy(message: Message) -> bool:
    """True for CopyData, CopyDone and CopyFail: forwarded at once, never fed to an assembler."""
    return message.tag in (b"d", b"c", b"f")


# --- from the client ---

# Statements that nobody but their own session can notice.
_PASSING = frozenset({"BEGIN", "DEALLOCATE", "DISCARD", "RESET", "SET", "SHOW", "START"})


@lru_cache(maxsize=1024)
def _passes(sql: str) -> bool:
    return _PASSING.issuperset(verbs(sql))


_SYNC = Statement("SYNC")


class CycleAssembler:
    """Cuts the messages of one connection into cycles; knows its prepared statements and portals."""

    __slots__ = ("_raw", "_statements", "_steps", "_unsynced", "session")

    def __init__(self) -> None:
        self.session = Session()
        self._raw: list[bytes] = []
        self._steps: list[Step] = []
        self._statements: list[Statement] = []
        # Something that a Sync would commit was executed by a cycle that ended with Flush.
        self._unsynced = False

    @property
    def pending(self) -> bytes:
        """What has arrived and is no whole cycle yet."""
        return b"".join(self._raw)

    def tracker(self, cycle: Cycle) -> "ReplyTracker":
        """What the server has to say to `cycle`; to be called when the cycle is forwarded."""
        return ReplyTracker(cycle, self.session)

    def feed(self, message: Message) -> Cycle | None:
        """The cycle that ends with `message`, or None.

        Raises FramingError for a message that does not belong here or whose payload does not read.
        """
        handle = _REQUESTS.get(message.tag)
        if handle is None:
            raise FramingError(
                f"message {message.tag!r} of length {len(message.raw) - 1} is no part of a query cycle; "
                "COPY data and passwords have to be passed on before"
            )
        try:
            cycle = handle(self, message.payload)
        except (ValueError, IndexError, error) as cause:
            raise _unreadable(message, cause) from None
        if cycle is None:
            self._raw.append(message.raw)
            return None
        return self._finish(message.raw, cycle)

    def _finish(self, raw: bytes, ends_with: EndsWith) -> Cycle | None:
        self._raw.append(raw)
        if self.session.copying:
            self._steps.insert(0, (b"c", None))
            self.session.copying, self._unsynced = False, True
        if ends_with == "flush" and not self._steps:
            return None
        statements = tuple(self._statements)
        passes = all(_passes(statement.sql) for statement in statements)
        if ends_with == "flush":
            self._unsynced = self._unsynced or not passes
        elif ends_with != "terminate":
            if passes and self._unsynced and not self.session.skipping:
                statements, passes = (*statements, _SYNC), False
            self._unsynced = False
        cycle = Cycle(b"".join(self._raw), statements, passes, ends_with, tuple(self._steps))
        self._raw, self._steps, self._statements = [], [], []
        return cycle

    def _parse(self, payload: bytes) -> None:
        name, position = _cstring(payload, 0)
        sql, position = _cstring(payload, position)
        oids, position = _numbers(payload, position, "I")
        _expect_end(payload, position)
        prepared = self.session.statements[name] = Prepared(decode_text(sql), oids)
        self._steps.append((b"P", prepared))

    def _bind(self, payload: bytes) -> None:
        name, position = _cstring(payload, 0)
        source, position = _cstring(payload, position)
        formats, position = _numbers(payload, position, "h")
        values, position = _values(payload, position)
        asked, position = _numbers(payload, position, "h")
        _expect_end(payload, position)
        prepared = self._prepared(source)
        statement = Statement(prepared.sql, _parameters(values, formats, prepared.parameter_oids))
        portal = self.session.portals[name] = Portal(prepared, statement, asked)
        self._steps.append((b"B", portal))

    def _describe(self, payload: bytes) -> None:
        name, position = _cstring(payload, 1)
        _expect_end(payload, position)
        self._steps.append((b"D", self._prepared(name) if payload[:1] == b"S" else self._portal(name)))

    def _execute(self, payload: bytes) -> None:
        name, position = _cstring(payload, 0)
        _expect_end(payload, position + 4)
        portal = self._portal(name)
        self._statements.append(portal.statement)
        self._steps.append((b"E", portal))

    def _close(self, payload: bytes) -> None:
        name, position = _cstring(payload, 1)
        _expect_end(payload, position)
        known = self.session.statements if payload[:1] == b"S" else self.session.portals
        known.pop(name, None)
        self._steps.append((b"C", None))

    def _sync(self, payload: bytes) -> EndsWith:
        return "sync"

    def _flush(self, payload: bytes) -> EndsWith:
        return "flush"

    def _query(self, payload: bytes) -> EndsWith:
        sql, position = _cstring(payload, 0)
        _expect_end(payload, position)
        self._statements.append(Statement(decode_text(sql)))
        return "query"

    def _function(self, payload: bytes) -> EndsWith:
        self._statements.append(Statement(f"FUNCTION {unpack_from('>I', payload)[0]}"))
        return "function"

    def _terminate(self, payload: bytes) -> EndsWith:
        return "terminate"

    def _prepared(self, name: bytes) -> Prepared:
        """The statement; one that SQL prepared (PREPARE) is known by its name only."""
        found = self.session.statements.get(name)
        if found is None:
            found = Prepared(f"EXECUTE {decode_text(name)}")
            if name:
                self.session.statements[name] = found
        return found

    def _portal(self, name: bytes) -> Portal:
        """The portal; one that SQL opened (DECLARE CURSOR) is known by its name only."""
        found = self.session.portals.get(name)
        if found is None:
            sql = f"FETCH FROM {decode_text(name)}"
            found = self.session.portals[name] = Portal(Prepared(sql), Statement(sql))
        return found


_REQUESTS: Mapping[bytes, Callable[[CycleAssembler, bytes], EndsWith | None]] = {
    b"B": CycleAssembler._bind,
    b"C": CycleAssembler._close,
    b"D": CycleAssembler._describe,
    b"E": CycleAssembler._execute,
    b"F": CycleAssembler._function,
    b"H": CycleAssembler._flush,
    b"P": CycleAssembler._parse,
    b"Q": CycleAssembler._query,
    b"S": CycleAssembler._sync,
    b"X": CycleAssembler._terminate,
}


# --- from the server ---

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
_UNTIL_READY = (b"F", b"Q")


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
        except (ValueError, IndexError, error) as cause:
            raise _unreadable(message, cause) from None
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
        open_steps = {tag for tag, _ in self._steps[self._at :]}
        # The error that ended a COPY may have come before this tracker was there.
        if not (open_steps <= {*_UNTIL_READY, b"c"} and (open_steps or self._synced)):
            raise self._unexpected(message)
        self._status = message.payload.decode("ascii")
        self._session.status, self._session.skipping = self._status, False
        self.in_copy, self.complete = None, True

    def _fail(self, payload: bytes) -> None:
        fields = {part[:1]: decode_text(part[1:]) for part in payload.split(b"\0")}
        self._error = {"sqlstate": fields.get(b"C", ""), "message": fields.get(b"M", "")}
        failed = self._steps[self._at : self._at + 1]
        fatal = fields.get(b"V", fields.get(b"S")) in ("FATAL", "PANIC")
        skips = not self._synced and failed[0][0] not in _UNTIL_READY
        self._session.skipping = skips
        self.in_copy, self.complete = None, fatal or skips
        self._steps, self._at = failed if failed and failed[0][0] in _UNTIL_READY else (), 0

    def _take_parameters(self, target: Prepared | Portal | None, message: Message) -> None:
        if isinstance(target, Prepared):
            target.parameter_oids, position = _numbers(message.payload, 0, "I")
            _expect_end(message.payload, position)

    def _take_columns(self, target: Prepared | Portal | None, message: Message) -> None:
        self._columns = _row_description(message.payload) if message.tag == b"T" else ()
        if target is not None:
            target.columns = self._columns

    def _take_row(self, target: Prepared | Portal | None, message: Message) -> None:
        if len(self._rows) == MAX_ROWS:
            self._truncated = True
            return
        values, position = _values(message.payload, 0)
        _expect_end(message.payload, position)
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


# --- payloads ---

_COUNT, _LENGTH = Struct(">H"), Struct(">i")
_COLUMN = Struct(">IhIhih")  # table, attribute, type, size, modifier, format
_UNKNOWN = Portal(Prepared(""), Statement(""))


def _unreadable(message: Message, cause: Exception) -> FramingError:
    return FramingError(
        f"message {message.tag!r} of length {len(message.raw) - 1} has a payload that does not read as one: "
        f"{message.payload[:80]!r} ({cause})"
    )


def _cstring(payload: bytes, position: int) -> tuple[bytes, int]:
    end = payload.index(b"\0", position)
    return payload[position:end], end + 1


def _numbers(payload: bytes, position: int, kind: str) -> tuple[tuple[int, ...], int]:
    """A count (int16) and so many numbers; `kind` is struct's letter for one."""
    count: int = _COUNT.unpack_from(payload, position)[0]
    if count == 0:
        return (), position + 2
    width = 4 if kind == "I" else 2
    return unpack_from(f">{count}{kind}", payload, position + 2), position + 2 + count * width


def _values(payload: bytes, position: int) -> tuple[list[bytes | None], int]:
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


def _expect_end(payload: bytes, position: int) -> None:
    if position != len(payload):
        raise ValueError(f"{len(payload)} bytes instead of {position}")


def _for_each(formats: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Format codes as the protocol abbreviates them: none means text, one is meant for all."""
    return formats if len(formats) == count else (formats[0] if formats else 0,) * count


def _parameters(
    values: list[bytes | None], formats: tuple[int, ...], oids: tuple[int, ...]
) -> tuple[str | None, ...]:
    asked = _for_each(formats, len(values))
    known = oids + (0,) * (len(values) - len(oids))
    return tuple(
        [
            parameter_text(value, oid, code == 1)
            for value, oid, code in zip(values, known, asked, strict=False)
        ]
    )


def _row_description(payload: bytes) -> Columns:
    count: int = _COUNT.unpack_from(payload)[0]
    position = _COUNT.size
    columns = []
    for _ in range(count):
        position = payload.index(b"\0", position) + 1
        _, _, oid, _, _, code = _COLUMN.unpack_from(payload, position)
        columns.append((oid, code == 1))
        position += _COLUMN.size
    _expect_end(payload, position)
    return tuple(columns)
