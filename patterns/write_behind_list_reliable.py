"""Write-behind over a List that forgets nothing: what a worker takes, it moves to a list of its own.

    read    GET; on a hit return it
            on a miss SELECT, then SET … NX EX ttl, and return it
    write   MULTI; SET (without a ttl); LPUSH onto the queue; EXEC; acknowledge
    worker  for ever: take the oldest change of its own list, processing:NAME (LINDEX); if that is empty, wait for
            the queue (BLMOVE from the one to the other); UPDATE in the database; LREM from its own list

A pop takes a change into the hands of the worker alone.  BLMOVE moves it instead, in one step: it is in one list
or in the other, whenever the worker dies, and its next life begins with what the last one left.  So each change is
stored at least once; storing one twice is harmless, because it sets a value and one worker keeps the order.  With
two workers it would take a guard in the UPDATE, and somebody to look after the list of a worker that never comes
back; a Stream with a consumer group brings the latter along.

The fill on a miss is NX, so that a slow reader never overwrites a value that is not yet in the database.  A
fill expires; a written value does not, because until it is flushed the cache holds the only readable copy.

Claimed, wherever the pattern is explained:
    WB2  writes are lost only if the cache loses them before the flush
    WB3  a queue keeps the order of the writes
    WB4  the database converges to the cache
    WB6  after a write is acknowledged, the next read sees it
    WB7  no acknowledged write is lost, even when the cache crashes
    WB8  reads return only values that somebody wrote to that key

Kept: WB3 and WB8 under every condition.  WB2 wherever it is claimed, crashes of the worker included.  WB4 under
every condition, with the ttl as the bound after a crash of the cache.  WB6 unless the cache crashes (or evicts).
WB7 never; it is the risk that the pattern is known for.

Known anomalies: 51 lost write-behind (the cache dies before the flush), 56 eviction of a dirty key, 58
clobbered out-of-band write, 59 poison write (the worker meets it again in every life, and all behind it wait).
Avoided: 55 pop then crash.  With more than one worker also 52 reorder.
"""

import json
from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.flush_order import FlushOrder
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["WRITE_BEHIND_LIST_RELIABLE", "WriteBehindListReliable"]

QUEUE, PROCESSING = "write-behind:queue", "write-behind:processing"


class WriteBehindListReliable:
    """Records of a database behind a cache that takes the writes; what a read loads lives `ttl` seconds."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        # The driver's own time-out of 5 s would end a BLMOVE that waits for ever.
        self.redis = redis.Redis.from_url(env.redis_url, decode_responses=True, socket_timeout=None)
        self.db = psycopg.connect(env.database_url, autocommit=True)
        self.mine = f"{PROCESSING}:{env.client}"  # a worker that is started anew has the name that it had
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
            both.lpush(QUEUE, json.dumps([key, value]))
            both.execute()

    def work(self) -> NoReturn:
        change: Any = self.redis.lindex(self.mine, -1)  # what an earlier life was at
        while True:
            if change is not None:
                key, value = json.loads(change)
                self.db.execute("update records set value = %s where key = %s", (value, key))
                self.redis.lrem(self.mine, -1, change)  # only now that it is committed
            change = self.redis.blmove(QUEUE, self.mine, 0, "RIGHT", "LEFT")


_CONDITIONS = (
    Condition.QUIET,
    Condition.CONCURRENT,
    Condition.APP_CRASH,
    Condition.CACHE_CRASH,
    Condition.LOST_MESSAGES,
)
_EVERYWHERE = frozenset(_CONDITIONS)
_WHILE_THE_CACHE_LIVES = _EVERYWHERE - {Condition.CACHE_CRASH}


def WRITE_BEHIND_LIST_RELIABLE(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-behind, List with a reliable move",
        ttl_s=ttl_s,
        workers=1,
        conditions=_CONDITIONS,
        guarantees=(
            Guarantee(
                "WB2",
                "writes are lost only if the cache loses them before the flush",
                Durability(),
                kept=_WHILE_THE_CACHE_LIVES,
                claimed=_WHILE_THE_CACHE_LIVES,
            ),
            Guarantee(
                "WB3",
                "a queue keeps the order of the writes",
                FlushOrder(),
                kept=_EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB4",
                "the database converges to the cache",
                Convergence(within_s=ttl_s),
                kept=_WHILE_THE_CACHE_LIVES if ttl_s is None else _EVERYWHERE,
                claimed=_EVERYWHERE,
            ),
            Guarantee(
                "WB6",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_WHILE_THE_CACHE_LIVES,
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
