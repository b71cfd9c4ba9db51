"""Errors that a server may give instead of doing what it was asked: the table behind the fate `refused`.

The texts are the servers' own, and a request meets only those that its server could give it: no read is out
of memory, and no plain SELECT is the victim of a deadlock.  Sources: Redis and Valkey, src/server.c (shared
replies, processCommand); PostgreSQL, Appendix A, Error Codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cacheproof.models.decision import ServerName

__all__ = ["REFUSALS", "Meets", "Refusal"]


class Meets(StrEnum):
    """Which requests an error can meet."""

    ANYTHING = "anything"
    WHILE_LOADING = "while loading"
    """What the cache does not do before it has read its file: all but connection set-up and questions about itself."""
    WHILE_BUSY = "while busy"
    """What the cache does not do while a script runs."""
    WRITES = "writes"
    GROWTH = "growth"
    """Writes that may need more memory: SET, and not DEL."""
    KEYS = "keys"
    """Commands that name a key."""
    LOCKS = "locks"
    """Statements that take row locks."""
    SNAPSHOTS = "snapshots"
    """Statements that may conflict with what their transaction's snapshot does not show."""
    STATEMENTS = "statements"
    """All but the end of a transaction."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error.  `code` is the first word of the cache's reply, or the database's SQLSTATE."""

    server: ServerName
    code: str
    words: str
    when: str
    meets: Meets = Meets.ANYTHING


REFUSALS: Mapping[str, Refusal] = {
    "busy": Refusal(
        ServerName.CACHE,
        "BUSY",
        "Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "a script has been running for longer than busy-reply-threshold",
        Meets.WHILE_BUSY,
    ),
    "loading": Refusal(
        ServerName.CACHE,
        "LOADING",
        "Redis is loading the dataset in memory",
        "the server has just been started, and reads its file",
        Meets.WHILE_LOADING,
    ),
    "moved": Refusal(
        ServerName.CACHE,
        "MOVED",
        "3999 127.0.0.1:6381",
        "a cluster has given the slot to another node",
        Meets.KEYS,
    ),
    "oom": Refusal(
        ServerName.CACHE,
        "OOM",
        "command not allowed when used memory > 'maxmemory'.",
        "memory is short, and the policy is noeviction",
        Meets.GROWTH,
    ),
    "readonly": Refusal(
        ServerName.CACHE,
        "READONLY",
        "You can't write against a read only replica.",
        "a failover has made a replica of the server",
        Meets.WRITES,
    ),
    "deadlock": Refusal(
        ServerName.DATABASE,
        "40P01",
        "deadlock detected",
        "two transactions wait for each other, and this one is the victim",
        Meets.LOCKS,
    ),
    "serialization": Refusal(
        ServerName.DATABASE,
        "40001",
        "could not serialize access due to concurrent update",
        "REPEATABLE READ or SERIALIZABLE, and somebody was faster",
        Meets.SNAPSHOTS,
    ),
    "statement-timeout": Refusal(
        ServerName.DATABASE,
        "57014",
        "canceling statement due to statement timeout",
        "the statement has taken longer than statement_timeout",
        Meets.STATEMENTS,
    ),
}
"""Every error, by the name that a decision uses."""
