"""Cache-aside whose invalidation runs inside the transaction: DEL between UPDATE and COMMIT.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   BEGIN; UPDATE; DEL; COMMIT

Nobody writes it down like that, and it is what comes of calling a cache from within `transaction.atomic()` or
`@Transactional`, or from a handler that runs after each save.  Until the COMMIT others cannot see the new value,
and after it nobody deletes the old one:

    A:                                |--GET nil--SELECT v1--SET v1--|
    B: |--BEGIN--UPDATE v2--DEL--------------------------------------------COMMIT--|

The transaction gives no atomicity over both: its COMMIT may fail after the DEL, which is harmless, and the DEL
may fail before the COMMIT, which then does not happen; that much is true, and it is why people like it.  What is
needed is the other order: an after-commit hook (`transaction.on_commit`), or plain cache-aside.

Claimed:
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA4  after a write is acknowledged, the next read sees it
    CA5  no acknowledged write is lost
    CA9  the cache is linearizable: it cannot be told from the database

Kept: CA1 and CA5 under every condition.  CA2 as well, but only thanks to the ttl.  CA4 and CA9 only while one
operation runs at a time.

Known anomalies: 3 invalidate before commit, for which no slow reader is needed; 1 stale set, 23 staleness beyond
the ttl.  Avoided: 40 swallowed invalidation (a DEL that fails takes the UPDATE with it).
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

__all__ = ["CACHE_ASIDE_IN_TRANSACTION", "InvalidateInTransaction"]


class InvalidateInTransaction:
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
        with self.db.transaction():
            self.db.execute("update records set value = %s where key = %s", (value, key))
            self.redis.delete(key)  # from here to the COMMIT any read puts the old value back

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_CONDITIONS = tuple(item for item in CORE_CONDITIONS if item is not Condition.LOST_MESSAGES)
_EVERYWHERE = frozenset(_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def CACHE_ASIDE_IN_TRANSACTION(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="cache-aside, DEL in transaction",
        ttl_s=ttl_s,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "CA1",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "CA2",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "CA4",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_ALONE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "CA5", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE, claimed=_EVERYWHERE
            ),
            Guarantee("CA9", "the cache is linearizable", Linearizable(), kept=_ALONE, claimed=_EVERYWHERE),
        ),
    )
