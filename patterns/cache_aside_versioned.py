"""Cache-aside with versions: the cache refuses what is older than what it has been told.

    read    HGET key value; on a hit return it
            on a miss SELECT value and version, then offer both to the cache (script FILL), and return the value
    write   UPDATE … version = version + 1 RETURNING version, then INVALIDATE up to that version

An entry is a hash of a version and, unless it has been invalidated, a value.  An invalidated entry is not
deleted: its version stays behind as a tombstone, a floor below which no value is taken.  So a reader that was
slower than a writer comes too late, whatever kept it: the network, an old snapshot, a replica that lags.

    A: |--HGET nil, SELECT v1 (version 0)----------------------------FILL 0: refused--|
    B:                               |--UPDATE v2 (1), INVALIDATE 1--|

Compare with "set if newer" and a plain DEL: the DEL would erase the version to compare with, and FILL 0 would
be taken.  The version comes from the row itself, counted in the same UPDATE.  A timestamp would not do, for
the transaction that commits last may well have the smaller one.

The scripts are sent with EVAL, their text each time, so a server that has forgotten its scripts never
notices.  To save those bytes send the hash (EVALSHA), and the text when the server answers NOSCRIPT.

Claimed of a cache that may be trusted after a write:
    H2a  reads return only values that were committed for that key
    H2b  after a write is acknowledged, the next read sees it
    H2c  cache and database agree as soon as everything is at rest, without waiting for the ttl
    H2d  the cache converges to the database within its ttl
    H2e  staleness is bounded by the ttl
    H2f  no acknowledged write is lost
    H2g  the cache is linearizable: it cannot be told from the database

Kept: H2a, H2d and H2f under every condition (H2d only thanks to the ttl).  H2b and H2g in any order of
messages, with zombies among them, when clients crash, and when the cache comes back empty: versions in the
cache only rise, and a write returns after its own is there.  Both are lost, and H2e with them, when a tombstone
expires under a slow reader: `tombstone` has to be longer than the slowest load.  H2c in any order of messages;
not when a writer dies or is cut off between COMMIT and INVALIDATE.

Known anomalies: 39 crash between COMMIT and INVALIDATE; 47 lost tombstone (it expires, is evicted, or is lost
with the cache while a driver sends a FILL once more that it had no answer to: leave retries off); 17 version
reset (a row that is deleted and inserted anew starts at 0 again); 9 window between COMMIT and INVALIDATE, for
those who look into the database themselves.  Avoided: 1 stale set, 4 old-snapshot fill, 5 replica-lag fill,
18 compare-and-set without tombstone, 41 zombie write.
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

__all__ = ["CACHE_ASIDE_VERSIONED", "CacheAsideVersioned"]

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
"""KEYS entry; ARGV version, seconds that the tombstone lives.  0: it holds that version, or a newer one."""


class CacheAsideVersioned:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever).

    `tombstone` seconds is how long a load may take at most: from its SELECT to its FILL.
    """

    def __init__(self, env: Any, *, ttl: int | None = 300, tombstone: int = 60) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl
        self.tombstone = tombstone

    def read(self, key: str) -> str | None:
        cached = self.redis.hget(key, "value")
        if cached is not None:
            return str(cached)
        row = self.db.execute("select value, version from records where key = %s", (key,)).fetchone()
        if row is None or row[0] is None:
            return None
        value, version = row
        self.redis.eval(FILL, 1, key, version, value, "" if self.ttl is None else self.ttl)
        return str(value)

    def write(self, key: str, value: str) -> None:
        update = "update records set value = %s, version = version + 1 where key = %s returning version"
        row = self.db.execute(update, (value, key)).fetchone()
        if row is not None:
            self.redis.eval(INVALIDATE, 1, key, row[0], self.tombstone)


_EVERYWHERE = frozenset({*CORE_CONDITIONS, Condition.DELAYED_MESSAGES})
_WHILE_TOMBSTONES_LIVE = _EVERYWHERE - {Condition.EXPIRY}
_NO_WRITER_STOPS_HALFWAY = frozenset({Condition.QUIET, Condition.CONCURRENT, Condition.CACHE_CRASH})
_AT_REST = _EVERYWHERE - {Condition.DELAYED_MESSAGES}


def CACHE_ASIDE_VERSIONED(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl, and so no H2e."""
    bounded = []
    if ttl_s is not None:
        bounded.append(
            Guarantee(
                "H2e",
                "staleness is bounded by the ttl",
                BoundedStaleness(ttl_s),
                kept=_WHILE_TOMBSTONES_LIVE,
                claimed=_EVERYWHERE,
            )
        )
    return Contract(
        name="cache-aside, versioned",
        ttl_s=ttl_s,
        conditions=(*CORE_CONDITIONS, Condition.DELAYED_MESSAGES),
        guarantees=(
            Guarantee(
                "H2a",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "H2b",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_WHILE_TOMBSTONES_LIVE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "H2c",
                "cache and database agree as soon as everything is at rest",
                Convergence(within_s=0),
                kept=_NO_WRITER_STOPS_HALFWAY,
                claimed=_AT_REST,
            ),
            Guarantee(
                "H2d",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_NO_WRITER_STOPS_HALFWAY if ttl_s is None else _EVERYWHERE,
                claimed=_AT_REST if ttl_s is None else _EVERYWHERE,
            ),
            *bounded,
            Guarantee(
                "H2f", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE, claimed=_EVERYWHERE
            ),
            Guarantee(
                "H2g",
                "the cache is linearizable",
                Linearizable(),
                kept=_WHILE_TOMBSTONES_LIVE,
                claimed=_EVERYWHERE,
            ),
        ),
    )
