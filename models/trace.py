"""What the exchanges of a history did to one key: who asked, as part of which operation, and to what effect.

A step is an exchange with its meaning.  The meaning follows from the server, the verb and the operation that
was open: a SET by a read is a fill, a DEL by a write is an invalidation, and a script (EVAL, FCALL) by either
is taken for what that operation would do.  A transaction of several commands ("SET; XADD") is all of them.

A key of the cache is a *lock* if somebody set it with NX and it is called one, or nobody ever asks for its
value or sets it without NX.  What is sent to locks alone concerns no entry.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cacheproof.models.availability import Outage, outages
from cacheproof.models.decision import Fate, Manner, ServerName
from cacheproof.models.event import Exchanged
from cacheproof.models.history import History
from cacheproof.models.operation import Operation, Value

__all__ = [
    "REPLICA_MARK",
    "Step",
    "acknowledges",
    "acquires",
    "commands",
    "delivers",
    "error_of",
    "is_on_replica",
    "locks",
    "mentioned",
    "operation_at",
    "pops",
    "publishes",
    "releases",
    "steps",
    "targets",
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
_MANY_KEYS = frozenset({"DEL", "EXISTS", "MGET", "UNLINK"})
_PUBLISHES = frozenset({"LPUSH", "PUBLISH", "RPUSH", "SPUBLISH", "XADD"})
_LOCK_NAME = re.compile(r"(?<![a-z])(lock|mutex|semaphore|latch|guard)", re.IGNORECASE)
_ROWS = re.compile(r"\D*(\d+)")


@dataclass(frozen=True, slots=True)
class Step:
    """One exchange and the operation that it was part of (None: it was part of none).

    `sent_at` is the event at which the request left its client, if that is another one; `kept_back` is set if
    a fault kept it from arriving at that time.
    """

    exchange: Exchanged
    operation: Operation | None
    sent_at: int | None = None
    kept_back: bool = False

    @property
    def index(self) -> int:
        return self.exchange.index

    @property
    def at_s(self) -> float:
        return self.exchange.at_s

    @property
    def sent(self) -> int:
        return self.index if self.sent_at is None else self.sent_at

    @property
    def by_reader(self) -> bool:
        """True for reads, and for whatever else only brings values into the cache (a warm-up, a refresh)."""
        return self.operation is None or self.operation.f.startswith(("read", "warm"))

    @property
    def by_worker(self) -> bool:
        """True for a background worker, and for what a client does outside its operations."""
        return self.operation is None or self.operation.f == "work"

    @property
    def took_effect(self) -> bool:
        """True if the server carried the request out: it arrived, and was neither an error nor refused."""
        if self.exchange.fate in (Fate.REQUEST_LOST, Fate.REFUSED) or error_of(self.exchange) is not None:
            return False
        if self.exchange.fate is Fate.DELAYED and not self.exchange.waited:  # it has not arrived
            return False
        return not self.refused and not self.kept_back

    @property
    def refused(self) -> bool:
        """True if the server answered that the condition of the request (NX, XX, IFEQ) does not hold."""
        delivered = self.exchange.fate is Fate.DELIVERED and not self.exchange.waits
        return delivered and self.exchange.reply is None and self.conditional

    @property
    def conditional(self) -> bool:
        return not {"NX", "XX", "IFEQ"}.isdisjoint(word.upper() for word in self.exchange.request)

    @property
    def scripted(self) -> bool:
        """A script, which may do anything, and answers with whatever it likes."""
        return self._in_cache(_SCRIPTS)

    @property
    def found(self) -> bool:
        """True if the client looked, and heard of something: an entry, or a row."""
        return self.looks and self.exchange.fate is Fate.DELIVERED and _something(self.exchange)

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

    def shows(self, value: Value) -> bool:
        """True if the reply contains the value as a word."""
        return mentioned(value, str(self.exchange.reply))

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


def error_of(exchange: Exchanged) -> str | None:
    """The error that the server answered, or None."""
    reply = exchange.reply
    return str(reply["error"]) if isinstance(reply, dict) and "error" in reply else None


def publishes(exchange: Exchanged) -> bool:
    """True if the exchange told others of a change: an entry of a stream or a list, a message."""
    return not _PUBLISHES.isdisjoint(_verbs(exchange)) and exchange.fate is not Fate.REQUEST_LOST


def acquires(exchange: Exchanged) -> bool:
    """True for a request to set something only if it is absent, whatever became of it."""
    return any(
        command[0] == "SETNX" or (command[0] == "SET" and "NX" in _options(command))
        for command in commands(exchange)
    )


def releases(exchange: Exchanged) -> bool:
    """True if the exchange deleted something, or ran a script that may have: DEL answered 0 did not."""
    verbs = _verbs(exchange)
    tried = not verbs.isdisjoint(_DELETES | _SCRIPTS) and exchange.fate is not Fate.REQUEST_LOST
    return tried and error_of(exchange) is None and exchange.reply != 0


def commands(exchange: Exchanged) -> tuple[tuple[str, ...], ...]:
    """The commands of an exchange, in words, the verb in capitals; those of SQL are no commands."""
    if exchange.server is not ServerName.CACHE:
        return ()
    found: list[list[str]] = [[]]
    for word in exchange.request:
        if word == ";":
            found.append([])
        else:
            found[-1].append(word)
    return tuple((words[0].upper(), *words[1:]) for words in found if words)


def targets(exchange: Exchanged) -> frozenset[str]:
    """The keys of the cache that an exchange addresses, by their own names."""
    return frozenset(name for command in commands(exchange) for name in _targets(command))


def locks(history: History) -> frozenset[str]:
    """The keys of the cache that are locks."""
    conditional: set[str] = set()
    entries: set[str] = set()
    for exchange in history.exchanges:
        for command in commands(exchange):
            if command[0] == "SETNX" or (command[0] == "SET" and "NX" in _options(command)):
                conditional.add(command[1])
            elif command[0] in _SETS | _GETS:
                entries.update(_targets(command))
    return frozenset(name for name in conditional if _LOCK_NAME.search(name) or name not in entries)


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
    """The exchanges that concern `key`, in order, each with its operation: the one that sent the request."""
    by_process: dict[int, list[Operation]] = {}
    for operation in history.operations:
        by_process.setdefault(operation.process, []).append(operation)
    away = {server: outages(history, server) for server in ServerName}
    sent, found = _sent(history), []
    for exchange in history.exchanges:
        if key in exchange.keys or not _EVERY_KEY.isdisjoint(_verbs(exchange)):
            sent_at = sent.get(exchange.index)
            asked_at = exchange.index if sent_at is None else sent_at
            asked = _open_at(by_process.get(exchange.process, ()), asked_at)
            found.append(Step(exchange, asked, sent_at, _is_kept_back(exchange, away[exchange.server])))
    return tuple(found)


def _sent(history: History) -> Mapping[int, int]:
    """For each exchange that had waited, by its event: the event at which its request was sent.

    What arrives when its client has left may have been sent with another fate, for it only turned out so.
    """
    waiting: dict[tuple[object, ...], list[Exchanged]] = {}
    found: dict[int, int] = {}
    for exchange in history.exchanges:
        same = waiting.setdefault((exchange.process, exchange.server, exchange.request), [])
        if exchange.waits:
            same.append(exchange)
        elif exchange.waited and same:
            first = next((other for other in same if other.fate is exchange.fate), same[0])
            same.remove(first)
            found[exchange.index] = first.index
    return found


def _is_kept_back(exchange: Exchanged, away: tuple[Outage, ...]) -> bool:
    """True if the request waits because it does not reach its server; where only replies do not, it does."""
    return exchange.waits and any(
        outage.covers(exchange.process, exchange.index) and outage.fault.detail != Manner.REPLIES
        for outage in away
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


def _targets(command: tuple[str, ...]) -> tuple[str, ...]:
    if command[0] in _SCRIPTS:
        count = int(command[2]) if len(command) > 2 and command[2].isdigit() else 0
        return command[3 : 3 + count]
    return command[1:] if command[0] in _MANY_KEYS else command[1:2]


def _options(command: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.upper() for word in command[3:])


def _something(exchange: Exchanged) -> bool:
    """Whether the reply holds anything: a miss is None, an empty collection, or one of nothing but None."""
    reply = exchange.reply
    if exchange.server is ServerName.DATABASE:
        return _rows(reply) > 0
    told = commands(exchange)
    if len(told) > 1 and isinstance(reply, list) and len(reply) == len(told):
        return any(_held(item) for command, item in zip(told, reply, strict=True) if command[0] in _GETS)
    return _held(reply)


def _held(reply: Any) -> bool:
    if isinstance(reply, dict):
        return bool(reply) and "error" not in reply
    return any(item is not None for item in reply) if isinstance(reply, list) else reply is not None


def _rows(reply: Any) -> int:
    """How many rows a SELECT returned, by its tag: "SELECT 1"."""
    count = _ROWS.fullmatch(str(reply.get("tag", ""))) if isinstance(reply, dict) else None
    return int(count[1]) if count else 0


def _verbs(exchange: Exchanged) -> frozenset[str]:
    return frozenset(part.split()[0] for part in exchange.verb.split(";") if part.strip())


def is_on_replica(exchange: Exchanged) -> bool:
    """Whether the database's read replica was asked, which may lag behind."""
    return bool(exchange.request) and exchange.request[0].startswith(REPLICA_MARK)
