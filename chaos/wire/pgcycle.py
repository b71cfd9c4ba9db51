"""Query cycles: what a client asks PostgreSQL for at once.

    Query  |  FunctionCall  |  [Parse Bind Describe Execute Close …] Sync or Flush  |  Terminate

The assembler cuts a client's messages into cycles and knows which statements they execute.  Rules:

1. A cycle is forwarded whole and unchanged.  Its tracker (pgreply.py) is made then: when the reply to the
   cycle before it was complete.  What the two learn about a connection is kept in its `Session`.
2. A Sync commits what cycles without one (Flush) executed before, so after such a cycle it is an exchange
   of its own, which counts as the statement SYNC.
3. COPY data (`is_copy`) pass between cycles; the Sync that ends a COPY of the extended protocol is a SYNC too.

Source: PostgreSQL documentation, "Frontend/Backend Protocol", Message Flow and Message Formats.
"""

from collections.abc import Callable, Mapping
from struct import unpack_from

from cacheproof.chaos.wire.framing import FramingError
from cacheproof.chaos.wire.pgmessages import Message
from cacheproof.chaos.wire.pgpayload import (
    UNREADABLE,
    expect_end,
    for_each,
    read_cstring,
    read_numbers,
    read_values,
    unreadable,
)
from cacheproof.chaos.wire.pgreply import CycleResult, ReplyTracker, result_to_json
from cacheproof.chaos.wire.pgsession import Cycle, EndsWith, Portal, Prepared, Session, Step
from cacheproof.chaos.wire.pgsql import Statement, verbs
from cacheproof.chaos.wire.pgvalues import decode_text, parameter_text

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


def is_copy(message: Message) -> bool:
    """True for CopyData, CopyDone and CopyFail: forwarded at once, never fed to an assembler."""
    return message.tag in (b"d", b"c", b"f")


# Statements that nobody but their own session can notice.
_PASSING = frozenset({"BEGIN", "DEALLOCATE", "DISCARD", "RESET", "SET", "SHOW", "START"})


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

    def tracker(self, cycle: Cycle) -> ReplyTracker:
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
        except UNREADABLE as cause:
            raise unreadable(message, cause) from None
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
        passes = all(_PASSING.issuperset(verbs(statement.sql)) for statement in statements)
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
        name, position = read_cstring(payload, 0)
        sql, position = read_cstring(payload, position)
        oids, position = read_numbers(payload, position, "I")
        expect_end(payload, position)
        prepared = self.session.statements[name] = Prepared(decode_text(sql), oids)
        self._steps.append((b"P", prepared))

    def _bind(self, payload: bytes) -> None:
        name, position = read_cstring(payload, 0)
        source, position = read_cstring(payload, position)
        formats, position = read_numbers(payload, position, "h")
        values, position = read_values(payload, position)
        asked, position = read_numbers(payload, position, "h")
        expect_end(payload, position)
        prepared = self._prepared(source)
        statement = Statement(prepared.sql, _parameters(values, formats, prepared.parameter_oids))
        portal = self.session.portals[name] = Portal(prepared, statement, asked)
        self._steps.append((b"B", portal))

    def _describe(self, payload: bytes) -> None:
        name, position = read_cstring(payload, 1)
        expect_end(payload, position)
        self._steps.append((b"D", self._prepared(name) if payload[:1] == b"S" else self._portal(name)))

    def _execute(self, payload: bytes) -> None:
        name, position = read_cstring(payload, 0)
        expect_end(payload, position + 4)
        portal = self._portal(name)
        self._statements.append(portal.statement)
        self._steps.append((b"E", portal))

    def _close(self, payload: bytes) -> None:
        name, position = read_cstring(payload, 1)
        expect_end(payload, position)
        known = self.session.statements if payload[:1] == b"S" else self.session.portals
        known.pop(name, None)
        self._steps.append((b"C", None))

    def _sync(self, payload: bytes) -> EndsWith:
        return "sync"

    def _flush(self, payload: bytes) -> EndsWith:
        return "flush"

    def _query(self, payload: bytes) -> EndsWith:
        sql, position = read_cstring(payload, 0)
        expect_end(payload, position)
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


def _parameters(
    values: list[bytes | None], formats: tuple[int, ...], oids: tuple[int, ...]
) -> tuple[str | None, ...]:
    asked = for_each(formats, len(values))
    known = oids + (0,) * (len(values) - len(oids))
    return tuple(
        [
            parameter_text(value, oid, code == 1)
            for value, oid, code in zip(values, known, asked, strict=False)
        ]
    )
