"""Events: everything that is observed in a run, each with its index on the logical clock.

    invoked    an operation began                      returned   it ended (ok, fail or info)
    exchanged  one request met its fate                faulted    something was broken or mended
    committed  a row version became visible            entered    the run entered a phase of its epilogue

`index` is the position in the history (0, 1, 2, …); `at_s` is virtual seconds since the start of the run.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.operation import Outcome, Value

__all__ = ["Committed", "Entered", "Event", "Exchanged", "Faulted", "Invoked", "Phase", "Returned"]


class Phase(StrEnum):
    """The phases of the epilogue, in order."""

    HEAL = "heal"
    DRAIN = "drain"
    QUIESCE = "quiesce"
    READ = "final-reads"


@dataclass(frozen=True, slots=True)
class Invoked:
    """A client began operation `f`; `value` is what a write will write."""

    index: int
    at_s: float
    process: int
    f: str
    key: str | None
    value: Value
    final: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    """The pending operation of a client ended; `value` is what an ok read returned."""

    index: int
    at_s: float
    process: int
    outcome: Outcome
    value: Value
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One exchange between a client and a server.

    `verb` is the Redis command or the SQL command in capitals ("GET", "UPDATE"); a transaction of several
    commands sent at once has them joined by a blank and a semicolon.  `request` is the whole request in
    words, `keys` the keys of the scenario that occur in it, `reply` a JSON value in canonical form
    (`{"error": …}` for an error, `{"tag": …, "rows": […]}` for SQL; None where there was no reply).

    A request without an answer yet has an event with `waits`, and one with `waited` when it is answered.  What
    waits has been sent; the server may be working on it (it blocks, or wants a row that is locked), or it has
    not arrived, or it has been carried out already: a fault may keep requests and replies back.  A request with
    the fate `delayed` has both events as well: with `waits` it is sent, and its client gives it up; with `waited`
    it arrives.
    """

    index: int
    at_s: float
    process: int
    server: ServerName
    verb: str
    request: tuple[str, ...]
    keys: tuple[str, ...]
    reply: Any
    fate: Fate = Fate.DELIVERED
    waits: bool = False
    waited: bool = False


@dataclass(frozen=True, slots=True)
class Faulted:
    """A fault happened, or was mended: one of `cacheproof.models.fault.FAULTS`.

    `process` and `server` say to whom; `overlapped` are the processes that had an operation open then:
    a fault that overlaps none has exercised nothing.  `detail` is a key, a number (of seconds, of writes), a word, or None.
    """

    index: int
    at_s: float
    fault: str
    process: int | None = None
    server: ServerName | None = None
    detail: str | float | None = None
    overlapped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """A version of a record became visible in the database.

    `version` counts the committed versions of `key` in commit order: 0 is the initial record.
    `value` is None when the record was deleted.  `process` is the client whose exchange committed it, None
    if that is not known.
    """

    index: int
    at_s: float
    key: str
    value: Value
    version: int
    process: int | None = None


@dataclass(frozen=True, slots=True)
class Entered:
    """The run entered a phase of its epilogue."""

    index: int
    at_s: float
    phase: Phase


Event = Invoked | Returned | Exchanged | Faulted | Committed | Entered
