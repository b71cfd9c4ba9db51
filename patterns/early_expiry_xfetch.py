"""XFetch: early expiry whose dice know how long a load takes, with fills that know their version.

    entry   a hash: value, version (of the row), delta (how long loading it took), expiry (when it ends)
    read    HMGET; on a hit return it, unless it is due:  now - delta · beta · ln(random()) ≥ expiry
            else SELECT value, version, and measure how long that takes; fill, and return the value
    fill    a script: HSET, EXPIRE ttl, but only if the cache knows of no newer version
    write   UPDATE … version + 1 RETURNING version, then invalidate
    invalidate  a script: only if the cache knows of no version as new: forget the value, and keep the version
            alone for a while, as a tombstone: nothing older may be filled over it

The rule is that of Vattani, Chierichetti and Lowenstein, Optimal Probabilistic Cache Stampede Prevention (VLDB
2015).  -ln(random()) is exponentially distributed, so the readers that roll dice while the first one loads are
about as many as a load has to expect anyway: with beta = 1 about e loads an expiry, 2.6 to 2.9, be it at 100
readers a second or at 10,000.  With a greater beta renewals come earlier.

The versions are for what every renewal risks, which is a fill of a key that is warm:

    R: HMGET v1, due; SELECT v1                                     fill (1): refused
    W:                          UPDATE v2 → 2, invalidate (2)

Chance protects what is read often and expires.  It does not protect a key that nobody has loaded yet, or one
that has just been invalidated: all who miss it load it.  Where that hurts, add a lock (stampede_lock.py).

Claimed, wherever the design is explained:
    H7a  when an entry expires, it is loaded at most once
    H7b  nobody fills the cache with what was read before a write: after a write is acknowledged, the next read
         sees it
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA5  no acknowledged write is lost

Kept: CA1 and CA5 under every condition, CA2 as well thanks to the ttl.  H7b as long as the tombstone is not lost:
not if it expires under a slow reader; for a cache that restarts empty it is not even claimed.  H7a only while
one operation runs at a time.

Known anomalies: 24 stampede of a cold key, 39 crash between COMMIT and invalidation, 47 lost tombstone, 17 a row
that is deleted and inserted again starts from an old version.  Clocks of different machines have to agree to
within a small part of the ttl.  Avoided: 1 stale set, 13 early refresh brings an old value back, 30 the herd
that grows with the rate.
"""

import random
import time
from math import log
from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.single_flight import SingleFlight

__all__ = ["EARLY_EXPIRY_XFETCH", "XFetch", "is_due"]

TOMBSTONE_S = 600  # longer than any reader can take from its SELECT to its fill

FILL = """
local known = redis.call('hget', KEYS[1], 'version')
if known and tonumber(known) > tonumber(ARGV[1]) then return 0 end
redis.call('hset', KEYS[1], 'version', ARGV[1], 'value', ARGV[2], 'delta', ARGV[3], 'expiry', ARGV[4])
if ARGV[5] == '' then redis.call('persist', KEYS[1]) else redis.call('expire', KEYS[1], ARGV[5]) end
return 1
"""
INVALIDATE = """
local known = redis.call('hget', KEYS[1], 'version')
if known and tonumber(known) >= tonumber(ARGV[1]) then return 0 end
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], 'version', ARGV[1])
return redis.call('expire', KEYS[1], ARGV[2])
"""


def is_due(now_s: float, expiry_s: float, delta_s: float, beta: float, chance: float) -> bool:
    """The rule: whether to load an entry that took `delta_s` to load; `chance` is drawn from (0, 1]."""
    return now_s - delta_s * beta * log(chance) >= expiry_s


class XFetch:
    """Records of a database behind a cache whose entries are renewed about one load before they expire."""

    def __init__(self, env: Any, *, ttl: int | None = 300, beta: float = 1.0) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl
        self.beta = beta

    def read(self, key: str) -> str | None:
        entry: Any = self.redis.hmget(key, ["value", "delta", "expiry"])
        value: str | None = entry[0]
        if value is None or self._is_due(float(entry[1]), float(entry[2])):
            value = self._load(key)
        return value

    def write(self, key: str, value: str) -> None:
        row = self.db.execute(
            "update records set value = %s, version = version + 1 where key = %s returning version",
            (value, key),
        ).fetchone()
        if row is not None:
            self.redis.eval(INVALIDATE, 1, key, row[0], TOMBSTONE_S)

    def _is_due(self, delta_s: float, expiry_s: float) -> bool:
        return is_due(time.time(), expiry_s, delta_s, self.beta, 1.0 - random.random())

    def _load(self, key: str) -> str | None:
        began = time.time()
        row = self.db.execute("select value, version from records where key = %s", (key,)).fetchone()
        if row is None:
            return None
        now = time.time()
        value: str
        value, version = row
        expiry, ttl = ("inf", "") if self.ttl is None else (now + self.ttl, self.ttl)
        self.redis.eval(FILL, 1, key, version, value, now - began, expiry, ttl)
        return value


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})
_AMONG_READERS = (Condition.QUIET, Condition.CONCURRENT, Condition.EXPIRY)
_TOMBSTONES_LAST = _EVERYWHERE - {Condition.EXPIRY, Condition.CACHE_CRASH}
_INVALIDATION_ARRIVES = _TOMBSTONES_LAST - {Condition.APP_CRASH, Condition.LOST_MESSAGES}


def EARLY_EXPIRY_XFETCH(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="early expiry, XFetch",
        ttl_s=ttl_s,
        guarantees=(
            Guarantee(
                "H7b",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_TOMBSTONES_LAST,
                claimed=_EVERYWHERE - {Condition.CACHE_CRASH},
            ),
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
                kept=_INVALIDATION_ARRIVES if ttl_s is None else _EVERYWHERE,
            ),
            Guarantee("CA5", "no acknowledged write is lost", Durability(), kept=_EVERYWHERE),
        ),
    )


def EARLY_EXPIRY_XFETCH_LOADS(ttl_s: float | None = 300) -> Contract:
    """What readers are claimed to have of it, where nobody writes."""
    return Contract(
        name="early expiry, XFetch, among readers",
        ttl_s=ttl_s,
        conditions=_AMONG_READERS,
        operations=("read",),
        guarantees=(
            Guarantee(
                "H7a",
                "when an entry expires, it is loaded at most once",
                SingleFlight(),
                kept=_ALONE,
                claimed=frozenset(_AMONG_READERS),
            ),
        ),
    )
