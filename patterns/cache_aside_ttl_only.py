"""Cache-aside without invalidation: entries are left to expire.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   UPDATE in the database, and nothing else

The honest variant when stale data is acceptable: one round trip a write, and the ttl alone decides how old a
value may get.  No race is needed to see an old value; reading, writing and reading again is enough.

Claimed (no guide promises CA4 or CA9 of it; they are here to be compared with the other variants):
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA3  staleness is bounded by the ttl
    CA4  after a write is acknowledged, the next read sees it
    CA5  no acknowledged write is lost
    CA9  the cache is linearizable: it cannot be told from the database

Kept: CA1 and CA5 under every condition.  CA2 as well; without a ttl never.  CA3 as long as no time passes
between a SELECT and its SET; a slow load adds its own length.  CA4 and CA9 never, not even while one
operation runs at a time.

Known anomalies: 9 window between COMMIT and DEL (here it is as long as the ttl), 23 staleness beyond the
ttl.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.zones import Linearizable

__all__ = ["CACHE_ASIDE_TTL_ONLY", "NoInvalidation"]


class NoInvalidation:
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
            self.redis.set(key, value, ex=self.ttl)  # served until it expires
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)


def CACHE_ASIDE_TTL_ONLY(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl, and so no CA3."""
    bounded = []
    if ttl_s is not None:
        in_time = _EVERYWHERE - {Condition.EXPIRY}
        bounded.append(
            Guarantee("CA3", "staleness is bounded by the ttl", BoundedStaleness(ttl_s), kept=in_time)
        )
    return Contract(
        name="cache-aside, ttl only",
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
                kept=frozenset() if ttl_s is None else _EVERYWHERE,
            ),
            *bounded,
            Guarantee("CA4", "after a write is acknowledged, the next read sees it", ReadAfterWrite()),
            Guarantee("CA5", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE),
            Guarantee("CA9", "the cache is linearizable", Linearizable()),
        ),
    )
