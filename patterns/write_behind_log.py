"""Write-behind log: the stream of changes is the truth until the database has caught up with it.

    write   MULTI; HSET value and op (a name that this write alone has); PERSIST; DEL the lease; XADD to the log;
            EXEC; acknowledge
    read    HGET value; on a hit return it
            on a miss MULTI; SET a lease for 10 s; XREVRANGE the log; EXEC
                if the log holds a change of this record, return the newest: it is not stored yet
                else SELECT; in a script: if the lease is still ours and there is no entry, HSET with EXPIRE ttl
    worker  take the pending entries first (XREADGROUP from 0: what an earlier life of this worker was given and
            did not finish), then for ever new ones (XREADGROUP from >); for each
                INSERT … ON CONFLICT DO UPDATE … WHERE the stored version is lower: commits
                then, in a script: XACK and XDEL the change; and look at the entry:
                    it has the op of this change     it is stored: HDEL op, EXPIRE ttl; but if the database held
                                                     something newer, or refused it: DEL
                    it has no op                     a reader loaded it, perhaps before this commit: DEL, and the
                                                     lease too
                    it has another op                it was written since, and its turn will come
                begin with the pending entries again if the log did not know the change any more

Rule 1  The version of a change is its id in the log, milliseconds and a counter: ids grow, also over a restart of
        a cache that has lost everything.  The database takes a change only over a lower version, in the very
        statement that stores it.  So a change that comes late, twice, or from another worker is harmless.
Rule 2  A change leaves the log after the commit, never before.  Until then it is pending in the group.
Rule 3  An entry with an op is dirty, and has no ttl.  One without is as the database was, and has one, so that
        memory is bounded.
Rule 4  What is missing in the cache is looked for in the log before it is looked for in the database.
Rule 5  A reader fills only if nobody has written since it missed: a write takes its lease away, and so does a
        change that is stored.
Rule 6  A change that the database refuses for what it is goes to a stream of its own, for people to look at, and
        the cache goes back to what the database holds.  Those behind it do not wait.

The log is as long as what is not yet stored, and so is the search in it.  With `maxmemory-policy noeviction`, or
one of the volatile ones, no dirty entry is evicted, nor is the log.

Claimed, wherever it is recommended:
    WB1  a write is acknowledged after cache round trips only
    WB2  writes are lost only if the cache loses them before the flush
    WB3  the database takes the writes of a record in their order
    WB4  the database converges to the cache
    WB6  after a write is acknowledged, the next read sees it
    WB7  no acknowledged write is lost, even when the cache crashes or loses power
    WB8  reads return only values that somebody wrote to that key
    H11  the cache converges to the database without help from the ttl

Kept: WB1, WB3 and WB8 under every condition, WB2 wherever it is claimed, requests that arrive late included.  WB6
unless the cache loses what it has acknowledged.  H11 unless the cache goes back to an earlier moment, as after a
loss of power: what it then holds may be older than the database, and nobody tells it; WB4 holds all the same, with
the ttl as the bound.  WB7 is not in the hands of any algorithm, but of the server's settings: with `appendfsync
always` a reply comes after the change is on the disk, and a loss of power takes nothing that was acknowledged; with
`everysec` it takes up to a second, and without a file all.  For the loss of a disk or a machine it takes WAIT
besides, and an error for the caller where too few replicas answer.

Known anomalies: 51 lost write-behind (where the server forgets), 58 clobbered out-of-band write (whoever else
writes the table has to take part in the versions).  A cache that comes back on a machine whose clock is behind
gives ids that are too low: the database refuses the changes until the clock has caught up.  A caller whose
acknowledgement is lost is in doubt, as everywhere; if he repeats the write, that is a new one, after all that were
made meanwhile.  Avoided: 52 reorder, 55 pop then crash, 56 eviction of a dirty key (with the right policy), 57
dirty-flag race, 59 poison write, 61 pending entries that nobody reads again, stale fills.
"""

from typing import Any, NoReturn
from uuid import uuid4

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.round_trips import RoundTrips

__all__ = ["WRITE_BEHIND_LOG", "WriteBehindLog"]

LOG, GROUP, REFUSED = "write-behind:log", "database", "write-behind:refused"
LEASE_S = 10

FILL = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] or redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'value', ARGV[2])
if ARGV[3] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return redis.call('DEL', KEYS[2])
"""
SETTLE = """
local change, known = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1], 0
if change and change[2][6] == ARGV[3] then
  known = redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  redis.call('XDEL', KEYS[1], ARGV[2])
end
local op = redis.call('HGET', KEYS[2], 'op')
if not op or (op == ARGV[3] and ARGV[4] == 'dropped') then
  redis.call('DEL', KEYS[2], KEYS[3])
elseif op == ARGV[3] then
  redis.call('HDEL', KEYS[2], 'op')
  if ARGV[5] ~= '' then redis.call('EXPIRE', KEYS[2], ARGV[5]) end
