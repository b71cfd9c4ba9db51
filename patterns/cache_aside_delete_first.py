"""Cache-aside that empties the cache before it writes: "stale is worse than empty, so DEL first".

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   DEL, then UPDATE in the database: the other way round than plain cache-aside

The idea is that a crash between the two steps then leaves an empty cache and not a stale one.  True; but a
read between the two puts the old value back, and nothing removes it after the UPDATE.  Of the 10
interleavings of one reader and one writer on a cold key 6 end stale, against 1 for UPDATE before DEL; on a
warm key 2, against none.

Claimed:
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA3  staleness is bounded by the ttl
    CA4  after a write is acknowledged, the next read sees it
    CA5  no acknowledged write is lost
    CA9  the cache is linearizable: it cannot be told from the database

Kept: the same as with plain cache-aside, for the order of the two steps moves the race and cures nothing.
CA1 and CA5 under every condition; CA2 as well, but only thanks to the ttl; CA3 as long as no time passes
between a SELECT and its SET; CA4 and CA9 only while one operation runs at a time.

Known anomalies: 2 pre-delete race, 1 stale set, 23 staleness beyond the ttl.
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

__all__ = ["CACHE_ASIDE_DELETE_FIRST", "DeleteFirst"]


class DeleteFirst:
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
        self.redis.delete(key)  # from here to the COMMIT any read puts the old value back
        self.db.execute("update records set value = %s where key = %s", (value, key))

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def CACHE_ASIDE_DELETE_FIRST(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl, and so no CA3."""
    bounded = []
    if ttl_s is not None:
        in_time = _EVERYWHERE - {Condition.EXPIRY}
        bounded.append(
            Guarantee("CA3", "staleness is bounded by the ttl", BoundedStaleness(ttl_s), kept=in_time)
        )
    return Contract(
        name="cache-aside, DEL first",
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
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
            ),
            *bounded,
            Guarantee(
                "CA4", "after a write is acknowledged, the next read sees it", ReadAfterWrite(), kept=_ALONE
            ),
            Guarantee("CA5", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE),
            Guarantee("CA9", "the cache is linearizable", Linearizable(), kept=_ALONE),
        ),
    )
