"""Cache-aside with validated reads: the cache keeps the payload, the database says whether it is still right.

    read    GET key: a version and a value, or nothing
            SELECT the version, and the value only if the version is another one than that of the cache
            if it is the same, return what the cache held; else SET … EX ttl, and return the new value
    write   UPDATE … version = version + 1, and nothing else: the cache finds out by itself

It is the ETag of HTTP: "if none match".  Every read asks the database, so every read is fresh, whatever the
cache has forgotten, kept for too long or got back from a backup.  Nothing is invalidated, so no invalidation
can be lost.  What is saved is the payload: its transfer, its decoding, or what it took to compute.  That pays
where values are large, or expensive to derive, and a row's version is cheap to look up by primary key.

A read takes effect at its SELECT and a write at its COMMIT, both in the database.  Hence H15a: the order of
the database is the order that everybody sees, and the cache has no say in it.

Claimed of a cache that cannot be told from the database, and that spares it work:
    H15a  the cache is linearizable
    H15b  after a write is acknowledged, the next read sees it
    H15c  reads return only values that were committed for that key
    H15d  cache and database agree as soon as everything is at rest, without waiting for the ttl
    H15e  no acknowledged write is lost
    H15f  a read asks the database once at most
    H15g  a write is one round trip: it asks the database once, and the cache nothing

Kept: all of it, under every condition: H15a, H15b, H15c, H15d, H15e, H15f and H15g.  The price stands between the
lines: a hit asks the database as well, and without the database nothing can be read.

Known anomalies: 17 version reset (a row that is deleted and inserted anew counts from 0 again, and its versions
may meet those of an older entry: take them from a sequence then), and 5 if the version is asked of a replica
that lags.  Avoided: 1 stale set, 4 old-snapshot fill, 9 window between COMMIT and invalidation, 23 staleness
beyond the ttl, 39 crash before the invalidation, 40 swallowed invalidation, 41 zombie write, 44 failover
rollback, 47 lost tombstone.
"""

import json
from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.round_trips import RoundTrips
from cacheproof.models.zones import Linearizable

__all__ = ["CACHE_ASIDE_VALIDATED", "CacheAsideValidated"]

IF_ANOTHER = "select version, case when version <> %s then value end from records where key = %s"
"""The version of a row, and its value unless its version is the one given."""

NO_VERSION = -1
"""Older than every row."""


class CacheAsideValidated:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        known, cached = self._cached(key)
        row = self.db.execute(IF_ANOTHER, (known, key)).fetchone()
        if row is None:
            return None
        version, value = row
        if version == known:
            return cached
        # An older value may overwrite a newer one here: it costs the next reader a SET, and no more.
        self.redis.set(key, json.dumps([version, value]), ex=self.ttl)
        return value and str(value)

    def write(self, key: str, value: str) -> None:
        update = "update records set value = %s, version = version + 1 where key = %s"
        self.db.execute(update, (value, key))

    def _cached(self, key: str) -> tuple[int, str | None]:
        """The version and the value that the cache holds."""
        entry: Any = self.redis.get(key)
        if entry is None:
            return NO_VERSION, None
        version, value = json.loads(entry)
        return version, value


_EVERYWHERE = frozenset({*CORE_CONDITIONS, Condition.FAILOVER})


def CACHE_ASIDE_VALIDATED(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl.  Neither matters."""
    promises: list[tuple[str, str, Any]] = [
        ("H15a", "the cache is linearizable", Linearizable()),
        ("H15b", "after a write is acknowledged, the next read sees it", ReadAfterWrite()),
        ("H15c", "reads return only values that were committed for that key", Integrity(committed=True)),
        ("H15d", "cache and database agree as soon as everything is at rest", Convergence(within_s=0)),
        ("H15e", "no acknowledged write is lost", Durability()),
        ("H15f", "a read asks the database once at most", RoundTrips(1, "read", "database")),
        ("H15g", "a write is one round trip", RoundTrips(1, "write")),
    ]
    return Contract(
        name="cache-aside, validated reads",
        ttl_s=ttl_s,
        conditions=(*CORE_CONDITIONS, Condition.FAILOVER),
        guarantees=tuple(Guarantee(*promise, kept=_EVERYWHERE, claimed=_EVERYWHERE) for promise in promises),
    )
