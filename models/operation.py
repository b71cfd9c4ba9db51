"""An operation: one call on the cache by one client, and how it ended.

Operations are intervals on the logical clock of a history: event indices 0, 1, 2, ….  The interval
[invoked, returned] is closed.  Two operations are concurrent unless one returned before the other was
invoked:

    A: |--w v2--|
    B:      |----r----|         r may return v1 or v2
    C:            |--r--|       w returned before this read began: v1 would be stale

Outcomes are Jepsen's: `ok` happened; `fail` certainly did not happen; `info` may or may not have happened,
at any time after it was invoked (it timed out, its connection broke, its client crashed).
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Operation", "Outcome", "Value"]

Value = str | int | float | bool | tuple["Value", ...] | None
"""What a cache stores, takes or returns.  None means "no such record".

A record holds one opaque JSON scalar.  Tuples (JSON arrays) are for what operations on more than that take
and return: `(from, to)` of a compare-and-set, `((key, value), …)` of a read of several keys.
"""


class Outcome(StrEnum):
    """How an operation ended."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call on the cache under test.

    `process` is the number of the client (0 is drawn as A); `f` the method called: "read", "write", "delete",
    "cas", "increment", "append", "read_many", "write_many", "acquire", "release", "warm_up", "work", ….
    `value` is what a write wrote or an ok read returned: the argument of the call, or, where it had none but
    the key, its result.  `result` is what the call returned (None unless it ended ok).  `invoked` and `returned` are event indices,
    `returned` is None while the operation is pending (always the case for `info`, whose effect may come at
    any later time).  `invoked_s` and `returned_s` are virtual seconds since the start of the run.
    `final` marks the reads of the epilogue.
    """

    process: int
    f: str
    key: str | None
    value: Value
    invoked: int
    returned: int | None
    outcome: Outcome
    invoked_s: float = 0.0
    returned_s: float | None = None
    error: str | None = None
    final: bool = False
    result: Value = None

    def precedes(self, other: "Operation") -> bool:
        """True if this operation had returned before `other` was invoked (real-time order)."""
        return self.returned is not None and self.returned < other.invoked
