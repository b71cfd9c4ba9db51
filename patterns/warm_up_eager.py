"""Eager warm-up: before a cold cache serves, somebody loads the most used records into it.

    read     GET; on a hit return it
             on a miss SELECT, then SET … EX ttl, and return it
    write    UPDATE in the database, then DEL: the next read loads the new value
    warm_up  SELECT the records that are wanted most, then SET each with EX ttl, in one pipeline

It spares the database the misses of the first minutes.  But between the SELECT and the pipeline lies a snapshot,
which ages while the application writes:

    loader  SELECT v1                          SET v1 EX 300
    writer             UPDATE v2, DEL

The cache was right, and the warm-up has made it wrong for a whole ttl.  NX instead of SET does not help: after the
DEL there is nothing that it would be refused for.  It brings deleted records back in the same way, and since all
entries get their ttl in one moment, they expire in one moment as well.  What helps is to offer each record with its
version, to a cache that knows how far it has been invalidated (warm_up_versioned.py).

Claimed, wherever the pattern is explained:
    WU2  warm-up never makes the cache older: at rest, cache and database agree
    WU3  no write reaches the database through it
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl

Kept: WU3 and CA1 under every condition, CA2 thanks to the ttl.  WU2 only while one operation runs at a time.

Known anomalies: 73 warm-up overwrite, 74 warm-up zombie, 25 avalanche, and those of cache-aside: 1 stale set, 9
window between COMMIT and DEL, 39 crash between COMMIT and DEL.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.integrity import Integrity
from cacheproof.models.quiet_warm_up import QuietWarmUp

__all__ = ["WARM_UP_EAGER", "WarmUpEager"]

MOST = 1000
"""Records that are loaded; here by their key, in an application by how often they are read."""


class WarmUpEager:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        value: str | None = row[0] if row else None
        if value is not None:
            self.redis.set(key, value, ex=self.ttl)
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key)

    def warm_up(self) -> None:
        rows = self.db.execute("select key, value from records order by key limit %s", (MOST,)).fetchall()
        with self.redis.pipeline(transaction=False) as all_of_them:
            for key, value in rows:
                all_of_them.set(key, value, ex=self.ttl)  # even if it has been written since
            all_of_them.execute()


_CONDITIONS = (Condition.QUIET, Condition.CONCURRENT, Condition.CACHE_CRASH)
_EVERYWHERE = frozenset(_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def WARM_UP_EAGER(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="eager warm-up",
        ttl_s=ttl_s,
        conditions=_CONDITIONS,
        operations=("read", "write", "warm_up"),
        guarantees=(
            Guarantee(
                "WU2",
                "warm-up never makes the cache older: at rest, cache and database agree",
                Convergence(within_s=0),
                kept=_ALONE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WU3",
                "no write reaches the database through it",
                QuietWarmUp(),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "CA1",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "CA2",
                "the cache converges to the database within its ttl",
                Convergence(within_s=ttl_s),
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
        ),
    )
