"""Write-through: every write goes to the database and then into the cache, before it is acknowledged.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   UPDATE in the database, then SET … EX ttl; acknowledge when both are done

Claimed, wherever the pattern is explained:
    WT1  the cache always reflects the latest write: after a write is acknowledged, the next read sees it
    WT2  a write is acknowledged only when both the database and the cache have it
    WT3  no acknowledged write is lost
    WT4  reads return only values that were committed for that key
    WT5  when the cache fails in the middle of a write, it is stale until the ttl, and no longer
    WT6  a write costs two round trips, one after the other

"Strongly consistent", as WT1 is often put, says more: linearizable.  The weaker reading is judged here, for
what refutes it refutes the other too.

Kept: WT3 and WT4 under every condition, because the database comes first and each statement commits by
itself.  WT2 as well, because an error of the cache reaches the caller; but by then the database has committed,
so that such an error says nothing of the write: it may well be there.  (The other choice is best effort: then
an ok says nothing of the cache.)  WT5 as well, but only thanks to the ttl: without one it holds only while one
operation runs at a time.  WT6 always.  WT1 only while one operation runs at a time.

Known anomalies: 6 write-through reorder (two writers' SETs arrive in the other order than their UPDATEs),
7 a reader's fill overwrites a newer SET, 9 window between COMMIT and SET, 39 crash between COMMIT and SET.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.reaches_cache import ReachesCache
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.round_trips import RoundTrips

__all__ = ["WRITE_THROUGH", "WriteThrough"]


class WriteThrough:
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
            self.redis.set(key, value, ex=self.ttl)  # even if it has been written since
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.set(key, value, ex=self.ttl)  # even if another write came between

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def WRITE_THROUGH(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-through",
        ttl_s=ttl_s,
        guarantees=(
            Guarantee(
                "WT1",
                "the cache always reflects the latest write: after it is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_ALONE,
            ),
            Guarantee(
                "WT2",
                "a write is acknowledged only when both the database and the cache have it",
                ReachesCache(after="acknowledgement"),
                kept=_EVERYWHERE,
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
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
            ),
            Guarantee(
                "WT6",
                "a write costs two round trips, one after the other",
                RoundTrips(2, "write"),
                kept=_EVERYWHERE,
            ),
        ),
    )
