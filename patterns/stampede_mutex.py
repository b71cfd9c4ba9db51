"""Cache-aside with a mutex: whoever takes the lock loads, everybody else sleeps and starts over.

    read    GET; on a hit return it
            on a miss SET lock NX EX 5; if it was refused, sleep 50 ms and start over
            with the lock: SELECT, SET … EX ttl, DEL lock, and return the value
    write   UPDATE in the database, then DEL the key

This is the recipe against the stampede as it is usually printed.  What is wrong with it:

    no second look       Who missed before the fill, and takes the lock after it, loads once more:

                             A: |--GET nil, lock, SELECT, SET, DEL lock--|
                             B:    |--GET nil,                            lock, SELECT, …

    the lock runs out    A load that takes longer than 5 s is joined by a second one.
    it has no owner      Then the first one's DEL takes away the lock of the second, and a third one loads.
    it is left behind    Who dies or raises with the lock in hand keeps everybody waiting for what is left of the
                         5 s, a stack frame deeper every 50 ms.
    nothing is nothing   A row that is not there is not cached, so everybody loads it, one after the other.

Claimed, wherever the pattern is explained:
    SP1  when an entry expires, it is loaded at most once
    SP2  a read always ends, and soon: within a second once nothing is broken any more
    SP3  the lock has one holder at a time
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA4  after a write is acknowledged, the next read sees it

Kept: CA1 under every condition, CA2 as well thanks to the ttl.  CA4 only while one operation runs at a time:
the lock keeps out other readers, not writers.  SP1 only while one operation runs at a time.  SP2 unless
somebody is lost with the lock in hand (a crash, a lost message).  SP3 unless the lock runs out.

Known anomalies: 1 stale set, 24 stampede (less of it), 26 penetration, 27 convoy that collapses, 33 two holders
of one lock, 34 release of somebody else's lock, 35 orphan lock.  stampede_lock.py is the same idea, repaired.
"""

import time
from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.integrity import Integrity
from cacheproof.models.liveness import Liveness
from cacheproof.models.mutual_exclusion import MutualExclusion
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.single_flight import SingleFlight

__all__ = ["STAMPEDE_MUTEX", "StampedeMutex"]

LOCK_S = 5
PAUSE_S = 0.05


class StampedeMutex:
    """Records of a database behind a cache that readers fill one at a time, or so they think."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        if not self.acquire(key):
            time.sleep(PAUSE_S)
            return self.read(key)
        value = self._load(key)  # an exception here leaves the lock behind
        if value is not None:
            self.redis.set(key, value, ex=self.ttl)
        self.release(key)
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key)

    def acquire(self, key: str) -> bool:
        return bool(self.redis.set(f"lock:{key}", "taken", nx=True, ex=LOCK_S))

    def release(self, key: str) -> None:
        self.redis.delete(f"lock:{key}")  # whosever it is by now

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})
_LOCKED = (Condition.QUIET, Condition.CONCURRENT, Condition.EXPIRY)
_NOBODY_IS_LOST = _EVERYWHERE - {Condition.APP_CRASH, Condition.LOST_MESSAGES}


def STAMPEDE_MUTEX(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="stampede protection, mutex",
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


def STAMPEDE_MUTEX_LOADS(ttl_s: float | None = 300) -> Contract:
    """What readers are claimed to have of it, where nobody writes."""
    return Contract(
        name="stampede protection, mutex, among readers",
        ttl_s=ttl_s,
        operations=("read",),
        guarantees=(
            Guarantee("SP1", "when an entry expires, it is loaded at most once", SingleFlight(), kept=_ALONE),
            Guarantee(
                "SP2",
                "a read always ends, within a second once nothing is broken any more",
                Liveness(within_s=1.0),
                kept=_NOBODY_IS_LOST,
            ),
        ),
    )


def STAMPEDE_MUTEX_LOCK(ttl_s: float | None = 300) -> Contract:
    """What its lock alone is claimed to give: clients acquire it and release it, and do nothing else."""
    return Contract(
        name="stampede protection, the lock of the mutex",
        ttl_s=ttl_s,
        conditions=_LOCKED,
        operations=("acquire", "release"),
        guarantees=(
            Guarantee(
                "SP3",
                "the lock has one holder at a time",
                MutualExclusion(),
                kept=frozenset(_LOCKED) - {Condition.EXPIRY},
                claimed=frozenset(_LOCKED),
            ),
        ),
    )
