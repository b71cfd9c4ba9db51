"""Write-behind (write-back) over a List: a write is acknowledged by the cache, a worker stores it later.

    read    GET; on a hit return it
            on a miss SELECT, then SET … NX EX ttl, and return it
    write   MULTI; SET (without a ttl); LPUSH onto the queue; EXEC; acknowledge
    worker  for ever: BRPOP from the queue, then UPDATE in the database

The fill on a miss is NX, so that a slow reader never overwrites a value that is not yet in the database.  A
fill expires; a written value does not, because until it is flushed the cache holds the only readable copy.
Values that were written therefore stay until they are evicted.

Claimed, wherever the pattern is explained:
    WB2  writes are lost only if the cache loses them before the flush
    WB4  the database converges to the cache
    WB6  after a write is acknowledged, the next read sees it
    WB7  no acknowledged write is lost, even when the cache crashes
    WB8  reads return only values that somebody wrote to that key

Kept: WB8 under every condition.  WB6 unless the cache crashes (or evicts).  WB2 and WB4 as long as nothing
happens to the worker between its BRPOP and its UPDATE: the change is in its hands alone then, and a crash or
a lost reply loses it, while the cache serves the new value for ever.  WB4 survives a crash of the cache, with
the ttl as the bound, because then both have lost the value.  WB7 never; it is the risk that the pattern is
known for.

Known anomalies: 51 lost write-behind (the cache dies before the flush), 55 pop then crash, 56 eviction of a
dirty key, 58 clobbered out-of-band write.  With more than one worker also 52 reorder.
"""

import json
from typing import Any, NoReturn

import psycopg
import redis

from cacheproof.models.contract import CORE_CONDITIONS, Condition, Contract, Guarantee
from cacheproof.models.convergence import Convergence
from cacheproof.models.durability import Durability
from cacheproof.models.integrity import Integrity
from cacheproof.models.read_after_write import ReadAfterWrite

__all__ = ["WRITE_BEHIND_LIST", "WriteBehindList"]

QUEUE = "write-behind:queue"


class WriteBehindList:
    """Records of a database behind a cache that takes the writes; what a read loads lives `ttl` seconds."""

    def __init__(self, env: Any, *, ttl: int | None = 300) -> None:
        # The driver's own time-out of 5 s would end a BRPOP that waits for ever.
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
            both.lpush(QUEUE, json.dumps([key, value]))
            both.execute()

    def work(self) -> NoReturn:
        while True:
            popped: Any = self.redis.brpop([QUEUE], timeout=0)
            key, value = json.loads(popped[1])  # from here to the COMMIT nobody else knows of it
            self.db.execute("update records set value = %s where key = %s", (value, key))


_EVERYWHERE = frozenset(CORE_CONDITIONS)
_WHILE_THE_CACHE_LIVES = _EVERYWHERE - {Condition.CACHE_CRASH}
_WORKER_HARMED = frozenset({Condition.APP_CRASH, Condition.LOST_MESSAGES})


def WRITE_BEHIND_LIST(ttl_s: float | None = 300) -> Contract:
    """What it is claimed to give, and what it keeps; `ttl_s` in seconds, None: no ttl."""
    return Contract(
        name="write-behind, List",
        ttl_s=ttl_s,
        workers=1,
        guarantees=(
            Guarantee(
                "WB2",
                "writes are lost only if the cache loses them before the flush",
                Durability(),
                kept=_WHILE_THE_CACHE_LIVES - _WORKER_HARMED,
                claimed=_WHILE_THE_CACHE_LIVES,
            ),
            Guarantee(
                "WB4",
                "the database converges to the cache",
                Convergence(within_s=ttl_s),
                kept=(_WHILE_THE_CACHE_LIVES if ttl_s is None else _EVERYWHERE) - _WORKER_HARMED,
            ),
            Guarantee(
                "WB6",
                "after a write is acknowledged, the next read sees it",
                ReadAfterWrite(),
                kept=_WHILE_THE_CACHE_LIVES,
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
            ),
        ),
    )
