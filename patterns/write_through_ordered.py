"""Ordered write-through: the cache takes a value only if its version is newer than the one that it holds.

    read    HGET of the value; on a hit return it
            on a miss SELECT value and version, then set-if-newer, and return the value
    write   UPDATE … RETURNING version, which counts the row's version up in the same statement;
            then set-if-newer; acknowledge when both are done

Set-if-newer is a script of a few lines that the cache runs as one step.  So it does not matter in which order
values arrive: two writers may overtake each other, and a slow reader may fill after a write; the newest
version wins.  The version is a counter in the row, because clocks disagree and a transaction's `now()` is not
the order of commits; and it goes up in the UPDATE itself, where writers of one row wait for each other.

A writer that crashes between COMMIT and set-if-newer leaves an old value until the ttl: what it wrote was
never acknowledged, but it is in the database.  A transactional outbox closes that gap too, at the price of a
table, a worker, and a third write; see there.

Claimed, wherever the pattern is explained:
    WT1  the cache always reflects the latest write: after a write is acknowledged, the next read sees it
    WT3  no acknowledged write is lost
    WT4  reads return only values that were committed for that key
    WT5  when the cache fails in the middle of a write, it is stale until the ttl, and no longer
    H8a  the cache is linearizable: it cannot be told from the database
    H8b  once all writers are done, cache and database agree, without help from the ttl

Kept: WT3 and WT4 under every condition.  WT5 as well, thanks to the ttl: without one it is as good as H8b.  WT1
and H8a as long as the cache forgets nothing: whoever has returned a version has left it, or a newer one, in
the cache, and nothing older gets in.  Even crashes of clients and lost messages do not change that; an entry
that expires does.  H8b only while no writer dies, and no message is lost, between COMMIT and set-if-newer.
The three are not claimed for a cache that crashes: it takes what is on its way to it with it, so all of them
usually hold, but a client that stands still meanwhile and goes on with an old value finds an empty cache.

Linearizable means here: for everybody who goes through the cache.  Somebody who reads the database directly sees a
commit a moment before the cache does.

Known anomalies: 47 lost tombstone: an entry expires, is evicted, or goes with a cache that restarts empty, and
its version with it; a reader that had loaded an older value before then fills it in, and a slow writer sets
it.  9 window between COMMIT and SET, for those who look into the database.  17 version reset: a row that is
deleted and inserted anew must not start again at 0.  39 crash between COMMIT and SET, until the ttl.
Avoided: 6 write-through reorder, 7 a reader's fill overwrites a newer SET.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.zones import Linearizable

__all__ = ["WRITE_THROUGH_ORDERED", "OrderedWriteThrough"]

SET_IF_NEWER = """
local cached = redis.call('HGET', KEYS[1], 'version')
if cached and tonumber(cached) >= tonumber(ARGV[1]) then
    return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
if ARGV[3] ~= '' then
    redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return 1
"""
"""KEYS: the entry.  ARGV: version, value, ttl in seconds or '' for none.  Returns 1 if it was newer."""


class OrderedWriteThrough:
    """Records of a database behind a cache of versioned entries that live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached: Any = self.redis.hget(key, "value")
        if cached is not None:
            return str(cached)
        row = self.db.execute("select version, value from records where key = %s", (key,)).fetchone()
        if row is None:
            return None
        version, value = row
        self._set_if_newer(key, version, value)
        return str(value)

    def write(self, key: str, value: str) -> None:
        row = self.db.execute(
            "update records set value = %s, version = version + 1 where key = %s returning version",
            (value, key),
        ).fetchone()
        if row is not None:
            self._set_if_newer(key, row[0], value)

    def _set_if_newer(self, key: str, version: int, value: str) -> None:
        ttl = "" if self.ttl is None else self.ttl
        self.redis.eval(SET_IF_NEWER, 1, key, version, value, ttl)


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_WHILE_THE_CACHE_LIVES = _EVERYWHERE - {Condition.CACHE_CRASH}
_UNDISTURBED = frozenset({Condition.QUIET, Condition.CONCURRENT})
_NOTHING_FORGOTTEN = _UNDISTURBED | {Condition.APP_CRASH, Condition.LOST_MESSAGES}


def WRITE_THROUGH_ORDERED(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-through, ordered",
        ttl_s=ttl_s,
        guarantees=(
            Guarantee(
                "WT1",
                "the cache always reflects the latest write: after it is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_NOTHING_FORGOTTEN,
                claimed=_WHILE_THE_CACHE_LIVES,
            ),
            Guarantee("WT3", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE),
            Guarantee(
                "WT4",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_EVERYWHERE,
            ),
            Guarantee(
                "WT5",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_UNDISTURBED if ttl_s is None else _EVERYWHERE,
            ),
            Guarantee(
                "H8a",
                "the cache is linearizable",
                Linearizable(),
                kept=_NOTHING_FORGOTTEN,
                claimed=_WHILE_THE_CACHE_LIVES,
            ),
            Guarantee(
                "H8b",
                "once all writers are done, cache and database agree",
                Convergence(within_s=0),
                kept=_UNDISTURBED,
                claimed=_WHILE_THE_CACHE_LIVES,
            ),
        ),
    )
