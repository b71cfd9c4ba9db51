"""What the exchanges of a history did to one key: who asked, as part of which operation, and to what effect.

A step is an exchange with its meaning.  The meaning follows from the server, the verb and the operation that
was open: a SET by a read is a fill, a DEL by a write is an invalidation, and a script (EVAL, FCALL) by either
is taken for what that operation would do.  A transaction of several commands ("SET; XADD") is all of them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from cacheproof.models.decision import Fate, ServerName
from cacheproof.models.event import Exchanged
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Value

__all__ = [
    "REPLICA_MARK",
    "Step",
    "acknowledges",
    "delivers",
    "is_on_replica",
    "mentioned",
    "operation_at",
    "pops",
    "steps",
]

REPLICA_MARK = "/* replica */ "
"""How the words of a statement begin that was asked of the database's read replica."""

_SETS = frozenset(
    {
        "GETSET",
        "HMSET",
        "HSET",
        "HSETEX",
        "HSETNX",
        "JSON.SET",
        "MSET",
        "MSETEX",
        "PSETEX",
        "RESTORE",
        "SET",
        "SETEX",
        "SETNX",
    }
)
_DELETES = frozenset(
    {
        "DEL",
        "DELEX",
        "DELIFEQ",
        "EXPIRE",
        "FLUSHALL",
        "FLUSHDB",
        "GETDEL",
        "HDEL",
        "JSON.DEL",
        "PEXPIRE",
        "UNLINK",
    }
)
_GETS = frozenset({"GET", "GETEX", "HGET", "HGETALL", "HMGET", "JSON.GET", "MGET"})
_SCRIPTS = frozenset({"EVAL", "EVALSHA", "FCALL"})
_LOADS = frozenset({"SELECT"})
_CHANGES = frozenset({"DELETE", "INSERT", "MERGE", "UPDATE"})
_POPS = frozenset(
    {"BLMPOP", "BLPOP", "BRPOP", "BZPOPMAX", "BZPOPMIN", "GETDEL", "LMPOP", "LPOP", "RPOP", "SPOP"}
    | {"ZPOPMAX", "ZPOPMIN"}
)
_DELIVERIES = frozenset({"XAUTOCLAIM", "XCLAIM", "XREADGROUP"})
_EVERY_KEY = frozenset({"FLUSHALL", "FLUSHDB"})


@dataclass(frozen=True, slots=True)
class Step:
    """One exchange and the operation that it was part of (None: it was part of none)."""

    exchange: Exchanged
    operation: Operation | None

    @property
    def index(self) -> int:
        return self.exchange.index

    @property
    def at_s(self) -> float:
        return self.exchange.at_s

    @property
    def by_reader(self) -> bool:
        """True for reads, and for whatever else only brings values into the cache (a warm-up, a refresh)."""
        return self.operation is None or self.operation.f.startswith(("read", "warm"))

    @property
    def took_effect(self) -> bool:
        """True if the server carried the request out: it arrived, and was neither an error nor refused."""
        reply = self.exchange.reply
        if self.exchange.fate in (Fate.REQUEST_LOST, Fate.REFUSED) or (
            isinstance(reply, dict) and "error" in reply
        ):
            return False
        if self.exchange.fate is Fate.DELAYED and not self.exchange.waited:  # it has not arrived
            return False
        conditional = {"NX", "XX", "IFEQ"} & {word.upper() for word in self.exchange.request}
        return not (conditional and reply is None and self.exchange.fate is Fate.DELIVERED)

    @property
    def sets(self) -> bool:
        return self._in_cache(_SETS | _SCRIPTS)

    @property
    def deletes(self) -> bool:
        return self._in_cache(_DELETES | (frozenset() if self.by_reader else _SCRIPTS))

    @property
    def touches(self) -> bool:
        """Sets or deletes the entry in the cache."""
        return self.sets or self.deletes

    @property
    def loads(self) -> bool:
        return self._in_database(_LOADS)

    @property
    def changes(self) -> bool:
        return self._in_database(_CHANGES)

    @property
    def looks(self) -> bool:
        """Reads the entry in the cache, or the row."""
        return self.loads or self._in_cache(_GETS)

    def mentions(self, value: Value) -> bool:
        """True if the request contains the value as a word."""
        return any(mentioned(value, word) for word in self.exchange.request)

    def _in_cache(self, verbs: frozenset[str]) -> bool:
        return self.exchange.server is ServerName.CACHE and not verbs.isdisjoint(_verbs(self.exchange))

    def _in_database(self, verbs: frozenset[str]) -> bool:
        return self.exchange.server is ServerName.DATABASE and not verbs.isdisjoint(_verbs(self.exchange))


def pops(exchange: Exchanged) -> bool:
    """True if the exchange took an item off a queue for good, whether or not the client got it."""
    if exchange.server is not ServerName.CACHE or _POPS.isdisjoint(_verbs(exchange)):
        return False
    heard = exchange.fate in (Fate.DELIVERED, Fate.DELAYED)  # by somebody, or by nobody any more
    return bool(exchange.reply) if heard else exchange.fate is Fate.REPLY_LOST


def acknowledges(exchange: Exchanged) -> bool:
    """True if the exchange took delivered entries off a stream's pending list for good."""
    lost = exchange.fate in (Fate.REQUEST_LOST, Fate.REFUSED)
    late = exchange.fate is Fate.DELAYED and not exchange.waited
    return "XACK" in _verbs(exchange) and not lost and not late


def delivers(exchange: Exchanged) -> bool:
    """True if the exchange hands entries of a stream out, which stay pending until they are acknowledged."""
    return not _DELIVERIES.isdisjoint(_verbs(exchange))


def mentioned(value: Value, text: str) -> bool:
    """True if `value` stands in `text` as a word of its own: v1 does in '["k", "v1"]', not in 'v12'."""
    return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", text) is not None


def steps(history: History, key: str | None) -> tuple[Step, ...]:
    """The exchanges that concern `key`, in order, each with its operation."""
    by_process: dict[int, list[Operation]] = {}
    for operation in history.operations:
        by_process.setdefault(operation.process, []).append(operation)
    return tuple(
        Step(exchange, _open_at(by_process.get(exchange.process, ()), exchange.index))
        for exchange in history.exchanges
        if key in exchange.keys or not _EVERY_KEY.isdisjoint(_verbs(exchange))
    )


def operation_at(history: History, process: int, index: int) -> Operation | None:
    """The operation that `process` had open at event `index`.

    An operation that ended `info` counts as open until the next one: what is left of it may still happen.
    """
    return _open_at((op for op in history.operations if op.process == process), index)


def _open_at(operations: Iterable[Operation], index: int) -> Operation | None:
    begun = [operation for operation in operations if operation.invoked < index]
    if begun and (begun[-1].returned is None or begun[-1].returned > index):
        return begun[-1]
    return None


def _verbs(exchange: Exchanged) -> frozenset[str]:
    return frozenset(part.split()[0] for part in exchange.verb.split(";") if part.strip())


def is_on_replica(exchange: Exchanged) -> bool:
    """Whether the database's read replica was asked, which may lag behind."""
    return bool(exchange.request) and exchange.request[0].startswith(REPLICA_MARK)
