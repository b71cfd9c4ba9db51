"""Versioned warm-up: a cold cache is offered each record with its version, and refuses what is out of date.

    read     HGET value; on a hit return it
             on a miss SELECT value and version, then offer both to the cache (script FILL), and return the value
    write    UPDATE … version = version + 1 RETURNING version, then INVALIDATE up to that version
    warm_up  SELECT the records that are wanted most, a few at a time, and offer each to the cache (FILL), with a ttl
             that differs a little from entry to entry; pause; the next few

An entry is a hash of a version and, unless it has been invalidated, a value.  An invalidated entry is not deleted:
its version stays behind, a floor below which no value is taken.  So a warm-up that has read before a write comes too
late with it, like any slow reader:

    loader  SELECT v1 (version 0)                                FILL 0: refused
    writer                         UPDATE v2 (1), INVALIDATE 1

It may run whenever it likes, also twice, and while the cache serves.  The pauses keep the database free for others,
and since the ttl is drawn for each entry, what was loaded together does not expire together.

Claimed, wherever it is recommended:
    WU2  warm-up never makes the cache older: at rest, cache and database agree
    WU3  no write reaches the database through it
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl

Kept: WU2, WU3, CA1 and CA2, with messages in any order, and when the cache comes back empty.

Known anomalies: 39 crash between COMMIT and INVALIDATE, 47 lost tombstone (if it expires before a slow load ends), 17
version reset, 9 window between COMMIT and INVALIDATE.  Avoided: 73 warm-up overwrite, 74 warm-up zombie (of records
whose deletion also leaves a version), 25 avalanche, 1 stale set.
"""

import random
import time
from typing import Any

import psycopg
import redis

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.integrity import Integrity
from cacheproof.models.quiet_warm_up import QuietWarmUp

__all__ = ["WARM_UP_VERSIONED", "WarmUpVersioned"]

AT_ONCE, PAUSE_S = 100, 0.05
"""So many records are asked for at a time, with a pause in between: at most 2,000 rows a second."""

SPREAD = 0.1
"""By so much of itself a ttl may be shorter."""

FILL = """
local known = tonumber(redis.call('HGET', KEYS[1], 'version') or -1)
local offered = tonumber(ARGV[1])
if offered < known then return 0 end
if offered == known and redis.call('HEXISTS', KEYS[1], 'value') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'value', ARGV[2])
if ARGV[3] == '' then redis.call('PERSIST', KEYS[1]) else redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
"""KEYS entry; ARGV version, value, ttl in seconds or ''.  1: taken; 0: the cache knows as much, or better."""

INVALIDATE = """
local known = tonumber(redis.call('HGET', KEYS[1], 'version') or -1)
if tonumber(ARGV[1]) <= known then return 0 end
redis.call('HDEL', KEYS[1], 'value')
redis.call('HSET', KEYS[1], 'version', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""
"""KEYS entry; ARGV version, seconds that the floor lives.  0: it holds that version, or a newer one."""


class WarmUpVersioned:
    """Records of a database behind a cache whose entries live `ttl` seconds, or a little less (None: for ever).

    `tombstone` seconds is how long a load may take at most: from its SELECT to its FILL.
    """

    def __init__(self, env: Any, *, ttl: int | None = 300, tombstone: int = 60) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl
        self.tombstone = tombstone

    def read(self, key: str) -> str | None:
        cached: Any = self.redis.hget(key, "value")
        if cached is not None:
            return str(cached)
        row = self.db.execute("select value, version from records where key = %s", (key,)).fetchone()
        if row is None or row[0] is None:
            return None
        value, version = row
        self.redis.eval(FILL, 1, key, version, value, self._lifetime())
        return str(value)

    def write(self, key: str, value: str) -> None:
        update = "update records set value = %s, version = version + 1 where key = %s returning version"
        row = self.db.execute(update, (value, key)).fetchone()
        if row is not None:
            self.redis.eval(INVALIDATE, 1, key, row[0], self.tombstone)

    def warm_up(self) -> None:
        some = "select key, value, version from records where key > %s order by key limit %s"
        after = ""
        while rows := self.db.execute(some, (after, AT_ONCE)).fetchall():
            with self.redis.pipeline(transaction=False) as all_of_them:
                for key, value, version in rows:
                    all_of_them.eval(FILL, 1, key, version, value, self._lifetime())
                all_of_them.execute()
            if len(rows) < AT_ONCE:
                break
            after = rows[-1][0]
            time.sleep(PAUSE_S)

    def _lifetime(self) -> int | str:
        return "" if self.ttl is None else round(self.ttl * (1 - SPREAD * random.random()))


_CONDITIONS = (Condition.QUIET, Condition.CONCURRENT, Condition.CACHE_CRASH)
_EVERYWHERE = frozenset(_CONDITIONS)


def WARM_UP_VERSIONED(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="versioned warm-up",
        ttl_s=ttl_s,
        conditions=_CONDITIONS,
        operations=("read", "write", "warm_up"),
        guarantees=(
            Guarantee(
                "WU2",
                "warm-up never makes the cache older: at rest, cache and database agree",
                Convergence(within_s=0),
                kept=_EVERYWHERE,
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
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
        ),
    )