end
return known
"""
STORE = """
insert into records (key, value, version) values (%s, %s, %s)
on conflict (key) do update set value = excluded.value, version = excluded.version
where records.version < excluded.version
"""


class WriteBehindLog:
    """Records of a database behind a cache that takes the writes; what is stored lives `ttl` seconds in it."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        # The driver's own time-out of 5 s would end an XREADGROUP that waits for ever.
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=None)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.name = env.client  # a worker that is started anew has the name that it had
        self.ttl = ttl

    def write(self, key: str, value: str) -> None:
        change: dict[Any, Any] = {"key": key, "value": value, "op": uuid4().hex}
        with self.redis.pipeline(transaction=True) as all_of_it:
            all_of_it.hset(_entry(key), mapping={"value": value, "op": change["op"]})
            all_of_it.persist(_entry(key))
            all_of_it.delete(_lease(key))
            all_of_it.xadd(LOG, change)
            all_of_it.execute()

    def read(self, key: str) -> str | None:
        cached: Any = self.redis.hget(_entry(key), "value")
        if cached is not None:
            return str(cached)
        lease = uuid4().hex
        with self.redis.pipeline(transaction=True) as both:
            both.set(_lease(key), lease, ex=LEASE_S)
            both.xrevrange(LOG)
            _, log = both.execute()
        for _, change in log:
            if change["key"] == key:
                return str(change["value"])
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        value: str | None = row[0] if row else None
        if value is not None:
            self.redis.eval(FILL, 2, _entry(key), _lease(key), lease, value, self.ttl or "")
        return value

    def work(self) -> NoReturn:
        position = "0"
        while True:
            changes = self._take(position)
            if not changes:
                position = ">"  # nothing is pending any more
            for number, change in changes:
                if not self._store(number, change):
                    position = "0"  # the cache has gone back in time, or lost all: begin anew

    def _store(self, number: str, change: dict[str, str]) -> bool:
        """Store a change, and settle it.  False if the cache does not know (any more) that it gave it to us."""
        try:
            stored = self.db.execute(STORE, (change["key"], change["value"], _version(number))).rowcount
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            refused: dict[Any, Any] = {**change, "error": str(error)}
            self.redis.xadd(REFUSED, refused)
            stored = 0
        outcome = "stored" if stored else "dropped"
        keys = (LOG, _entry(change["key"]), _lease(change["key"]))
        known: Any = self.redis.eval(SETTLE, 3, *keys, GROUP, number, change["op"], outcome, self.ttl or "")
        return bool(known)

    def _take(self, position: str) -> list[tuple[str, dict[str, str]]]:
        try:
            reply: Any = self.redis.xreadgroup(GROUP, self.name, {LOG: position}, count=100, block=0)
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._create_group()  # the first worker of all; or the cache has restarted empty
            return []
        changes: list[tuple[str, dict[str, str]]] = reply[0][1]  # [[log, changes]]
        return changes

    def _create_group(self) -> None:
        try:
            self.redis.xgroup_create(LOG, GROUP, id="0", mkstream=True)  # 0: from the first entry on
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it exists already
                raise


def _entry(key: str) -> str:
    return f"write-behind:entry:{key}"


def _lease(key: str) -> str:
    return f"write-behind:lease:{key}"


def _version(number: str) -> int:
    """The id of a change as one number that grows with it, for up to a million changes a millisecond."""
    milliseconds, counter = number.split("-")
    return int(milliseconds) << 20 | int(counter)


_LOSING_POWER = frozenset({Condition.POWER_LOSS})
_CONDITIONS = (*CORE_CONDITIONS, Condition.DELAYED_MESSAGES, Condition.POWER_LOSS)
_EVERYWHERE = frozenset(_CONDITIONS)
_THE_CACHE_FORGETS = frozenset({Condition.CACHE_CRASH, Condition.POWER_LOSS})
_WHILE_THE_CACHE_LIVES = _EVERYWHERE - _THE_CACHE_FORGETS


def WRITE_BEHIND_LOG(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-behind log",
        ttl_s=ttl_s,
        workers=1,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "WB1",
                "a write is acknowledged after cache round trips only",
                RoundTrips(0, "write", "database"),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB2",
                "writes are lost only if the cache loses them before the flush",
                Durability(),
                kept=_WHILE_THE_CACHE_LIVES,
                claimed=_WHILE_THE_CACHE_LIVES,
            ),
            Guarantee(
                "WB3",
                "the database takes the writes of a record in their order",
                FlushOrder(),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB4",
                "the database converges to the cache",
                Convergence(within_s=ttl_s),
                kept=_EVERYWHERE - _LOSING_POWER if ttl_s is None else _EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB6",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_WHILE_THE_CACHE_LIVES,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB7",
                "no acknowledged write is lost, even when the cache crashes or loses power",
                Durability(),
                claimed=_THE_CACHE_FORGETS,
            ),
            Guarantee(
                "WB8",
                "reads return only values that somebody wrote to that key",
                Integrity(committed=False),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "H11",
                "the cache converges to the database without help from the ttl",
                Convergence(within_s=0),
                kept=_EVERYWHERE - _LOSING_POWER,
                claimed=_EVERYWHERE,
            ),
        ),
    )
