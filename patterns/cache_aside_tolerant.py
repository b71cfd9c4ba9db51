"""Cache-aside that tolerates an outage of the cache: errors of the cache are caught, and the database answers.

    read    GET; on a hit return it
            on a miss, an error or a time-out SELECT, then try SET … EX ttl, and return it
    write   UPDATE in the database, then try DEL

The exception handlers are three lines, and what everybody asks for: "if the cache is down, the application
still works, only slower".  It takes two settings more to be true: a short time-out, for a cache that takes
requests and never answers costs the default of the driver each time (5 s, and for ever with older ones), and no
retries, which multiply it.

The handler around the DEL is the one to think about.  A DEL that failed is an invalidation that nobody repeats:
the write is acknowledged, the cache comes back with the old value, and serves it until the ttl.  To fail the
write would be no better, for the database has it.  Who needs both keeps the invalidation in an outbox, in the
transaction of the UPDATE.

Claimed, wherever the pattern is explained:
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA4  after a write is acknowledged, the next read sees it
    CA5  no acknowledged write is lost
    CA6  if the cache is down the application still works, only slower

Kept: CA1, CA5 and CA6 under every condition.  CA2 as well, but only thanks to the ttl.  CA4 only while one
operation runs at a time, and with an outage not even then.

Known anomalies: 1 stale set, 9 window between COMMIT and DEL, 39 crash between COMMIT and DEL, 40 swallowed
invalidation, 49 asymmetric partition (writers are cut off from the cache, and readers are not).  Avoided:
50 "just slower" that is not.
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
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["CACHE_ASIDE_TOLERANT", "CacheAsideTolerant"]

PATIENCE_S = 0.1
"""How long to wait for the cache: longer than it ever takes, and shorter than anybody notices."""


class CacheAsideTolerant:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(
            env.redis_url,
            decode_responses=True,
            socket_timeout=PATIENCE_S,
            socket_connect_timeout=PATIENCE_S,
            retry=None,
        )
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        with suppress(redis.RedisError):
            cached = self.redis.get(key)
            if cached is not None:
                return str(cached)
        value = self._load(key)
        if value is not None:
            with suppress(redis.RedisError):
                self.redis.set(key, value, ex=self.ttl)
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        with suppress(redis.RedisError):
            self.redis.delete(key)  # and if not, the old value stays

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset({*CORE_CONDITIONS, Condition.CACHE_DOWN})
_ALONE = frozenset({Condition.QUIET})
_DOWN = frozenset({Condition.CACHE_DOWN})


def CACHE_ASIDE_TOLERANT(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="cache-aside, tolerant of an outage",
        ttl_s=ttl_s,
        conditions=(*CORE_CONDITIONS, Condition.CACHE_DOWN),
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
            Guarantee(
                "CA6",
                "if the cache is down the application still works, and answers within a second",
                Availability(within_s=1.0),
                kept=_DOWN,
                claimed=_DOWN,
            ),
        ),
    )
