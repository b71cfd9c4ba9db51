"""Write-through inside a transaction: the SET comes before the COMMIT.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   BEGIN; UPDATE; SET … EX ttl; COMMIT; acknowledge when all are done

Nobody writes it like this on purpose.  It is what becomes of write-through when the function that does both is
called inside a transaction, by a decorator, a middleware that opens one for each request, or a test that was
never meant to commit.  The cache takes no part in the transaction: what has been SET is served at once, and
stays when the transaction rolls back.

The row lock has one good side: a second writer waits for the first one's COMMIT, and so the SETs come in the
order of the UPDATEs.  Frameworks have hooks that run after the commit; there is where the SET belongs.

Claimed, wherever the pattern is explained:
    WT1  the cache always reflects the latest write: after a write is acknowledged, the next read sees it
    WT3  no acknowledged write is lost
    WT4  reads return only values that were committed for that key
    WT5  when a write breaks off in the middle, the cache is wrong until the ttl, and no longer

Kept: WT3 under every condition.  WT4 and WT1 only while one operation runs at a time.  WT5 under every condition,
but only thanks to the ttl: without one it holds only while one operation runs at a time.

Known anomalies: 8 dirty write-through (the cache serves what is not committed, and perhaps never will be),
7 a reader's fill overwrites a newer SET.  Avoided: 6 write-through reorder, thanks to the row lock.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["WRITE_THROUGH_IN_TRANSACTION", "InTransaction"]


class InTransaction:
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
        with self.db.transaction():  # commits at the end of the block
            self.db.execute("update records set value = %s where key = %s", (value, key))
            self.redis.set(key, value, ex=self.ttl)  # everybody reads it from now on

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def WRITE_THROUGH_IN_TRANSACTION(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-through, inside a transaction",
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
