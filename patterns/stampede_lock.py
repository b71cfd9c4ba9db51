"""Cache-aside with a lock that keeps its word: one reader loads, the others wait for what it brings.

    read    GET; on a hit return it
            on a miss SET lock owner NX PX 2000; if it was refused, sleep 20 to 80 ms, look again and start over,
            for 3 s at most
            with the lock: GET once more, SELECT, fill; whatever goes wrong, release
    fill    a script: SET … EX ttl and DEL lock, but only if the lock is still mine
    release a script: DEL lock, but only if it is still mine
    write   UPDATE in the database, then DEL the key and its lock in one command

What each part is for:

    owner             a random token.  Nobody releases, or fills under, a lock that is not theirs any more.
    look again        whoever missed before a fill and got the lock after it, finds the value there.
    fenced fill       a reader whose lock has run out, or has been taken away by a write, returns what it loaded
                      and leaves the cache alone:

                          R: GET nil, lock, SELECT v1                     fill: refused
                          W:                          UPDATE v2, DEL key lock

    bounded wait      longer than the lock lives, so that a lock whose owner has died delays a read and does
                      not fail it.  After that: an error, not one load more.
    absent rows       are cached as well, as null, for a shorter time, so that they are not loaded by everybody.
    always released   a load that fails gives the lock back.  If even that fails, its ttl does.

The lock is the fence: only evidence that it is there counts, so losing it (expiry, eviction, a cache that
restarts empty) costs a load and never correctness.  For the same reason the lock has to live longer than a load
ever takes, or nobody fills: let the database end a slower one (statement_timeout), and retry with a better query.

Claimed, wherever the design is explained:
    H6a  when an entry expires, it is loaded at most once
    H6b  a read always ends: within 3 seconds once nothing is broken any more
    H5a  nobody fills the cache with what was read before a write: after a write is acknowledged, the next read
         sees it
    CA1  reads return only values that were committed for that key
    CA2  the cache converges to the database within its ttl
    CA5  no acknowledged write is lost

Kept: H5a, H6b, CA1, CA2 and CA5 under every condition (without a ttl, CA2 not after a crash or a lost message
between UPDATE and DEL).  H6a as long as no lock runs out under its owner: then somebody else loads as well,
which is a waste and does no harm.

Known anomalies: 33 two holders of one lock (only the later one can fill), 9 window between COMMIT and DEL, 39
crash between COMMIT and DEL.  Avoided: 1 stale set, 26 penetration, 27 convoy that collapses, 34 release of
somebody else's lock, 38 unfenced late write, 47 lost marker.  Not against 4: a load that reads an old snapshot
under a new lock; load outside of long transactions.
"""

import json
import random
import time
import uuid
from contextlib import suppress
from typing import Any

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.liveness import Liveness
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.single_flight import SingleFlight

__all__ = ["STAMPEDE_LOCK", "StampedeLock"]

LOCK_S = 2.0
WAIT_S = 3.0
PAUSES_S = (0.02, 0.08)
ABSENT_TTL_S = 10

FILL = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('set', KEYS[1], ARGV[2])
else redis.call('set', KEYS[1], ARGV[2], 'ex', ARGV[3]) end
return redis.call('del', KEYS[2])
"""
RELEASE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('del', KEYS[1])
"""


class StampedeLock:
    """Records of a database behind a cache that is filled by whoever holds the lock of the key."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached, owner = self._look_or_lock(key)
        if owner is None:
            return _value(cached)
        try:
            if (cached := self._cached(key)) is None:
                value = self._load(key)
                self._fill(key, owner, value)
                return value
        except BaseException:
            with suppress(redis.RedisError):  # then the ttl of the lock releases it
                self._release(key, owner)
            raise
        self._release(key, owner)  # somebody had filled between the miss and the lock
        return _value(cached)

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.delete(key, _lock(key))

    def _look_or_lock(self, key: str) -> tuple[str | None, str | None]:
        """(what is cached, None), or (None, the token under which to load)."""
        give_up = time.monotonic() + WAIT_S
        while (cached := self._cached(key)) is None:
            last = time.monotonic() >= give_up
            if (owner := self._acquire(key)) is not None:
                return None, owner
            if last:
                raise TimeoutError(f"nobody has loaded {key!r} within {WAIT_S} s")
            time.sleep(random.uniform(*PAUSES_S))
        return cached, None

    def _acquire(self, key: str) -> str | None:
        """The token of the new owner, or None if somebody else holds the lock."""
        owner = uuid.uuid4().hex
        return owner if self.redis.set(_lock(key), owner, nx=True, px=int(LOCK_S * 1000)) else None

    def _release(self, key: str, owner: str) -> None:
        self.redis.eval(RELEASE, 1, _lock(key), owner)

    def _cached(self, key: str) -> str | None:
        cached = self.redis.get(key)
        return None if cached is None else str(cached)

    def _load(self, key: str) -> str | None:
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        return row[0] if row else None

    def _fill(self, key: str, owner: str, value: str | None) -> None:
        """Cache a value, or that there is none, if `owner` still holds the lock."""
        ttl = self.ttl if value is not None else ABSENT_TTL_S
        self.redis.eval(FILL, 2, key, _lock(key), owner, json.dumps(value), "" if ttl is None else ttl)


def _lock(key: str) -> str:
    return f"lock:{key}"


def _value(cached: str | None) -> str | None:
    value: str | None = json.loads(cached or "null")
    return value


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_NO_LOCK_RUNS_OUT = _EVERYWHERE - {Condition.EXPIRY}
_INVALIDATION_ARRIVES = _EVERYWHERE - {Condition.APP_CRASH, Condition.LOST_MESSAGES}


def STAMPEDE_LOCK(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="stampede protection, lock",
        ttl_s=ttl_s,
        guarantees=(
            Guarantee(
                "H5a",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_EVERYWHERE,
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


def STAMPEDE_LOCK_LOADS(ttl_s: float | None = 300) -> Contract:
    """What readers are claimed to have of it, where nobody writes."""
    return Contract(
        name="stampede protection, lock, among readers",
        ttl_s=ttl_s,
        operations=("read",),
        guarantees=(
            Guarantee(
                "H6a",
                "when an entry expires, it is loaded at most once",
                SingleFlight(),
                kept=_NO_LOCK_RUNS_OUT,
            ),
            Guarantee(
                "H6b",
                "a read always ends, within 3 seconds once nothing is broken any more",
                Liveness(within_s=WAIT_S),
                kept=_EVERYWHERE,
            ),
        ),
    )
