"""Write-behind (write-back) over a Stream: a worker stores changes later, and forgets none of them.

    read    GET; on a hit return it
            on a miss SELECT, then SET … NX EX ttl, and return it
    write   MULTI; SET (without a ttl); XADD to the stream; EXEC; acknowledge
    worker  take the pending entries first (XREADGROUP from 0: what an earlier life of this worker was given
            and did not finish), then for ever new ones (XREADGROUP from >): UPDATE, then XACK

An entry stays pending in the consumer group until the worker acknowledges it, and that happens after the
commit.  So each change is stored at least once; storing one twice is harmless, because it sets a value and
one worker keeps the order.  Two workers would not.  The fill on a miss is NX, so that a slow reader never
overwrites a value that is not yet in the database.  A fill expires; a written value does not, because until
it is flushed the cache holds the only readable copy.  The stream is never trimmed here; a real one is,
behind the last acknowledged entry.

Claimed, wherever the pattern is explained:
    WB1  a write is acknowledged after cache round trips only
    WB2  writes are lost only if the cache loses them before the flush
    WB3  a queue keeps the order of the writes
    WB4  the database converges to the cache
    WB6  after a write is acknowledged, the next read sees it
    WB7  no acknowledged write is lost, even when the cache crashes
    WB8  reads return only values that somebody wrote to that key

Kept: WB1 and WB8 under every condition, WB3 with one worker.  WB2 as long as the cache evicts nothing, crashes of
the worker included: what was written but not stored is as easily evicted as anything else, and the stream too.
WB4 likewise, and under a crash of the cache with the ttl as the bound.  WB6 unless the cache crashes or evicts.
WB7 never; it is the risk that the pattern is known for.

Known anomalies: 51 lost write-behind (the cache dies before the flush), 56 eviction of a dirty key, 58
clobbered out-of-band write, 59 poison write.  Avoided: 55 pop then crash, 61 pending entries that nobody
reads again.  With more than one worker also 52 reorder.
"""

from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite
from cacheproof.models.round_trips import RoundTrips

__all__ = ["WRITE_BEHIND_STREAM", "WriteBehindStream"]

STREAM, GROUP, WORKER = "write-behind:changes", "database", "flusher"


class WriteBehindStream:
    """Records of a database behind a cache that takes the writes; what a read loads lives `ttl` seconds."""

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
            self.redis.set(key, value, nx=True, ex=self.ttl)  # never over a value that is not yet stored
        return value

    def write(self, key: str, value: str) -> None:
        with self.redis.pipeline(transaction=True) as both:
            both.set(key, value)
            both.xadd(STREAM, {"key": key, "value": value})
            both.execute()

    def work(self) -> NoReturn:
        self._create_group()
        position = "0"
        while True:
            changes = self._take(position)
            if not changes:
                position = ">"  # nothing is pending any more
            for number, change in changes:
                values = (change["value"], change["key"])
                self.db.execute("update records set value = %s where key = %s", values)
                self.redis.xack(STREAM, GROUP, number)

    def _take(self, position: str) -> list[tuple[str, dict[str, str]]]:
        try:
            reply: Any = self.redis.xreadgroup(GROUP, WORKER, {STREAM: position}, count=100, block=0)
        except redis.ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            self._create_group()  # the cache has restarted empty
            return []
        changes: list[tuple[str, dict[str, str]]] = reply[0][1]  # [[stream, changes]]
        return changes

    def _create_group(self) -> None:
        try:
            self.redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)  # 0: from the first entry on
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it exists already
                raise


_CONDITIONS = (*CORE_CONDITIONS, Condition.EVICTION)
_EVERYWHERE = frozenset(_CONDITIONS)
_UNLESS_IT_CRASHES = _EVERYWHERE - {Condition.CACHE_CRASH}
_UNLESS_IT_EVICTS = _EVERYWHERE - {Condition.EVICTION}
_WHILE_THE_CACHE_REMEMBERS = _UNLESS_IT_CRASHES & _UNLESS_IT_EVICTS
_IN_ORDER = frozenset({Condition.CONCURRENT, Condition.APP_CRASH, Condition.LOST_MESSAGES})
"""Where changes overlap, or are given to the worker twice."""


def WRITE_BEHIND_STREAM(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-behind, Stream",
        ttl_s=ttl_s,
        workers=1,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "WB1",
                "a write is acknowledged after cache round trips only",
                RoundTrips(0, "write", "database"),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB2",
                "writes are lost only if the cache loses them before the flush",
                Durability(),
                kept=_WHILE_THE_CACHE_REMEMBERS,
                claimed=_UNLESS_IT_CRASHES,
            ),
            Guarantee(
                "WB3",
                "a queue keeps the order of the writes",
                FlushOrder(),
                kept=_IN_ORDER,
                claimed=_IN_ORDER,
            ),
            Guarantee(
                "WB4",
                "the database converges to the cache",
                Convergence(within_s=ttl_s),
                kept=_WHILE_THE_CACHE_REMEMBERS if ttl_s is None else _UNLESS_IT_EVICTS,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB6",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_WHILE_THE_CACHE_REMEMBERS,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB7",
                "no acknowledged write is lost, even when the cache crashes",
                Durability(),
                claimed=frozenset({Condition.CACHE_CRASH}),
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
