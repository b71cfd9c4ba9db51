"""What is known about one connection's session at PostgreSQL, and a cycle, which is what is sent to it.

The assembler (pgcycle.py) fills it from what the client says, the trackers (pgreply.py) from the answers.
"""

from dataclasses import dataclass, field
from typing import Literal

from cacheproof.chaos.wire.pgpayload import Columns, for_each
from cacheproof.chaos.wire.pgsql import Statement

__all__ = ["Cycle", "EndsWith", "Portal", "Prepared", "Session", "Step"]


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
        if self.columns is not None and len(self.columns) == count:
            return self.columns
        # A description of the statement, not of the portal, cannot know the formats yet.
        known = self.prepared.columns or ()
        oids = [oid for oid, _ in known] if len(known) == count else [0] * count
        formats = for_each(self.formats, count)
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
