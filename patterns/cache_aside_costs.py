"""What plain cache-aside costs: its round trips, its loads, and what is left of it when the cache is down.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   UPDATE in the database, then DEL: the next read loads the new value

The algorithm is the well-known one.  This page is not about what its reads show but about three sentences that
are said beside it, of which the first two are wrong and the third is a warning that is right:

"If the cache is down, the application still works, only slower."  There is no exception handler here, so an
error of the cache is an error of the application.  Where the cache takes the connection and never answers, it is
no error but a wait, as long as the driver's time-out.

"A write has no overhead."  A DEL is a round trip, after that of the UPDATE: two instead of one.

"N concurrent misses cost N loads."  Nobody tells a reader that another one is loading already, so all of them
ask the database, at the very moment when it has most to do.

    A: |--GET nil--SELECT--------SET--|
    B:    |--GET nil--SELECT--------SET--|
    C:       |--GET nil--SELECT--------SET--|

Claimed, or what would have to hold for the claim to be true:
    CA6  if the cache is down the application still works, only slower
    CA7  a write has no overhead: it costs the one round trip of its UPDATE
    CA7b  a write costs two round trips, and no more
    CA8  an entry is loaded once when it is missing, and not by everybody who misses it

Kept: CA7b, under every condition.  CA6 never while the cache is down, CA7 never, and CA8 only while one operation
runs at a time.

Known anomalies: 24 stampede, 50 "just slower" that is not.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.availability import Availability
from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.round_trips import RoundTrips
from cacheproof.models.single_flight import SingleFlight

__all__ = ["CACHE_ASIDE_COSTS", "CacheAsideAtCost"]


class CacheAsideAtCost:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)  # which raises when the cache is down
        if cached is not None:
            return str(cached)
        value = self._load(key)  # as everybody else does just now
        if value is not None:
            self.redis.set(key, value, ex=self.ttl)
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key)

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_CONDITIONS = (Condition.QUIET, Condition.CONCURRENT, Condition.CACHE_DOWN)
_WHILE_THE_CACHE_IS_UP = frozenset({Condition.QUIET, Condition.CONCURRENT})


def CACHE_ASIDE_COSTS(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to cost, and what it does cost; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="cache-aside, costs",
        ttl_s=ttl_s,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "CA6",
                "if the cache is down the application still works, and answers within a second",
                Availability(within_s=1.0),
                claimed=frozenset({Condition.CACHE_DOWN}),
            ),
            Guarantee(
                "CA7",
                "a write has no overhead: one round trip",
                RoundTrips(1, "write"),
                claimed=_WHILE_THE_CACHE_IS_UP,
            ),
            Guarantee(
                "CA7b",
                "a write costs two round trips",
                RoundTrips(2, "write"),
                kept=frozenset(_CONDITIONS),
                claimed=frozenset(_CONDITIONS),
            ),
            Guarantee(
                "CA8",
                "an entry is loaded once when it is missing",
                SingleFlight(lifetime_s=ttl_s),
                kept=frozenset({Condition.QUIET}),
                claimed=_WHILE_THE_CACHE_IS_UP,
            ),
        ),
    )
