"""Event-driven invalidation, as recipes print it: the writer announces a change, a worker deletes the entry.

    read    GET; on a hit return it
            on a miss SELECT, then SET … EX ttl, and return it
    write   UPDATE in the database; XADD an event with the key to a stream; acknowledge
    worker  for ever: XREADGROUP new events (from >): DEL the key, then XACK

The writer need not know who caches what, and the stream keeps an event until somebody has taken care of it.  But
two gaps remain.  The UPDATE and the XADD are two steps in two systems: a writer that dies between them has
changed the record, and nobody ever hears of it.  And a worker that dies between XREADGROUP and DEL has taken
an event along: it stays on the pending list of the group, and > never gives it out again.

Claimed, wherever the pattern is explained:
    EV1  every commit is followed by an invalidation: a minute later no cache serves an older value
    EV2  a crash of the worker loses nothing: every event that was sent is followed by an invalidation
    CA2  the cache converges to the database within its ttl

Kept: EV1 and EV2 only while one operation runs at a time; EV2 also as long as worker and messages get through.
CA2 under every condition, but only thanks to the ttl: without one it holds only while one operation runs at a
time.

Known anomalies: 64 dual-write gap (the writer dies between COMMIT and XADD), 61 pending list black hole (the
worker dies, or its connection does, between XREADGROUP and DEL), 1 stale set (a reader that missed before a
write fills after the DEL).  And a read right after a write may come before the worker.
"""

from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.invalidation import Invalidation
from cacheproof.models.reaches_cache import ReachesCache

__all__ = ["INVALIDATION_EVENTS", "EventInvalidation"]

STREAM, GROUP, WORKER = "invalidation:events", "cache", "invalidator"


class EventInvalidation:
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
        while True:
            reply: Any = self.redis.xreadgroup(GROUP, WORKER, {STREAM: ">"}, count=100, block=0)
            for number, event in reply[0][1]:  # [[stream, events]]
                self.redis.delete(event["key"])
                self.redis.xack(STREAM, GROUP, number)

    def _create_group(self) -> None:
        try:
            self.redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)  # 0: from the first event on
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it exists already
                raise


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_ALONE = frozenset({Condition.QUIET})
_WHILE_THE_STREAM_LIVES = _EVERYWHERE - {Condition.CACHE_CRASH}


def INVALIDATION_EVENTS(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="event-driven invalidation",
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
                kept=frozenset({Condition.QUIET, Condition.CONCURRENT, Condition.EXPIRY}),
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
