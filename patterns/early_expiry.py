"""Early expiry, the simple rule: a hit that is about to expire is now and then taken for a miss.

    read    GET and PTTL in one transaction
            on a hit with more than threshold × random() seconds left, return it
            else SELECT, then SET … EX ttl, and return that
    write   UPDATE in the database, then DEL the key

The idea: one reader renews the entry before it expires, so that nobody ever finds it gone.  The chance to do so
grows from 0, `threshold` seconds before the end, to 1:

    chance  1 |                      ╱        Each of r readers a second rolls dice of its own, and until the
              |                   ╱           first of them has loaded (d seconds), all others do as well.  So
              |                ╱              about r·d² / (2·threshold) load: the more readers, the larger the
            0 |_____________╱                 herd.  With 10,000 a second, a load of half a second and a
                     threshold    expiry      threshold of 10 s that is about 146 loads instead of one.

And a renewal is a fill: a reader that decided on it before a write stores what it loaded before that write.
Plain cache-aside needs a miss for that; here keys that are hot and warm suffer as well.

Claimed, wherever the pattern is explained:
    EE1  it prevents the stampede: an entry is loaded at most once in its life
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA4  after a write is acknowledged, the next read sees it

Kept: CA1 under every condition, CA2 as well thanks to the ttl.  EE1 and CA4 only while one operation runs at a
time: nothing keeps two readers from the same miss, or a reader from filling after a write.

Known anomalies: 1 stale set, 13 early refresh brings an old value back, 24 stampede (of a key that is cold, or
was invalidated), 30 the herd that grows with the rate.  early_expiry_xfetch.py is the same idea, repaired.
"""

import random
from math import inf
from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.single_flight import SingleFlight

__all__ = ["EARLY_EXPIRY", "EarlyExpiry", "is_due"]


def is_due(remaining_s: float, threshold_s: float, chance: float) -> bool:
    """The rule: whether to load an entry that lives `remaining_s` more; `chance` is drawn from [0, 1)."""
    return remaining_s < threshold_s * chance


class EarlyExpiry:
    """Records of a database behind a cache whose entries are renewed, perhaps, in their last `threshold` seconds."""

    def __init__(self, env: Any, *, ttl: int | None = 120, threshold: float = 60) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl
        self.threshold = threshold

    def read(self, key: str) -> str | None:
        with self.redis.pipeline() as both:  # MULTI … EXEC: the ttl is that of this value
            both.get(key)
            both.pttl(key)
            cached, remaining_ms = both.execute()
        remaining_s = remaining_ms / 1000 if remaining_ms >= 0 else inf  # -1: it never expires
        if cached is not None and not is_due(remaining_s, self.threshold, random.random()):
            return str(cached)
        value = self._load(key)
        if value is not None:
            self.redis.set(key, value, ex=self.ttl)  # even if it has been written since
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key)

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})
_AMONG_READERS = (Condition.QUIET, Condition.CONCURRENT, Condition.EXPIRY)


def EARLY_EXPIRY(ttl_s: float | None = 120) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="early expiry, simple rule",
        ttl_s=ttl_s,
        guarantees=(
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
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
            ),
            Guarantee(
                "CA4", "after a write is acknowledged, the next read sees it", ReadAfterWrite(), kept=_ALONE
            ),
        ),
    )


def EARLY_EXPIRY_LOADS(ttl_s: float | None = 120) -> Contract:
    """What readers are claimed to have of it, where nobody writes."""
    return Contract(
        name="early expiry, simple rule, among readers",
        ttl_s=ttl_s,
        conditions=_AMONG_READERS,
        operations=("read",),
        guarantees=(
            Guarantee(
                "EE1",
                "an entry is loaded at most once in its life",
                SingleFlight(),
                kept=_ALONE,
                claimed=frozenset(_AMONG_READERS),
            ),
        ),
    )
