"""The virtual deadlines of keys: a mirror of what the server would expire if its clock were the run's.

Clients live in virtual time, the server in real time, and real time never expires a key in a run.  So the
director keeps each key's deadline here, expires keys itself when virtual time has come, and tells clients the
time to live that they would have seen.

Rule 1  The mirror follows the original commands of clients (absolute times are virtual there) and the replies
        that the server gave, in the order in which the server executed them.
Rule 2  What commands and replies tell is taken from them exactly.  For all else (scripts, transactions,
        unknown commands) `observe` says which keys to ask the server about, and `resync` takes its answers.
Rule 3  A key without an entry has no time to live.  Only database 0.  Time to live of hash fields is not kept.
Rule 4  A deadline in the past is due at once, so ask `due` after each exchange, not only when time moves.
Rule 5  The server compares and copies real times to live (EXPIRE … GT, scripts that ask for TTL).  They are
        right as long as `realign` is carried out whenever virtual time has moved.

Real time does pass between a command and the question what became of it.  An answer that lies at most DRIFT_MS
below the time to live that the server was given is that one; a new one is rounded up to what somebody may have
meant: a full second or tenth if it lies just below that, as it does on a busy machine, and else a full GRAIN_MS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from cacheproof.chaos.wire.commands import lifetime, options
from cacheproof.chaos.wire.resp import Command, Reply, RespValue, encode_integer

__all__ = ["DRIFT_MS", "GRAIN_MS", "READING", "Resync", "VirtualExpiry"]

DRIFT_MS: Final = 250
GRAIN_MS: Final = 10
_ROUND_MS: Final = ((1000, 100), (100, 50), (GRAIN_MS, GRAIN_MS))
"""(a round number of ms, how far below it is taken for it)"""


@dataclass(frozen=True, slots=True)
class Resync:
    """Whose time to live to ask the server for: these keys, or with None all that it or the mirror holds.

    False if there is nothing to ask.
    """

    keys: tuple[bytes, ...] | None

    def __bool__(self) -> bool:
        return self.keys is None or bool(self.keys)


def _meant_ms(pttl_ms: int) -> int:
    """The time to live that was set a moment ago, of which so much is left."""
    rounded = ((-(-pttl_ms // full) * full, drift) for full, drift in _ROUND_MS)
    return next(up for up, drift in rounded if up - pttl_ms <= drift)


_NOTHING = Resync(())
_EVERYTHING = Resync(None)


@dataclass(frozen=True, slots=True)
class _Deadline:
    """When a key is due, in virtual unix ms, and the real time to live that the server was last given."""

    at_ms: int
    server_ms: int


class VirtualExpiry:
    """Mirror of every key's deadline in virtual milliseconds, since real time never expires a key in a run."""

    __slots__ = ("_deadlines", "_overdue")

    def __init__(self) -> None:
        self._deadlines: dict[bytes, _Deadline] = {}
        self._overdue = False

    # ── what happened ────────────────────────────────────────────────────────────────────────────────────

    def observe(self, command: Command, reply: Reply, now_ms: int) -> Resync:
        """Follow an exchange that the server executed; returns what the server has to be asked about it.

        `command` is what the client sent, `now_ms` the virtual unix time in ms when it was executed.
        """
        name = command.name
        if name in _HARMLESS or reply.is_push or reply.raw == b"+QUEUED\r\n":
            return _NOTHING
        if reply.is_error:
            return _EVERYTHING if name in _SCRIPTS else _NOTHING
        rule = _RULES.get(name)
        return _EVERYTHING if rule is None else rule(self, command, reply.value, now_ms)

    def resync(self, key: bytes, pttl_ms: int, now_ms: int) -> None:
        """Take the server's answer to PTTL: the remaining real ms, -1 for no time to live, -2 for no key."""
        if pttl_ms < 0:
            self.forget(key)
            return
        known = self._deadlines.get(key)
        if known is not None:
            for expected in (known.server_ms, known.at_ms - now_ms):
                if 0 <= expected - pttl_ms <= DRIFT_MS:
                    return
        self._set(key, now_ms + _meant_ms(pttl_ms), now_ms)

    def adopt(self, key: bytes, at_ms: int, now_ms: int) -> None:
        """The key is due at `at_ms` (virtual unix ms), and the server has been told so."""
        self._set(key, at_ms, now_ms)

    def forget(self, key: bytes) -> None:
        """The key is gone, or has no time to live any more."""
        self._deadlines.pop(key, None)

    def realign(self, now_ms: int) -> tuple[tuple[bytes, int], ...]:
        """After virtual time has moved: the keys, in order, and the ms to live to give them (PEXPIRE).

        Keys that are due already are left out; it is assumed that the others are given what is returned.
        """
        moved = []
        for key, known in sorted(self._deadlines.items()):
            remaining_ms = known.at_ms - now_ms
            if 0 < remaining_ms != known.server_ms:
                self._deadlines[key] = _Deadline(known.at_ms, remaining_ms)
                moved.append((key, remaining_ms))
        return tuple(moved)

    # ── what is known ────────────────────────────────────────────────────────────────────────────────────

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that have a time to live, sorted."""
        return tuple(sorted(self._deadlines))

    def due(self, now_ms: int) -> tuple[bytes, ...]:
        """The keys whose deadline has come, by deadline, then key."""
        self._overdue = False
        found = [(known.at_ms, key) for key, known in self._deadlines.items() if known.at_ms <= now_ms]
        return tuple(key for _, key in sorted(found))

    @property
    def overdue(self) -> bool:
        """True if a deadline was set that had passed already, and `due` was not asked since (rule 4)."""
        return self._overdue

    def deadline_ms(self, key: bytes) -> int | None:
        """When the key is due, in virtual unix ms; None: never."""
        known = self._deadlines.get(key)
        return None if known is None else known.at_ms

    def next_deadline_ms(self) -> int | None:
        """The first deadline of all; None: there is none."""
        return min((known.at_ms for known in self._deadlines.values()), default=None)

    def rewrite(self, command: Command, reply: Reply, now_ms: int, *, resp3: bool = False) -> bytes | None:
        """The reply to TTL, PTTL, EXPIRETIME or PEXPIRETIME in virtual time; None: send it as it is.

        `resp3` is the protocol of the client; integers look the same in both.
        """
        if command.name not in _QUESTIONS or len(command.args) != 2:
            return None
        at_ms = self.deadline_ms(command.args[1])
        if at_ms is None or not isinstance(reply.value, int) or reply.value < 0:
            return None
        absolute, unit_ms = _QUESTIONS[command.name]
        ms = at_ms if absolute else max(0, at_ms - now_ms)
        return encode_integer((ms + unit_ms // 2) // unit_ms)

    # ── rules ────────────────────────────────────────────────────────────────────────────────────────────

    def _set(self, key: bytes, at_ms: int, now_ms: int) -> None:
        self._deadlines[key] = _Deadline(at_ms, max(1, at_ms - now_ms))
        self._overdue = self._overdue or at_ms <= now_ms

    def _on_set(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        """The old deadline goes, unless KEEPTTL, and a new one may come."""
        given = options(command)
        if not _was_set(command, given, value) or "KEEPTTL" in given:
            return _NOTHING
        return self._take(command, command.args[1:2], now_ms)

    def _on_msetex(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        if value != 1 or "KEEPTTL" in options(command):
            return _NOTHING
        count = int(command.args[1])
        return self._take(command, command.args[2 : 2 + 2 * count : 2], now_ms)

    def _take(self, command: Command, keys: tuple[bytes, ...], now_ms: int) -> Resync:
        """These keys have the deadline that the command gives, or none."""
        given = lifetime(command)
        for key in keys:
            if given is None:
                self.forget(key)
            else:
                self._set(key, given.deadline_ms(now_ms), now_ms)
        return _NOTHING

    def _on_getex(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        if value is not None and len(command.args) > 2:  # with neither a time nor PERSIST it is a GET
            return self._take(command, command.args[1:2], now_ms)
        return _NOTHING

    def _on_expire(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        """A deadline in the past deletes the key, or, where the server keeps real expiry away, does not."""
        if value != 1:
            return _NOTHING
        given = lifetime(command)
        self._take(command, command.args[1:2], now_ms)
        passed = given is None or given.deadline_ms(now_ms) <= now_ms
        return Resync(command.args[1:2]) if passed else _NOTHING

    def _on_mset(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        if value != 0:  # MSETNX did nothing
            self._drop(command.args[1::2])
        return _NOTHING

    def _on_delete(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        return self._drop(command.args[1:])

    def _on_first(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        """The first key is gone, or has no deadline, unless the reply is 0."""
        return _NOTHING if value == 0 else self._drop(command.args[1:2])

    def _on_store(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        """The first key was overwritten (or deleted, where the result is empty)."""
        return self._drop(command.args[1:2])

    def _on_bitop(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        return self._drop(command.args[2:3])

    def _drop(self, keys: tuple[bytes, ...]) -> Resync:
        for key in keys:
            self.forget(key)
        return _NOTHING

    def _on_rename(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        if value != 0:  # RENAMENX did nothing
            self._copy(command.args[1], command.args[2])
            if command.args[1] != command.args[2]:
                self.forget(command.args[1])
        return _NOTHING

    def _on_copy(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        if b"DB" in map(bytes.upper, command.args[3:]):
            return _EVERYTHING
        if value == 1:
            self._copy(command.args[1], command.args[2])
        return _NOTHING

    def _copy(self, source: bytes, target: bytes) -> None:
        if source in self._deadlines:
            self._deadlines[target] = self._deadlines[source]
        else:
            self.forget(target)

    def _on_flush(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        self._deadlines.clear()
        return _NOTHING

    def _on_removal(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        """Elements were taken out: a key that became empty by it is gone."""
        return Resync(tuple(key for key in dict.fromkeys(command.args[1:]) if key in self._deadlines))

    def _on_restore(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        return Resync(command.args[1:2])

    def _on_sort(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        stores = any(argument.upper() in (b"STORE", b"STOREDIST") for argument in command.args)
        return _EVERYTHING if stores else _NOTHING

    def _on_exec(self, command: Command, value: RespValue, now_ms: int) -> Resync:
        return _NOTHING if value is None else _EVERYTHING


def _was_set(command: Command, given: Mapping[str, int], value: RespValue) -> bool:
    """Whether SET did what it says.  With GET the reply is the old value, not the outcome."""
    if "GET" not in given:
        return value is not None
    if "NX" in given:
        return value is None
    if "IFEQ" in given:
        return value == command.args[given["IFEQ"] + 1]
    return value is not None if "XX" in given else True


_Rule: TypeAlias = Callable[[VirtualExpiry, Command, RespValue, int], Resync]

_BY_RULE: Mapping[_Rule, str] = {
    VirtualExpiry._on_set: "PSETEX SET SETEX",
    VirtualExpiry._on_getex: "GETEX",
    VirtualExpiry._on_expire: "EXPIRE EXPIREAT PEXPIRE PEXPIREAT",
    VirtualExpiry._on_mset: "MSET MSETNX",
    VirtualExpiry._on_msetex: "MSETEX",
    VirtualExpiry._on_delete: "DEL UNLINK",
    VirtualExpiry._on_first: "DELIFEQ GETDEL MOVE PERSIST",
    VirtualExpiry._on_rename: "RENAME RENAMENX",
    VirtualExpiry._on_copy: "COPY",
    VirtualExpiry._on_store: """
        GEOSEARCHSTORE GETSET SDIFFSTORE SINTERSTORE SUNIONSTORE ZDIFFSTORE ZINTERSTORE ZRANGESTORE ZUNIONSTORE
    """,
    VirtualExpiry._on_bitop: "BITOP",
    VirtualExpiry._on_flush: "FLUSHALL FLUSHDB",
    VirtualExpiry._on_restore: "RESTORE",
    VirtualExpiry._on_sort: "GEORADIUS GEORADIUSBYMEMBER SORT",
    VirtualExpiry._on_exec: "EXEC",
    VirtualExpiry._on_removal: """
        BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN HDEL HEXPIRE HEXPIREAT HGETDEL HGETEX
        HPEXPIRE HPEXPIREAT HSETEX LMOVE LMPOP LPOP LREM LTRIM RPOP RPOPLPUSH SMOVE SPOP SREM ZMPOP ZPOPMAX
        ZPOPMIN ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE
    """,
}
_RULES: Mapping[str, _Rule] = {name: rule for rule, names in _BY_RULE.items() for name in names.split()}

_SCRIPTS = frozenset({"EVAL", "EVALSHA", "FCALL"})  # an error may come after writes

# What only reads.
_READING = """
    BITCOUNT BITFIELD_RO BITPOS DBSIZE DUMP EVALSHA_RO EVAL_RO EXISTS EXPIRETIME FCALL_RO GEODIST GEOHASH
    GEOPOS GEORADIUSBYMEMBER_RO GEORADIUS_RO GEOSEARCH GET GETBIT GETRANGE HEXISTS HEXPIRETIME HGET
    HGETALL HKEYS HLEN HMGET HPEXPIRETIME HPTTL HRANDFIELD HSCAN HSTRLEN HTTL HVALS KEYS LCS LINDEX LLEN
    LOLWUT LPOS LRANGE MGET OBJECT PEXPIRETIME PFCOUNT PTTL RANDOMKEY SCAN SCARD SDIFF SINTER SINTERCARD
    SISMEMBER SMEMBERS SMISMEMBER SORT_RO SRANDMEMBER SSCAN STRLEN SUBSTR SUNION TOUCH TTL TYPE XINFO XLEN
    XPENDING XRANGE XREAD XREVRANGE ZCARD ZCOUNT ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZMSCORE ZRANDMEMBER
    ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE
    ZUNION
