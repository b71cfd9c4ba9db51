"""Cache-aside with leases: who misses must hold a lease in order to fill, and a write takes it away.

    read    GET; on a hit return it
            on a miss take the lease of the key: SET lease:key token NX PX …
            with it  SELECT, then FILL (script: SET … EX ttl if the lease still holds the token), and return
            without  wait a little for the holder's fill; after a few tries SELECT, and fill nothing
    write   UPDATE in the database, then DEL key and lease:key, both in one command

A fill needs evidence that nobody has written since the miss: its own token, still there.  When the token is
gone, whatever took it (a write, its ttl, an eviction, a cache that came back empty), the fill is refused and
costs no more than a load.

    A: |--GET nil, lease a, SELECT v1----------------------------FILL a: refused--|
    B:                                |--UPDATE v2, DEL both--|

From Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, section 3.2.1.  The lease also spares the
database: of many who miss, one loads.  The script is sent with EVAL, its text each time, so a server that has
forgotten its scripts never notices.  In a cluster, put both keys into one slot: {key} and lease:{key}.

Claimed of a cache that may be trusted after a write:
    H1a  reads return only values that were committed for that key
    H1b  after a write is acknowledged, the next read sees it
    H1c  cache and database agree as soon as everything is at rest, without waiting for the ttl
    H1d  the cache converges to the database within its ttl
    H1e  staleness is bounded by the ttl
    H1f  no acknowledged write is lost
    H1g  the cache is linearizable: it cannot be told from the database

Kept: H1a, H1d and H1f under every condition (H1d only thanks to the ttl).  H1b and H1e as well: in any order of
messages, with zombies among them, when clients crash, when keys expire and when the cache comes back empty.
(For H1e a load under way counts too if the writer dies, and a load may take as long as a lease lives.)  H1c
unless a writer dies or is cut off between COMMIT and DEL.  H1g only while one operation runs at a time: a
reader without a lease may see the new value in the database just before a holder fills the old one, and hit
that a moment later, as long as the write has not returned.

Known anomalies: 4 old-snapshot fill (a lease taken after the DEL is valid, and a load from an older snapshot,
or from a replica that lags, is not fresh), 9 window between COMMIT and DEL, 39 crash between COMMIT and DEL,
44 failover rollback (what comes back with a replica that lacked the DEL: the old value, or a lease that had
been taken away).  Avoided: 1 stale set, 41 zombie write, 47 lost tombstone.
"""

import time
from typing import Any
from uuid import uuid4

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.staleness import BoundedStaleness
from cacheproof.models.zones import Linearizable

__all__ = ["CACHE_ASIDE_LEASE", "CacheAsideLease"]

FILL = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
"""KEYS entry, lease; ARGV token, value, ttl in seconds or ''.  0: the lease is gone, or somebody else's."""

LEASE_MS = 10_000
"""How long a crashed holder keeps others from filling; a load that takes longer fills nothing."""

TRIES, PAUSE_S = 5, 0.02
"""How often, and after how long, a reader without the lease looks for the holder's fill."""


class CacheAsideLease:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        token = uuid4().hex
        for _ in range(TRIES):
            cached = self.redis.get(key)
            if cached is not None:
                return str(cached)
            if self.redis.set(f"lease:{key}", token, nx=True, px=LEASE_MS):
                return self._fill(key, token)
            time.sleep(PAUSE_S)
        return self._load(key)  # slower than the cache, and never wrong

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key, f"lease:{key}")

    def _fill(self, key: str, token: str) -> str | None:
        value = self._load(key)
        if value is None:  # nothing to cache: let nobody wait.  Whose lease it is by now matters little
            self.redis.delete(f"lease:{key}")
            return None
        self.redis.eval(FILL, 2, key, f"lease:{key}", token, value, "" if self.ttl is None else self.ttl)
        return value

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset({*CORE_CONDITIONS, Condition.DELAYED_MESSAGES})
_ALONE = frozenset({Condition.QUIET})
_NO_WRITER_STOPS_HALFWAY = frozenset(
    {Condition.QUIET, Condition.CONCURRENT, Condition.EXPIRY, Condition.CACHE_CRASH}
)
_AT_REST = _EVERYWHERE - {Condition.DELAYED_MESSAGES}


def CACHE_ASIDE_LEASE(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl, and so no H1e."""
    bounded = []
    if ttl_s is not None:
        bounded.append(
            Guarantee(
                "H1e",
                "staleness is bounded by the ttl",
                BoundedStaleness(ttl_s),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            )
        )
    return Contract(
        name="cache-aside, leases",
        ttl_s=ttl_s,
        conditions=(*CORE_CONDITIONS, Condition.DELAYED_MESSAGES),
        guarantees=(
            Guarantee(
                "H1a",
                "reads return only values that were committed for that key",
                Integrity(committed=True),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "H1b",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "H1c",
                "cache and database agree as soon as everything is at rest",
                Convergence(within_s=0),
                kept=_NO_WRITER_STOPS_HALFWAY,
                claimed=_AT_REST,
            ),
            Guarantee(
                "H1d",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_NO_WRITER_STOPS_HALFWAY if ttl_s is None else _EVERYWHERE,
                claimed=_AT_REST if ttl_s is None else _EVERYWHERE,
            ),
            *bounded,
            Guarantee(
                "H1f", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE, claimed=_EVERYWHERE
            ),
            Guarantee("H1g", "the cache is linearizable", Linearizable(), kept=_ALONE, claimed=_ALONE),
        ),
    )
