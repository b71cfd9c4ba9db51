"""Cache-aside with a quarantine: while a key is being written, the cache neither serves it nor takes it.

    write   QUARANTINE (script): add a token to the key's quarantine, delete the entry and the lease
            UPDATE in the database
            RELEASE (script): take the token away, delete the entry and the lease once more
    read    GET; on a hit return it
            on a miss LEASE (script): a lease of the key, unless it is in quarantine or somebody else has one
            SELECT; with the lease, FILL (script: SET … EX ttl if the lease is still there), and return

Plain invalidation comes after the COMMIT, so for a moment the cache shows what the database does not hold any
more.  Here the entry is gone before the COMMIT, and nothing can put one there until after it:

    A: |--QUARANTINE-------UPDATE v2-------RELEASE--|
    B:      |--miss, SELECT v1, no fill--|
    C:                          |--miss, SELECT v2, no fill--|

Why it is linearizable.  A hit was filled under a lease; the lease was given when no writer was under way; any
writer that began since would have deleted lease and entry.  So no COMMIT lies between the SELECT of the fill
and the hit: what was read is what the database holds.  Everything else is read from the database itself.  It
takes as given that a quarantine outlives its COMMIT.

The quarantine is a set, with a token for each writer, since two may write at the same time and the first to
finish must not end the other's.  Who fails releases nothing, for nobody knows whether its UPDATE will still
happen: readers go to the database until the quarantine expires.  After the IQ framework (Ghandeharizadeh et al.,
Strong Consistency in Cache Augmented SQL Systems, Middleware 2014).  In a cluster, put the three keys into one
slot.

Claimed of a cache that cannot be told from the database, at the price of a hit:
    H9a  the cache is linearizable
    H9b  after a write is acknowledged, the next read sees it
    H9c  reads return only values that were committed for that key
    H9d  cache and database agree as soon as everything is at rest, without waiting for the ttl
    H9e  no acknowledged write is lost
    H9f  a write costs one round trip more than plain cache-aside: three
    H9g  no entry outlives the COMMIT that makes it old, not even for a moment

Kept: H9b, H9c, H9d, H9e and H9f under every condition.  H9a and H9g as long as the quarantine outlives the
COMMIT: in any order of messages, when clients crash or are cut off.  They are lost when it expires before the
COMMIT (`quarantine` has to be longer than the slowest UPDATE), or with the cache; then an old value may be seen
until RELEASE, which deletes what was filled meanwhile.

Known anomalies: 47 lost tombstone (the quarantine expires, is evicted, or is lost with the cache), 41 zombie
write (an UPDATE that arrives after its quarantine), 44 failover rollback.  Avoided: 1 stale set, 9 window
between COMMIT and invalidation, 39 crash between COMMIT and invalidation.
"""

from typing import Any
from uuid import uuid4

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.invalidation import Invalidation
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.round_trips import RoundTrips
from cacheproof.models.zones import Linearizable

__all__ = ["CACHE_ASIDE_QUARANTINE", "CacheAsideQuarantine"]

QUARANTINE = """
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('EXPIRE', KEYS[3], ARGV[2])
"""
"""KEYS entry, lease, quarantine; ARGV token, seconds.  The last writer to come extends it for all."""

RELEASE = """
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SREM', KEYS[3], ARGV[1])
"""
"""KEYS entry, lease, quarantine; ARGV token.  The DEL is for a quarantine that did not last."""

LEASE = """
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'EX', ARGV[2]) then return 1 end
return 0
"""
"""KEYS entry, lease, quarantine; ARGV token, seconds.  1: the lease is the caller's."""

FILL = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[3] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
"""KEYS entry, lease, quarantine; ARGV token, value, ttl in seconds or ''.  0: the lease is gone."""

LEASE_S = 10
"""How long a crashed reader keeps others from filling; a load that takes longer fills nothing."""


class CacheAsideQuarantine:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever).

    `quarantine` seconds is how long an UPDATE may take at most, its arrival included.
    """

    def __init__(self, env: Any, *, ttl: int | None = 300, quarantine: int = 60) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl
        self.quarantine = quarantine

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        token = uuid4().hex
        leased = self._run(LEASE, key, token, LEASE_S)
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        value: str | None = row[0] if row else None
        if leased and value is not None:
            self._run(FILL, key, token, value, "" if self.ttl is None else self.ttl)
        return value

    def write(self, key: str, value: str) -> None:
        token = uuid4().hex
        self._run(QUARANTINE, key, token, self.quarantine)
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self._run(RELEASE, key, token)

    def _run(self, script: str, key: str, *arguments: str | int) -> Any:
        """Carry out a script; its text is sent each time, so the server need not remember it."""
        return self.redis.eval(script, 3, key, f"lease:{key}", f"quarantine:{key}", *arguments)


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_WHILE_QUARANTINES_LAST = _EVERYWHERE - {Condition.EXPIRY, Condition.CACHE_CRASH}
_IN_ANY_ORDER = frozenset({Condition.QUIET, Condition.CONCURRENT})


def CACHE_ASIDE_QUARANTINE(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl.  It matters little."""
    always: list[tuple[str, str, Any]] = [
        ("H9b", "after a write is acknowledged, the next read sees it", ReadAfterWrite()),
        ("H9c", "reads return only values that were committed for that key", Integrity(committed=True)),
        ("H9d", "cache and database agree as soon as everything is at rest", Convergence(within_s=0)),
        ("H9e", "no acknowledged write is lost", Durability()),
        ("H9f", "a write costs three round trips", RoundTrips(3, "write")),
    ]
    kept = [Guarantee(*promise, kept=_EVERYWHERE) for promise in always]
    kept += [
        Guarantee(
            "H9a",
            "the cache is linearizable",
            Linearizable(),
            kept=_WHILE_QUARANTINES_LAST,
            claimed=_WHILE_QUARANTINES_LAST,
        ),
        Guarantee(
            "H9g",
            "no entry outlives the COMMIT that makes it old",
            Invalidation(within_s=0),
            kept=_IN_ANY_ORDER,
            claimed=_IN_ANY_ORDER,
        ),
    ]
    return Contract(name="cache-aside, quarantine", ttl_s=ttl_s, guarantees=tuple(kept))