"""
# What concerns no key.
_KEYLESS = """
    ACL AUTH BGREWRITEAOF BGSAVE CLIENT COMMAND COMMANDLOG CONFIG DISCARD ECHO FUNCTION HELLO INFO
    LASTSAVE LATENCY MEMORY MONITOR MULTI PING PSUBSCRIBE PUBLISH PUBSUB PUNSUBSCRIBE QUIT READONLY
    READWRITE RESET ROLE SAVE SCRIPT SELECT SLOWLOG SPUBLISH SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE TIME
    UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH
"""
# What changes or creates a value and touches no time to live.
_KEEPING = """
    APPEND BITFIELD DECR DECRBY GEOADD HINCRBY HINCRBYFLOAT HMSET HPERSIST HSET HSETNX INCR INCRBY
    INCRBYFLOAT LINSERT LPUSH LPUSHX LSET PFADD PFMERGE RPUSH RPUSHX SADD SETBIT SETNX SETRANGE XACK XADD
    XAUTOCLAIM XCLAIM XDEL XGROUP XREADGROUP XSETID XTRIM ZADD ZINCRBY
"""
READING: Final = frozenset(_READING.split())
"""Commands that only read."""
_HARMLESS = frozenset(f"{_READING} {_KEYLESS} {_KEEPING}".split())

# Whether the answer is a point in time, and its unit in milliseconds.
_QUESTIONS: Mapping[str, tuple[bool, int]] = {
    "EXPIRETIME": (True, 1000),
    "PEXPIRETIME": (True, 1),
    "PTTL": (False, 1),
    "TTL": (False, 1000),
}
