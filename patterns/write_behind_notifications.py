"""Write-behind on keyspace notifications: the cache tells a worker which key was set, if it happens to listen.

    read    GET; on a hit return it
            on a miss SELECT, then SET … NX EX ttl, and return it
    write   SET (without a ttl); acknowledge: nothing is queued
    worker  SUBSCRIBE to __keyevent@0__:set; for each message, which is a key, MULTI; GET; TTL; EXEC; if it has no
            ttl (what has one was loaded from the database) UPDATE

The server needs `notify-keyspace-events` with at least E$.  The charm of it is that the writer does nothing at
all, and that the worker always stores the newest value.

But a notification is a message, not an entry in a queue.  Whoever is not connected at that moment never hears of
it: while the worker starts, after it crashed, while its connection is down.  Nobody can ask later what was missed,
and the cache serves the new value on as if nothing were wrong:

    worker  SUBSCRIBE            ✕                  SUBSCRIBE …
    writer                          SET v2 → (nobody)           v2 will never be stored

A variant lets a shadow key expire and acts on `expired`; that one also comes late, since a key is deleted some
time after it was due, and its value is gone by then.  In a cluster each node tells of its own keys only.  What
helps is a queue that remembers (write_behind_stream.py, write_behind_log.py).

Claimed, wherever the pattern is explained:
    WB2  writes are lost only if the cache loses them before the flush
    WB4  the database converges to the cache
    WB6  after a write is acknowledged, the next read sees it
    WB8  reads return only values that somebody wrote to that key

Kept: WB6 and WB8 as long as the cache does not crash (or evict).  WB2 and WB4 only while the worker listens
without a break, and so only while nothing else happens.

Known anomalies: 60 missed notification, 51 lost write-behind, 56 eviction of a dirty key, 58 clobbered out-of-band
write, 59 poison write.
"""

from typing import Any

import psycopg
import redis

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["WRITE_BEHIND_NOTIFICATIONS", "WriteBehindNotifications"]

CHANNEL = "__keyevent@0__:set"
NO_TTL = -1


class WriteBehindNotifications:
    """Records of a database behind a cache that takes the writes; what a read loads lives `ttl` seconds."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        # The driver's own time-out of 5 s would end a wait for messages.
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=None)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.ttl = ttl

    def read(self, key: str) -> str | None:
        cached = self.redis.get(key)
        if cached is not None:
            return str(cached)
        row = self.db.execute("select value from records where key = %s", (key,)).fetchone()
        value: str | None = row[0] if row else None
        if value is not None:
            self.redis.set(key, value, nx=True, ex=self.ttl)  # never over a value that is not yet stored
        return value

    def write(self, key: str, value: str) -> None:
        self.redis.set(key, value)

    def work(self) -> None:
        messages: Any = self.redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        messages.subscribe(CHANNEL)
        for message in messages.listen():
            self._store(message["data"])

    def _store(self, key: str) -> None:
        with self.redis.pipeline(transaction=True) as both:
            both.get(key)
            both.ttl(key)
            value, ttl = both.execute()
        if value is not None and ttl == NO_TTL:
            self.db.execute("update records set value = %s where key = %s", (value, key))


_CONDITIONS = (Condition.QUIET, Condition.CONCURRENT, Condition.APP_CRASH, Condition.LOST_MESSAGES)
_EVERYWHERE = frozenset(_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})


def WRITE_BEHIND_NOTIFICATIONS(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-behind, keyspace notifications",
        ttl_s=ttl_s,
        workers=1,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "WB2",
                "writes are lost only if the cache loses them before the flush",
                Durability(),
                kept=_ALONE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB4",
                "the database converges to the cache",
                Convergence(within_s=ttl_s),
                kept=_ALONE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB6",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB8",
                "reads return only values that somebody wrote to that key",
                Integrity(committed=False),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
        ),
    )
