"""Read-through: the application asks a layer for a key, and the layer loads it when it is missing.

    read    layer.get: GET; on a hit return it
            on a miss the layer calls its loader (a SELECT), then SET … EX ttl, and returns it
    write   UPDATE in the database, then layer.invalidate: DEL

The code of the application is shorter than with cache-aside, and every user of a key shares one ttl and one
loader.  The messages on the wire, and so the guarantees, are those of cache-aside; that is claim RT1, and it
is judged guarantee by guarantee.

Claimed:
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA3  staleness is bounded by the ttl
    CA4  after a write is acknowledged, the next read sees it
    CA5  no acknowledged write is lost
    CA9  the cache is linearizable: it cannot be told from the database

Kept: CA1 and CA5 under every condition.  CA2 as well, but only thanks to the ttl: without one it holds only
while one operation runs at a time.  CA3 as long as no time passes between a SELECT and its SET; a slow load
adds its own length.  CA4 and CA9 only while one operation runs at a time.

Known anomalies: 1 stale set, 9 window between COMMIT and DEL, 23 staleness beyond the ttl, 39 crash between
COMMIT and DEL.  A layer that lets concurrent misses share one load has one more, 15 (a read that starts
after an invalidation joins a load that started before it); this one does not.
"""

from collections.abc import Callable
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

__all__ = ["READ_THROUGH", "LoadingCache", "ReadThrough"]


class LoadingCache:
    """A cache that fills itself: `load(key)` fetches what is missing, entries live `ttl` seconds."""

    def __init__(self, url: str, load: Callable[[str], str | None], ttl: int | None) -> None:
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.load = load
        self.ttl = ttl

    def get(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        value = self.load(key)
        if value is not None:
            self.redis.set(key, value, ex=self.ttl)  # even if it has been written since
        return value

    def invalidate(self, key: str) -> None:
        self.redis.delete(key)


class ReadThrough:
    """The application: it reads from the layer alone, and tells it of every write."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.records = LoadingCache(env.redis_url, self._load, ttl)

    def read(self, key: str) -> str | None:
        return self.records.get(key)

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.records.invalidate(key)

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def READ_THROUGH(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl, and so no CA3."""
    bounded = []
    if ttl_s is not None:
        in_time = _EVERYWHERE - {Condition.EXPIRY}
        bounded.append(
            Guarantee("CA3", "staleness is bounded by the ttl", BoundedStaleness(ttl_s), kept=in_time)
        )
    return Contract(
        name="read-through",
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
