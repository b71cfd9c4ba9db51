"""Cache-aside with delayed double delete: DEL, write, wait, and DEL once more, in case somebody was in between.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   DEL, then UPDATE in the database, sleep a while, then DEL again

The second DEL is meant for a reader that loaded the old value before the UPDATE and filled after the first DEL.
It helps if that fill comes within the sleep, and nothing says that it does: a reader may take longer, for a lock
in the database, a garbage collection, a slow network.

    A: |--GET nil--SELECT v1-------------------------------------------SET v1--|
    B:                 |--DEL--UPDATE v2--sleep--------------DEL--|

Every writer pays the sleep, or hands the second DEL to a background task that may die with it.  Longer sleeps
make the race rarer and the writes slower; none makes it impossible.

Claimed, wherever the pattern is explained:
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA4  after a write is acknowledged, the next read sees it
    CA5  no acknowledged write is lost
    CA9  the cache is linearizable: it cannot be told from the database

Kept: CA1 and CA5 under every condition.  CA2 as well, but only thanks to the ttl.  CA4 as long as no reader takes
longer than the sleep from its SELECT to its SET, and that is for time to say, not for the pattern.  CA9 only
while one operation runs at a time: during the sleep one reader may see the new value, and the next one the old.

Known anomalies: 19 double delete too early, or lost with the writer that slept; 1 stale set, 2 pre-delete race
(both for as long as the sleep), 23 staleness beyond the ttl.
"""

import time
from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.zones import Linearizable

__all__ = ["CACHE_ASIDE_DOUBLE_DELETE", "DoubleDelete"]

DELAY_S = 0.5
"""How long the slowest reader is hoped to take from its SELECT to its SET."""


class DoubleDelete:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300, delay_s: float = DELAY_S) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl
        self.delay_s = delay_s

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        value = self._load(key)
        if value is not None:
            self.redis.set(key, value, ex=self.ttl)  # even if it has been deleted twice since
        return value

    def write(self, key: str, value: str) -> None:
        self.redis.delete(key)
        self.db.execute("update records set value = %s where key = %s", (value, key))
        time.sleep(self.delay_s)  # a crash here, and there is no second time
        self.redis.delete(key)

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})
_IN_TIME = _EVERYWHERE - {Condition.EXPIRY}
_WITHOUT_TTL = frozenset({Condition.QUIET, Condition.CONCURRENT, Condition.CACHE_CRASH})


def CACHE_ASIDE_DOUBLE_DELETE(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="cache-aside, delayed double delete",
        ttl_s=ttl_s,
        guarantees=(
            Guarantee(
                "CA1",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_EVERYWHERE,
            ),
            Guarantee(
                "CA2",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_WITHOUT_TTL if ttl_s is None else _EVERYWHERE,
                claimed=_EVERYWHERE - {Condition.APP_CRASH} if ttl_s is None else _EVERYWHERE,
            ),
            Guarantee(
                "CA4", "after a write is acknowledged, the next read sees it", ReadAfterWrite(), kept=_IN_TIME
            ),
            Guarantee("CA5", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE),
            Guarantee(
                "CA9",
                "the cache is linearizable",
                Linearizable(),
                kept=_ALONE,
                claimed=_ALONE | {Condition.EXPIRY},
            ),
        ),
    )
