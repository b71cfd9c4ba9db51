"""Write-behind with a dirty set: a timer stores every few seconds whatever has changed since.

    read    GET; on a hit return it
            on a miss SELECT, then SET … NX EX ttl, and return it
    write   MULTI; SET (without a ttl); SADD the key to the dirty set; EXEC; acknowledge
    worker  every 5 s: SMEMBERS of the dirty set; for each key GET, UPDATE, SREM

A set remembers that a record has changed, not how often: ten writes between two rounds are one UPDATE, which is
what this is for.  The worker stores the newest value, so there is no order to keep within a record.  Between
records there is none: what was written first may be stored last.  The key stays in the set until its value is
committed, so that a worker that dies begins again with it.

But a mark has no version.  A write between the GET and the SREM sets a mark that is there already, and the SREM
takes away both:

    worker  SMEMBERS {user:1}  GET v2                          UPDATE v2  SREM user:1
    writer                               SET v3, SADD user:1

v3 is in the cache for good, and will never be stored.  What helps is to take the mark before the value is read
(SREM, then GET; and then a crash loses it), or to clear it only if the entry has not changed since (a script that
compares), or a log instead of a set (write_behind_log.py).

Claimed, wherever the pattern is explained:
    WB2  writes are lost only if the cache loses them before the flush
    WB3  the database takes the writes of a record in their order
    WB4  the database converges to the cache
    WB6  after a write is acknowledged, the next read sees it
    WB8  reads return only values that somebody wrote to that key

Kept: WB6 and WB8 as long as the cache does not crash (or evict), WB3 even when the worker dies and begins its round
again.  WB2 and WB4 only while no write falls into a round of the worker.

Known anomalies: 57 dirty-flag race, 51 lost write-behind (up to 5 s of it), 56 eviction of a dirty key, 58
clobbered out-of-band write, 59 poison write.
"""

import time
from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["WRITE_BEHIND_DIRTY_SET", "WriteBehindDirtySet"]

DIRTY = "write-behind:dirty"
EVERY_S = 5.0


class WriteBehindDirtySet:
    """Records of a database behind a cache that takes the writes; what a read loads lives `ttl` seconds."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        value: str | None = row[0] if row else None
        if value is not None:
            self.redis.set(key, value, nx=True, ex=self.ttl)  # never over a value that is not yet stored
        return value

    def write(self, key: str, value: str) -> None:
        with self.redis.pipeline(transaction=True) as both:
            both.set(key, value)
            both.sadd(DIRTY, key)
            both.execute()

    def work(self) -> NoReturn:
        while True:
            self.flush()
            time.sleep(EVERY_S)

    def flush(self) -> None:
        """One round: store what is marked now."""
        marked: Any = self.redis.smembers(DIRTY)
        for key in sorted(marked):
            value = self.redis.get(key)
            if value is not None:  # else the cache has lost it
                self.db.execute("update records set value = %s where key = %s", (value, key))
            self.redis.srem(DIRTY, key)  # even if it has been written since


_CONDITIONS = (Condition.QUIET, Condition.CONCURRENT, Condition.APP_CRASH)
_EVERYWHERE = frozenset(_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})
_AGAIN = frozenset({Condition.APP_CRASH})
"""Where a round begins again: else one UPDATE follows the other, and there is little that could be out of order."""


def WRITE_BEHIND_DIRTY_SET(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-behind, dirty set",
        ttl_s=ttl_s,
        workers=1,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "WB2",
                "writes are lost only if the cache loses them before the flush",
                Durability(),
                kept=_ALONE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB3",
                "the database takes the writes of a record in their order",
                FlushOrder(),
                kept=_AGAIN,
                claimed=_AGAIN,
            ),
            Guarantee(
                "WB4",
                "the database converges to the cache",
                Convergence(within_s=ttl_s),
                kept=_ALONE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB6",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB8",
                "reads return only values that somebody wrote to that key",
                Integrity(committed=False),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
        ),
    )
