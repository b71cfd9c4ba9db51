"""The catalogue of faults: what can go wrong in a run, by which decision, and the conditions that are made of it.

A *condition* is a set of faults on top of any interleaving, except `quiet`, in which one operation runs at a
time.  A fault belongs to the conditions in its row; `Condition.faults` is the same table read the other way.
The names are those that a history uses: of `Faulted.fault`, and of the fate of an exchange.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["ALL_CONDITIONS", "CORE_CONDITIONS", "FAULTS", "Condition", "Fault"]


class Condition(StrEnum):
    """One kind of harm on top of any interleaving."""

    QUIET = "quiet"
    CONCURRENT = "concurrent"
    EXPIRY = "expiry"
    EVICTION = "eviction"
    APP_CRASH = "app crash"
    APP_PAUSE = "app pause"
    CLOCK_SKEW = "clock skew"
    CACHE_CRASH = "cache crash"
    CACHE_RESTART = "cache restart"
    CACHE_DOWN = "cache down"
    POWER_LOSS = "power loss"
    FAILOVER = "failover"
    LOST_MESSAGES = "lost messages"
    DELAYED_MESSAGES = "delayed messages"
    PARTITION = "partition"
    SERVER_ERRORS = "server errors"
    DATABASE_CRASH = "database crash"
    REPLICA_LAG = "replica lag"

    @property
    def faults(self) -> frozenset[str]:
        """The names of the faults that make this condition."""
        return frozenset(fault.name for fault in FAULTS.values() if self in fault.conditions)


CORE_CONDITIONS: tuple[Condition, ...] = (
    Condition.QUIET,
    Condition.CONCURRENT,
    Condition.EXPIRY,
    Condition.APP_CRASH,
    Condition.CACHE_CRASH,
    Condition.LOST_MESSAGES,
)
"""The conditions of a contract that names none: what every cache meets in its first week."""

ALL_CONDITIONS: tuple[Condition, ...] = tuple(Condition)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault.

    `decision` is the name of the decision that makes it (`do` in a schedule).  `mends` marks those that only
    undo another one: they prove nothing by overlapping an operation.
    """

    name: str
    what: str
    decision: str
    conditions: frozenset[Condition]
    mends: bool = False


def _table(*rows: Fault) -> Mapping[str, Fault]:
    return {row.name: row for row in rows}


def _in(*conditions: Condition) -> frozenset[Condition]:
    return frozenset(conditions)


FAULTS: Mapping[str, Fault] = _table(
    # what becomes of a message
    Fault("request-lost", "a request never reaches its server", "deliver", _in(Condition.LOST_MESSAGES)),
    Fault("reply-lost", "the server has acted, its reply is lost", "deliver", _in(Condition.LOST_MESSAGES)),
    Fault(
        "delayed",
        "the client sees its connection break, and the request arrives later: a zombie",
        "deliver",
        _in(Condition.DELAYED_MESSAGES),
    ),
    Fault("arrive", "a delayed request arrives", "arrive", _in(Condition.DELAYED_MESSAGES)),
    Fault(
        "refused",
        "the server answers with an error and does nothing: LOADING, READONLY, OOM, BUSY, MOVED; a serialization "
        "failure, a deadlock, a statement time-out",
        "deliver",
        _in(Condition.SERVER_ERRORS),
    ),
    # the network
    Fault(
        "partition",
        "nothing, or nothing in one direction, passes between clients and a server",
        "partition",
        _in(Condition.PARTITION, Condition.CACHE_DOWN),
    ),
    Fault(
        "heal", "the network works again", "heal", _in(Condition.PARTITION, Condition.CACHE_DOWN), mends=True
    ),
    # clients
    Fault("crash", "a client dies between any two messages", "crash", _in(Condition.APP_CRASH)),
    Fault("restart", "a client is started anew", "restart", _in(Condition.APP_CRASH), mends=True),
    Fault("pause", "a client stops while time goes on", "pause", _in(Condition.APP_PAUSE)),
    Fault("resume", "it goes on, and has not noticed", "resume", _in(Condition.APP_PAUSE), mends=True),
    Fault("skew", "the wall clock of a client jumps", "skew", _in(Condition.CLOCK_SKEW)),
    # servers
    Fault(
        "kill",
        "a server dies at once",
        "kill",
        _in(Condition.CACHE_CRASH, Condition.CACHE_RESTART, Condition.POWER_LOSS, Condition.DATABASE_CRASH),
    ),
    Fault(
        "start",
        "a server comes back, with what survived",
        "start",
        _in(Condition.CACHE_CRASH, Condition.CACHE_RESTART, Condition.POWER_LOSS, Condition.DATABASE_CRASH),
        mends=True,
    ),
    Fault("freeze", "a server takes requests, and works on none", "freeze", _in(Condition.CACHE_DOWN)),
    Fault("thaw", "it works on what has come meanwhile", "thaw", _in(Condition.CACHE_DOWN), mends=True),
    Fault(
        "failover",
        "a replica that lacks the last writes takes over",
        "failover",
        _in(Condition.FAILOVER),
    ),
    Fault("lag", "the read replica of the database falls behind", "lag", _in(Condition.REPLICA_LAG)),
    Fault("replicate", "the read replica catches up", "replicate", _in(Condition.REPLICA_LAG), mends=True),
    # what the cache holds
    Fault("expire", "a key expires", "expire", _in(Condition.EXPIRY)),
    Fault(
        "advance",
        "time passes",
        "advance",
        _in(Condition.EXPIRY, Condition.APP_PAUSE, Condition.CACHE_DOWN, Condition.PARTITION),
    ),
    Fault("evict", "a key is evicted for want of memory", "evict", _in(Condition.EVICTION)),
    Fault("flush", "all keys, or all scripts, are gone", "flush", _in(Condition.EVICTION)),
)
"""Every fault, by name."""
