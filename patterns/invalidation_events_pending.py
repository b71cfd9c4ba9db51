"""Event-driven invalidation whose worker takes over what an earlier life of it has left behind.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   UPDATE in the database; XADD an event with the key to a stream; acknowledge
    worker  take the pending events first (XREADGROUP from 0: what an earlier life of this worker was given and
            did not finish), then for ever new ones (XREADGROUP from >): DEL the key, then XACK

An event stays pending in the consumer group until the worker acknowledges it, and that happens after the DEL.
So each event is followed by a DEL at least once, and twice does no harm.  The worker has a fixed name; where
several share a group under changing names, XAUTOCLAIM takes over what the dead have left.  Every cache copy needs
a group of its own, for within a group each event goes to one worker only.

Nothing here helps a writer that dies between UPDATE and XADD: that takes an outbox in the database.

Claimed, wherever the pattern is explained:
    EV1  every commit is followed by an invalidation: a minute later no cache serves an older value
    EV2  a crash of the worker loses nothing: every event that was sent is followed by an invalidation
    CA2  the cache converges to the database within its ttl

Kept: EV2 under every condition; it is not claimed for a cache that crashes, since the stream goes with it (and so
does what was cached).  EV1 only while one operation runs at a time.  CA2 under every condition, but only
thanks to the ttl: without one it holds only while one operation runs at a time.

Known anomalies: 64 dual-write gap (the writer dies between COMMIT and XADD), 1 stale set (a reader that missed
before a write fills after the DEL).  And a read right after a write may come before the worker.  Avoided: 61
pending list black hole.
"""

from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.invalidation import Invalidation
from cacheproof.models.reaches_cache import ReachesCache

__all__ = ["INVALIDATION_EVENTS_PENDING", "PendingFirst"]

STREAM, GROUP, WORKER = "invalidation:events", "cache", "invalidator"


class PendingFirst:
    """Records of a database behind a cache whose entries live `ttl` seconds (None: for ever)."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        # The driver's own time-out of 5 s would end an XREADGROUP that waits for ever.
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
            self.redis.set(key, value, ex=self.ttl)  # even if it has been written since
        return value

    def write(self, key: str, value: str) -> None:
        self.db.execute("update records set value = %s where key = %s", (value, key))
        self.redis.xadd(STREAM, {"key": key})

    def work(self) -> NoReturn:
        self._create_group()
        position = "0"
        while True:
            events = self._take(position)
            if not events:
                position = ">"  # nothing is pending any more
            for number, event in events:
                self.redis.delete(event["key"])
                self.redis.xack(STREAM, GROUP, number)

    def _take(self, position: str) -> list[tuple[str, dict[str, str]]]:
        reply: Any = self.redis.xreadgroup(GROUP, WORKER, {STREAM: position}, count=100, block=0)
        events: list[tuple[str, dict[str, str]]] = reply[0][1]  # [[stream, events]]
        return events

    def _create_group(self) -> None:
        try:
            self.redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)  # 0: from the first event on
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it exists already
                raise


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})
_WHILE_THE_STREAM_LIVES = _EVERYWHERE - {Condition.CACHE_CRASH}


def INVALIDATION_EVENTS_PENDING(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="event-driven invalidation, pending events first",
        ttl_s=ttl_s,
        workers=1,
        guarantees=(
            Guarantee(
                "EV1",
                "every commit is followed by an invalidation, within a minute",
                Invalidation(60),
                kept=_ALONE,
                claimed=_WHILE_THE_STREAM_LIVES - {Condition.EXPIRY},
            ),
            Guarantee(
                "EV2",
                "a crash of the worker loses nothing: every event is followed by an invalidation",
                ReachesCache(after="event"),
                kept=_WHILE_THE_STREAM_LIVES,
                claimed=_WHILE_THE_STREAM_LIVES,
            ),
            Guarantee(
                "CA2",
                "the cache converges to the database within its ttl (or by itself, if it has none)",
                Convergence(within_s=ttl_s),
                kept=_ALONE if ttl_s is None else _EVERYWHERE,
            ),
        ),
    )
