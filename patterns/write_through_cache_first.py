"""Write-through, cache first: every write goes into the cache and then to the database.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   SET … EX ttl, then UPDATE in the database; acknowledge when both are done

The order looks harmless, since the write is acknowledged only when both are done.  But readers do not wait for
the acknowledgement: from the SET on they are served a value that is not in the database yet, and that never
gets there if the writer dies, or its UPDATE fails.  When the entry expires the old value is back.

Claimed, wherever the pattern is explained:
    WT1   the cache always reflects the latest write: after a write is acknowledged, the next read sees it
    WT3   no acknowledged write is lost
    WT3b  no write that somebody has read is lost: the same client never reads an older value later; claimed for
          crashes of clients and lost messages
    WT4   reads return only values that were committed for that key
    WT5   when a write breaks off in the middle, the cache is wrong until the ttl, and no longer

Kept: WT3 under every condition, for what it says: a write whose UPDATE failed was not acknowledged.  That is little
comfort to those who have read it: WT3b, which is what readers take it to mean, is kept only while one
operation runs at a time, as are WT1 and WT4.  WT5 under every condition, but only thanks to the ttl: without
one it holds only while one operation runs at a time.

Known anomalies: 8 dirty write-through (the cache serves what is not committed, and perhaps never will be),
6 write-through reorder (two writers' UPDATEs arrive in the other order than their SETs), 7 a reader's fill
overwrites a newer SET.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.sessions import MonotonicReads

__all__ = ["WRITE_THROUGH_CACHE_FIRST", "CacheFirst"]


class CacheFirst:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        value = self._load(key)
        if value is not None:
            self.redis.set(key, value, ex=self.ttl)
        return value

    def write(self, key: str, value: str) -> None:
        self.redis.set(key, value, ex=self.ttl)  # everybody reads it from now on
        self.db.execute("update records set value = %s where key = %s", (value, key))

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def WRITE_THROUGH_CACHE_FIRST(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-through, cache first",
        ttl_s=ttl_s,
        guarantees=(
            Guarantee(
                "WT1",
                "the cache always reflects the latest write: after it is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_ALONE,
            ),
            Guarantee("WT3", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE),
            Guarantee(
                "WT3b",
                "no write that somebody has read is lost",
                MonotonicReads(),
                kept=_ALONE,
                claimed=_ALONE | {Condition.APP_CRASH, Condition.LOST_MESSAGES},
            ),
            Guarantee(
                "WT4",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_ALONE,
            ),
            Guarantee(
                "WT5",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
            ),
        ),
    )
