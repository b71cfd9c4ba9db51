"""Write-through, best effort: when the cache fails, the application goes on without it.

    read    GET; on a hit return it
            on a miss, or if the cache fails, SELECT; try to SET … EX ttl; return it
    write   UPDATE in the database; try to SET … EX ttl; acknowledge, whether or not the SET came through

An outage of the cache is no outage of the application, and that is what the errors are swallowed for.  But an
acknowledged write may now be one that the cache has never heard of, and nobody will tell it: it serves the old
value until the ttl.  "Acknowledged only when both succeed" and "the cache write is best effort" cannot both
be had.  Where the error reaches the caller instead, the database has committed all the same, and the caller
cannot know; see write-through.

Claimed, wherever the pattern is explained:
    WT1   the cache always reflects the latest write: after a write is acknowledged, the next read sees it
    WT2   a write is acknowledged only when both the database and the cache have it
    WT2b  while the cache is down, whether it refuses or never answers, reads and writes go on within seconds
    WT3   no acknowledged write is lost
    WT4   reads return only values that were committed for that key
    WT5   when the cache fails in the middle of a write, it is stale until the ttl, and no longer

Kept: WT3 and WT4 under every condition.  WT2 as long as the cache is there and no message is lost.  WT2b, which is
what the pattern is for.  WT5 under every condition, but only thanks to the ttl: without one it holds only
while one operation runs at a time.  WT1 only while one operation runs at a time.

Known anomalies: 40 swallowed invalidation, 49 asymmetric partition (a writer cannot reach the cache, readers can), 6
write-through reorder, 7 a reader's fill overwrites a newer SET, 9 window between COMMIT and SET, 39 crash
between COMMIT and SET.
"""

from contextlib import suppress
from typing import Any

import psycopg
import redis

from cacheproof.models.availability import Availability
from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.reaches_cache import ReachesCache
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["WRITE_THROUGH_BEST_EFFORT", "BestEffort"]

TIMEOUT_S = 0.5
"""Seconds to wait for the cache, which is there to save time."""


class BestEffort:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(
            env.redis_url,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        with suppress(redis.RedisError):
            cached = self.redis.get(key)
            if cached is not None:
                return str(cached)
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        value: str | None = row[0] if row else None
        if value is not None:
            self._try_to_set(key, value)
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self._try_to_set(key, value)

    def _try_to_set(self, key: str, value: str) -> None:
        with suppress(redis.RedisError):
            self.redis.set(key, value, ex=self.ttl)


_EVERYWHERE = frozenset({*CORE_CONDITIONS, Condition.CACHE_DOWN})
_ALONE = frozenset({Condition.QUIET})
_ALL_WELL = frozenset({Condition.QUIET, Condition.CONCURRENT, Condition.EXPIRY, Condition.APP_CRASH})


def WRITE_THROUGH_BEST_EFFORT(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-through, best effort",
        ttl_s=ttl_s,
        conditions=(*CORE_CONDITIONS, Condition.CACHE_DOWN),
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
                kept=_ALL_WELL,
                claimed=_ALL_WELL | {Condition.CACHE_CRASH, Condition.LOST_MESSAGES},
            ),
            Guarantee(
                "WT2b",
                "while the cache is down, reads and writes go on, within 5 seconds",
                Availability(within_s=5),
                kept=frozenset({Condition.CACHE_DOWN}),
                claimed=frozenset({Condition.CACHE_DOWN}),
            ),
            Guarantee(
                "WT3", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE, claimed=_EVERYWHERE
            ),
            Guarantee(
                "WT4",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WT5",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
        ),
    )
